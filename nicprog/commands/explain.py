# SPDX-License-Identifier: Apache-2.0
"""``nicprog explain``: causes and remedies of an error."""

from __future__ import annotations

import argparse
import errno

from nicprog import show
from nicprog.causes import FORGOTTEN
from nicprog.commands import Outcome, add_verb
from nicprog.errors import UsageError
from nicprog.explain import CALLS, Explanation, errno_of, explain, explain_message


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the verb."""
    verb = add_verb(verbs, "explain", _explain, "tell causes and remedies of an error")
    verb.add_argument(
        "error", metavar="ERROR", nargs="?",
        help="an errno (EINVAL, 22), 'forgotten' for what was taken and does not read back, or a "
        "message of ethtool, the kernel or nicprog; nothing: all causes that are known",
    )  # fmt: skip
    verb.add_argument("--call", choices=tuple(CALLS), help="what was refused")
    verb.add_argument("--driver", metavar="DRIVER", help="of the NIC, see 'nicprog dump'")


def _explain(options: argparse.Namespace) -> Outcome:
    found = _found(options)
    rows = [
        {
            "cause": one.cause.name,
            "calls": list(one.cause.calls),
            "errors": [_name(number) for number in one.cause.errors],
            "drivers": list(one.cause.drivers),
            "text": one.text,
            "remedy": one.cause.remedy,
            "source": one.cause.source,
        }
        for one in found
    ]
    return 0 if rows else 1, {"causes": rows}, lambda: show.causes(rows)


def _found(options: argparse.Namespace) -> tuple[Explanation, ...]:
    text = options.error
    if text is None or text == "forgotten":
        return explain(None if text is None else FORGOTTEN, options.call, options.driver)
    if " " in text and options.call is None:
        found = explain_message(text, options.driver)
        if not found and errno_of(text) is None:
            raise UsageError(f"{text!r} names no error that is known here")
        return found
    number = errno_of(text)
    if number is None:
        raise UsageError(f"{text!r} is no errno; give one such as EINVAL, or the whole message")
    return explain(number, options.call, options.driver)


def _name(number: int) -> str:
    if number == FORGOTTEN:
        return "forgotten"
    return "EOPNOTSUPP" if number == errno.EOPNOTSUPP else errno.errorcode[number]

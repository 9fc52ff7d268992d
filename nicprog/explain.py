# SPDX-License-Identifier: Apache-2.0
"""From an error to its causes: by call, errno, driver, and what the NIC holds."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nicprog.causes import CAUSES, FORGOTTEN, Cause, Facts

_MODULES: Final = Path("/proc/modules")

CALLS: Final = {
    "set_channels": ("channel parameters", "set the channels", "channel count"),
    "set_key": ("the hash key",),
    "set_table": ("indirection table", "rss table"),
    "reset_table": ("reset the table",),
    "insert_rule": ("insert rx class rule", "insert classification rule", "insert a flow rule",
                    "insert rule", "appropriate slot"),
    "set_values": ("ring parameters", "ring sizes", "coalesce parameters", "coalescing",
                   "feature settings", "the features", "flow hash configuration", "hashed fields",
                   "smp_affinity", "xps_", "rps_", "gro_flush_timeout", "napi"),
    "create_context": ("make an rss context", "create context", "context new"),
    "set_context": ("set of context",),
    "delete_context": ("delete an rss context", "delete context"),
    "delete_rule": ("delete rx class rule", "delete classification rule", "delete a flow rule",
                    "delete the rule"),
}  # fmt: skip
"""Calls by the words that ethtool, the kernel and nicprog use in messages about them."""

_OF_MESSAGES: Final = {
    "existing indirection table": "table-names-the-queues",
    "existing ntuple filter": "rules-name-the-queues",
    "memory provider": "queues-are-in-use",
    "af_xdp": "queues-are-in-use",
    "busy queues": "queues-are-in-use",
    "count exceeds maximum": "above-maximum",
    "queue out of range": "entry-beyond-the-queues",
    "appropriate slot": "no-free-location",
}
"""What texts of the kernel's replies and of ethtool say by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One cause that fits.

    Attributes:
        cause: The entry.
        text: What is wrong, with numbers where the NIC shows them.
        is_seen: The NIC shows it; else it is only possible.
    """

    cause: Cause
    text: str
    is_seen: bool

    def __str__(self) -> str:
        sure = "" if self.is_seen else "perhaps "
        return f"{sure}{self.text}; {self.cause.remedy}"


def explain(
    error: int | None, call: str | None = None, driver: str | None = None
) -> tuple[Explanation, ...]:
    """Causes that fit, without a NIC to look at; None fits all, ``FORGOTTEN`` is no errno."""
    return tuple(
        Explanation(cause=cause, text=cause.text, is_seen=False)
        for cause in CAUSES
        if (error is None or error in cause.errors)
        and (call is None or not cause.calls or call in cause.calls)
        and (driver is None or not cause.drivers or driver in cause.drivers)
    )


def explain_refusal(error: int, facts: Facts) -> tuple[Explanation, ...]:
    """Causes that fit what the NIC holds; first those that it shows, then those it cannot."""
    return tuple(
        sorted(_by_facts(error, facts), key=lambda one: (not one.is_seen, not one.cause.drivers))
    )


def _by_facts(error: int, facts: Facts) -> Iterator[Explanation]:
    for one in explain(error, facts.action.name, facts.can.driver):
        if one.cause.shows is None:
            yield one
        elif text := one.cause.shows(facts):
            yield Explanation(cause=one.cause, text=text, is_seen=True)


def explain_message(message: str, driver: str | None = None) -> tuple[Explanation, ...]:
    """Causes of a message of ethtool, the kernel or nicprog, as somebody has copied it.

    Returns:
        Nothing when neither an errno nor a known text is in it.
    """
    lower = message.lower()
    names = {name for words, name in _OF_MESSAGES.items() if words in lower}
    if names:
        return tuple(one for one in explain(None) if one.cause.name in names)
    error = errno_of(message)
    if error is None:
        return ()
    call = next((c for c, words in CALLS.items() if any(word in lower for word in words)), None)
    return explain(error, call, driver)


def errno_of(text: str) -> int | None:
    """The errno that a text names, by number, name (``EINVAL``) or words (``Invalid argument``)."""
    if text.isdecimal():
        return int(text)
    if "EOPNOTSUPP" in text:
        return errno.EOPNOTSUPP
    for name in re.findall(r"\bE[A-Z0-9]{2,}\b", text):
        if hasattr(errno, name):
            return int(getattr(errno, name))
    lower = text.lower()
    for number in errno.errorcode:
        if os.strerror(number).lower() in lower:
            return number
    return None


def loaded_modules() -> frozenset[str]:
    """Names of the kernel's modules; none where that cannot be read."""
    try:
        return frozenset(line.split()[0] for line in _MODULES.read_text().splitlines())
    except OSError:
        return frozenset()


__all__ = [
    "CALLS", "CAUSES", "FORGOTTEN", "Cause", "Explanation", "Facts", "errno_of", "explain",
    "explain_message", "explain_refusal", "loaded_modules",
]  # fmt: skip

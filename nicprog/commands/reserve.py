# SPDX-License-Identifier: Apache-2.0
"""``nicprog reserve`` and ``nicprog release``: queues for some flows alone, and back."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import nicprog
from nicprog import reserve, show
from nicprog.commands import Outcome, add_verb, plan_json
from nicprog.errors import UsageError


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds both verbs."""
    verb = add_verb(
        verbs, "reserve", _reserve, "give some flows queues of their own; again to change how many"
    )
    verb.add_argument("device", metavar="DEVICE", help="name of a NIC")
    _add_flow(verb)
    group = verb.add_mutually_exclusive_group(required=True)
    group.add_argument("--queues", type=_count, metavar="N", help="that many queues")
    group.add_argument("--queue", type=int, action="append", metavar="Q", help="this queue; again "
                       "for more")  # fmt: skip
    verb = add_verb(verbs, "release", _release, "end a reservation: its queues are for all again")
    verb.add_argument("device", metavar="DEVICE", help="name of a NIC")
    _add_flow(verb)


def _add_flow(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--flow", action="append", required=True, metavar="FLOW",
        help="which flows, for example 'tcp dst_port=8443 family=ipv4'; again for more",
    )  # fmt: skip
    verb.add_argument("--dry-run", action="store_true", help="show the steps; change nothing")
    verb.add_argument("--state-dir", metavar="DIR", type=Path, help="folder of the snapshots")


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of queues above 0")
    return int(text)


def _reserve(options: argparse.Namespace) -> Outcome:
    return _run(options, options.queue if options.queues is None else options.queues)


def _release(options: argparse.Namespace) -> Outcome:
    return _run(options, 0)


def _run(options: argparse.Namespace, queues: int | Sequence[int]) -> Outcome:
    flows = tuple(match for text in options.flow for match in reserve.flow(text))
    if len(set(flows)) < len(flows):
        raise UsageError("two flows are the same")
    result = None
    with nicprog.open(options.device) as nic:
        if not options.dry_run:
            recovered = nicprog.recover(nic, state_dir=options.state_dir)
            if recovered:
                print(f"nicprog: {show.recovered(recovered)}", file=sys.stderr)
        found, plan = reserve.plan(nic, flows, queues)
        if not options.dry_run:
            result = nicprog.apply(nic, plan, state_dir=options.state_dir)
    document = plan_json(plan) | {
        "applied": result is not None,
        "queues": list(found.queues),
        "context": found.context,
        "classes": list(found.classes),
        "moved_entries": found.moved,
        "moved_classes": found.moved_classes,
    }
    return 0, document, lambda: show.reserved(found, plan, result)

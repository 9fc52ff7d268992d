# SPDX-License-Identifier: Apache-2.0
"""Verbs of the command ``nicprog`` that have a file of their own; each file adds its verbs."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from typing import Any

from nicprog.plan import Plan, Step

Outcome = tuple[int, dict[str, Any] | None, Callable[[], None]]
"""Exit status, JSON document (None: all is printed), and what prints the text instead."""


def add_verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    command: Callable[[argparse.Namespace], Outcome],
    summary: str,
) -> argparse.ArgumentParser:
    """Adds a verb with ``--json``; the caller adds the rest."""
    verb = verbs.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    verb.set_defaults(command=command)
    verb.add_argument("--json", action="store_true", help="print one JSON document")
    return verb


def plan_json(plan: Plan) -> dict[str, Any]:
    """JSON value of a plan."""
    return {
        "device": plan.device,
        "changes": len(plan.steps),
        "steps": steps_json(plan.steps),
        "warnings": list(plan.warnings),
    }


def steps_json(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """JSON value of its steps."""
    return [
        {
            "number": number,
            "action": step.do.name,
            "do": str(step.do),
            "undo": str(step.undo),
            "reason": step.reason,
            "disruption": step.disruption.value,
        }
        for number, step in enumerate(steps, 1)
    ]


def seconds(text: str) -> float:
    """A time as people write it: ``90``, ``90s``, ``5m``, ``1h``."""
    match = re.fullmatch(r"(\d+)([smh]?)", text)
    if not match or not int(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 60s or 5m")
    return float(int(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]])

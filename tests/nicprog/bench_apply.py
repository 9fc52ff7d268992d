# SPDX-License-Identifier: Apache-2.0
"""Time of plan and apply of 1,024 rules on the software NIC: python -m tests.nicprog.bench_apply.

Prints one JSON document. The NIC's owner is a process of its own, as in production; each round starts
from an empty NIC. `round_trip_us` is one request and answer alone, the floor of a step.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import TypeVar

import nicprog
from nicprog.actions import SetKey
from tests.nicprog.owner import Owner

_T = TypeVar("_T")
RULES = 1024
ROUNDS = 5


def main() -> int:
    """Measures and prints medians."""
    with TemporaryDirectory(prefix="nicprog-bench-") as folder:
        os.environ["QSTACK_RUN_DIR"] = folder
        with Owner("bench") as owner, nicprog.open(owner.name) as nic:
            json.dump(_measure(nic), sys.stdout, indent=2)
    print()
    return 0


def _measure(nic: nicprog.Backend) -> dict[str, float | int]:
    text = _text()
    rows: dict[str, list[float]] = {}

    def timed(name: str, call: Callable[[], _T]) -> _T:
        start = time.perf_counter()
        result = call()
        rows.setdefault(name, []).append((time.perf_counter() - start) * 1e3)
        return result

    for _ in range(ROUNDS):
        spec = timed("parse_ms", lambda: nicprog.parse(text))
        plan = timed("plan_ms", lambda: nicprog.plan(nic, spec))
        timed("apply_ms", lambda: nicprog.apply(nic, plan))
        timed("read_ms", nic.read)
        timed("replan_ms", lambda: nicprog.plan(nic, spec))
        timed("rollback_ms", lambda: nicprog.rollback(nic))
    key = nic.read().key
    timed("round_trips_ms", lambda: [nic.run(SetKey(key=key)) for _ in range(RULES)])
    medians = {name: round(statistics.median(values), 2) for name, values in rows.items()}
    round_trip_us = medians.pop("round_trips_ms") * 1e3 / RULES
    return {
        "rules": RULES,
        "rounds": ROUNDS,
        "plan_and_apply_ms": round(medians["plan_ms"] + medians["apply_ms"], 2),
        **medians,
        "round_trip_us": round(round_trip_us, 1),
    }


def _text() -> str:
    rules = "".join(
        f'[[rule]]\nname = "r{i}"\nprotocol = "tcp"\nsrc = "10.0.{i >> 8}.{i & 255}"\n'
        f"dst_port = 8443\nqueue = {i % 8}\n\n"
        for i in range(RULES)
    )
    return f'device = "bench"\n\n{rules}'


if __name__ == "__main__":
    sys.exit(main())

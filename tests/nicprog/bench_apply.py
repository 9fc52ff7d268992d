# SPDX-License-Identifier: Apache-2.0
"""Time of plan and apply of 1,024 rules: python -m tests.nicprog.bench_apply [sim:mlx5].

Prints one JSON document. Each round starts from an empty NIC. The software NIC's owner is a process
of its own, as in production; a model, when its name is given, is in this process, so that its time
is in the figures. `round_trip_us` is one small request and its answer, alone; `cpu` is what this
process computes, without waiting.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from tempfile import TemporaryDirectory
from typing import TypeVar

import nicprog
from nicprog.actions import ResetTable
from tests.nicprog.owner import Owner

_T = TypeVar("_T")
RULES = 1024
ROUNDS = 5


def main(model: str | None) -> int:
    """Measures and prints medians."""
    with TemporaryDirectory(prefix="nicprog-bench-") as folder:
        os.environ["QSTACK_RUN_DIR"] = folder
        with nullcontext() if model else Owner("bench"), nicprog.open(model or "bench") as nic:
            json.dump(_measure(nic), sys.stdout, indent=2)
    print()
    return 0


def _measure(nic: nicprog.Backend) -> dict[str, float | int]:
    text = _text(nic.device)
    walls: dict[str, list[float]] = {}
    cpus: dict[str, list[float]] = {}

    def timed(name: str, call: Callable[[], _T]) -> _T:
        wall, cpu = time.perf_counter(), time.process_time()
        result = call()
        walls.setdefault(name, []).append((time.perf_counter() - wall) * 1e3)
        cpus.setdefault(name, []).append((time.process_time() - cpu) * 1e3)
        return result

    for _ in range(ROUNDS):
        spec = timed("parse", partial(nicprog.parse, text))
        plan = timed("plan", partial(nicprog.plan, nic, spec))
        timed("apply", partial(nicprog.apply, nic, plan))
        timed("read", nic.read)
        timed("replan", partial(nicprog.plan, nic, spec))
        timed("rollback", partial(nicprog.rollback, nic))
    timed("round_trips", partial(_round_trips, nic))
    wall = {name: statistics.median(values) for name, values in walls.items()}
    cpu = {name: statistics.median(values) for name, values in cpus.items()}
    return {
        "rules": RULES,
        "rounds": ROUNDS,
        "plan_and_apply_ms": round(wall["plan"] + wall["apply"], 2),
        "plan_and_apply_cpu_ms": round(cpu["plan"] + cpu["apply"], 2),
        "round_trip_us": round(wall.pop("round_trips") * 1e3 / RULES, 1),
    } | {f"{name}_ms": round(value, 2) for name, value in wall.items()}


def _round_trips(nic: nicprog.Backend) -> None:
    for _ in range(RULES):
        nic.run(ResetTable())


def _text(device: str) -> str:
    rules = "".join(
        f'[[rule]]\nname = "r{i}"\nprotocol = "tcp"\nsrc = "10.0.{i >> 8}.{i & 255}"\n'
        f"dst_port = 8443\nqueue = {i % 8}\n\n"
        for i in range(RULES)
    )
    return f'device = "{device}"\n\n{rules}'


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if sys.argv[1:] else None))

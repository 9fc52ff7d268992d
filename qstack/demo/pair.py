# SPDX-License-Identifier: Apache-2.0
"""The demonstration without rights: QStack on both ends of a wire in memory, kernel TCP beside it.

The server is the same one in Python; the client is qs-load in a process of its own. There is no
curl here, since no kernel is at either end: ``curl_ok`` is None.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import nicprog

from .. import programs
from ..errors import QStackError
from ..lab import forget
from . import proofs
from .load import HIGH_CLASS, HIGH_PORT, LOW_PORT, Load, measure
from .options import DemoOptions, Progress
from .process import need, running

_SERVER, _CLIENT = "10.78.0.2", "10.78.0.1/24"


@contextmanager
def _load(wire: str, load: Load) -> Iterator[Callable[[], dict[str, Any]]]:
    """Start qs-load; yield what waits for its figures. It ends with the block."""
    command = [
        *(programs.find("qs-load"), wire, _CLIENT, _SERVER, str(LOW_PORT), str(HIGH_PORT)),
        *(str(load.connections), str(load.probe_per_second), str(load.seconds)),
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield lambda: _result(process, load.seconds)
        finally:
            process.kill()


def _result(process: subprocess.Popen[str], seconds: float) -> dict[str, Any]:
    out, err = process.communicate(timeout=seconds + 20)
    if process.returncode:
        raise QStackError(err.strip() or f"qs-load ended with status {process.returncode}")
    document: dict[str, Any] = json.loads(out)
    return document


def _prove(nic: nicprog.Backend, wire: str) -> tuple[proofs.Proof, proofs.Proof]:
    """Count packets by queue while a short load runs, before and after the table changed."""
    load = Load(connections=48, probe_per_second=200, seconds=2)
    with _load(wire, load) as result:
        time.sleep(0.8)
        start = proofs.packets(nic)
        time.sleep(0.6)
        spread = [b - a for a, b in zip(start, proofs.packets(nic), strict=True)]
        result()
    hits = sum(nic.counters().rule_hits.values())
    rule = proofs.Proof(
        holds=0 < spread[proofs.HIGH_QUEUE] < min(spread[: proofs.HIGH_QUEUE]) and hits > 0,
        figures={"packets_by_queue": spread, "packets_of_the_rule": hits},
    )
    proofs.program(nic, equal=[0])
    start = proofs.packets(nic)
    with _load(wire, load) as result:
        result()
    moved = [b - a for a, b in zip(start, proofs.packets(nic), strict=True)]
    proofs.program(nic)
    shared = spread[: proofs.HIGH_QUEUE]
    rss = proofs.Proof(
        holds=min(shared) > 0 and moved[0] > 0 and not any(moved[1 : proofs.HIGH_QUEUE]),
        figures={"packets_by_queue_before": spread, "packets_by_queue_after": moved},
    )
    return rule, rss


def _on_qstack(options: DemoOptions, progress: Progress, wire: str) -> dict[str, Any]:
    args = [
        "-m",
        "qstack",
        "serve",
        "--json",
        "--nic",
        f"pair:{wire}",
        "--address",
        f"{_SERVER}/24",
    ]
    args += ["--queues", str(proofs.QUEUES)]
    args += ["--listen", str(LOW_PORT), "--listen", f"{HIGH_PORT}:{HIGH_CLASS}"]
    server = subprocess.Popen(
        [sys.executable, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with running(server) as line, nicprog.open(wire) as nic:
        proofs.program(nic)
        progress("the rule and the RSS table", 0.3)
        rule, rss = _prove(nic, wire)
        progress("QStack on both ends", 0.5)
        with _load(wire, options.load) as result:
            figures = result()
    info = json.loads(line)
    return {
        "curl_ok": None,
        "rule_ok": rule.holds,
        "rss_ok": rss.holds,
        "qstack": figures,
        "proofs": {"rule": rule.figures, "rss": rss.figures},
        "stack": {key: info[key] for key in ("driver", "mode", "queues", "workers", "offloads")},
    }


def _on_kernel(options: DemoOptions, progress: Progress) -> dict[str, Any]:
    ports = [str(LOW_PORT), str(HIGH_PORT)]
    server = subprocess.Popen(
        [sys.executable, "-m", "qstack.demo.kernel_server", "127.0.0.1", *ports],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with running(server):
        return measure(
            subprocess.Popen,
            "127.0.0.1",
            options.load,
            lambda part: progress("kernel TCP on loopback", part),
        )


def run_pair(options: DemoOptions, progress: Progress) -> dict[str, Any]:
    """Run it; as `qstack.demo.run`."""
    need("wrk")
    wire = f"demo-{os.getpid()}"
    try:
        document = _on_qstack(options, progress, wire)
    finally:
        forget(wire)
    document["kernel"] = _on_kernel(options, progress)
    return document

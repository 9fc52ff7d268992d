# SPDX-License-Identifier: Apache-2.0
"""The whole demonstration, from laboratory to figures; everything is taken away again."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import nicprog

from ..lab import Lab, tap_lab, veth_lab
from . import proofs
from .load import HIGH_CLASS, HIGH_PORT, LOW_PORT, measure
from .options import DemoOptions, Progress
from .pair import run_pair
from .process import need, running


def _server(lab: Lab, args: list[str]) -> subprocess.Popen[Any]:
    return lab.server.popen(
        [sys.executable, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _serve_args(lab: Lab) -> list[str]:
    args = ["-m", "qstack", "serve", "--json", "--queues", str(proofs.QUEUES)]
    args += ["--listen", str(LOW_PORT), "--listen", f"{HIGH_PORT}:{HIGH_CLASS}"]
    if lab.kind == "veth":
        return [*args, "--nic", lab.server_if]
    args += ["--nic", f"tap:{lab.server_if}"]
    for own in (lab.server4, lab.server6):
        args += ["--address", str(own)]
    for host in (lab.client4, lab.client6):
        args += ["--host-address", str(host)]
    return args


def _on_qstack(lab: Lab, options: DemoOptions, progress: Progress) -> dict[str, Any]:
    host = str(lab.server4.ip)
    with running(_server(lab, _serve_args(lab))) as line:
        info = json.loads(line)
        with nicprog.open(lab.server_if) as nic:
            progress("curl, the rule and the RSS table", 0.1)
            proofs.program(nic)
            answered = proofs.curl_answered(lab.client, [host, f"[{lab.server6.ip}]"])
            rule = proofs.rule_holds(nic, lab.client, host)
            progress("moving flows with the RSS table under load", 0.4)
            rss = proofs.table_moves_flows(nic, lab.client.popen, host)
            figures = measure(
                lab.client.popen, host, options.load, lambda part: progress("QStack", part)
            )
    return {
        "curl_ok": answered.holds,
        "rule_ok": rule.holds,
        "rss_ok": rss.holds,
        "qstack": figures,
        "proofs": {"curl": answered.figures, "rule": rule.figures, "rss": rss.figures},
        "stack": {key: info[key] for key in ("driver", "mode", "queues", "workers", "offloads")},
    }


def _on_kernel(options: DemoOptions, progress: Progress) -> dict[str, Any]:
    """The same load on kernel TCP, over a veth pair between two namespaces."""
    with veth_lab() as lab:
        host = str(lab.server4.ip)
        ports = [str(LOW_PORT), str(HIGH_PORT)]
        with running(_server(lab, ["-m", "qstack.demo.kernel_server", host, *ports])):
            return measure(
                lab.client.popen, host, options.load, lambda part: progress("kernel TCP", part)
            )


def run(options: DemoOptions, progress: Progress) -> dict[str, Any]:
    """Run all of it.

    Returns:
        The document of ``qstack demo --json``: ``curl_ok``, ``rule_ok``, ``rss_ok``, ``qstack``,
        ``kernel`` and the figures behind them.

    Raises:
        QStackError, LabError, NicprogError: Something could not be set up; nothing is left behind.
    """
    if options.driver == "pair":
        return run_pair(options, progress)
    need("wrk", "curl", "ip")
    lab = tap_lab() if options.driver == "tap" else veth_lab()
    with lab as here:
        document = _on_qstack(here, options, progress)
    document["kernel"] = _on_kernel(options, progress)
    return document

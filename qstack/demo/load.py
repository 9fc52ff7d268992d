# SPDX-License-Identifier: Apache-2.0
"""The load of one run: a flood on the low port and a steady probe on the high one, together."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import QStackError

LOW_PORT, HIGH_PORT = 8080, 8443
HIGH_CLASS = 7
_REPORT = Path(__file__).with_name("report.lua")
_GRACE_S = 20.0

Popen = Callable[..., "subprocess.Popen[Any]"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """How much is asked of a server.

    Attributes:
        connections: Of the flood, each with one request under way.
        probe_per_second: Requests to the high port.
        seconds: Of the flood; the probe begins and ends inside it.
    """

    connections: int = 64
    probe_per_second: float = 500
    seconds: float = 5


def _document(process: subprocess.Popen[Any], marker: str) -> dict[str, Any]:
    out, err = process.communicate(timeout=_GRACE_S)
    for line in out.splitlines():
        if line.startswith(marker):
            document: dict[str, Any] = json.loads(line.removeprefix(marker))
            return document
    said = (err or out).strip().splitlines()
    raise QStackError(f"{process.args!r} measured nothing: {said[-1] if said else 'no output'}")


def flood(popen: Popen, host: str, load: Load) -> subprocess.Popen[Any]:
    """Start wrk on the low port."""
    return popen(
        [
            *("wrk", "-t", "1", "-c", str(load.connections), "-d", f"{load.seconds:.0f}s"),
            *("-s", _REPORT, f"http://{host}:{LOW_PORT}/"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def flood_result(process: subprocess.Popen[Any]) -> dict[str, Any]:
    """Wait for wrk and return what `report.lua` says."""
    return _document(process, "RESULT ")


def measure(
    popen: Popen, host: str, load: Load, on_second: Callable[[float], None]
) -> dict[str, Any]:
    """Run flood and probe together.

    Args:
        popen: Starts a command where the clients are.
        host: Address of the server.
        load: How much.
        on_second: Called now and then with the part that is done, 0 to 1.

    Returns:
        ``low_rps``, ``low_p50_us``, ``low_p99_us``, ``high_p50_us``, ``high_p99_us``,
        ``high_p999_us``, ``high_requests``, ``socket_errors``.

    Raises:
        QStackError: A client could not do its work.
    """
    wrk = flood(popen, host, load)
    try:
        time.sleep(0.5)
        probe_s = load.seconds - 1
        probe = popen(
            [
                *(sys.executable, "-m", "qstack.demo.prober", host, str(HIGH_PORT)),
                *(str(load.probe_per_second), str(probe_s)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started = time.monotonic()
        while probe.poll() is None and time.monotonic() - started < load.seconds + _GRACE_S:
            on_second(min(1.0, (time.monotonic() - started) / load.seconds))
            time.sleep(0.1)
        high, low = _document(probe, ""), flood_result(wrk)
    finally:
        wrk.kill()
    return {
        "low_rps": round(low["requests"] / low["seconds"]),
        "low_p50_us": low["p50_us"],
        "low_p99_us": low["p99_us"],
        **{f"high_{name}": high[name] for name in ("p50_us", "p99_us", "p999_us", "requests")},
        "socket_errors": low["socket_errors"],
    }

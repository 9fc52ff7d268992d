# SPDX-License-Identifier: Apache-2.0
"""Runs a cell: QStack and Linux, then Linux and Linux, over a wire of each seed."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from .. import programs
from ..demo.process import running
from ..errors import QStackError
from ..lab import Lab, Namespace, veth_lab
from .cells import Cell
from .dial import QStackDialer
from .figures import Side, Wire, judge
from .transfer import transfer

_PORT = 8080
_SYSCTL = Path("/proc/sys/net/ipv4")
_CONGESTION_CONTROL = "cubic"
_ANSWER_S = 10.0


def _set_sysctls(namespace: Namespace, cell: Cell) -> None:
    values = {
        "tcp_sack": int(cell.sack),
        "tcp_timestamps": int(cell.timestamps),
        "tcp_ecn": int(cell.ecn),
    }
    with namespace.entered():
        for name, value in values.items():
            try:
                (_SYSCTL / name).write_text(str(value))
            except OSError as e:
                raise QStackError(f"cannot set {_SYSCTL / name} to {value}: {e.strerror}") from None


def _set_congestion_control(lab: Lab, ip: Literal[4, 6]) -> None:
    """Choose it by the route: the sysctl of a namespace takes only what the host allows everyone.

    Other defaults, such as BBR, answer losses otherwise than what QStack has.
    """
    network = (lab.client4 if ip == 4 else lab.client6).network
    route = [str(network), "proto", "kernel"]
    route += ["scope", "link"] if ip == 4 else ["metric", "256"]
    for namespace, ifname in ((lab.client, lab.client_if), (lab.server, lab.server_if)):
        command = ["ip", f"-{ip}", "route", "change", *route, "dev", ifname]
        done = namespace.run(
            [*command, "congctl", _CONGESTION_CONTROL], capture_output=True, text=True
        )
        if done.returncode:
            raise QStackError(
                f"the kernel does not take {_CONGESTION_CONTROL} for a route: {done.stderr.strip()}"
            )


def prepare(lab: Lab, cell: Cell) -> None:
    """Make both kernels offer and take what the cell says.

    Raises:
        QStackError: A kernel does not.
    """
    for namespace in (lab.client, lab.server):
        _set_sysctls(namespace, cell)
    _set_congestion_control(lab, cell.ip)


def kernel_retransmits(namespace: Namespace) -> int:
    """Return how many segments the kernel of a namespace has sent again."""
    with namespace.entered():
        lines = Path("/proc/thread-self/net/snmp").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    return int(values[names.index("RetransSegs")])


def device_dropped(namespace: Namespace, ifname: str) -> int:
    """Return how many frames an interface received and did not pass on."""
    with namespace.entered():
        lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
    # Bytes, packets, errors, dropped.
    (values,) = (
        rest.split()
        for name, _, rest in (s.partition(":") for s in lines)
        if name.strip() == ifname
    )
    return int(values[3])


def destroyed(counters: Mapping[str, Mapping[str, int]], *, upload: bool) -> int:
    """Return how many frames in the direction of the bytes a wire took and did not deliver."""
    wire = counters["a_to_b" if upload else "b_to_a"]
    return sum(wire[name] for name in ("lost", "queue_dropped", "send_failed", "oversize"))


class _Server:
    """A server of a stack in the server's namespace."""

    def __init__(self, lab: Lab, stack: Literal["qstack", "linux"], host: str) -> None:
        module, where = {
            "qstack": ("qstack.matrix.qstack_server", lab.server_if),
            "linux": ("qstack.demo.kernel_server", host),
        }[stack]
        self._lab, self._stack = lab, stack
        pipe = subprocess.PIPE
        args = [sys.executable, "-m", module, where, str(_PORT)]
        self.process = lab.server.popen(args, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def retransmits(self) -> int:
        """Return how many segments this side has sent again."""
        if self._stack == "linux":
            return kernel_retransmits(self._lab.server)
        assert self.process.stdout is not None
        try:
            print(file=self.process.stdin, flush=True)
            if not select.select([self.process.stdout], [], [], _ANSWER_S)[0]:
                raise QStackError(f"the server of QStack says nothing for {_ANSWER_S:g} s")
            return int(json.loads(self.process.stdout.readline())["retransmits"])
        except (BrokenPipeError, json.JSONDecodeError):
            said = self.process.communicate()[1].strip()
            raise QStackError(
                f"the server of QStack ended, status {self.process.returncode}: {said}"
            ) from None


def _run_side(
    cell: Cell, stack: Literal["qstack", "linux"], n_bytes: int, seed: int, limit_s: float
) -> Side:
    """Move the bytes between the given stack and Linux, whichever of them the cell has connect."""
    bad = cell.impairment()
    impair = programs.find("qs-impair")
    upload = cell.upload
    dials = stack == "qstack" and cell.client == "qstack"
    with veth_lab(
        mtu=cell.mtu, to_server=bad, to_client=bad, seed=seed, impair_program=impair
    ) as lab:
        prepare(lab, cell)
        host = str((lab.server4 if cell.ip == 4 else lab.server6).ip)
        server = _Server(lab, "linux" if dials else stack, host)
        dialer = QStackDialer(lab.client, lab.client_if) if dials else None
        with server.process, running(server.process):
            with lab.client.entered():
                done = transfer(host, _PORT, n_bytes, upload=upload, limit_s=limit_s, dialer=dialer)
            figures = dialer.end() if dialer else None
            if not upload:
                again = server.retransmits()
            elif figures:
                again = int(figures["retransmits"])
            else:
                again = kernel_retransmits(lab.client)
            receiver = (lab.server, lab.server_if) if upload else (lab.client, lab.client_if)
            dropped = device_dropped(*receiver)
        assert lab.wire is not None
        counters = lab.wire.stop()
    return Side(
        transfer=done,
        retransmits=again,
        destroyed=destroyed(counters, upload=upload),
        receiver_dropped=dropped,
    )


def run_cell(
    cell: Cell, *, seeds: Iterable[int], limit_s: float, n_bytes: int | None = None
) -> dict[str, Any]:
    """Run both transfers of a cell, over a wire of each seed.

    Args:
        cell: What the path does and both kernels negotiate.
        seeds: Of the wires; the same for both, so that frame k of a direction meets the same fate.
        limit_s: A transfer is measured for so long, seconds, and then broken off.
        n_bytes: How much is sent; default: what the cell says.

    Returns:
        What `judge` makes of them.

    Raises:
        QStackError, LabError: Something could not be set up; nothing is left behind.
    """
    size = cell.transfer_bytes() if n_bytes is None else n_bytes
    wires = [
        Wire(
            seed=seed,
            qstack=_run_side(cell, "qstack", size, seed, limit_s),
            linux=_run_side(cell, "linux", size, seed, limit_s),
        )
        for seed in seeds
    ]
    return judge(cell, size, wires)

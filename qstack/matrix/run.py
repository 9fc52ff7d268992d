# SPDX-License-Identifier: Apache-2.0
"""Runs a cell: QStack and Linux, then Linux and Linux, over a wire of the same seed."""

from __future__ import annotations

import json
import select
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from .. import programs
from ..demo.process import running
from ..errors import QStackError
from ..lab import Lab, Namespace, veth_lab
from .cells import Cell
from .transfer import Transfer, transfer

_PORT = 8080
_SYSCTL = Path("/proc/sys/net/ipv4")
_CONGESTION_CONTROL = "cubic"
_ANSWER_S = 10.0

GOODPUT_LEAST = 0.9
"""QStack's goodput in a cell with loss, as a part of Linux's."""
RETRANSMITS_MOST = 1.3
"""QStack's segments sent again for each frame destroyed, as a multiple of Linux's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One transfer over the wire.

    Attributes:
        retransmits: Segments that the sender sent again.
        destroyed: Frames in the direction of the bytes that the wire took and did not deliver.
        receiver_dropped: Frames that it delivered and the receiver's device had no room for, such
            as a full ring of AF_XDP. They are sent again, too.
    """

    transfer: Transfer
    retransmits: int
    destroyed: int
    receiver_dropped: int

    @property
    def goodput_mbit(self) -> float | None:
        """Megabits a second, of what was moved in time; None when it got stuck or went wrong."""
        done = self.transfer
        if done.stuck or done.hash_ok is False or done.seconds <= 0:
            return None
        return done.moved_bytes * 8 / 1e6 / done.seconds

    @property
    def retransmits_per_lost(self) -> float | None:
        """Segments sent again for each frame that the wire destroyed; None when none was."""
        return self.retransmits / self.destroyed if self.destroyed else None

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        return {
            **asdict(self.transfer),
            "goodput_mbit": self.goodput_mbit,
            "retransmits": self.retransmits,
            "destroyed": self.destroyed,
            "receiver_dropped": self.receiver_dropped,
            "retransmits_per_lost": self.retransmits_per_lost,
        }


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
    """Move the bytes between a client of kernel TCP and a server of the given stack."""
    bad = cell.impairment()
    impair = programs.find("qs-impair")
    upload = cell.sender == "linux"
    with veth_lab(
        mtu=cell.mtu, to_server=bad, to_client=bad, seed=seed, impair_program=impair
    ) as lab:
        prepare(lab, cell)
        host = str((lab.server4 if cell.ip == 4 else lab.server6).ip)
        server = _Server(lab, stack, host)
        with server.process, running(server.process):
            with lab.client.entered():
                done = transfer(host, _PORT, n_bytes, upload=upload, limit_s=limit_s)
            again = kernel_retransmits(lab.client) if upload else server.retransmits()
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


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def _path_of(cell: Cell) -> str:
    """Name a cell in one line, such as ``qstack ipv6 mtu 1500 loss 1% 50ms sack reorder``."""
    flags = ("sack", "timestamps", "ecn", "reorder", "duplicate")
    words = (cell.sender, f"ipv{cell.ip}", f"mtu {cell.mtu}", f"loss {cell.loss:g}%")
    return " ".join((*words, f"{cell.delay_ms}ms", *(f for f in flags if getattr(cell, f))))


def judge(cell: Cell, n_bytes: int, qstack: Side, linux: Side) -> dict[str, Any]:
    """Return a cell's settings and figures for JSON."""
    return {
        "path": _path_of(cell),
        **asdict(cell),
        "bytes": n_bytes,
        "qstack_mbit_per_second": qstack.goodput_mbit,
        "linux_mbit_per_second": linux.goodput_mbit,
        "qstack": qstack.as_dict(),
        "linux": linux.as_dict(),
        "ratio": _ratio(qstack.goodput_mbit, linux.goodput_mbit),
        "retransmits_ratio": _ratio(qstack.retransmits_per_lost, linux.retransmits_per_lost),
        "hash_ok": False not in (qstack.transfer.hash_ok, linux.transfer.hash_ok),
        "stuck": qstack.transfer.stuck or linux.transfer.stuck,
    }


def run_cell(
    cell: Cell, *, seed: int, limit_s: float, n_bytes: int | None = None
) -> dict[str, Any]:
    """Run both transfers of a cell.

    Args:
        cell: What the path does and both kernels negotiate.
        seed: Of the wire; the same for both, so that frame k of a direction meets the same fate.
        limit_s: A transfer is measured for so long, seconds, and then broken off.
        n_bytes: How much is sent; default: what the cell says.

    Returns:
        What `judge` makes of them.

    Raises:
        QStackError, LabError: Something could not be set up; nothing is left behind.
    """
    size = cell.transfer_bytes() if n_bytes is None else n_bytes
    qstack = _run_side(cell, "qstack", size, seed, limit_s)
    linux = _run_side(cell, "linux", size, seed, limit_s)
    return judge(cell, size, qstack, linux)


def summary(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return counts over all cells, and medians and extremes over those with loss."""
    lossy = [cell for cell in cells if cell["loss"]]
    ratios = [cell["ratio"] for cell in lossy if cell["ratio"] is not None]
    again = [c["retransmits_ratio"] for c in lossy if c["retransmits_ratio"] is not None]
    return {
        "cells": len(cells),
        "wrong": sum(not cell["hash_ok"] for cell in cells),
        "stuck": sum(cell["stuck"] for cell in cells),
        "receiver_dropped": sum(cell["qstack"]["receiver_dropped"] for cell in cells),
        "unfinished": sum(not cell["qstack"]["finished"] for cell in cells),
        "cells_with_loss": len(lossy),
        "ratio_median": statistics.median(ratios) if ratios else None,
        "ratio_least": min(ratios, default=None),
        "ratio_too_low": sum(ratio < GOODPUT_LEAST for ratio in ratios),
        "retransmits_ratio_median": statistics.median(again) if again else None,
        "retransmits_ratio_most": max(again, default=None),
        "retransmits_ratio_too_high": sum(ratio > RETRANSMITS_MOST for ratio in again),
    }

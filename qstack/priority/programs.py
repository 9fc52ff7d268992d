# SPDX-License-Identifier: Apache-2.0
"""Servers and load, as processes on a wire: the server on CPU 0, the load on CPU 1."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import nicprog

from .. import programs
from ..demo.process import running
from ..errors import QStackError
from ..lab import Lab, forget, veth_lab
from .options import Options

LOW_PORT, HIGH_PORT = 7000, 7007
_HIGH_CLASS = 7
_HIGH_QUEUE = 1
_SERVER_CPU, _LOAD_CPU = 0, 1
_SERVER = "10.79.0.2"
_CLIENTS = tuple(f"10.79.0.{i}" for i in range(3, 11))  # each has 16,384 ports to connect from
_PATIENCE_S = 60.0
_END_S = 20.0

Popen = Callable[..., "subprocess.Popen[str]"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wire:
    """Where server and load are.

    Attributes:
        driver: Of the load, and of a server on QStack.
        server_popen: Starts a command where the server is.
        load_popen: Starts a command where the load is.
        server_device: Its device, or the name of the wire.
        load_device: Likewise.
        server_address: The server's address, without a prefix.
        addresses: Arguments that give both sides their addresses; empty: the kernel has them.
    """

    driver: str
    server_popen: Popen
    load_popen: Popen
    server_device: str
    load_device: str
    server_address: str
    server_args: tuple[str, ...] = ()
    load_args: tuple[str, ...] = ()


def _on(lab: Lab) -> Wire:
    return Wire(
        driver="xsk",
        server_popen=lab.server.popen,
        load_popen=lab.client.popen,
        server_device=lab.server_if,
        load_device=lab.client_if,
        server_address=str(lab.server4.ip),
    )


@contextlib.contextmanager
def wire(driver: str) -> Iterator[Wire]:
    """Yield a wire in memory, or a veth pair between two namespaces."""
    if driver == "xsk":
        with veth_lab() as lab:
            yield _on(lab)
        return
    name = f"prio-{os.getpid()}"
    addresses = tuple(arg for a in _CLIENTS for arg in ("--address", f"{a}/24"))
    try:
        yield Wire(
            driver="pair",
            server_popen=subprocess.Popen,
            load_popen=subprocess.Popen,
            server_device=name,
            load_device=name,
            server_address=_SERVER,
            server_args=("--address", f"{_SERVER}/24"),
            load_args=addresses,
        )
    finally:
        forget(name)


@dataclass(slots=True)
class Server:
    """A server that runs; its counters are there when it has ended."""

    counters: dict[str, Any] | None = None


def _start(popen: Popen, command: Sequence[str]) -> subprocess.Popen[str]:
    return popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _reserve(device: str) -> None:
    """Steer the urgent port to a queue of its own, and nothing else there."""
    spec = f'device = "{device}"\n[[reserve]]\nqueue = {_HIGH_QUEUE}\nport = {HIGH_PORT}\n'
    with nicprog.open(device) as nic:
        nicprog.apply(nic, nicprog.plan(nic, nicprog.parse(spec, "bench priority")))


@contextlib.contextmanager
def qstack_server(
    at: Wire,
    options: Options,
    *,
    priority: bool,
    messages: bool = False,
    share_percent: int | None = None,
    more: Sequence[str] = (),
) -> Iterator[Server]:
    """Run the server on QStack, with classes or flat.

    Urgent connections have a queue of the NIC for themselves; with ``messages`` there are none.
    ``share_percent`` is the least share of the default class, None: the stack's default; ``more``
    are further options of qs-priority-server.
    """
    command = [
        *(programs.find("qs-priority-server"), "--driver", at.driver),
        *("--device", at.server_device, *at.server_args, "--cpu", str(_SERVER_CPU)),
        *("--queues", "2", "--conns", str(2 * options.connections + 4096)),
        *("--low-port", str(LOW_PORT), "--high-port", str(HIGH_PORT)),
        *("--high-class", str(_HIGH_CLASS if priority else 0)),
        *("--work-ns", str(options.work_ns)),
        *(["--messages"] if messages else []),
        *([] if share_percent is None else ["--low-share", str(10 * share_percent)]),
        *more,
    ]
    server = Server()
    process = _start(at.server_popen, command)
    with running(process):
        if priority and not messages:
            _reserve(at.server_device)
        yield server
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=_END_S)
        server.counters = json.loads(out)


@contextlib.contextmanager
def kernel_server(at: Wire, options: Options, *, busy_poll_us: int) -> Iterator[Server]:
    """Run the server on kernel TCP."""
    command = [
        *(programs.find("qs-priority-epoll"), at.server_address, str(LOW_PORT), str(HIGH_PORT)),
        *(str(options.work_ns), str(_SERVER_CPU), str(busy_poll_us)),
    ]
    with running(_start(at.server_popen, command)):
        yield Server()


def load(at: Wire, options: Options, **how: object) -> dict[str, Any]:
    """Run the load and return its document.

    Args:
        at: Where.
        options: Connections and times.
        **how: Further options of qs-priority-load; True stands for one without a value.

    Raises:
        QStackError: It could not do its work.
    """
    settings = {
        "driver": at.driver,
        "device": at.load_device,
        "server": at.server_address,
        "low-port": LOW_PORT,
        "high-port": HIGH_PORT,
        "low-conns": options.default_connections,
        "high-conns": options.urgent_connections,
        "urgent-percent": options.urgent_percent,
        "seconds": options.seconds,
        "warm-up": options.warm_up_s,
        "patience": _PATIENCE_S,
        "seed": options.seed,
        **{name.replace("_", "-"): value for name, value in how.items()},
    }
    if how.get("messages"):
        settings["low-conns"] = options.connections
    command = ["taskset", "-c", str(_LOAD_CPU), programs.find("qs-priority-load"), *at.load_args]
    for name, value in settings.items():
        command += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    process = _start(at.load_popen, command)
    try:
        out, err = process.communicate(
            timeout=options.seconds + options.warm_up_s + 3 * _PATIENCE_S
        )
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        raise QStackError(err.strip() or f"qs-priority-load ended with {process.returncode}")
    document: dict[str, Any] = json.loads(out)
    return document

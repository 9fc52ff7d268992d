# SPDX-License-Identifier: Apache-2.0
"""A soak from laboratory to verdict; everything is taken away again."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qstack import programs
from qstack.demo.process import running
from qstack.errors import QStackError
from qstack.lab import Impairment, Lab, Namespace, veth_lab
from tools.tree import ROOT

from .clients import Work
from .flood import Target
from .verdict import MUST_RETURN, Sample, problems

PORT = 8080
WIRE = Impairment(
    loss=0.5, duplicate=0.5, corrupt=0.1, reorder=1, reorder_us=2000, delay_us=500, jitter_us=300
)
WARM_PART = 0.3
FRAMES_PER_SECOND = 3000
CONNECTS_PER_SECOND = 200
SAMPLE_EVERY_S = 2.0
_ANSWER_S = 15.0
_FINISH_S = 180.0
_SYSCTLS = {"tcp_tw_reuse": "1", "ip_local_port_range": "10000 65000"}

Progress = Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How long and how much.

    Attributes:
        seconds: Of load; what waits afterwards, such as TIME-WAIT, gets `settle_s` at most.
        seed: Of the wire, the floods and what clients do.
        frames_per_second: Hostile frames.
        connects_per_second: Short connections.
        server: Arguments of Python that start the server, before device and port.
    """

    seconds: float
    seed: int
    frames_per_second: int = FRAMES_PER_SECOND
    connects_per_second: int = CONNECTS_PER_SECOND
    short_threads: int = 16
    transfer_threads: int = 4
    settle_s: float = 250.0
    server: tuple[str, ...] = ("-m", "tools.soak.server")


def _rss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise QStackError(f"process {pid} has no memory any more: the server has ended")


def _line(process: subprocess.Popen[str], what: str, limit_s: float = _ANSWER_S) -> str:
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], limit_s)[0]:
        raise QStackError(f"{what} says nothing for {limit_s:g} s")
    line = process.stdout.readline()
    if not line:
        said = process.communicate()[1].strip().splitlines()
        raise QStackError(f"{what} ended, status {process.returncode}: {said[-1:] or 'no reason'}")
    return line


class _Watched:
    """A server that answers each line with its counters."""

    def __init__(self, process: subprocess.Popen[str], started_s: float) -> None:
        self._process, self._started_s = process, started_s

    def sample(self) -> Sample:
        try:
            print(file=self._process.stdin, flush=True)
        except BrokenPipeError:
            pass  # _line() tells why it has ended
        counters = json.loads(_line(self._process, "the server"))
        return Sample(
            at_s=time.monotonic() - self._started_s,
            rss_bytes=_rss_bytes(self._process.pid),
            counters=counters,
        )


@contextmanager
def _helper(
    namespace: Namespace, module: str, settings: Mapping[str, Any]
) -> Iterator[subprocess.Popen[str]]:
    """Start a module with its settings as JSON; it does not outlive the block."""
    pipe = subprocess.PIPE
    args = [sys.executable, "-m", module, json.dumps(settings)]
    with namespace.popen(
        args, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=ROOT
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _finish(process: subprocess.Popen[str], what: str) -> dict[str, Any]:
    """Tell a module to end; return its last line."""
    try:
        out, err = process.communicate(timeout=_FINISH_S)
    except subprocess.TimeoutExpired:
        raise QStackError(f"{what} did not end within {_FINISH_S:g} s") from None
    if process.returncode:
        said = err.strip().splitlines()
        raise QStackError(f"{what}, status {process.returncode}: {said[-1:] or 'no reason'}")
    figures: dict[str, Any] = json.loads(out.splitlines()[-1])
    return figures


def _prepare(lab: Lab) -> str:
    """Lead strangers' answers to the client, let ports be used again; return the client's MAC."""
    for version, client in (("-4", lab.client4), ("-6", lab.client6)):
        route = ["ip", version, "route", "add", "default", "via", str(client.ip)]
        lab.server.run(route, check=True)
    with lab.client.entered():
        for name, value in _SYSCTLS.items():
            Path("/proc/sys/net/ipv4", name).write_text(value)
    shown = lab.client.run(
        ["ip", "-json", "link", "show", lab.client_if], capture_output=True, text=True, check=True
    )
    mac: str = json.loads(shown.stdout)[0]["address"]
    return mac


def _load(lab: Lab, options: Options, server_mac: str, client_mac: str) -> tuple[Work, Target]:
    server = (str(lab.server4.ip), str(lab.server6.ip))
    work = Work(
        hosts=server,
        port=PORT,
        connects_per_second=options.connects_per_second,
        short_threads=options.short_threads,
        transfer_threads=options.transfer_threads,
        seed=options.seed,
    )
    target = Target(
        ifname=lab.client_if,
        server_mac=server_mac,
        client_mac=client_mac,
        server=server,
        client=(str(lab.client4.ip), str(lab.client6.ip)),
        port=PORT,
        per_second=options.frames_per_second,
        seed=options.seed,
    )
    return work, target


def _settle(server: _Watched, start: Sample, limit_s: float, progress: Progress) -> Sample:
    """Wait until nothing is held any more, or until time is up."""
    begun_s = time.monotonic()
    while True:
        sample = server.sample()
        waited_s = time.monotonic() - begun_s
        held = {name: sample.counters[name] for name in MUST_RETURN}
        if waited_s > limit_s or all(start.counters[name] == n for name, n in held.items()):
            return sample
        progress(f"settling, {held['conns']} connections", waited_s / limit_s)
        time.sleep(0.5)


def _under_load(
    lab: Lab,
    options: Options,
    server: _Watched,
    load: tuple[Work, Target],
    progress: Progress,
) -> tuple[list[Sample], dict[str, Any], dict[str, int]]:
    """Run clients and floods; return the samples taken meanwhile and the figures of both."""
    work, target = load
    samples = []
    with (
        _helper(lab.client, "tools.soak.clients", asdict(work)) as clients,
        _helper(lab.client, "tools.soak.flood", asdict(target)) as floods,
    ):
        begun_s = time.monotonic()
        while (passed_s := time.monotonic() - begun_s) < options.seconds:
            until_s = time.monotonic() + min(SAMPLE_EVERY_S, options.seconds - passed_s)
            figures = json.loads(_line(clients, "the clients"))
            while (left_s := until_s - time.monotonic()) > 0:
                assert clients.stdout is not None
                if select.select([clients.stdout], [], [], left_s)[0]:
                    figures = json.loads(_line(clients, "the clients"))
            if floods.poll() is not None:
                _finish(floods, "the floods")
            samples.append(server.sample())
            progress(
                f"{figures['short']} connections, {figures['transfers']} transfers, "
                f"{figures['wrong']} wrong, {samples[-1].rss_bytes >> 20} MiB",
                passed_s / options.seconds,
            )
        sent = _finish(floods, "the floods")
        return samples, _finish(clients, "the clients"), sent


def _soak(
    lab: Lab, options: Options, progress: Progress
) -> tuple[Sample, list[Sample], Sample, dict[str, Any], dict[str, int]]:
    """Run the server under load, then until it has settled.

    Returns:
        The server at the start, under load, and at the end; figures of clients and floods.
    """
    client_mac = _prepare(lab)
    pipe = subprocess.PIPE
    args = [sys.executable, *options.server, f"xsk:{lab.server_if}", str(PORT)]
    process = lab.server.popen(args, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=ROOT)
    with process, running(process) as line:
        server = _Watched(process, time.monotonic())
        start = server.sample()
        load = _load(lab, options, json.loads(line)["mac"], client_mac)
        samples, clients, floods = _under_load(lab, options, server, load, progress)
        end = _settle(server, start, options.settle_s, progress)
    return start, samples, end, clients, floods


def run(options: Options, progress: Progress) -> dict[str, Any]:
    """Soak the stack over AF_XDP, in namespaces of its own.

    Returns:
        ``passed``, ``problems``, ``seed`` and the figures behind them; sizes in bytes.

    Raises:
        QStackError, LabError: Something could not be set up, or a part ended; nothing is left.
    """
    progress("setting up", 0)
    impair = programs.find("qs-impair")
    with veth_lab(to_server=WIRE, to_client=WIRE, seed=options.seed, impair_program=impair) as lab:
        assert lab.wire is not None
        try:
            start, samples, end, clients, floods = _soak(lab, options, progress)
        finally:
            wire = lab.wire.stop()
    warm = samples[int(len(samples) * WARM_PART)]
    found = problems(start, warm, end, clients, floods)
    most = max(samples, key=lambda sample: sample.counters["conns"])
    return {
        "passed": not found,
        "problems": found,
        "seed": options.seed,
        "seconds": options.seconds,
        "start": start.as_dict(),
        "warm": warm.as_dict(),
        "fullest": most.as_dict(),
        "end": end.as_dict(),
        "clients": clients,
        "floods": floods,
        "wire": wire,
        "counters": {name: n for name, n in end.counters.items() if n},
    }

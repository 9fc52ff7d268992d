# SPDX-License-Identifier: Apache-2.0
"""The C library's stack and its application side as Python objects: ownership, errors, figures.

`Stack` is what `qstack.Server` stands on; programs use the server.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from . import residency, units
from ._native import CData, ffi, lib
from .config import ListenConfig, StackConfig, split_nic
from .errors import ConfigError, NotSupportedError, check
from .message_options import NULL, classifier_options, framing_options

_ANY_ADDRESS = bytes(16)
_EVENTS_MAX = 64
_RING_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class StackInfo:
    """What the driver turned out to be able to do.

    Attributes:
        workers: As configured; so ``workers_max``.
        mode: "zero-copy", "copy", "copy, software NIC", "tap" or "memory".
        offloads: "tx_checksum" and "segmentation", as far as they are used.
        rx_checksum: Received checksums can come proven by the device.
        software_nic: Frames are steered by the software NIC, which ``nicprog`` programs.
        mtu: Largest IP packet, bytes.
        mac: Ethernet address, as in "02:00:00:00:00:01".
    """

    driver: str
    ifname: str
    mode: str
    queues: int
    workers: int
    workers_max: int
    offloads: tuple[str, ...]
    rx_checksum: bool
    software_nic: bool
    mtu: int
    mac: str


def _counter_names() -> tuple[str, ...]:
    return tuple(
        ffi.string(lib.qs_counter_name(i)).decode("ascii") for i in range(lib.QS_N_COUNTERS)
    )


COUNTERS = _counter_names()
"""Names of the counters of a queue, in the library's order."""


def _class_counter_names() -> tuple[str, ...]:
    names = map(lib.qs_class_counter_name, range(lib.QS_N_CLASS_COUNTERS))
    return tuple(ffi.string(name).decode("ascii") for name in names)


CLASS_COUNTERS = _class_counter_names()
"""Names of the counters of a class, likewise."""


_WORKER_STATES = {
    lib.QS_WORKER_ABSENT: "absent",
    lib.QS_WORKER_ACTIVE: "active",
    lib.QS_WORKER_PARKED: "parked",
}


def _check_number(what: str, value: int) -> None:
    """Raise `ConfigError` unless the C library can be asked about this queue or worker."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 32:
        raise ConfigError(f"{what} must be a number from 0, got {value!r}")


def _address(addr: CData) -> str:
    ip = ipaddress.IPv6Address(bytes(ffi.buffer(addr.b)))
    return str(ip.ipv4_mapped or ip)


FLOW_FIGURES = ("arrived", "lost", "held", "relayed", "frames_lost")


class _TableJob:
    """A table to be written in the middle of a move, and what came of it."""

    def __init__(
        self, moves: Mapping[int, int], write: Callable[[Mapping[int, int]], None]
    ) -> None:
        self.moves = moves
        self.write = write
        self.error: Exception | None = None


@ffi.def_extern()
def qspy_write_table(ctx: CData, _moves: CData, _n: int) -> int:
    """Write the table of the `_TableJob` behind ``ctx``; called by the library."""
    job: _TableJob = ffi.from_handle(ctx)
    try:
        job.write(job.moves)
    except Exception as e:  # it goes through C, and is raised behind it
        job.error = e
        return int(lib.QS_ERR_SYS)
    return 0


def _timeout(text: str) -> CData:
    """Return a ``qs_dur``, a value, of a text such as "1s"."""
    try:
        return ffi.new("qs_dur *", {"ns": units.parse_duration_ns(text)})[0]
    except ValueError as e:
        raise ConfigError(f"timeout: {e}") from None


def _c_options(config: StackConfig) -> tuple[CData, list[CData]]:
    """Return ``qs_stack_opts*`` and the strings that it points to."""
    opts = ffi.new("qs_stack_opts *")
    lib.qs_stack_opts_init(opts)
    kept: list[CData] = []

    def c_string(text: str | None) -> CData:
        if text is None:
            return ffi.NULL
        kept.append(ffi.new("char[]", text.encode()))
        return kept[-1]

    driver, ifname = split_nic(config.nic)
    opts.driver = c_string(driver)
    opts.ifname = c_string(ifname)
    opts.n_queues = config.queues
    opts.n_workers = config.workers
    opts.workers_max = config.workers_max or config.workers
    opts.workers_min = config.workers_min or 0
    opts.first_cpu = -1 if config.first_cpu is None else config.first_cpu
    opts.addr4, opts.addr6 = c_string(config.address(4)), c_string(config.address(6))
    opts.host_addr4 = c_string(config.host_address(4))
    opts.host_addr6 = c_string(config.host_address(6))
    opts.gateway4, opts.gateway6 = c_string(config.gateway(4)), c_string(config.gateway(6))
    for i, vlan in enumerate(config.vlans):
        opts.vlans[i] = vlan
    opts.mtu = config.mtu
    opts.conns_max = config.connections_max
    opts.chunks_max = config.chunks_max
    opts.rcvbuf_bytes = config.receive_buffer_bytes
    opts.sndbuf_bytes = config.send_buffer_bytes
    opts.rcvbuf_initial_bytes = config.receive_buffer_initial_bytes or 0
    opts.sndbuf_initial_bytes = config.send_buffer_initial_bytes or 0
    for priority, growth in enumerate(config.buffer_growth_bytes):
        opts.growth_bytes[priority] = growth
    for priority, percent in enumerate(config.minimum_share_percent):
        opts.min_share_permille[priority] = round(10 * percent)
    for priority, percent in enumerate(config.reserved_percent):
        opts.reserved_permille[priority] = round(10 * percent)
    for priority, dscp in enumerate(config.dscp):
        opts.dscp[priority] = dscp
    for priority, rate in enumerate(config.source_rate_bytes):
        opts.source_bytes_per_second[priority] = rate
    opts.source_bits4 = config.source_prefix_ipv4
    opts.source_bits6 = config.source_prefix_ipv6
    opts.poll_idle.ns = config.poll_idle_ns
    opts.pair_side = int(config.join)
    opts.no_offload = not config.offload
    return opts, kept


class App:
    """One ``qs_app``: what one application thread uses. Not thread-safe, except `wake`."""

    def __init__(self, stack: CData) -> None:
        """Make it, before the stack starts.

        Raises:
            QStackError: There is no memory, or there are too many.
        """
        out = ffi.new("qs_app **")
        index = ffi.new("uint32_t *")
        check(lib.qs_app_new(out, index, stack, _RING_BYTES), "cannot make an application thread")
        self.pointer = out[0]
        """``qs_app*`` for the calls on connections; NULL after `close`."""
        self.index: int = index[0]
        """What ties listeners to it."""
        self.events = ffi.new("struct qs_app_event[]", _EVENTS_MAX)
        """Where `wait` leaves events."""
        self._timeout = ffi.new("qs_dur *")

    def wait(self, n: int, timeout_ns: int) -> int:
        """Wait for events without the GIL.

        Returns:
            How many of ``events`` are filled; 0 after the timeout or `wake`.
        """
        self._timeout.ns = timeout_ns
        count = lib.qs_app_wait(self.pointer, self.events, min(n, _EVENTS_MAX), self._timeout[0])
        if count == lib.QS_ERR_AGAIN:
            return 0
        return check(count, "cannot wait for events")

    def wake(self) -> None:
        """Make `wait` in another thread return at once."""
        if self.pointer != ffi.NULL:
            lib.qs_app_wake(self.pointer)

    def peer(self, handle: int) -> tuple[str, int]:
        """Return the address and port of a connection's other end.

        Raises:
            StaleHandleError: The connection is gone.
        """
        addr = ffi.new("qs_addr *")
        port = ffi.new("uint16_t *")
        check(lib.qspy_peer(self.pointer, handle, addr, port), "peer of a connection")
        return _address(addr), port[0]

    def close(self) -> None:
        """Free it, after the stack has stopped. Allowed at any time."""
        lib.qs_app_free(self.pointer)
        self.pointer = ffi.NULL


class Stack:
    """One ``qs_stack``. Not thread-safe, except what reads figures."""

    def __init__(self, config: StackConfig) -> None:
        """Open the device and make the engines; nothing is left behind when that fails.

        Raises:
            QStackError: With the library's words on what is wrong and what to do.
        """
        self._stack = ffi.NULL
        self._apps: list[App] = []
        self._message_numbers: dict[int, int] = {}
        opts, strings = _c_options(config)
        diag = ffi.new("struct qs_diag *")
        out = ffi.new("qs_stack **")
        self._check(lib.qs_stack_new(out, opts, diag), f"cannot open {config.nic}", diag)
        del strings
        self._stack = out[0]
        self.info = self._read_info()

    @staticmethod
    def _check(code: int, what: str, diag: CData) -> int:
        return check(code, what, ffi.string(diag.text).decode("utf-8", "replace"))

    def new_app(self) -> App:
        """Return what another application thread uses, before `start`; closed with the stack."""
        app = App(self._stack)
        self._apps.append(app)
        return app

    def _read_info(self) -> StackInfo:
        raw = ffi.new("struct qs_stack_info *")
        lib.qs_stack_info(self._stack, raw)
        offloads = {
            "tx_checksum": lib.QS_OFFLOAD_TX_CSUM,
            "segmentation": lib.QS_OFFLOAD_TSO,
        }
        return StackInfo(
            driver=ffi.string(raw.driver).decode(),
            ifname=ffi.string(raw.ifname).decode(),
            mode=ffi.string(raw.mode).decode(),
            queues=raw.n_queues,
            workers=raw.n_workers,
            workers_max=raw.workers_max,
            offloads=tuple(name for name, bit in offloads.items() if raw.offloads & bit),
            rx_checksum=raw.rx_csum,
            software_nic=raw.soft_nic,
            mtu=raw.mtu,
            mac=":".join(f"{octet:02x}" for octet in raw.mac),
        )

    def listen(self, listen: ListenConfig, app: App) -> int:
        """Listen on every queue, before `start`; return the number that events carry.

        Args:
            listen: What for.
            app: Has the events.
        """
        addr = ffi.new("qs_addr *", {"b": _ANY_ADDRESS})
        diag = ffi.new("struct qs_diag *")
        messages = self._messages(listen)
        code = lib.qspy_listen(
            self._stack,
            addr,
            listen.port,
            listen.priority,
            listen.congestion.encode(),
            listen.keepalive_ns,
            listen.user_timeout_ns,
            listen.nodelay,
            listen.pacing,
            listen.pacing_rate_max or 0,
            listen.receive_buffer_bytes,
            listen.send_buffer_bytes,
            listen.mss_max or 0,
            listen.shed_reset,
            messages,
            app.index,
            diag,
        )
        return self._check(code, f"cannot listen on port {listen.port}", diag)

    def _messages(self, listen: ListenConfig) -> int:
        """Return the number of its framing and classifier, 0 for none; kept by port."""
        if listen.framing is None and listen.classify is None:
            return 0
        diag = ffi.new("struct qs_diag *")
        framing = NULL if listen.framing is None else framing_options(listen.framing)
        classify, matches = classifier_options(listen.classify)
        code = lib.qs_stack_messages(self._stack, framing, classify, diag)
        del matches
        number = self._check(code, f"port {listen.port}: framing or classifier", diag)
        self._message_numbers[listen.port] = number
        return number

    def function_stats(self, listen: ListenConfig) -> dict[str, dict[str, int | bool]]:
        """Return what a listener's compiled functions did wrong, by "framing" and "classifier"."""
        functions = {
            "framing": listen.framing and listen.framing.function,
            "classifier": listen.classify and listen.classify.function,
        }
        raw = ffi.new("struct qs_function_stats *")
        stats: dict[str, dict[str, int | bool]] = {}
        for name, function in functions.items():
            if function:
                number = self._message_numbers[listen.port]
                check(
                    lib.qs_stack_function_stats(self._stack, number, name == "classifier", raw),
                    f"functions of port {listen.port}",
                )
                stats[name] = {
                    "overruns": raw.overruns,
                    "interrupted": raw.interrupted,
                    "set_aside": raw.set_aside,
                }
        return stats

    def start(self) -> None:
        """Start the workers."""
        diag = ffi.new("struct qs_diag *")
        self._check(lib.qs_stack_start(self._stack, diag), "cannot start the workers", diag)

    def stop(self) -> None:
        """Stop and join the workers; connections stay. Allowed at any time."""
        if self._stack != ffi.NULL:
            lib.qs_stack_stop(self._stack)

    def close(self) -> None:
        """Reset every connection and give the device back. Allowed at any time."""
        self.stop()
        for app in self._apps:
            app.close()
        self._apps.clear()
        if self._stack != ffi.NULL:
            lib.qs_stack_free(self._stack)
            self._stack = ffi.NULL

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def counters(self) -> list[dict[str, int]]:
        """Return the counters of each queue by name (`COUNTERS`)."""
        room = ffi.new("uint64_t[]", len(COUNTERS))
        queues = []
        for queue in range(self.info.queues):
            n = lib.qs_stack_counters(self._stack, queue, room, len(COUNTERS))
            queues.append(dict(zip(COUNTERS, ffi.unpack(room, n), strict=False)))
        return queues

    def class_counters(self, priority: int) -> dict[str, int]:
        """Return the counters of a class by name (`CLASS_COUNTERS`), sums over all queues."""
        room = ffi.new("uint64_t[]", len(CLASS_COUNTERS))
        sums = dict.fromkeys(CLASS_COUNTERS, 0)
        for queue in range(self.info.queues):
            lib.qs_stack_class_counters(self._stack, queue, priority, room, len(CLASS_COUNTERS))
            for name, value in zip(CLASS_COUNTERS, room, strict=True):
                sums[name] += value
        return sums

    def slowest(self, priority: int) -> dict[str, Any] | None:
        """Return where the slowest request of a class that was followed lately has waited."""
        raw = ffi.new("struct qs_timeline *")
        if not lib.qs_stack_slowest(self._stack, priority, raw):
            return None
        stages_us = {name: getattr(raw, f"{name}_ns") / 1e3 for name in residency.TIMELINE}
        return {
            "peer": [_address(raw.remote), raw.remote_port],
            "port": raw.local_port,
            "ago_s": round((time.monotonic_ns() - raw.arrived.ns) / 1e9, 3),
            **{f"{name}_us": round(us, 1) for name, us in stages_us.items()},
            "all_us": round(sum(stages_us.values()), 1),
        }

    def residency(self, priority: int) -> dict[str, dict[str, float]]:
        """Return `residency.figures` of each stage that requests of a class went through."""
        counts = ffi.new("uint64_t[]", residency.BUCKETS)
        stages = {}
        for stage, name in enumerate(residency.STAGES):
            lib.qspy_residency(self._stack, priority, stage, counts, residency.BUCKETS)
            figures = residency.figures(ffi.unpack(counts, residency.BUCKETS))
            if figures["count"]:
                stages[name] = figures
        return stages

    def move_queue(self, queue: int, worker: int, timeout: str | None) -> None:
        """Have a queue moved and, unless ``timeout`` is None, wait until it is there.

        Raises:
            ConfigError: No such queue or worker.
            WrongStateError: The worker is parked.
            DeviceBusyError: The queue is under way already.
            WouldBlockError: It is not there yet; it goes on.
        """
        _check_number("queue", queue)
        _check_number("worker", worker)
        wait = None if timeout is None else _timeout(timeout)
        diag = ffi.new("struct qs_diag *")
        what = f"cannot move queue {queue} to worker {worker}"
        self._check(lib.qs_stack_move(self._stack, queue, worker, diag), what, diag)
        if wait is None:
            return
        code = lib.qs_stack_move_wait(self._stack, queue, wait)
        check(code, what, f"queue {queue} is still on its way: a handler on its worker blocks")

    def move_buckets(
        self, moves: Mapping[int, int], write: Callable[[Mapping[int, int]], None], timeout: str
    ) -> None:
        """Have buckets of flows moved; return when their connections are there.

        Args:
            moves: Queue by bucket.
            write: Writes these entries of the NIC's table; what it raises undoes the move.
            timeout: For each of both sides' answers.

        Raises:
            ConfigError: No such bucket or queue.
            NotSupportedError: The NIC does not say how it hashes.
            WouldBlockError: A worker or application did not answer; nothing has moved.
            DeviceBusyError: Another move is under way; or connections are still on their way.
        """
        for bucket, queue in moves.items():
            _check_number("bucket", bucket)
            _check_number("queue", queue)
        raw = ffi.new("struct qs_bucket_move[]", [*moves.items()])
        job = _TableJob(moves, write)
        handle = ffi.new_handle(job)
        diag = ffi.new("struct qs_diag *")
        code = lib.qs_stack_buckets_move(
            self._stack, raw, len(moves), lib.qspy_write_table, handle, _timeout(timeout), diag
        )
        if job.error is not None:
            raise job.error
        self._check(code, f"cannot move {len(moves)} buckets", diag)

    def bucket_frames(self) -> list[list[int]]:
        """Return of each queue how many frames of each bucket came, since start.

        Raises:
            NotSupportedError: The NIC does not say how it hashes; or there is one queue only.
        """
        room = ffi.new("uint64_t[]", lib.QS_BUCKETS_MAX)
        queues = []
        for queue in range(self.info.queues):
            n = lib.qs_stack_bucket_frames(self._stack, queue, room, len(room))
            if n == 0:
                raise NotSupportedError(
                    f"{self.info.ifname} has {self.info.queues} queues, and its frames are not"
                    " counted by bucket: more than one queue and the software NIC are needed"
                )
            queues.append(ffi.unpack(room, n))
        return queues

    def flow_stats(self) -> list[dict[str, int]]:
        """Return of each queue what moved there and what waited for it, since start."""
        raw = ffi.new("struct qs_flow_stats *")
        queues = []
        for queue in range(self.info.queues):
            check(lib.qs_stack_flow_stats(self._stack, queue, raw), f"queue {queue}")
            figures = {name: getattr(raw, name) for name in FLOW_FIGURES}
            queues.append(figures | {"pause_ns": raw.pause.ns})
        return queues

    def placement(self) -> list[int]:
        """Return the worker of each queue; while it is handed over the one that is to take it."""
        raw = ffi.new("struct qs_place *")
        workers = []
        for queue in range(self.info.queues):
            check(lib.qs_stack_place(self._stack, queue, raw), f"queue {queue}")
            workers.append(raw.worker)
        return workers

    def add_worker(self) -> int:
        """Add a worker without queues; return its number.

        Raises:
            OutOfMemoryError: ``workers_max`` are there.
        """
        diag = ffi.new("struct qs_diag *")
        code = lib.qs_stack_worker_add(self._stack, diag)
        return self._check(code, "cannot add a worker", diag)

    def park_worker(self, worker: int) -> None:
        """Have its queues moved to other workers; it sleeps then.

        Raises:
            ConfigError: No such worker.
            WrongStateError: It is the last one that is not parked.
        """
        _check_number("worker", worker)
        diag = ffi.new("struct qs_diag *")
        code = lib.qs_stack_worker_park(self._stack, worker, diag)
        self._check(code, f"cannot park worker {worker}", diag)

    def wake_worker(self, worker: int) -> None:
        """Let queues move to it again.

        Raises:
            ConfigError: No such worker.
        """
        _check_number("worker", worker)
        diag = ffi.new("struct qs_diag *")
        code = lib.qs_stack_worker_wake(self._stack, worker, diag)
        self._check(code, f"cannot wake worker {worker}", diag)

    def remove_worker(self, worker: int, timeout: str) -> None:
        """Park a worker and end it when its queues are gone.

        Raises:
            WouldBlockError: They are not, after the timeout; it stays parked.
            ConfigError: No such worker.
            WrongStateError: It is the last one that is not parked.
        """
        _check_number("worker", worker)
        wait = _timeout(timeout)
        diag = ffi.new("struct qs_diag *")
        code = lib.qs_stack_worker_remove(self._stack, worker, wait, diag)
        self._check(code, f"cannot remove worker {worker}", diag)

    def worker_stats(self) -> list[dict[str, Any]]:
        """Return of each worker its state, its queues, and figures since start."""
        raw = ffi.new("struct qs_worker_stats *")
        placement = self.placement()
        workers = []
        for worker in range(self.info.workers_max):
            check(lib.qs_stack_worker_stats(self._stack, worker, raw), f"worker {worker}")
            workers.append(
                {
                    "state": _WORKER_STATES[raw.state],
                    "queues": [queue for queue, at in enumerate(placement) if at == worker],
                    "polls": raw.polls,
                    "busy_polls": raw.busy_polls,
                    "sleeps": raw.sleeps,
                    "busy_ns": raw.busy_ns,
                    "cpu_ns": raw.cpu_ns,
                    "contended_ns": list(raw.contended_ns),
                }
            )
        return workers

# SPDX-License-Identifier: Apache-2.0
"""`Server`: listeners with classes, and the threads that call their handlers.

Engines run on workers, C threads that never wait for Python. Handlers run on one application
thread, or on those that listeners name.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

import nicprog
from nicprog.actions import SetTable

from . import residency
from .application import Application
from .classes import Classifier
from .config import CONGESTION, ListenConfig, StackConfig, check_ports, check_vlans
from .control import Control
from .errors import QStackError, WrongStateError
from .framing import Framing
from .listener import Handler, Listener
from .stack import Stack, StackInfo
from .steering import decisions

if TYPE_CHECKING:
    from .balancer import Balancer
    from .policies import Policy

_log = logging.getLogger("qstack")

_DEFAULT_ADDRESSES = ("10.77.0.2/24", "fd77::2/64")


H = TypeVar("H", bound=Handler)


class Server:
    """A TCP server on QStack.

    Example:
        >>> app = Server(nic="tap:qs0", addresses=("10.77.0.2/24",),
        host_addresses=("10.77.0.1/24",))
        >>> @app.listen(port=7000)
        ... def echo(conn):
        ...     conn.write(conn.data)
        >>> app.run()
    """

    def __init__(
        self,
        nic: str | None = None,
        *,
        config: StackConfig | None = None,
        **settings: Any,
    ) -> None:
        """Take the settings; the device is opened by `start`.

        Args:
            nic: None: an in-memory wire; ``"tap:NAME"``, ``"pair:WIRE"``, or a network device for
                AF_XDP.
            config: All settings at once, instead of ``nic`` and ``settings``.
            **settings: Fields of `StackConfig`, such as ``queues=4`` or
                ``addresses=("10.0.0.2/24",)``.

        Raises:
            ConfigError: A setting is out of range or contradicts another one.
        """
        if config is not None and (nic is not None or settings):
            raise TypeError("give either config, or nic and single settings")
        if nic is None:
            settings.setdefault("addresses", _DEFAULT_ADDRESSES)
        self.config = config or StackConfig(nic=nic, **settings)
        self._listeners: list[Listener] = []
        self._stack: Stack | None = None
        self._control: Control | None = None
        self._applications: list[Application] = []
        self._ended = threading.Event()
        self._balancer: Balancer | None = None

    def listen(
        self,
        *,
        port: int,
        priority: int = 0,
        congestion: str = CONGESTION[0],
        keepalive: str | None = None,
        user_timeout: str | None = None,
        nodelay: bool = True,
        pacing: bool = False,
        pacing_rate_max: int | None = None,
        receive_buffer: str | None = None,
        send_buffer: str | None = None,
        mss_max: int | None = None,
        shed_reset: bool = False,
        thread: str = "",
        framing: Framing | None = None,
        classify: Classifier | None = None,
    ) -> Callable[[H], H]:
        """Register the decorated function or object as the handler of a port.

        Args:
            port: 1 to 65535.
            priority: Class, 0 (default) to 7 (most urgent).
            congestion: Congestion control of its connections: "cubic" (default), "newreno" or
                "dctcp".
            keepalive: Silence after which a peer is probed, such as "10min"; None (default): never.
            user_timeout: Bytes not acknowledged for so long, such as "30s", end a connection;
                None (default): 5 minutes.
            nodelay: Small segments leave at once (default); False: Nagle's algorithm.
            pacing: Bytes leave over the round trip, not as soon as the window opens. Loses less
                where a queue on the path is short.
            pacing_rate_max: With pacing, bytes of payload a second that a connection never
                exceeds; None (default): no ceiling.
            receive_buffer: Size of its connections' receive buffers, such as "32KiB", rounded up
                to what the stack has; None (default): they grow.
            send_buffer: Of their send buffers, likewise.
            mss_max: Largest MSS that is announced and used, 88 to 65,535; None (default): what the
                MTU allows.
            shed_reset: An attempt to connect for which there is no place is answered with a reset;
                False (default): with nothing, and the peer tries again.
            thread: Name of the application thread on which its handlers run; they all run on one
                by default. Handlers that wait (for a database, for time) delay nobody else's when
                they have a thread of their own.
            framing: Where messages end (`qstack.framing`): the handler is called once for each
                message; None (default): connections are streams.
            classify: How urgent each message is, or without a framing each connection
                (`qstack.classify`); None (default): all are of the class ``priority``.

        Raises:
            ConfigError: Out of range, unknown, the port has a listener, or a VLAN is not taken.
            WrongStateError: The server runs.
        """
        if self._stack is not None:
            raise WrongStateError(f"port {port}: listeners are added before the server starts")
        config = ListenConfig(
            port=port,
            priority=priority,
            congestion=congestion,
            keepalive=keepalive,
            user_timeout=user_timeout,
            nodelay=nodelay,
            pacing=pacing,
            pacing_rate_max=pacing_rate_max,
            receive_buffer=receive_buffer,
            send_buffer=send_buffer,
            mss_max=mss_max,
            shed_reset=shed_reset,
            thread=thread,
            framing=framing,
            classify=classify,
        )
        check_ports((*(listener.config for listener in self._listeners), config))
        check_vlans(self.config, config)

        def register(handler: H) -> H:
            self._listeners.append(Listener.of(config, handler))
            return handler

        return register

    @property
    def info(self) -> StackInfo:
        """What the driver turned out to be able to do, once started."""
        return self._running_stack().info

    def _running_stack(self) -> Stack:
        if self._stack is None:
            raise WrongStateError("the server is not running")
        return self._stack

    def start(self) -> None:
        """Open the device and serve in the background; nothing is left behind when that fails.

        Raises:
            QStackError: No such device, no right, port taken, and the like: says what to do.
            WrongStateError: It runs already.
        """
        if self._stack is not None:
            raise WrongStateError("the server runs already")
        stack = Stack(self.config)
        try:
            applications = self._listen(stack)
            stack.start()
        except BaseException:
            stack.close()
            raise
        self._ended.clear()
        self._stack = stack
        self._control = self._open_control(stack)
        self._applications = applications
        for application in applications:
            application.start()

    def _listen(self, stack: Stack) -> list[Application]:
        """Return an application for each thread that listeners name."""
        applications = []
        for thread in sorted({entry.config.thread for entry in self._listeners}):
            app = stack.new_app()
            mine = [entry for entry in self._listeners if entry.config.thread == thread]
            numbers = {stack.listen(entry.config, app): entry for entry in mine}
            applications.append(Application(app, numbers, self._ended.set))
        return applications

    def stop(self) -> None:
        """Stop serving, reset every connection and give the device back. Allowed at any time.

        Handlers that run are waited for.
        """
        stack = self._stack
        if stack is None:
            return
        if any(application.is_current() for application in self._applications):
            raise WrongStateError(
                "a handler cannot stop its server: call stop() from another thread"
            )
        self.stop_balancing()
        if self._control is not None:
            self._control.close()
            self._control = None
        for application in self._applications:
            application.ask_to_stop()
        for application in self._applications:
            application.join()
        stack.close()
        self._stack = None
        self._applications = []
        self._ended.set()

    def run(self) -> None:
        """Serve until Ctrl-C or `stop` from another thread.

        Raises:
            QStackError: As `start`; or what ended an application thread.
        """
        with self:
            self.wait()

    def wait(self) -> None:
        """Wait until Ctrl-C, or until an application thread has ended.

        Raises:
            Exception: What ended it.
        """
        try:
            self._ended.wait()
        except KeyboardInterrupt:
            return
        for application in self._applications:
            if application.failure is not None:
                raise application.failure

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stats(self) -> dict[str, Any]:
        """Return figures.

        Returns:
            ``queues``: counters of each by name; ``flows``: what moved to each queue by
            `move_buckets`, and frames that waited for it or were relayed; ``classes``: counters of
            each that a listener has, of all queues; ``workers``: state, queues and figures of each;
            ``listeners`` by port; ``connections``; ``policy``: what became of the answers of
            the one that `balance` has named, or None
        """
        stack = self._running_stack()
        return {
            "queues": stack.counters(),
            "flows": stack.flow_stats(),
            "classes": {
                str(priority): stack.class_counters(priority) for priority in self._classes()
            },
            "workers": stack.worker_stats(),
            "listeners": {
                str(entry.port): entry.stats.as_dict() | stack.function_stats(entry.config)
                for entry in self._listeners
            },
            "connections": sum(map(len, self._applications)),
            "policy": self._balancer.stats() if self._balancer is not None else None,
        }

    def move_queue(self, queue: int, worker: int, *, timeout: str | None = "1s") -> None:
        """Have a queue, with its connections, run by another worker; the others go on meanwhile.

        No byte is lost, no connection ends, and handlers notice nothing.

        Args:
            queue: Counted from 0.
            worker: Likewise, as in `stats`.
            timeout: Wait so long until it is there; None: not at all.

        Raises:
            ConfigError: No such queue or worker.
            WrongStateError: The worker is parked, or the server does not run.
            DeviceBusyError: The queue is on its way somewhere already.
            WouldBlockError: It is not there yet; it goes there all the same.
        """
        self._running_stack().move_queue(queue, worker, timeout)

    def move_buckets(self, moves: Mapping[int, int], *, timeout: str = "1s") -> None:
        """Have flows served by other queues: entries of the NIC's table with their connections.

        Both sides are asked, the table is written by nicprog, the connections follow; frames that
        are earlier wait. No byte is lost, no connection ends, and handlers notice nothing. What
        flow rules decide stays where it is. Not to be called by a handler, for whom it would wait.

        Args:
            moves: Queue by bucket (entry of the indirection table), all counted from 0.
            timeout: For the answer of each side: a handler that takes longer delays the move.

        Raises:
            ConfigError: No such bucket or queue.
            WrongStateError: The server does not run.
            NotSupportedError: The NIC does not say how it hashes.
            NicprogError: The table could not be read or written; nothing has moved.
            WouldBlockError: A side did not answer; nothing has moved.
            DeviceBusyError: Another move is under way; or the table is written, and not all
                connections have arrived yet: they will.
        """
        stack = self._running_stack()
        with nicprog.open(stack.info.ifname) as nic:
            stack.move_buckets(moves, lambda entries: _write_table(nic, entries), timeout)

    def balance(
        self,
        policy: Policy | str = "balance",
        *,
        period: str = "100ms",
        budget: int = 16,
        cooldown: str = "500ms",
        workers_min: int = 1,
    ) -> None:
        """Have a policy decide from now on which queue has which flows, and which worker runs it.

        Args:
            policy: One that is shipped, ``FILE.py:FUNCTION`` or a function marked with
                `qstack.policy` (``docs/guide/policies.md``).
            period: Between two decisions.
            budget: Moves that one may cause.
            cooldown: What moved stays for so long.
            workers_min: At least so many workers run queues; up to ``workers_max`` do.

        Raises:
            ConfigError: A value is out of range, there is no such policy, or it keeps to no limits.
            NotSupportedError: There is no numba; or the NIC does not say how it hashes.
            WrongStateError: The server does not run; it is balanced already; or the stack itself
                chooses the number of workers (``StackConfig.workers_min``).
            NicprogError: The NIC's table could not be read.
        """
        from .balancer import Balancer, limits  # it needs numpy: others do without
        from .policies.catalogue import find

        stack = self._running_stack()
        if self._balancer is not None:
            raise WrongStateError("a policy decides already: stop_balancing() first")
        if self.config.workers_min is not None:
            raise WrongStateError("the number of workers follows the load by workers_min already")
        asked = limits(stack, period, budget, cooldown, workers_min)
        chosen = find(policy) if isinstance(policy, str) else policy
        with nicprog.open(stack.info.ifname) as nic:
            table = nic.read().table.entries

        def move(moves: Mapping[int, int], timeout: str) -> None:
            self.move_buckets(moves, timeout=timeout)

        self._balancer = Balancer(stack, table, move, chosen, asked)

    def stop_balancing(self) -> None:
        """Leave everything where it is from now on. Nothing when no policy decides."""
        if self._balancer is not None:
            self._balancer.stop()
            self._balancer = None

    def add_worker(self) -> int:
        """Add a worker without queues, up to ``workers_max``; return its number.

        Raises:
            OutOfMemoryError: They are all there.
        """
        return self._running_stack().add_worker()

    def park_worker(self, worker: int) -> None:
        """Have its queues moved to the workers that have the fewest; without any it takes no CPU.

        Raises:
            ConfigError: No such worker.
            WrongStateError: It is the last one that is not parked.
        """
        self._running_stack().park_worker(worker)

    def wake_worker(self, worker: int) -> None:
        """Let queues move to it again; none does by itself.

        Raises:
            ConfigError: No such worker.
        """
        self._running_stack().wake_worker(worker)

    def remove_worker(self, worker: int, *, timeout: str = "1s") -> None:
        """Park a worker and end its thread when its queues are gone.

        Raises:
            ConfigError: No such worker.
            WrongStateError: It is the last one that is not parked.
            WouldBlockError: Its queues are not gone after ``timeout``; it stays parked.
        """
        self._running_stack().remove_worker(worker, timeout)

    def residency(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return where requests spend their time, from a sample of them.

        Returns:
            By class, such as "7", and stage (`qstack.residency.STAGES`): ``count``, ``p50_us``,
            ``p99_us``, ``p999_us`` and ``max_us``, at most 12.5 % above the true ones. A stage
            that no request went through is not there.
        """
        stack = self._running_stack()
        return {str(priority): stack.residency(priority) for priority in self._classes()}

    def slowest(self) -> dict[str, dict[str, Any] | None]:
        """Return where the slowest requests have waited, of those that were followed lately.

        Returns:
            By class, such as "7": ``peer`` (address and port), ``port``, ``ago_s``, and in
            microseconds ``event_us`` (until the handler, or the ring to its thread), ``answer_us``
            (until its answer), ``transmit_us`` (until the device had it) and ``all_us``; None
            when there was none. One is kept for 10 s against faster ones.
        """
        stack = self._running_stack()
        return {str(priority): stack.slowest(priority) for priority in self._classes()}

    def _classes(self) -> list[int]:
        return sorted({priority for entry in self._listeners for priority in entry.classes})

    def _explain(self) -> dict[str, Any]:
        """Answer ``qstack explain``."""
        ports: dict[str, list[int]] = {}
        for entry in self._listeners:
            for priority in sorted(entry.classes):
                ports.setdefault(str(priority), []).append(entry.port)
        return {
            "stages": residency.STAGES,
            "residency": self.residency(),
            "slowest": self.slowest(),
            "classes": self.stats()["classes"],
            "ports": ports,
        }

    def _where(self) -> dict[str, Any]:
        """Answer ``qstack explain --where``."""
        return {"decisions": decisions(self._listeners)}

    def _buckets(self) -> dict[str, Any]:
        """Answer ``qstack record``."""
        try:
            queues = self._running_stack().bucket_frames()
        except QStackError as e:
            return {"error": str(e)}
        return {"frames": [sum(bucket) for bucket in zip(*queues, strict=True)]}

    def _open_control(self, stack: Stack) -> Control | None:
        """Answer questions of other processes; a server that cannot do so serves all the same."""
        device = stack.info.ifname + (".joined" if self.config.join else "")
        try:
            return Control(
                device,
                {
                    "explain": self._explain,
                    "stats": self.stats,
                    "where": self._where,
                    "buckets": self._buckets,
                },
            )
        except QStackError as e:
            _log.warning("'qstack explain' will not find this server: %s", e)
            return None


def _write_table(nic: nicprog.Backend, entries: Mapping[int, int]) -> None:
    table = list(nic.read().table.entries)
    for bucket, queue in entries.items():
        table[bucket] = queue
    nic.run(SetTable(entries=tuple(table)))

# SPDX-License-Identifier: Apache-2.0
"""`Server`: listeners with classes, and the thread that calls their handlers.

Engines run on workers, C threads that never wait for Python. Handlers run on one application
thread, the most urgent class first; while classes differ, one event is taken at a time, so that an
urgent one waits for at most one call.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeVar

from . import residency
from ._native import CData, ffi, lib
from .config import CONGESTION, ListenConfig, StackConfig, check_ports
from .connection import Connection
from .control import Control
from .errors import QStackError, WrongStateError, from_code
from .stack import Stack, StackInfo

_log = logging.getLogger("qstack")

_BATCH = 32
_LINGER_S = 2.0
_LINGER_TICK_NS = 200_000_000
_IDLE_NS = 60_000_000_000
_DEFAULT_ADDRESSES = ("10.77.0.2/24", "fd77::2/64")


class Handler(Protocol):
    """What `Server.listen` registers: any function of a connection.

    It may also have methods ``on_open(conn)``, ``on_writable(conn)``, ``on_eof(conn)`` and
    ``on_close(conn, error)``. Without ``on_eof`` the server closes the connection when the peer
    has sent its last byte and what was written is gone.
    """

    def __call__(self, conn: Connection, /) -> object:
        """Take ``conn.data``."""


H = TypeVar("H", bound=Handler)
_Hook = Callable[[Connection], object]


@dataclass(slots=True, kw_only=True)
class ListenerStats:
    """Counts of one listener since the server started."""

    opened: int = 0
    closed: int = 0
    calls: int = 0
    bytes_received: int = 0
    handler_errors: int = 0
    opened_by_queue: dict[int, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the counts with JSON's kinds of keys."""
        return {
            "opened": self.opened,
            "closed": self.closed,
            "calls": self.calls,
            "bytes_received": self.bytes_received,
            "handler_errors": self.handler_errors,
            "opened_by_queue": {str(q): n for q, n in sorted(self.opened_by_queue.items())},
        }


@dataclass(slots=True, kw_only=True)
class Listener:
    """A port, its class, and who handles it."""

    server: Server
    config: ListenConfig
    handle: _Hook
    on_open: _Hook | None
    on_writable: _Hook | None
    on_eof: _Hook | None
    on_close: Callable[[Connection, QStackError | None], object] | None
    stats: ListenerStats = field(default_factory=ListenerStats)

    @property
    def port(self) -> int:
        """The port, host byte order."""
        return self.config.port

    @property
    def priority(self) -> int:
        """Class of its connections, 0 to 7."""
        return self.config.priority


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
        self._by_number: dict[int, Listener] = {}
        self._stack: Stack | None = None
        self._control: Control | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self._conns: dict[int, Connection] = {}
        self._lingering: deque[tuple[float, Connection]] = deque()
        self._resuming: deque[Connection] = deque()

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
            shed_reset: An attempt to connect for which there is no place, since the backlog is
                full or all connections are in use, is answered with a reset; False (default): with
                nothing, and the peer tries again.

        Raises:
            ConfigError: Out of range, an unknown congestion control, or the port has a listener.
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
        )
        check_ports((*(listener.config for listener in self._listeners), config))

        def register(handler: H) -> H:
            self._listeners.append(
                Listener(
                    server=self,
                    config=config,
                    handle=handler,
                    on_open=getattr(handler, "on_open", None),
                    on_writable=getattr(handler, "on_writable", None),
                    on_eof=getattr(handler, "on_eof", None),
                    on_close=getattr(handler, "on_close", None),
                )
            )
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
            self._by_number = {stack.listen(entry.config): entry for entry in self._listeners}
            stack.start()
        except BaseException:
            stack.close()
            raise
        self._stack = stack
        self._control = self._open_control(stack)
        self._stopping = False
        self._failure = None
        self._ended.clear()
        self._thread = threading.Thread(
            target=self._serve, args=(stack,), name="qstack-app", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop serving, reset every connection and give the device back. Allowed at any time."""
        stack, thread = self._stack, self._thread
        if stack is None or thread is None:
            return
        if thread is threading.current_thread():
            raise WrongStateError(
                "a handler cannot stop its server: call stop() from another thread"
            )
        if self._control is not None:
            self._control.close()
            self._control = None
        self._stopping = True
        stack.wake()
        thread.join()
        stack.close()
        self._stack = self._thread = None
        self._conns.clear()
        self._lingering.clear()
        self._resuming.clear()

    def run(self) -> None:
        """Serve until Ctrl-C or `stop` from another thread.

        Raises:
            QStackError: As `start`; or what ended the application thread.
        """
        with self:
            self.wait()

    def wait(self) -> None:
        """Wait until Ctrl-C, or until the application thread has ended.

        Raises:
            Exception: What ended the application thread.
        """
        try:
            self._ended.wait()
        except KeyboardInterrupt:
            return
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stats(self) -> dict[str, Any]:
        """Return figures.

        Returns:
            ``queues``: counters of each by name; ``classes``: counters of each that a listener
            has, of all queues; ``workers``; ``listeners`` by port; ``connections``
        """
        stack = self._running_stack()
        return {
            "queues": stack.counters(),
            "classes": {
                str(priority): stack.class_counters(priority)
                for priority in sorted({entry.priority for entry in self._listeners})
            },
            "workers": stack.worker_stats(),
            "listeners": {str(entry.port): entry.stats.as_dict() for entry in self._listeners},
            "connections": len(self._conns),
        }

    def residency(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return where requests spend their time, from a sample of them.

        Returns:
            By class, such as "7", and stage (`qstack.residency.STAGES`): ``count``, ``p50_us``,
            ``p99_us``, ``p999_us`` and ``max_us``, at most 12.5 % above the true ones. A stage
            that no request went through is not there.
        """
        stack = self._running_stack()
        classes = sorted({entry.priority for entry in self._listeners})
        return {str(priority): stack.residency(priority) for priority in classes}

    def _explain(self) -> dict[str, Any]:
        """Answer ``qstack explain``."""
        ports: dict[str, list[int]] = {}
        for entry in self._listeners:
            ports.setdefault(str(entry.priority), []).append(entry.port)
        return {
            "stages": residency.STAGES,
            "residency": self.residency(),
            "classes": self.stats()["classes"],
            "ports": ports,
        }

    def _open_control(self, stack: Stack) -> Control | None:
        """Answer questions of other processes; a server that cannot do so serves all the same."""
        device = stack.info.ifname + (".joined" if self.config.join else "")
        try:
            return Control(device, {"explain": self._explain, "stats": self.stats})
        except QStackError as e:
            _log.warning("'qstack explain' will not find this server: %s", e)
            return None

    def _serve(self, stack: Stack) -> None:
        classes = {entry.priority for entry in self._listeners}
        batch = _BATCH if len(classes) == 1 else 1
        try:
            while not self._stopping:
                for i in range(stack.wait(batch, self._timeout_ns())):
                    self._dispatch(stack, stack.events[i])
                if self._resuming:
                    self._writable(self._resuming.popleft())
                if self._lingering:
                    self._end_lingering(time.monotonic())
        except BaseException as e:  # the thread's last words: run() raises it again
            self._failure = e
            _log.exception("the application thread ended")
        finally:
            self._ended.set()

    def _timeout_ns(self) -> int:
        if self._resuming:
            return 0
        return _LINGER_TICK_NS if self._lingering else _IDLE_NS

    def resume_soon(self, conn: Connection) -> None:
        """Call ``on_writable`` of a connection in a later turn; called by `Connection`."""
        self._resuming.append(conn)

    def _dispatch(self, stack: Stack, event: CData) -> None:
        flags: int = event.flags
        handle: int = event.conn.v
        conn = self._conns.get(handle)
        if conn is None:
            if not flags & lib.QS_EVENT_OPEN:
                return  # given up here while the event was on its way
            conn = self._opened(stack, handle, self._by_number[event.listener])
        if flags & lib.QS_EVENT_READABLE and not conn.closing:
            self._readable(conn, ffi.buffer(event.data, event.len)[:])
        if flags & lib.QS_EVENT_WRITABLE:
            self._writable(conn)
        if flags & lib.QS_EVENT_EOF:
            self._eof(conn)
        if flags & lib.QS_EVENT_CLOSED:
            self._gone(conn, event.err)

    def _opened(self, stack: Stack, handle: int, listener: Listener) -> Connection:
        conn = Connection(stack, handle, listener)
        self._conns[handle] = conn
        stats = listener.stats
        stats.opened += 1
        stats.opened_by_queue[conn.queue] = stats.opened_by_queue.get(conn.queue, 0) + 1
        if listener.on_open is not None:
            self._call(listener.on_open, conn)
        return conn

    def _call(self, hook: _Hook, conn: Connection) -> None:
        """Run the application's code; what it raises ends this connection and nothing else."""
        try:
            hook(conn)
        except Exception:
            conn.listener.stats.handler_errors += 1
            _log.exception("handler of port %d failed; its connection is reset", conn.port)
            conn.abort()

    def _readable(self, conn: Connection, data: bytes) -> None:
        listener = conn.listener
        listener.stats.calls += 1
        listener.stats.bytes_received += len(data)
        conn.data = data
        self._call(listener.handle, conn)
        conn.data = b""

    def _writable(self, conn: Connection) -> None:
        conn.flush()
        hook = conn.listener.on_writable
        if hook is not None and not conn.closing and not conn.backpressure:
            self._call(hook, conn)

    def _eof(self, conn: Connection) -> None:
        conn.eof = True
        if conn.closed:
            conn.release()
            self._conns.pop(conn.handle, None)
        elif conn.closing:
            return
        elif conn.listener.on_eof is not None:
            self._call(conn.listener.on_eof, conn)
        else:
            conn.close()

    def _gone(self, conn: Connection, code: int) -> None:
        self._conns.pop(conn.handle, None)
        conn.forget()
        self._tell_end(conn, from_code(code, "connection lost") if code else None)

    def finished(self, conn: Connection) -> None:
        """Note that this side is done with a connection; called by `Connection` once."""
        if conn.reset or conn.eof:
            self._conns.pop(conn.handle, None)
        else:
            self._lingering.append((time.monotonic() + _LINGER_S, conn))
        self._tell_end(conn, None)

    def _tell_end(self, conn: Connection, error: QStackError | None) -> None:
        if conn.ended:
            return
        conn.ended = True
        stats = conn.listener.stats
        stats.closed += 1
        if conn.listener.on_close is not None:
            try:
                conn.listener.on_close(conn, error)
            except Exception:
                stats.handler_errors += 1
                _log.exception("on_close of port %d failed", conn.port)

    def _end_lingering(self, now_s: float) -> None:
        while self._lingering and self._lingering[0][0] <= now_s:
            _, conn = self._lingering.popleft()
            if self._conns.pop(conn.handle, None) is not None:
                conn.release()

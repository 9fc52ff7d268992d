# SPDX-License-Identifier: Apache-2.0
"""An application thread: the connections of its listeners, and the calls of their handlers."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

from ._native import CData, ffi, lib
from .connection import Connection
from .errors import QStackError, from_code
from .listener import Hook, Listener
from .messages import MessageConnection
from .stack import App

_log = logging.getLogger("qstack")

_BATCH = 32
_LINGER_S = 2.0
_LINGER_TICK_NS = 200_000_000
_IDLE_NS = 60_000_000_000


class Application:
    """A thread that calls handlers, the most urgent class first.

    While classes differ, one event is taken at a time, so that an urgent one waits for at most one
    call.
    """

    def __init__(
        self, app: App, listeners: Mapping[int, Listener], on_end: Callable[[], None]
    ) -> None:
        """Take the library's application side and its listeners, by the numbers of events.

        Args:
            app: Used by this thread alone, except to wake it.
            listeners: Those whose handlers run here.
            on_end: Called on the thread when it ends, for whatever reason.
        """
        self.failure: BaseException | None = None
        """What ended the thread."""
        self._app = app
        self._listeners = listeners
        self._on_end = on_end
        self._stopping = False
        self._conns: dict[int, Connection] = {}
        self._lingering: deque[tuple[float, Connection]] = deque()
        self._resuming: deque[Connection] = deque()
        self._thread = threading.Thread(target=self._serve, name="qstack-app", daemon=True)

    def start(self) -> None:
        """Begin to call handlers."""
        self._thread.start()

    def is_current(self) -> bool:
        """Whether this is the calling thread."""
        return self._thread is threading.current_thread()

    def ask_to_stop(self) -> None:
        """Make the thread end after the handler that runs."""
        self._stopping = True
        self._app.wake()

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join()

    def __len__(self) -> int:
        """Return how many connections it has."""
        return len(self._conns)

    def _serve(self) -> None:
        classes = {p for entry in self._listeners.values() for p in entry.classes}
        batch = _BATCH if len(classes) == 1 else 1
        try:
            while not self._stopping:
                for i in range(self._app.wait(batch, self._timeout_ns())):
                    self._dispatch(self._app.events[i])
                if self._resuming:
                    self._writable(self._resuming.popleft())
                if self._lingering:
                    self._end_lingering(time.monotonic())
        except BaseException as e:  # the thread's last words: run() raises it again
            self.failure = e
            _log.exception("the application thread ended")
        finally:
            self._on_end()

    def _timeout_ns(self) -> int:
        if self._resuming:
            return 0
        return _LINGER_TICK_NS if self._lingering else _IDLE_NS

    def resume_soon(self, conn: Connection) -> None:
        """Call ``on_writable`` of a connection in a later turn; called by `Connection`."""
        self._resuming.append(conn)

    def _dispatch(self, event: CData) -> None:
        flags: int = event.flags
        handle: int = event.conn.v
        if flags & lib.QS_EVENT_MOVED:
            self._moved(event.moved_from.v, handle)
            return
        conn = self._conns.get(handle)
        if conn is None:
            if not flags & lib.QS_EVENT_OPEN:
                return  # given up here while the event was on its way
            conn = self._opened(handle, self._listeners[event.listener])
        if flags & lib.QS_EVENT_READABLE and not conn.closing:
            data = ffi.buffer(event.data, event.len)[:]
            if isinstance(conn, MessageConnection):
                conn.message_priority = event.prio
                self._readable(conn, data)
                conn.message_priority = None
            else:
                self._readable(conn, data)
        if flags & lib.QS_EVENT_WRITABLE:
            self._writable(conn)
        if flags & lib.QS_EVENT_EOF:
            self._eof(conn)
        if flags & lib.QS_EVENT_CLOSED:
            self._gone(conn, event.err)

    def _moved(self, before: int, handle: int) -> None:
        """Note that another queue has a connection, under another handle."""
        conn = self._conns.pop(before, None)
        if conn is not None:  # else it was given up here
            conn.move_to(handle)
            self._conns[handle] = conn

    def _opened(self, handle: int, listener: Listener) -> Connection:
        kind = Connection if listener.config.framing is None else MessageConnection
        conn = kind(self, self._app, handle, listener)
        self._conns[handle] = conn
        stats = listener.stats
        stats.opened += 1
        stats.opened_by_queue[conn.queue] = stats.opened_by_queue.get(conn.queue, 0) + 1
        if listener.on_open is not None:
            self._call(listener.on_open, conn)
        return conn

    def _call(self, hook: Hook, conn: Connection) -> None:
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

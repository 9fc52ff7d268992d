# SPDX-License-Identifier: Apache-2.0
"""A connection of an engine in virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qstack._native import CData, ffi, lib
from qstack.errors import ConfigError, QStackError, StaleHandleError, check, from_code

from .values import ConnectionInfo, ConnectionOptions, TcpState, info_of, options_of

if TYPE_CHECKING:
    from .engine import Engine

_READ_BYTES = 1 << 16


class Connection:
    """A connection, as `Engine.connect` and `Listener.accept` return it.

    No call sends: what it caused leaves with the next `Engine.tx` or `Engine.advance`.
    """

    __slots__ = ("_end", "_engine", "_given_up", "_handle", "_name")

    def __init__(self, engine: Engine, handle: int) -> None:
        self._engine = engine
        self._handle = handle
        self._given_up = ""  # "closed" or "aborted", by this side
        self._end: int | None = None  # with the last event: 0 or QS_ERR_*
        self._name = "a connection"
        raw = ffi.new("struct qs_conn_info *")
        if lib.qspy_conn_info(engine.c_engine, handle, raw) == 0:
            info = info_of(raw)
            self._name = "connection {}:{} to {}:{}".format(*info.local, *info.remote)

    def __repr__(self) -> str:
        return f"<{self._name}>"

    def note_end(self, code: int) -> None:
        """Take note of the last event; called by the engine."""
        self._end = code

    @property
    def error(self) -> QStackError | None:
        """Why the connection ended, once its last event was taken; None: in order, or it lives."""
        return from_code(self._end, self._name) if self._end else None

    def _check(self, code: int, what: str) -> int:
        if code == lib.QS_ERR_STALE:
            why = f"{self._given_up} by this side" if self._given_up else "it has ended"
            if self._end:
                why = ffi.string(lib.qs_strerror(self._end)).decode("ascii")
            raise StaleHandleError(f"cannot {what}: {self._name} is gone, {why}", code)
        return check(code, f"cannot {what}: {self._name}")

    def _raise_cause(self, code: int) -> None:
        """Bytes stop for a reason: when that is an error which ended the connection, raise it."""
        if code in (lib.QS_ERR_STALE, lib.QS_ERR_EOF, lib.QS_ERR_CLOSED) and not self._given_up:
            self._engine.take_events()  # the end may be among them
            if self._end:
                raise from_code(self._end, self._name)

    def read(self, n: int = _READ_BYTES) -> bytes:
        """Return up to ``n`` bytes that arrived; ``b""`` after the peer's last one.

        Raises:
            WouldBlockError: There are none, and more may come.
            PeerResetError: And other errors that ended the connection.
            StaleHandleError: `close` or `abort` was called.
        """
        if n < 1:
            raise ConfigError(f"cannot read {n} bytes: at least 1")
        room = ffi.new("char[]", n)
        got = lib.qspy_conn_read(self._engine.c_engine, self._handle, room, n)
        if got > 0:
            return bytes(ffi.buffer(room, got))
        self._raise_cause(got)
        if got != lib.QS_ERR_EOF and (self._given_up or self._end is None):
            self._check(got, "read")
        return b""

    def write(self, data: bytes) -> int:
        """Copy bytes into the send buffer; return how many fitted, at least one.

        Raises:
            WouldBlockError: The buffer is full; an event with ``writable`` follows.
            ClosedError: `shutdown` was called.
            PeerResetError: And other errors that ended the connection.
            StaleHandleError: `close` or `abort` was called, or it has ended in order.
        """
        view = ffi.from_buffer(data)
        took = lib.qspy_conn_write(self._engine.c_engine, self._handle, view, len(data))
        self._raise_cause(took)
        return self._check(took, "write")

    def want_write(self) -> None:
        """Ask for an event with ``writable``: at once, or when a quarter of the buffer is free."""
        code = lib.qspy_conn_want_write(self._engine.c_engine, self._handle)
        self._check(code, "wait for room")

    def shutdown(self) -> None:
        """Send FIN after what was written; reading goes on."""
        code = lib.qspy_conn_shutdown(self._engine.c_engine, self._handle)
        self._check(code, "shut down")

    def close(self) -> None:
        """Give the connection up: what was written is delivered, then FIN. No event follows.

        Bytes that were not read turn it into a reset (RFC 2525 section 2.17). Nothing when it is
        gone already.
        """
        if not self._given_up:
            lib.qspy_conn_close(self._engine.c_engine, self._handle)
            self._give_up("closed")

    def abort(self) -> None:
        """Reset the connection and give it up. No event follows. Nothing when it is gone."""
        if not self._given_up:
            lib.qspy_conn_abort(self._engine.c_engine, self._handle)
            self._give_up("aborted")

    def _give_up(self, how: str) -> None:
        self._given_up = how
        self._engine.forget(self._handle)

    def info(self) -> ConnectionInfo:
        """Return a snapshot.

        Raises:
            StaleHandleError: The connection is gone.
        """
        raw = ffi.new("struct qs_conn_info *")
        self._check(lib.qspy_conn_info(self._engine.c_engine, self._handle, raw), "look")
        return info_of(raw)

    @property
    def state(self) -> TcpState:
        """State of RFC 9293 section 3.3.2; CLOSED when it has ended by itself.

        Raises:
            StaleHandleError: `close` or `abort` was called: nobody can look any more.
        """
        return TcpState.CLOSED if self._end is not None else self.info().state

    @property
    def options(self) -> ConnectionOptions:
        """Its options; can be set, and the congestion window is kept then.

        Raises:
            ConfigError: One of them is out of range.
            StaleHandleError: The connection is gone.
        """
        raw = _new_options()
        code = lib.qspy_conn_get_opts(self._engine.c_engine, self._handle, raw)
        self._check(code, "read the options")
        return options_of(raw)

    @options.setter
    def options(self, options: ConnectionOptions) -> None:
        raw = _new_options()
        alive = options.fill(raw)
        code = lib.qspy_conn_set_opts(self._engine.c_engine, self._handle, raw)
        self._check(code, f"set {options}")
        del alive


def _new_options() -> CData:
    raw = ffi.new("struct qs_conn_opts *")
    lib.qs_conn_opts_init(raw)
    return raw

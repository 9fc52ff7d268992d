# SPDX-License-Identifier: Apache-2.0
"""An engine in virtual time, and its listeners."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING, Self, SupportsBytes, Unpack

from qstack._native import CData, ffi, lib
from qstack.errors import ConfigError, StaleHandleError, WrongStateError, check
from qstack.stack import COUNTERS

from .connection import Connection
from .values import (
    ConnectionOptions,
    EngineOptions,
    Event,
    Sent,
    c_address,
    c_interface,
    c_set,
    mac_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_EVENTS_MAX = 64
_FRAME_OVERHEAD_BYTES = 18
_NEVER = (1 << 64) - 1
_TIME_NS_MAX = (1 << 63) - 1
_SECRET_BYTES = 32
_SMALL: EngineOptions = {"conns_max": 64, "chunks_max": 1024}


class Listener:
    """A port that an engine listens on."""

    __slots__ = ("_accepted", "_engine", "_number", "port")

    def __init__(self, engine: Engine, number: int, port: int) -> None:
        self._engine = engine
        self._number: int | None = number
        self._accepted: deque[Connection] = deque()
        self.port = port

    def add(self, connection: Connection) -> None:
        """Take a connection that was established; called by the engine."""
        self._accepted.append(connection)

    def accept(self) -> Connection | None:
        """Return the next connection that was established, or None.

        Raises:
            StaleHandleError: The listener is closed, and every connection of it was returned.
        """
        self._engine.take_events()
        if self._accepted:
            return self._accepted.popleft()
        if self._number is None:
            raise StaleHandleError(f"cannot accept: port {self.port} is not listened on any more")
        return None

    def close(self) -> None:
        """Stop listening; connections that are established live on. Allowed more than once."""
        if self._number is None:
            return
        self._engine.unlisten(self._number)
        self._number = None


class Engine:
    """One TCP engine whose clock and wire are the caller's.

    ``rx`` hands frames in, ``tx`` takes out what is to be sent at a time, `advance` takes out what
    is sent until a time, each frame at its own. The same seed, calls and times give the same
    frames, octet by octet.

    Args:
        addr4: IPv4 address with the length of its prefix, or None.
        addr6: The same for IPv6.
        mac: Ethernet address.
        gateway4: Next hop for what is not on the link, or None.
        gateway6: The same for IPv6.
        mtu: Largest IP packet, bytes.
        seed: Chooses initial sequence numbers and timestamps (with the time), local ports and hash
            keys: any number, or the 32 bytes of ``qs_engine_opts.secret`` themselves.
        start_ns: Time of the clock at first, at least 1. The engine adds it, in units of 4,096 ns,
            to what the seed chooses for an initial sequence number (RFC 6528).
        neighbours: None: the engine asks and answers by ARP and ND. Else Ethernet addresses by IP
            address: the engine sends neither and waits for others until `set_neighbour`.
        options: Everything else, see `EngineOptions`.

    Raises:
        ConfigError: An argument is out of range.
        TypeError: There is no option of that name.
    """

    def __init__(
        self,
        addr4: str | None = "10.0.0.1/24",
        addr6: str | None = "fd00::1/64",
        *,
        mac: str = "02:00:00:00:00:01",
        gateway4: str | None = None,
        gateway6: str | None = None,
        mtu: int = 1500,
        seed: int | bytes = 0,
        start_ns: int = 1_000_000_000,
        neighbours: Mapping[str, str] | None = None,
        **options: Unpack[EngineOptions],
    ) -> None:
        self._owned: CData = None
        self._now_ns = 1
        self._now_ns = self._time(start_ns)
        opts = _c_options(options, mtu, mac, seed)
        opts.neigh_mode = lib.QS_NEIGH_OWN if neighbours is None else lib.QS_NEIGH_TOLD
        out = ffi.new("qs_engine **")
        check(lib.qspy_engine_new(out, opts), "cannot make an engine of these options")
        self._owned = ffi.gc(out[0], lib.qs_engine_free)
        self._frame_room = mtu + _FRAME_OVERHEAD_BYTES
        self._frame = ffi.new("char[]", self._frame_room)
        self._raw_events = ffi.new("struct qs_event[]", _EVENTS_MAX)
        self._live: dict[int, Connection] = {}
        self._listeners: dict[int, Listener] = {}
        self._events: list[Event] = []
        for address in (addr4, addr6):
            if address is not None:
                self.add_address(address)
        for gateway in (gateway4, gateway6):
            if gateway is not None:
                code = lib.qs_engine_gateway_set(self._owned, c_address(gateway))
                check(code, f"gateway {gateway}")
        for address, at_mac in (neighbours or {}).items():
            self.set_neighbour(address, at_mac)

    # ---- life ----

    @property
    def c_engine(self) -> CData:
        """The ``qs_engine*``.

        Raises:
            WrongStateError: `close` was called.
        """
        if self._owned is None:
            raise WrongStateError("the engine is closed")
        return self._owned

    def close(self) -> None:
        """Free the engine and every connection in it; nothing is sent. Allowed more than once."""
        if self._owned is not None:
            ffi.release(self._owned)
            self._owned = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ---- addresses and neighbours ----

    def add_address(self, address: str) -> None:
        """Add a local address with the length of its prefix; an engine has at most 16."""
        raw, prefix_len = c_interface(address)
        check(lib.qs_engine_addr_add(self.c_engine, raw, prefix_len), f"address {address}")

    def set_neighbour(self, address: str, mac: str) -> None:
        """Tell the engine where a neighbour is."""
        code = lib.qspy_neigh_set(self.c_engine, c_address(address), mac_bytes(mac), self._now_ns)
        check(code, f"neighbour {address}")

    def forget_neighbour(self, address: str) -> None:
        """Make the engine forget a neighbour; unknown ones are ignored."""
        lib.qs_engine_neigh_del(self.c_engine, c_address(address))

    # ---- time and frames ----

    @property
    def now_ns(self) -> int:
        """The latest time that the engine was given."""
        return self._now_ns

    def _time(self, at_ns: int | None) -> int:
        if at_ns is None:
            return self._now_ns
        if not isinstance(at_ns, int) or at_ns > _TIME_NS_MAX:
            raise ConfigError(f"time {at_ns!r}: it is an integer of nanoseconds below 2^63")
        if at_ns < self._now_ns:
            raise ConfigError(f"time {at_ns} ns is before {self._now_ns} ns: no clock goes back")
        return at_ns

    @property
    def deadline_ns(self) -> int | None:
        """When `tx` is to be called at the latest; `now_ns` when frames wait, None for never.

        A timer that was moved back may make it early: then `tx` returns nothing.
        """
        deadline = lib.qspy_engine_deadline(self.c_engine)
        return None if deadline == _NEVER else max(deadline, self._now_ns)

    def rx(
        self, frame: bytes | bytearray | memoryview | SupportsBytes, at_ns: int | None = None
    ) -> None:
        """Hand in a frame that arrives at ``at_ns``, by default now.

        A frame that is refused is counted (`counters`) and is no error. Timers that became due
        before run with the next `tx`, as when a worker was late: `advance` first to be on time.
        """
        engine, now_ns = self.c_engine, self._time(at_ns)
        raw = frame if isinstance(frame, (bytes, bytearray, memoryview)) else frame.__bytes__()
        self._now_ns = now_ns
        lib.qspy_engine_rx(engine, ffi.from_buffer(raw), len(raw), now_ns)

    def tx(self, at_ns: int | None = None) -> list[bytes]:
        """Do what is due at ``at_ns``, by default now, and return the frames that leave."""
        engine = self.c_engine
        self._now_ns = self._time(at_ns)
        frames = []
        while n := lib.qspy_engine_tx(engine, self._frame, self._frame_room, self._now_ns):
            frames.append(bytes(ffi.buffer(self._frame, n)))
        return frames

    def advance(self, to_ns: int) -> list[Sent]:
        """Let time go on to ``to_ns``, and return what leaves on the way, first what waits now."""
        sent: list[Sent] = []
        to_ns = self._time(to_ns)
        while (at_ns := self.deadline_ns) is not None and at_ns <= to_ns:
            sent += [Sent(at_ns, frame) for frame in self.tx(at_ns)]
        self._now_ns = to_ns
        return sent

    # ---- connections ----

    def listen(
        self,
        port: int,
        *,
        addr: str | None = None,
        priority: int = 0,
        backlog: int = 4096,
        options: ConnectionOptions | None = None,
        ecn: bool = True,
    ) -> Listener:
        """Listen on a port, of every local address or of ``addr``.

        Args:
            port: 1 to 65535.
            addr: A local address, or None.
            priority: Class, 0 to 7.
            backlog: Most connections established and not taken.
            options: Of its connections.
            ecn: Agree to ECN when a peer asks for it.

        Raises:
            PortTakenError: It is listened on already.
            AddressNotAvailableError: ``addr`` is not an address of the engine.
            ConfigError: An argument is out of range.
        """
        opts = ffi.new("struct qs_listen_opts *")
        lib.qs_listen_opts_init(opts)
        if addr is not None:
            opts.addr = c_address(addr)[0]
        for name, value in (("port", port), ("prio", priority), ("backlog", backlog)):
            c_set(opts, name, value)
        opts.no_ecn = not ecn
        alive = (options or ConnectionOptions()).fill(opts.conn)
        number = check(lib.qs_engine_listen(self.c_engine, opts), f"cannot listen on port {port}")
        del alive
        self._listeners[number] = Listener(self, number, port)
        return self._listeners[number]

    def unlisten(self, number: int) -> None:
        """Stop listening; `Listener.close` is the way to call it."""
        self.take_events()  # the number may be another listener's afterwards
        del self._listeners[number]
        check(lib.qs_engine_unlisten(self.c_engine, number), "cannot stop listening")

    def connect(
        self,
        addr: str,
        port: int,
        *,
        local_addr: str | None = None,
        local_port: int = 0,
        priority: int = 0,
        options: ConnectionOptions | None = None,
        ecn: bool = False,
    ) -> Connection:
        """Start an active open now; an event tells how it ended.

        Args:
            addr: The peer.
            port: Its port.
            local_addr: None: the first local address of the same IP version.
            local_port: 0: the engine chooses one.
            priority: Class, 0 to 7.
            options: Of the connection.
            ecn: Ask for ECN.

        Raises:
            AddressNotAvailableError: No local address fits.
            PortTakenError: There is a connection between these addresses and ports.
            ConfigError: An argument is out of range.
        """
        opts = ffi.new("struct qs_open_opts *")
        lib.qs_open_opts_init(opts)
        opts.remote = c_address(addr)[0]
        if local_addr is not None:
            opts.local = c_address(local_addr)[0]
        ports = (("remote_port", port), ("local_port", local_port), ("prio", priority))
        for name, value in ports:
            c_set(opts, name, value)
        opts.ecn = ecn
        alive = (options or ConnectionOptions()).fill(opts.conn)
        handle = ffi.new("uint64_t *")
        code = lib.qspy_conn_open(self.c_engine, opts, self._now_ns, handle)
        del alive
        check(code, f"cannot connect to {addr} port {port}")
        return self._enter(handle[0])

    def _enter(self, handle: int) -> Connection:
        self._live[handle] = Connection(self, handle)
        return self._live[handle]

    def forget(self, handle: int) -> None:
        """Let go of a connection that was given up; called by it."""
        self._live.pop(handle, None)

    def events(self) -> list[Event]:
        """Return what happened to connections since the last call, most urgent class first."""
        self.take_events()
        events, self._events = self._events, []
        return events

    def take_events(self) -> None:
        """Take events from the engine and keep them for `events` and `Listener.accept`."""
        engine, raw = self.c_engine, self._raw_events
        while n := lib.qs_engine_events(engine, raw, _EVENTS_MAX):
            for i in range(n):
                self._take(raw[i])

    def _take(self, raw: CData) -> None:
        handle, flags = raw.conn.v, raw.flags
        connection = self._live.get(handle)
        if connection is None:
            connection = self._enter(handle)
            self._listeners[raw.listener].add(connection)
        closed = bool(flags & lib.QS_EVENT_CLOSED)
        if closed:
            connection.note_end(raw.err)
            self.forget(handle)
        self._events.append(
            Event(
                connection=connection,
                opened=bool(flags & lib.QS_EVENT_OPEN),
                readable=bool(flags & lib.QS_EVENT_READABLE),
                writable=bool(flags & lib.QS_EVENT_WRITABLE),
                eof=bool(flags & lib.QS_EVENT_EOF),
                closed=closed,
                error=connection.error,
            )
        )

    # ---- figures ----

    def counters(self) -> dict[str, int]:
        """Return the counters of the engine by name, as ``qstack.stack.COUNTERS``."""
        room = ffi.new("uint64_t[]", lib.QS_N_COUNTERS)
        n = lib.qs_engine_counters(self.c_engine, room, lib.QS_N_COUNTERS)
        return dict(zip(COUNTERS, ffi.unpack(room, n), strict=True))


def _c_options(options: EngineOptions, mtu: int, mac: str, seed: int | bytes) -> CData:
    for name in options:
        if name not in EngineOptions.__annotations__:
            raise TypeError(f"there is no option {name!r}: see qstack.testing.EngineOptions")
    opts = ffi.new("qs_engine_opts *")
    lib.qs_engine_opts_init(opts)
    c_set(opts, "mtu", mtu)
    for name, value in {**_SMALL, **options}.items():
        c_set(opts, name, value)
    opts.mac = mac_bytes(mac)
    secret = hashlib.sha256(str(seed).encode()).digest() if isinstance(seed, int) else seed
    if len(secret) != _SECRET_BYTES:
        raise ConfigError(f"seed: {len(secret)} bytes, a secret has {_SECRET_BYTES}")
    opts.secret = secret
    return opts

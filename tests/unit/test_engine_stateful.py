# SPDX-License-Identifier: Apache-2.0
"""Whatever the wire and two applications do, streams stay streams and nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from qstack import errors
from qstack.testing import Connection, Listener, TcpState

from .engine_pair import ADDR4, ADDR6, EnginePair

_MS = 1_000_000
_S = 1_000 * _MS
_PORT = 80
_CLIENTS_MAX = 6
# A healed wire finishes everything within this: give-ups, TIME-WAIT, an orphan's FIN-WAIT-2.
_ALL_TIMERS_NS = 4_000 * _S

_DELAYED = st.integers(1, 40).map(lambda ms: (ms * _MS,))
_FATES = st.one_of(
    st.just((0,)), _DELAYED, st.just(()), st.tuples(st.just(0), st.integers(0, 30 * _MS))
)


@dataclass(eq=False)
class _End:
    """One end of a connection and what its application did."""

    connection: Connection
    written: bytearray = field(default_factory=bytearray)
    read: bytearray = field(default_factory=bytearray)
    eof: bool = False
    shut: bool = False
    gone: bool = False  # given up here, or reset
    reset: bool = False  # by the peer
    late: bool = False  # ended in order before its application had read: what was left is lost
    peer: _End | None = None

    def attempt(self, call: Callable[[], object]) -> None:
        """Call; a reset is judged in the end, and no wire is bad for long enough for a timeout."""
        try:
            call()
        except errors.WouldBlockError:
            pass
        except (errors.PeerResetError, errors.StaleHandleError):
            assert isinstance(self.connection.error, errors.PeerResetError)
            self.gone = self.reset = True

    def may_reset(self) -> bool:
        """Whether the peer may be told that this end is not there any more."""
        if self.gone:
            return not self.reset
        return self.connection.state == TcpState.CLOSED  # TIME-WAIT was over before the wire healed

    def take(self, n: int) -> None:
        data = self.connection.read(n)
        self.eof = self.eof or not data
        self.read += data


def _octets(at: int, n: int) -> bytes:
    return bytes((i * 2654435761 >> 23) & 0xFF for i in range(at, at + n))


class TwoEngines(RuleBasedStateMachine):
    """Applications call at random; each frame's fate is drawn when it leaves."""

    ends = Bundle("ends")

    def __init__(self) -> None:
        super().__init__()
        self.fates: list[tuple[int, ...]] = []
        # Small buffers and few chunks, so that windows close and pools run dry.
        self.pair = EnginePair(
            self._fate,
            conns_max=2 * _CLIENTS_MAX,  # a SYN that finds no room would time out
            chunks_max=32,
            rcvbuf_bytes=8192,
            sndbuf_bytes=8192,
            user_timeout_ns=600 * _S,
            syn_retries_max=10,
        )
        self.listeners: list[Listener] = [e.listen(_PORT) for e in self.pair.engines]
        self.clients: dict[tuple[int, str, int], _End] = {}
        self.all: list[_End] = []

    def _fate(self) -> tuple[int, ...]:
        return self.fates.pop(0) if self.fates else (0,)

    # ---- what may happen ----

    @initialize(target=ends, side=st.integers(0, 1), addrs=st.sampled_from([ADDR4, ADDR6]))
    def establish(self, side: int, addrs: tuple[str, str]) -> MultipleResults[_End]:
        """A run begins with a connection that lives, so that most of them move octets."""
        client = self._connect(side, addrs)
        self.pair.run(20 * _MS)
        server = self.listeners[1 - side].accept()
        assert server is not None
        return multiple(client, self._accepted(1 - side, server))

    @precondition(lambda self: len(self.clients) < _CLIENTS_MAX)
    @rule(target=ends, side=st.integers(0, 1), addrs=st.sampled_from([ADDR4, ADDR6]))
    def connect(self, side: int, addrs: tuple[str, str]) -> _End:
        return self._connect(side, addrs)

    def _connect(self, side: int, addrs: tuple[str, str]) -> _End:
        connection = self.pair.engines[side].connect(addrs[1 - side], _PORT)
        end = _End(connection)
        self.clients[(side, *connection.info().local)] = end
        self.all.append(end)
        return end

    @rule(target=ends, side=st.integers(0, 1))
    def accept(self, side: int) -> _End | MultipleResults[_End]:
        connection = self.listeners[side].accept()
        return multiple() if connection is None else self._accepted(side, connection)

    def _accepted(self, side: int, connection: Connection) -> _End:
        end = _End(connection)
        self.all.append(end)
        try:
            remote = connection.info().remote
        except errors.StaleHandleError:
            end.gone = True
            return end
        end.peer = self.clients[(1 - side, *remote)]
        end.peer.peer = end
        return end

    @rule(end=ends, n=st.integers(1, 6000))
    def write(self, end: _End, n: int) -> None:
        if not end.gone and not end.shut:
            end.attempt(lambda: self._write(end, n))

    def _write(self, end: _End, n: int) -> None:
        data = _octets(len(end.written), n)
        took = end.connection.write(data)
        end.written += data[:took]

    @rule(end=ends, n=st.integers(1, 5000))
    def read(self, end: _End, n: int) -> None:
        if not end.gone:
            end.attempt(lambda: end.take(n))

    @rule(end=ends)
    def shutdown(self, end: _End) -> None:
        if not end.gone and not end.shut:
            end.attempt(end.connection.shutdown)
            end.shut = True

    @rule(end=consumes(ends), hard=st.booleans())
    def give_up(self, end: _End, hard: bool) -> None:
        (end.connection.abort if hard else end.connection.close)()
        end.gone = True

    @rule(fates=st.lists(_FATES, min_size=1, max_size=12))
    def choose_fates(self, fates: list[tuple[int, ...]]) -> None:
        self.fates += fates

    @rule(ms=st.sampled_from([1, 5, 20, 100, 1000, 5000]))
    def wait(self, ms: int) -> None:
        self.pair.run(ms * _MS)

    # ---- what always holds ----

    @invariant()
    def what_is_read_was_written(self) -> None:
        for end in self.all:
            if end.peer is not None:
                assert end.peer.written.startswith(end.read)
            else:
                assert end.read == b""

    # ---- and what holds once the wire is good ----

    def teardown(self) -> None:
        try:
            self._heal()
        finally:
            self.pair.close()

    def _accept_all(self) -> None:
        for side, listener in enumerate(self.listeners):
            while connection := listener.accept():
                self._accepted(side, connection)

    def _heal(self) -> None:
        self.fates.clear()
        for engine in self.pair.engines:
            engine.take_events()
        for end in self.all:
            end.late = not end.gone and end.connection.state == TcpState.CLOSED
        until_ns = self.pair.now_ns + _ALL_TIMERS_NS
        while self.pair.now_ns < until_ns:
            self._accept_all()
            for end in self.all:
                self._finish(end)
            next_ns = self.pair.next_ns()
            if next_ns is None:
                break
            self.pair.run(max(next_ns - self.pair.now_ns, 0))
        self._expect_everything_arrived_and_nothing_left()

    def _finish(self, end: _End) -> None:
        """Read what is there, then say that nothing more will be written."""
        more = True
        while more and not end.gone and not end.eof:
            before = len(end.read)
            end.attempt(lambda: end.take(1 << 20))
            more = len(end.read) > before
        self.shutdown(end)
        half_closed = not end.gone and end.connection.state == TcpState.FIN_WAIT_2
        if half_closed and end.peer is not None and end.peer.gone:
            # The peer's reset was lost, and nothing is left to send that it would answer: this end
            # waits by right for as long as its application does.
            self.give_up(end, hard=False)

    def _expect_everything_arrived_and_nothing_left(self) -> None:
        self.what_is_read_was_written()
        for end in self.all:
            assert not end.reset or end.peer is None or end.peer.may_reset()
            if end.peer is None or end.gone or end.peer.gone or end.late:
                continue
            assert end.eof
            assert end.read == end.peer.written
        for engine in self.pair.engines:
            engine.events()
            engine.tx(self.pair.now_ns)
            counters = engine.counters()
            assert (counters["conns"], counters["chunks"]) == (0, 0)


TestTwoEngines = TwoEngines.TestCase
TestTwoEngines.settings = settings(
    max_examples=400,
    stateful_step_count=40,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)

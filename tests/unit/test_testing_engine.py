# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether

from qstack import errors
from qstack.testing import (
    Connection,
    ConnectionOptions,
    Engine,
    EngineOptions,
    Event,
    Listener,
    Sent,
    TcpState,
)

from .engine_pair import ADDR4, ADDR6, EnginePair

RENO = ConnectionOptions(cc="newreno")

if TYPE_CHECKING:
    from scapy.packet import Packet

_MS = 1_000_000
_S = 1_000 * _MS
_PEER_MAC = "02:00:00:00:00:99"
_PEERS = {4: "10.0.0.9", 6: "fd00::9"}
_OWN = {4: "10.0.0.1", 6: "fd00::1"}
_PEER_ISN = 0xFFFFFFF0  # what follows crosses the wrap


class _Peer:
    """The other end, by hand: numbers count from the initial ones of both sides."""

    def __init__(self, engine: Engine, version: int = 4, port: int = 40000) -> None:
        self.engine, self.version, self.port = engine, version, port
        self.isn: int | None = None

    def frame(self, flags: str, seq: int, ack: int = 0, data: bytes = b"", **tcp: Any) -> Packet:
        layer = IP if self.version == 4 else IPv6
        head = Ether(src=_PEER_MAC, dst="02:00:00:00:00:01")
        ip = layer(src=_PEERS[self.version], dst=_OWN[self.version])
        numbers: dict[str, Any] = {
            "seq": (_PEER_ISN + seq) % 2**32,
            "ack": ((self.isn or 0) + ack) % 2**32,
        }
        return head / ip / TCP(sport=self.port, dport=80, flags=flags, **numbers, **tcp) / data

    def send(self, flags: str, seq: int, ack: int = 0, data: bytes = b"", **tcp: Any) -> None:
        self.engine.rx(self.frame(flags, seq, ack, data, **tcp))

    def read(self, frame: bytes) -> tuple[str, int, int, bytes]:
        """Return flags, sequence and acknowledgement number and payload of a frame from it."""
        packet = Ether(frame)
        assert packet.dst == _PEER_MAC
        ip = packet[IP if self.version == 4 else IPv6]
        # Built anew from its fields, scapy's own checksums are those that were in the frame.
        again = ip.copy()
        del again[TCP].chksum
        if self.version == 4:
            del again.chksum
        assert bytes(again) == bytes(ip)
        tcp = ip[TCP]
        if "S" in str(tcp.flags):
            self.isn = tcp.seq
        assert self.isn is not None
        seq, ack = (tcp.seq - self.isn) % 2**32, (tcp.ack - _PEER_ISN) % 2**32
        return str(tcp.flags), seq, ack, bytes(tcp.payload)

    def expect(self, *segments: tuple[str, int, int, bytes]) -> None:
        assert [self.read(frame) for frame in self.engine.tx()] == list(segments)


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(neighbours=dict.fromkeys(_PEERS.values(), _PEER_MAC)) as engine:
        yield engine


def _establish(engine: Engine, listener: Listener, version: int = 4) -> tuple[_Peer, Connection]:
    peer = _Peer(engine, version)
    peer.send("S", 0, options=[("MSS", 1000)])
    peer.expect(("SA", 0, 1, b""))
    peer.send("A", 1, 1)
    peer.expect()
    connection = listener.accept()
    assert connection is not None
    return peer, connection


@pytest.mark.parametrize("version", [4, 6])
def test_a_connection_lives_by_hand_made_frames(engine: Engine, version: int) -> None:
    listener = engine.listen(80)
    peer, c = _establish(engine, listener, version)
    assert listener.accept() is None

    peer.send("PA", 1, 1, b"request")
    assert c.read(2) == b"re"
    assert c.read() == b"quest"
    with pytest.raises(errors.WouldBlockError):
        c.read()
    assert c.write(b"reply") == 5
    peer.expect(("PA", 1, 8, b"reply"))
    peer.send("FA", 8, 6)
    assert c.read() == b""
    assert c.state is TcpState.CLOSE_WAIT
    c.shutdown()
    peer.expect(("FPA", 6, 9, b""))
    peer.send("A", 9, 7)

    *_, last = events = engine.events()
    assert {e.connection for e in events} == {c}
    assert [e.opened for e in events].index(True) == 0
    assert any(e.eof for e in events)
    assert (last.closed, last.error, c.error, c.state) == (True, None, None, TcpState.CLOSED)
    assert engine.counters()["conns"] == 0


def test_a_snapshot_tells_the_connection_in_figures(engine: Engine) -> None:
    peer, c = _establish(engine, engine.listen(80, priority=5))
    peer.send("PA", 1, 1, b"12345")
    c.write(b"123")
    info = c.info()
    assert (info.local, info.remote) == (("10.0.0.1", 80), ("10.0.0.9", 40000))
    assert (info.state, info.priority, info.mss_octets) == (TcpState.ESTABLISHED, 5, 1000)
    assert (info.readable_bytes, info.unacked_bytes, info.retransmits) == (5, 3, 0)
    assert info.writable_bytes == 256 * 1024 - 3


def test_options_of_listener_open_and_connection(engine: Engine) -> None:
    _, c = _establish(engine, engine.listen(80, options=RENO))
    opened = engine.connect("10.0.0.9", 80, options=RENO)
    assert (c.options, opened.options) == (RENO, RENO)
    assert engine.connect("10.0.0.9", 81).options == ConnectionOptions()
    c.options = ConnectionOptions(keepalive=True, keepalive_idle_ns=10**9, nagle=True)
    assert c.options.nagle
    assert not c.options.pacing
    c.options = ConnectionOptions(pacing=True, pacing_rate_max=10**6, keepalive_idle_ns=10**9)
    assert c.options.pacing
    assert 999_000 < c.options.pacing_rate_max <= 10**6
    assert c.options.keepalive_idle_ns == 10**9
    c.options = ConnectionOptions(rcvbuf_bytes=256 * 1024, sndbuf_bytes=256 * 1024, mss_max=500)
    assert (c.options.rcvbuf_bytes, c.options.sndbuf_bytes, c.options.mss_max) == (
        256 * 1024,
        256 * 1024,
        500,
    )
    assert c.info().mss_octets == 500
    with pytest.raises(errors.ConfigError, match="mss_max 65536"):
        c.options = ConnectionOptions(mss_max=65536)
    with pytest.raises(errors.ConfigError, match="'vegas'"):
        c.options = ConnectionOptions(cc="vegas")


def test_an_open_is_answered_by_hand(engine: Engine) -> None:
    c = engine.connect("10.0.0.9", 80, local_port=5000)
    (syn,) = [Ether(frame)[TCP] for frame in engine.tx()]
    assert (str(syn.flags), syn.sport, syn.dport, dict(syn.options)["MSS"]) == ("S", 5000, 80, 1460)
    head = Ether(src=_PEER_MAC, dst="02:00:00:00:00:01") / IP(src="10.0.0.9", dst="10.0.0.1")
    engine.rx(head / TCP(sport=80, dport=5000, flags="SA", seq=7, ack=syn.seq + 1))
    (event,) = engine.events()
    assert event == Event(
        connection=c,
        opened=True,
        readable=False,
        writable=False,
        eof=False,
        closed=False,
        error=None,
    )


def test_data_is_sent_again_at_doubling_times(engine: Engine) -> None:
    peer, c = _establish(engine, engine.listen(80))
    begin_ns = engine.now_ns
    c.write(b"lost")
    sent = engine.advance(begin_ns + 4 * _S)
    assert {peer.read(frame) for _, frame in sent} == {("PA", 1, 1, b"lost")}
    waits = [round((b.at_ns - a.at_ns) / _MS, -1) for a, b in pairwise(sent)]
    assert sent[0].at_ns == begin_ns
    assert waits == [200, 400, 800, 1600]
    assert c.info().retransmits == 4
    assert engine.now_ns == begin_ns + 4 * _S


def test_what_is_late_leaves_at_the_deadline_and_not_before(engine: Engine) -> None:
    assert engine.deadline_ns is None
    peer, _ = _establish(engine, engine.listen(80))
    peer.send("PA", 1, 1, b"x")  # the ACK is delayed
    deadline_ns = engine.deadline_ns
    assert deadline_ns is not None
    assert engine.tx(deadline_ns - 1) == []
    sent = engine.advance(deadline_ns + 50 * _MS)
    assert [peer.read(s.frame) for s in sent] == [("A", 1, 2, b"")]
    assert all(isinstance(s, Sent) for s in sent)


def test_without_told_neighbours_the_engine_asks_and_answers() -> None:
    with Engine() as engine:
        engine.connect("10.0.0.9", 80)
        (frame,) = engine.tx()
        assert Ether(frame)[ARP].pdst == "10.0.0.9"
        engine.set_neighbour("10.0.0.9", _PEER_MAC)
        (frame,) = engine.tx()
        assert (Ether(frame).dst, str(Ether(frame)[TCP].flags)) == (_PEER_MAC, "S")
        arp = ARP(op=1, hwsrc=_PEER_MAC, psrc="10.0.0.9", pdst="10.0.0.1")
        engine.rx(Ether(src=_PEER_MAC, dst="ff:ff:ff:ff:ff:ff") / arp)
        assert Ether(engine.tx()[0])[ARP].hwsrc == "02:00:00:00:00:01"


def _syn_of(seed: int | bytes, start_ns: int = _S) -> Packet:
    told = {"10.0.0.9": _PEER_MAC}
    with Engine(seed=seed, start_ns=start_ns, neighbours=told) as engine:
        engine.connect("10.0.0.9", 80, local_port=5000)
        tcp: Packet = Ether(engine.tx()[0])[TCP]
        return tcp


def test_a_seed_chooses_isn_and_timestamps_and_repeats_a_run() -> None:
    syn = _syn_of(1)
    assert bytes(syn) == bytes(_syn_of(1))
    stamps = [dict(s.options)["Timestamp"][0] for s in (syn, _syn_of(2))]
    assert syn.seq != _syn_of(2).seq
    assert stamps[0] != stamps[1]
    later = _syn_of(1, _S + (4096 << 4))
    assert (later.seq - syn.seq) % 2**32 == 16
    assert _syn_of(bytes(32)).seq != _syn_of(b"\1" + bytes(31)).seq


def _pump(pair: EnginePair, a: Connection, b: Connection, data: bytes) -> bytes:
    """Write ``data`` to ``a``, read it from ``b``."""
    got, sent = bytearray(), 0
    for _ in range(20_000):
        if sent < len(data) and (room := a.info().writable_bytes):
            sent += a.write(data[sent : sent + room])
        pair.step()
        if readable := b.info().readable_bytes:
            got += b.read(readable)
        if len(got) == len(data):
            return bytes(got)
    raise AssertionError(f"only {len(got)} bytes of {len(data)} arrived")


@pytest.mark.parametrize("addrs", [ADDR4, ADDR6])
@pytest.mark.parametrize("seed", range(3))
def test_two_engines_lose_nothing_over_a_bad_wire(addrs: tuple[str, str], seed: int) -> None:
    chance = random.Random(seed)

    def fate() -> tuple[int, ...]:
        if chance.random() < 0.1:
            return ()
        copies = 2 if chance.random() < 0.05 else 1
        return tuple(chance.randrange(10 * _MS) for _ in range(copies))

    pair = EnginePair(fate)
    listener = pair.engines[1].listen(80)
    a = pair.engines[0].connect(addrs[1], 80)
    b = None
    while b is None:
        assert pair.step()
        b = listener.accept()
    data = chance.randbytes(300_000)
    assert _pump(pair, a, b, data) == data
    assert _pump(pair, b, a, data[:5000]) == data[:5000]
    assert a.info().retransmits > 0
    a.close()
    b.close()
    while pair.step():
        pass
    for engine in pair.engines:
        counters = engine.counters()
        assert (counters["conns"], counters["chunks"]) == (0, 0)
    pair.close()


def test_a_full_send_buffer_is_told_and_so_is_room(engine: Engine) -> None:
    peer, c = _establish(engine, engine.listen(80))
    data = bytes(300_000)
    assert c.write(data) == 256 * 1024
    with pytest.raises(errors.WouldBlockError):
        c.write(b"x")
    engine.events()
    acked = 1
    while c.info().unacked_bytes > 0:
        frames = engine.tx() or [s.frame for s in engine.advance(engine.now_ns + _S)]
        acked = max(acked, *(seq + len(payload) for _, seq, _, payload in map(peer.read, frames)))
        peer.send("A", 1, acked, window=65535)
    (event,) = engine.events()
    assert (event.connection, event.writable, event.readable) == (c, True, False)


def test_buffers_grow_within_what_their_class_has() -> None:
    told = {"10.0.0.9": _PEER_MAC}
    small: EngineOptions = {"rcvbuf_initial_bytes": 4096, "sndbuf_initial_bytes": 4096}
    for budget, grown in ((1 << 20, 8192), (0, 4096)):
        options: EngineOptions = {**small, "growth_bytes": [budget] * 8}
        with Engine(neighbours=told, **options) as engine:
            peer, c = _establish(engine, engine.listen(80))
            assert (c.info().rcvbuf_bytes, c.info().sndbuf_bytes) == (4096, 4096)
            assert c.write(bytes(5000)) == 4096
            engine.advance(engine.now_ns + _MS)
            peer.send("A", 1, 1001, window=65535)  # cwnd is 10 segments
            assert c.info().sndbuf_bytes == grown
            assert c.info().rcvbuf_bytes == 4096
            assert (engine.counters()["buffers_not_grown"] > 0) is (budget == 0)


# ---- errors ----


def test_a_reset_is_raised_by_reading_and_writing_and_then_the_handle_is_stale(
    engine: Engine,
) -> None:
    peer, c = _establish(engine, engine.listen(80))
    peer.send("R", 1)
    for call in (c.read, lambda: c.write(b"x"), c.read):
        with pytest.raises(errors.PeerResetError, match=r"10\.0\.0\.9:40000: the peer reset"):
            call()
    with pytest.raises(errors.StaleHandleError, match="is gone, the peer reset"):
        c.info()
    assert isinstance(c.error, ConnectionResetError)
    (event,) = [e for e in engine.events() if e.closed]
    assert isinstance(event.error, errors.PeerResetError)


@pytest.mark.parametrize("give_up", [Connection.close, Connection.abort])
def test_a_connection_that_was_given_up_is_stale(
    engine: Engine, give_up: Callable[[Connection], None]
) -> None:
    _, c = _establish(engine, engine.listen(80))
    give_up(c)
    give_up(c)
    how = "closed" if give_up is Connection.close else "aborted"
    for call in (c.read, c.info, c.shutdown, c.want_write, lambda: c.write(b"x"), lambda: c.state):
        with pytest.raises(errors.StaleHandleError, match=f"is gone, {how} by this side"):
            call()
    flags = [str(Ether(frame)[TCP].flags) for frame in engine.tx()]
    assert flags == (["FPA"] if how == "closed" else ["RA"])


def test_a_handle_never_means_a_later_connection(engine: Engine) -> None:
    listener = engine.listen(80)
    peer, first = _establish(engine, listener)
    first.abort()
    peer.send("S", 0)
    engine.tx()
    with pytest.raises(errors.StaleHandleError):
        first.info()


def test_nothing_is_written_after_shutdown(engine: Engine) -> None:
    _, c = _establish(engine, engine.listen(80))
    c.shutdown()
    with pytest.raises(errors.ClosedError):
        c.write(b"x")


def test_a_refused_open_says_so(engine: Engine) -> None:
    c = engine.connect("10.0.0.9", 80, local_port=5000)
    syn = Ether(engine.tx()[0])[TCP]
    head = Ether(src=_PEER_MAC, dst="02:00:00:00:00:01") / IP(src="10.0.0.9", dst="10.0.0.1")
    engine.rx(head / TCP(sport=80, dport=5000, flags="RA", ack=syn.seq + 1))
    with pytest.raises(errors.PeerRefusedError):
        c.read()


def test_a_closed_listener_answers_with_a_reset_and_its_connections_live(engine: Engine) -> None:
    listener = engine.listen(80)
    peer = _Peer(engine)
    peer.send("S", 0)
    peer.expect(("SA", 0, 1, b""))
    peer.send("A", 1, 1)
    listener.close()
    listener.close()
    c = listener.accept()
    assert c is not None
    assert c.write(b"x") == 1
    with pytest.raises(errors.StaleHandleError, match="port 80"):
        listener.accept()
    other = _Peer(engine, port=40001)
    other.send("S", 0)
    assert [str(Ether(f)[TCP].flags) for f in engine.tx()] == ["RA", "PA"]
    assert engine.counters()["drop_no_listener"] == 1


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda e: e.tx(e.now_ns - 1), errors.ConfigError),
        (lambda e: e.advance(1.5), errors.ConfigError),
        (lambda e: e.rx(b"", 2**63), errors.ConfigError),
        (lambda e: e.listen(0), errors.ConfigError),
        (lambda e: e.listen(65536), errors.ConfigError),
        (lambda e: e.listen(80, options=ConnectionOptions(cc="vegas")), errors.ConfigError),
        (lambda e: e.listen(80, addr="10.0.0.7"), errors.AddressNotAvailableError),
        (lambda e: [e.listen(80), e.listen(80)], errors.PortTakenError),
        (lambda e: e.connect("nobody", 80), errors.ConfigError),
        (lambda e: e.connect("10.0.0.9", 80, local_addr="10.0.0.7"), errors.QStackError),
        (lambda e: e.set_neighbour("10.0.0.9", "02:00"), errors.ConfigError),
        (lambda e: e.add_address("10.0.0.7"), errors.ConfigError),
        (lambda e: e.add_address("10.0.0.7/33"), errors.ConfigError),
        (lambda e: e.rx(7), AttributeError),
    ],
)
def test_what_is_out_of_range_is_refused(
    engine: Engine, call: Callable[[Engine], object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        call(engine)


def test_options_are_refused_by_name_and_by_value() -> None:
    wrong_sizes = ({"rcvbuf_initial_bytes": 1 << 19}, {"sndbuf_initial_bytes": 1000})
    wrong_growth = ({"growth_bytes": [1] * 9}, {"growth_bytes": 1})
    wrong = ({"rto_min_ns": 0}, {"conns_max": -1}, {"mtu": 100}, {"seed": b"short"})
    for options in (*wrong, *wrong_sizes, *wrong_growth):
        with pytest.raises(errors.ConfigError):
            Engine(**options)
    with pytest.raises(TypeError, match="'rto_ns'"):
        Engine(rto_ns=1)  # type: ignore[call-arg]


def test_options_reach_the_engine() -> None:
    told = {"10.0.0.9": _PEER_MAC}
    with Engine(neighbours=told, rto_initial_ns=3 * _S, syn_retries_max=1) as engine:
        c = engine.connect("10.0.0.9", 80)
        begin_ns = engine.now_ns
        sent = engine.advance(begin_ns + 30 * _S)
        assert [round((s.at_ns - begin_ns) / _S, 1) for s in sent] == [0, 3]
        with pytest.raises(errors.PeerTimeoutError):
            c.read()


def test_bad_frames_are_counted_and_never_written(engine: Engine) -> None:
    frame = bytearray(bytes(_Peer(engine).frame("S", 0)))
    frame[-1] ^= 1
    before = bytes(frame)
    engine.rx(frame)
    engine.rx(memoryview(frame)[:20])
    engine.rx(b"")
    assert bytes(frame) == before
    counters = engine.counters()
    assert (counters["drop_checksum"], counters["drop_truncated"]) == (1, 2)
    assert (counters["rx_frames"], engine.tx()) == (3, [])


def test_a_closed_engine_says_so(engine: Engine) -> None:
    _, c = _establish(engine, engine.listen(80))
    engine.close()
    engine.close()
    for call in (engine.tx, engine.events, c.read, c.info, lambda: engine.deadline_ns):
        with pytest.raises(errors.WrongStateError, match="engine is closed"):
            call()

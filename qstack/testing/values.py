# SPDX-License-Identifier: Apache-2.0
"""What goes into an engine in virtual time and comes out of it, and addresses as C has them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from qstack._native import CData, ffi, lib
from qstack.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qstack.errors import QStackError

    from .connection import Connection

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.ASCII | re.IGNORECASE)


class TcpState(IntEnum):
    """States of RFC 9293 section 3.3.2."""

    CLOSED = lib.QS_TCP_CLOSED
    LISTEN = lib.QS_TCP_LISTEN
    SYN_SENT = lib.QS_TCP_SYN_SENT
    SYN_RECEIVED = lib.QS_TCP_SYN_RECEIVED
    ESTABLISHED = lib.QS_TCP_ESTABLISHED
    FIN_WAIT_1 = lib.QS_TCP_FIN_WAIT_1
    FIN_WAIT_2 = lib.QS_TCP_FIN_WAIT_2
    CLOSE_WAIT = lib.QS_TCP_CLOSE_WAIT
    CLOSING = lib.QS_TCP_CLOSING
    LAST_ACK = lib.QS_TCP_LAST_ACK
    TIME_WAIT = lib.QS_TCP_TIME_WAIT


class EngineOptions(TypedDict, total=False):
    """Settings of an engine by the names of ``qs_engine_opts``; durations are nanoseconds.

    Those left out are the library's defaults, except ``conns_max`` (64) and ``chunks_max`` (1,024),
    which are small so that engines can be made by the thousand.
    """

    conns_max: int
    chunks_max: int
    rcvbuf_bytes: int
    sndbuf_bytes: int
    rcvbuf_initial_bytes: int
    sndbuf_initial_bytes: int
    growth_bytes: Sequence[int]
    rto_initial_ns: int
    rto_min_ns: int
    rto_max_ns: int
    delayed_ack_ns: int
    time_wait_ns: int
    fin_wait_2_ns: int
    user_timeout_ns: int
    syn_retries_max: int


class Sent(NamedTuple):
    """A frame and the time at which it left."""

    at_ns: int
    frame: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What happened to a connection since its last event.

    Attributes:
        connection: The connection.
        opened: It is established.
        readable: Bytes arrived.
        writable: There is room again after a write that was cut short, or `want_write`.
        eof: The peer has sent its last byte.
        closed: The connection is gone; this is its last event.
        error: With ``closed``: why, or None when it ended in order.
    """

    connection: Connection
    opened: bool
    readable: bool
    writable: bool
    eof: bool
    closed: bool
    error: QStackError | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionInfo:
    """A connection in figures.

    Attributes:
        local: Address and port of this end.
        remote: Address and port of the peer.
        state: Its state.
        priority: Its class, 0 to 7.
        readable_bytes: Received in order and not read.
        writable_bytes: What a write would take.
        unacked_bytes: Written and not acknowledged.
        rcvbuf_bytes: Size of the receive buffer now.
        sndbuf_bytes: Size of the send buffer now.
        mss_octets: Payload of the largest segment to the peer.
        cwnd_octets: Congestion window.
        ssthresh_octets: Slow start threshold.
        srtt_ns: Smoothed round-trip time, RFC 6298; 0 before the first sample.
        rttvar_ns: Its variation.
        rto_ns: Retransmission timeout.
        retransmits: Segments sent again.
        congestion: Congestion control, "cubic" or "newreno".
    """

    local: tuple[str, int]
    remote: tuple[str, int]
    state: TcpState
    priority: int
    readable_bytes: int
    writable_bytes: int
    unacked_bytes: int
    rcvbuf_bytes: int
    sndbuf_bytes: int
    mss_octets: int
    cwnd_octets: int
    ssthresh_octets: int
    srtt_ns: int
    rttvar_ns: int
    rto_ns: int
    retransmits: int
    congestion: str


def c_address(text: str) -> CData:
    """Return ``qs_addr*`` of an address such as "10.0.0.1" or "fd00::1".

    Raises:
        ConfigError: It is none.
    """
    try:
        ip = ipaddress.ip_address(text)
    except ValueError as e:
        raise ConfigError(f"address {text!r}: {e}") from None
    packed = ip.packed if ip.version == 6 else bytes(10) + b"\xff\xff" + ip.packed
    return ffi.new("qs_addr *", {"b": packed})


def c_interface(text: str) -> tuple[CData, int]:
    """Return ``qs_addr*`` and prefix length of an address such as "10.0.0.1/24".

    Raises:
        ConfigError: It is none, or has no prefix length.
    """
    address, slash, length = text.partition("/")
    if not (slash and length.isdecimal()):
        raise ConfigError(f"address {text!r} lacks the length of its prefix, as in {address}/24")
    return c_address(address), int(length)


def mac_bytes(text: str) -> bytes:
    """Return the six bytes of an Ethernet address such as "02:00:00:00:00:01".

    Raises:
        ConfigError: It is none.
    """
    if not _MAC.fullmatch(text):
        raise ConfigError(f"Ethernet address {text!r}: write it like 02:00:00:00:00:01")
    return bytes.fromhex(text.replace(":", ""))


def c_set(struct: CData, name: str, value: object) -> None:
    """Set one number or several in a structure; durations end in ``_ns``, structures in C.

    Raises:
        ConfigError: The type of the field does not hold it.
    """
    try:
        if name.endswith("_ns"):
            getattr(struct, name.removesuffix("_ns")).ns = value
        else:
            setattr(struct, name, value)
    except (OverflowError, TypeError, IndexError) as e:
        raise ConfigError(f"{name} {value!r}: {e}") from None


@dataclass(frozen=True, kw_only=True)
class ConnectionOptions:
    """Options of a connection, as ``struct qs_conn_opts`` of ``qs_conn.h`` has and documents them.

    Attributes:
        keepalive: Probe a peer that is silent.
        keepalive_idle_ns: Silence before the first probe.
        keepalive_interval_ns: From one probe to the next.
        keepalive_count: Unanswered probes that end the connection.
        user_timeout_ns: Octets unacknowledged for so long end it; 0: the engine's.
        nagle: Nagle's algorithm.
        pacing: Octets leave over the round trip.
        pacing_rate_max: Octets of payload a second, with pacing; 0: no ceiling.
        rcvbuf_bytes: Size of the receive buffer, which does not grow then; 0: the engine's.
        sndbuf_bytes: Of the send buffer, likewise.
        mss_max: Largest MSS announced and used; 0: what the MTU allows.
        cc: Congestion control: "cubic", "newreno" or "dctcp".
    """

    keepalive: bool = False
    keepalive_idle_ns: int = 7200 * 10**9
    keepalive_interval_ns: int = 75 * 10**9
    keepalive_count: int = 9
    user_timeout_ns: int = 0
    nagle: bool = False
    pacing: bool = False
    pacing_rate_max: int = 0
    rcvbuf_bytes: int = 0
    sndbuf_bytes: int = 0
    mss_max: int = 0
    cc: str = "cubic"

    def fill(self, raw: CData) -> CData:
        """Write them into a ``struct qs_conn_opts``.

        Returns:
            What must live until the structure was used.

        Raises:
            ConfigError: A number is not of the field's type; the engine checks ranges.
        """
        for name in ("keepalive", "keepalive_idle_ns", "keepalive_interval_ns", "keepalive_count"):
            c_set(raw, name, getattr(self, name))
        for name in ("user_timeout_ns", "nagle", "pacing", "pacing_rate_max"):
            c_set(raw, name, getattr(self, name))
        for name in ("rcvbuf_bytes", "sndbuf_bytes", "mss_max"):
            c_set(raw, name, getattr(self, name))
        cc = ffi.new("char[]", self.cc.encode())
        raw.cc = cc
        return cc


def options_of(raw: CData) -> ConnectionOptions:
    """Return what a ``struct qs_conn_opts`` says."""
    return ConnectionOptions(
        keepalive=raw.keepalive,
        keepalive_idle_ns=raw.keepalive_idle.ns,
        keepalive_interval_ns=raw.keepalive_interval.ns,
        keepalive_count=raw.keepalive_count,
        user_timeout_ns=raw.user_timeout.ns,
        nagle=raw.nagle,
        pacing=raw.pacing,
        pacing_rate_max=raw.pacing_rate_max,
        rcvbuf_bytes=raw.rcvbuf_bytes,
        sndbuf_bytes=raw.sndbuf_bytes,
        mss_max=raw.mss_max,
        cc=ffi.string(raw.cc).decode("ascii"),
    )


def _endpoint(address: CData, port: int) -> tuple[str, int]:
    ip = ipaddress.IPv6Address(bytes(ffi.buffer(address.b)))
    return str(ip.ipv4_mapped or ip), port


def info_of(raw: CData) -> ConnectionInfo:
    """Return the figures of a ``struct qs_conn_info``."""
    return ConnectionInfo(
        local=_endpoint(raw.local, raw.local_port),
        remote=_endpoint(raw.remote, raw.remote_port),
        state=TcpState(raw.state),
        priority=raw.prio,
        readable_bytes=raw.readable_bytes,
        writable_bytes=raw.writable_bytes,
        unacked_bytes=raw.unacked_bytes,
        rcvbuf_bytes=raw.rcvbuf_bytes,
        sndbuf_bytes=raw.sndbuf_bytes,
        mss_octets=raw.mss_octets,
        cwnd_octets=raw.cwnd_octets,
        ssthresh_octets=raw.ssthresh_octets,
        srtt_ns=raw.srtt.ns,
        rttvar_ns=raw.rttvar.ns,
        rto_ns=raw.rto.ns,
        retransmits=raw.retransmits,
        congestion=ffi.string(raw.cc).decode("ascii"),
    )

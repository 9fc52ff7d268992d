# SPDX-License-Identifier: Apache-2.0
"""Where the model sends packets: published hashes, rules, contexts, frames."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nicprog import sim
from nicprog.drivers import MICROSOFT_KEY
from nicprog.ethtool import Ethtool, FlowType, HashField, InputTransform, RxMatch, RxRule
from nicprog.ethtool.rules import RxAction
from nicprog.model import Masked
from nicprog.packet import Packet, hash_input, toeplitz
from nicprog.sim.nic import ADDRESSES, PORTS
from nicprog.sim.transport import SimTransport

# Source, its port, destination, its port; hash of addresses, and with ports: Microsoft's suite for
# RSS. Then by the formulas of the kernel's scaling.rst: symmetric XOR, symmetric OR-XOR.
VECTORS = [
    ("66.9.149.187", 2794, "161.142.100.80", 1766, 0x323E8FC2, 0x51CCC178, 0xAC2B58CA, 0xA65524FA),
    ("199.92.111.2", 14230, "65.69.140.83", 4739, 0xD718262A, 0xC626B0EA, 0x231AC402, 0x69D9C235),
    ("24.19.198.95", 12898, "12.22.207.184", 38024, 0xD2D0A5DE, 0x5C2B394A, 0xF4298103, 0x886967E2),
    ("38.27.205.30", 48228, "209.142.163.6", 2217, 0x82989176, 0xAFC7327F, 0x4E18FF80, 0x021058ED),
    (
        "153.39.163.191",
        44251,
        "202.188.127.2",
        1303,
        0x5D1809C5,
        0x10E828A2,
        0x053876B1,
        0xD9FE70E3,
    ),
    (
        "3ffe:2501:200:1fff::7",
        2794,
        "3ffe:2501:200:3::1",
        1766,
        0x2CC18CD5,
        0x40207D3D,
        0x5AE081F3,
        0xAEA5D07D,
    ),
    (
        "3ffe:501:8::260:97ff:fe40:efab",
        14230,
        "ff02::1",
        4739,
        0x0F0C461C,
        0xDDE51BBF,
        0x3D12F676,
        0xB7EA4926,
    ),
    (
        "3ffe:1900:4545:3:200:f8ff:fe21:67cf",
        44251,
        "fe80::200:f8ff:fe21:67cf",
        38024,
        0x4B61E985,
        0x02D1FEEF,
        0xD36F3942,
        0x79207404,
    ),
]
WORDS = st.binary(min_size=36, max_size=36)


@pytest.mark.parametrize("vector", VECTORS)
def test_hashes_are_the_published_ones(
    vector: tuple[str, int, str, int, int, int, int, int],
) -> None:
    src, src_port, dst, dst_port, of_addresses, of_all, by_xor, by_or_xor = vector
    packet = Packet.of(src, dst, src_port, dst_port)
    for fields, transform, expected in (
        (ADDRESSES, InputTransform(0), of_addresses),
        (ADDRESSES | PORTS, InputTransform(0), of_all),
        (ADDRESSES | PORTS, InputTransform.SYMMETRIC_XOR, by_xor),
        (ADDRESSES | PORTS, InputTransform.SYMMETRIC_OR_XOR, by_or_xor),
    ):
        data = hash_input(packet, fields, transform)
        assert f"{toeplitz(MICROSOFT_KEY, data):08x}" == f"{expected:08x}"


@given(WORDS, WORDS)
def test_the_hash_is_linear(one: bytes, other: bytes) -> None:
    both = bytes(a ^ b for a, b in zip(one, other, strict=True))
    hashes = [toeplitz(MICROSOFT_KEY, data) for data in (one, other, both)]
    assert hashes[0] ^ hashes[1] == hashes[2]


def test_the_table_has_the_last_word() -> None:
    nic = sim.SimNic("ice")
    packet = Packet.of("66.9.149.187", "161.142.100.80", 2794, 1766)
    with Ethtool("sim", SimTransport(nic)) as calls:
        calls.set_rss(key=MICROSOFT_KEY + bytes(12))
        entry = 0x51CCC178 % 2048
        calls.set_rss(table=[7 if i == entry else 0 for i in range(2048)])
        assert sim.deliver(nic, packet) == 7
        calls.set_hash_fields(FlowType.TCP4, HashField.SRC | HashField.DST)
        assert sim.deliver(nic, packet) == 0


def test_the_lowest_location_wins_and_contexts_spread() -> None:
    nic = sim.SimNic("mlx5")
    with Ethtool("sim", SimTransport(nic)) as calls:
        context = calls.new_rss_context([6, 7] * 128)
        port = RxMatch(dst_port=Masked(value=80, mask=0xFFFF))
        narrow = RxMatch(
            dst_port=port.dst_port, src=Masked(value=int(ip_address("10.0.0.9")), mask=0xFFFFFFFF)
        )
        calls.insert_rule(RxRule(flow=FlowType.TCP4, match=port, location=5, context=context))
        calls.insert_rule(
            RxRule(flow=FlowType.TCP4, match=narrow, location=2, action=RxAction.DROP)
        )
    packets = [Packet.of(f"10.0.0.{i}", "10.1.0.1", 5000 + i, 80) for i in range(32)]
    queues = {sim.deliver(nic, packet) for packet in packets}
    assert queues == {6, 7, None}
    assert sim.deliver(nic, packets[9]) is None


@pytest.mark.parametrize("tag", [None, 0x2005])
@pytest.mark.parametrize("version", [4, 6])
def test_frames_are_read(version: int, tag: int | None) -> None:
    ports, tos = struct.pack(">HH", 1234, 443), 0xB8
    if version == 4:
        src, dst, kind = ip_address("10.0.0.1"), ip_address("10.0.0.2"), 0x0800
        head = (
            bytes([0x46, tos])
            + bytes(6)
            + bytes([64, 6, 0, 0])
            + src.packed
            + dst.packed
            + bytes(4)
        )
    else:
        src, dst, kind = ip_address("2001:db8::1"), ip_address("2001:db8::2"), 0x86DD
        head = struct.pack(">IHBB", 6 << 28 | tos << 20, 4, 6, 64) + src.packed + dst.packed
    tagged = b"" if tag is None else struct.pack(">HH", 0x8100, tag)
    frame = bytes(range(12)) + tagged + kind.to_bytes(2, "big") + head + ports
    packet = Packet.parse(frame)
    assert (packet.version, packet.protocol, packet.tos, packet.vlan_tci) == (version, 6, tos, tag)
    assert (packet.src, packet.dst) == (int(src), int(dst))
    assert (packet.l4 >> 16, packet.l4 & 0xFFFF) == (1234, 443)
    assert (packet.dst_mac, packet.octets) == (0x000102030405, len(frame))


def test_fragments_have_no_ports() -> None:
    head = bytes([0x45]) + bytes(5) + b"\x20\x00" + bytes([64, 6, 0, 0]) + bytes(8)
    assert Packet.parse(bytes(12) + b"\x08\x00" + head + b"\1\2\3\4").l4 == 0


@given(st.binary(min_size=14, max_size=80))
def test_any_frame_goes_somewhere(frame: bytes) -> None:
    nic = sim.SimNic("ice")
    queue = sim.deliver(nic, frame)
    assert queue is not None
    assert 0 <= queue < 8

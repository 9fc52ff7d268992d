# SPDX-License-Identifier: Apache-2.0
"""One hash in C, in the BPF program, in nicprog and in the simulator's loads: all say the same.

The BPF program shows of a hash the bits that choose the table's entry.
"""

from __future__ import annotations

import struct
import subprocess
from ipaddress import ip_address
from typing import TYPE_CHECKING

import numpy as np
import pytest

from nicprog.drivers import MICROSOFT_KEY
from nicprog.ethtool import HashField, InputTransform
from nicprog.packet import Packet, hash_input, toeplitz
from qstack.loads.steering import hashes
from tests.netns.driver_rig import program

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEED = 20261128
PACKETS = 1_000_000
BLOCK = 10_000
LOW = 0xFF
FIELDS = HashField.SRC | HashField.DST | HashField.SRC_PORT | HashField.DST_PORT
PACKET = np.dtype([("family", "u1"), ("src", "u1", 16), ("dst", "u1", 16), ("ports", "u1", 4)])
VERDICT = np.dtype([("hash", "u4"), ("low", "u4")])
MAPPED = np.array([0] * 10 + [0xFF] * 2, np.uint8)  # how an IPv4 address stands in 16 octets

# Microsoft's verification suite: source, destination, ports, hash with ports.
PUBLISHED = [
    ("66.9.149.187", "161.142.100.80", 2794, 1766, 0x51CCC178),
    ("199.92.111.2", "65.69.140.83", 14230, 4739, 0xC626B0EA),
    ("24.19.198.95", "12.22.207.184", 12898, 38024, 0x5C2B394A),
    ("38.27.205.30", "209.142.163.6", 48228, 2217, 0xAFC7327F),
    ("153.39.163.191", "202.188.127.2", 44251, 1303, 0x10E828A2),
    ("3ffe:2501:200:1fff::7", "3ffe:2501:200:3::1", 2794, 1766, 0x40207D3D),
    ("3ffe:501:8::260:97ff:fe40:efab", "ff02::1", 14230, 4739, 0xDDE51BBF),
    ("3ffe:1900:4545:3:200:f8ff:fe21:67cf", "fe80::200:f8ff:fe21:67cf", 44251, 38024, 0x02D1FEEF),
]


def by_c_and_bpf(blocks: list[tuple[bytes, NDArray[np.void]]]) -> NDArray[np.void]:
    """VERDICT[n] of the packets of all blocks, each with its key."""
    told = b"".join(
        key + struct.pack("=I", len(packets)) + packets.tobytes() for key, packets in blocks
    )
    done = subprocess.run([program("tests/toeplitz_tool")], input=told, capture_output=True)
    if done.returncode == 77:
        pytest.skip(done.stderr.decode())
    assert done.returncode == 0, done.stderr.decode()
    return np.frombuffer(done.stdout, VERDICT)


def by_python(key: bytes, packets: NDArray[np.void]) -> list[int]:
    """By the function that `nicprog where` uses."""
    inputs = np.hstack([packets["src"], packets["dst"], packets["ports"]])
    if packets["family"][0] == 4:
        inputs = of_ip4(packets)
    return [toeplitz(key, row.tobytes()) for row in inputs]


def of_ip4(packets: NDArray[np.void]) -> NDArray[np.uint8]:
    """uint8[n, 12]: what is hashed of IPv4."""
    return np.hstack([packets["src"][:, 12:], packets["dst"][:, 12:], packets["ports"]])


def drawn(random: np.random.Generator, family: int) -> NDArray[np.void]:
    """PACKET[BLOCK] of one IP version."""
    packets = np.zeros(BLOCK, PACKET)
    packets["family"] = family
    for name in ("src", "dst", "ports"):
        packets[name] = random.integers(0, 256, packets[name].shape, np.uint8)
    if family == 4:
        packets["src"][:, :12] = packets["dst"][:, :12] = MAPPED
    return packets


def test_the_published_vectors() -> None:
    packets = np.zeros(len(PUBLISHED), PACKET)
    expected = np.array([row[4] for row in PUBLISHED], np.uint32)
    for packet, (src, dst, sport, dport, expect) in zip(packets, PUBLISHED, strict=True):
        ends = [ip_address(text).packed for text in (src, dst)]
        packet["family"] = 4 if len(ends[0]) == 4 else 6
        full = [end if len(end) == 16 else MAPPED.tobytes() + end for end in ends]
        packet["src"], packet["dst"] = (np.frombuffer(end, np.uint8) for end in full)
        packet["ports"] = np.frombuffer(struct.pack(">HH", sport, dport), np.uint8)
        seen = Packet.of(src, dst, sport, dport)
        assert toeplitz(MICROSOFT_KEY, hash_input(seen, FIELDS, InputTransform(0))) == expect
    told = by_c_and_bpf([(MICROSOFT_KEY, packets)])
    assert (told["hash"] == expected).all()
    assert (told["low"] == (expected & LOW)).all()
    is_ip4 = packets["family"] == 4
    assert (hashes(of_ip4(packets[is_ip4])) == expected[is_ip4]).all()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_million_random_packets() -> None:
    """Of twenty blocks two are of IPv6; every other one has a key of its own."""
    random = np.random.default_rng(SEED)
    blocks = []
    for number in range(PACKETS // BLOCK):
        key = random.bytes(len(MICROSOFT_KEY)) if number % 2 else MICROSOFT_KEY
        blocks.append((key, drawn(random, 6 if number % 20 in (14, 19) else 4)))
    verdicts = by_c_and_bpf(blocks).reshape(len(blocks), BLOCK)
    assert verdicts.size == PACKETS
    for (key, packets), told in zip(blocks, verdicts, strict=True):
        expected = np.array(by_python(key, packets), np.uint32)
        assert (told["hash"] == expected).all()
        assert (told["low"] == (expected & LOW)).all()
        if key == MICROSOFT_KEY and packets["family"][0] == 4:
            assert (hashes(of_ip4(packets)) == expected).all()

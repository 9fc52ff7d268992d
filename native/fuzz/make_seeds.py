# SPDX-License-Identifier: Apache-2.0
"""Writes the first inputs of the fuzz targets: `python3 make_seeds.py corpus`.

Each is a short story in the operations of fuzz_rx.c or the lists of fuzz_options.c; libFuzzer
takes it from there. Files that it found have names of their own and are left alone.
"""

import sys
from pathlib import Path

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
SEQ, ACKN, WINDOW, OPTIONS, FAR, PAYLOAD, KEEP, DAMAGE = (1 << i for i in range(8))
OPS = [
    "segment",
    "time",
    "tx",
    "events",
    "open",
    "listener",
    "raw",
    "ip",
    "extension",
    "arp",
    "nd",
    "icmp",
    "neighbour",
    "again",
    "write",
    "read",
    "peek",
    "shutdown",
    "close",
    "abort",
    "user",
    "deadline",
    "opts",
    "tcp_info",
]
LATER = 0x80


def op(name: str, *fields: int | bytes, later: bool = False) -> bytes:
    """One operation; numbers are single bytes."""
    body = b"".join(f if isinstance(f, bytes) else bytes([f]) for f in fields)
    return bytes([OPS.index(name) | (LATER if later else 0)]) + body


def w(value: int) -> bytes:
    """Two bytes."""
    return (value & 0xFFFF).to_bytes(2, "big")


def seg(peer: int, flags: int, how: int = 0, *fields: int | bytes, later: bool = False) -> bytes:
    """A segment of a peer."""
    return op("segment", peer, flags, how, *fields, later=later)


def choice(mtu: int = 0, offloads: int = 0, told: int = 0, tight: int = 0, peer: int = 0) -> bytes:
    """The first two bytes: an engine, and a peer that is connected."""
    return bytes([mtu + 5 * (offloads + 3 * (told + 2 * tight)), 1 + 2 * peer])


def rx_seeds() -> dict[str, bytes]:
    """Stories for the whole engine."""
    c = choice()
    request = seg(0, ACK | PSH, PAYLOAD, w(64))
    reply = op("read", 0, w(64)) + op("write", 0, w(64))
    seeds = {
        "request": c
        + request
        + reply
        + seg(0, ACK)
        + seg(0, FIN | ACK)
        + op("close", 0)
        + seg(0, ACK),
        "request6": choice(peer=1) + seg(1, ACK | PSH, PAYLOAD, w(64)) + reply + seg(1, ACK),
        "handshake": b"\0\0"
        + seg(2, SYN)
        + seg(2, ACK)
        + seg(2, ACK, PAYLOAD, w(9))
        + op("read", 0, w(9)),
        "cookie": b"\0\0"
        + seg(0, SYN)
        + seg(2, SYN)
        + seg(2, ACK, ACKN, w(1))
        + seg(2, ACK | PSH, PAYLOAD, w(9))
        + op("read", 0, w(9))
        + op("write", 0, w(4000))
        + seg(2, ACK)
        + seg(2, FIN | ACK)
        + op("close", 0),
        "cookie6": b"\0\0"
        + seg(1, SYN)
        + seg(3, SYN, OPTIONS, 4, bytes([2, 4, 5, 180]))
        + op("time", 36)
        + seg(3, FIN | ACK, OPTIONS | PAYLOAD, 0, w(5))
        + op("close", 0),
        "cookie_late": b"\0\0"
        + seg(4, SYN)
        + seg(0, SYN)
        + seg(2, SYN)
        + op("time", 37)
        + seg(2, ACK)
        + seg(0, SYN)
        + seg(2, SYN, KEEP)
        + seg(2, ACK),
        "simultaneous": c + op("open", 0) + op("arp", 2, 6) + seg(6, SYN) + seg(6, ACK),
        "active": c
        + op("open", 0)
        + op("arp", 2, 6)
        + seg(6, SYN | ACK)
        + op("write", 0, w(100))
        + seg(6, ACK)
        + op("shutdown", 0)
        + seg(6, ACK)
        + seg(6, FIN | ACK)
        + op("deadline") * 3,
        "active6": c
        + op("open", 1)
        + op("nd", 7, 1 | 4, 8, bytes([2, 1, 2, 0, 0, 0, 0, 5]))
        + seg(7, SYN | ACK)
        + op("close", 0)
        + seg(7, FIN | ACK),
        "active_plain": c + op("open", 0) + op("arp", 2, 6) + seg(6, SYN | ACK, OPTIONS, 0),
        "refused": c + op("open", 0) + op("arp", 2, 6) + seg(6, RST | ACK),
        "silence": c + op("open", 0) + op("deadline") * 12,
        "reorder": c
        + seg(0, ACK, SEQ | PAYLOAD | KEEP, w(100), w(100))
        + seg(0, ACK, SEQ | PAYLOAD | KEEP, w(50), w(100))
        + seg(0, ACK, PAYLOAD, w(60))
        + op("peek", 0, 4, w(10))
        + op("read", 0, w(500)),
        "rto": c + op("write", 0, w(3000)) + op("deadline") * 5 + seg(0, ACK) + op("deadline") * 3,
        "dupacks": c + op("write", 0, w(20000)) + seg(0, ACK, ACKN, w(-15000)) * 5 + seg(0, ACK),
        "zero_window": c
        + seg(0, ACK, WINDOW, w(0))
        + op("write", 0, w(5000))
        + op("deadline") * 6
        + seg(0, ACK, WINDOW, w(2))
        + op("deadline") * 3
        + seg(0, ACK),
        "closed_window": choice(tight=1)
        + seg(0, ACK, PAYLOAD, w(4000))
        + seg(0, ACK, PAYLOAD, w(4000))
        + op("read", 0, w(4000))
        + op("time", 33),
        "half_close": c
        + seg(0, FIN | ACK)
        + op("write", 0, w(700))
        + seg(0, ACK)
        + op("shutdown", 0)
        + seg(0, ACK),
        "fin_ahead": c
        + seg(0, FIN | ACK, SEQ | KEEP, w(10))
        + seg(0, ACK, PAYLOAD, w(10))
        + op("deadline"),
        "time_wait": c
        + op("close", 0)
        + seg(0, ACK)
        + seg(0, FIN | ACK)
        + op("again", 0, b"\0\1\0\0")
        + seg(0, SYN),
        "unread_close": c + request + op("close", 0) + seg(0, ACK),
        "reset": c
        + op("write", 0, w(10))
        + seg(0, RST, SEQ | KEEP, w(5))
        + seg(0, RST)
        + op("read", 0, w(1)),
        "syn_again": c + seg(0, SYN, SEQ | KEEP, w(500)) + seg(0, SYN | ACK, KEEP) + seg(0, ACK),
        "abort": c
        + op("write", 0, w(9000))
        + op("abort", 0)
        + op("write", 0, w(1))
        + op("user", 0),
        "flood": choice(tight=1)
        + b"".join(seg(p, SYN, later=True) for p in range(6))
        + op("tx", 2)
        + op("deadline"),
        "unlisten": c + seg(2, SYN) + op("listener", 0) + seg(2, ACK) + op("listener", 0),
        "gso": choice(offloads=2, mtu=2) + op("write", 0, w(60000)) + seg(0, ACK) * 6,
        "csum": choice(offloads=1)
        + op("write", 0, w(3000))
        + seg(0, ACK)
        + op("icmp", 0, 8, 0, b"\1\2\3\4", w(56), 0),
        "told": choice(told=1)
        + op("open", 0)
        + op("neighbour", 0xC0)
        + seg(6, SYN | ACK)
        + op("neighbour", 16),
        "ping": c
        + op("icmp", 0, 8, 0, b"\0\1\0\2", w(56), 0)
        + op("icmp", 1, 128, 0, b"\0\1\0\2", w(56), 0),
        "unreach": c
        + op("write", 0, w(10))
        + op("icmp", 0, 3, 4, b"\0\0\2\0", w(60), 1, 5)
        + op("deadline"),
        "narrow": c
        + op("write", 0, w(3000))
        + op("tx", 4)
        + op("icmp", 0, 3, 4, b"\0\0\5\x14", w(60), 7, 40)
        + op("tx", 4)
        + op("icmp", 0, 3, 4, b"\0\0\0\0", w(60), 7, 20)
        + op("tx", 4),
        "black_hole": c
        + op("write", 0, w(9000))
        + op("tx", 9)
        + (op("deadline") + op("tx", 9)) * 3
        + seg(0, ACK)
        + op("write", 0, w(9000))
        + (op("tx", 9) + seg(0, ACK)) * 3,
        "arp": c
        + op("arp", 1 | 32, 0)
        + op("arp", 2 | 16, 0, 9)
        + op("arp", 1 | 4, 0, 1)
        + op("arp", 1 | 128, 0, 5),
        "nd": c
        + op("nd", 1, 0 | 8, 8, bytes([1, 1, 2, 0, 0, 0, 0, 2]))
        + op("nd", 1, 1 | 4 | 0xE0, 0)
        + op("nd", 1, 16, 8, bytes([1, 0, 2, 0, 0, 0, 0, 2]), 64),
        "extension": c
        + op(
            "extension", 0, 16, bytes([60, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0]), 1, SYN, 0
        ),
        "damage": c + seg(0, ACK, PAYLOAD | DAMAGE, w(8), w(60), 1) + seg(0, ACK, DAMAGE, w(14), 3),
        "flags": c
        + b"".join(seg(0, f, KEEP) for f in (0, 63, SYN | FIN, FIN, URG | ACK, SYN | RST)),
        "ip": c
        + op("ip", 0, 17, w(8), b"\0\1\0\2\0\x08\0\0")
        + op("ip", 1, 6, w(20), b"\x9c\x41\x1b\x58" + bytes(16)),
        "raw": c
        + op("raw", 0, w(14), bytes([2, 0, 0, 0, 0, 1] + [0] * 6 + [8, 0]))
        + op("raw", 2, w(3), b"\1\2\3"),
        "small_mtu": choice(mtu=3) + op("write", 0, w(3000)) + seg(0, ACK) + op("time", 30),
        "keepalive": c
        + seg(0, ACK, SEQ | KEEP, w(-1))
        + seg(0, ACK, SEQ | PAYLOAD | KEEP, w(-1), w(1)),
        "probes": c
        + op("opts", 0, 1 | 4 | 8 | 16, w(1000), 20, w(1000), 18, 3)
        + (op("deadline") + op("tcp_info", 0)) * 6,
        "give_up": c
        + op("opts", 0, 2 | 32 | 64, w(2000), 20, 1)
        + op("write", 0, w(4000))
        + (op("deadline") + op("tcp_info", 0)) * 6,
        "wrong_opts": c
        + op("opts", 0, 64, 3)
        + op("opts", 0, 128, 1)
        + op("opts", 0, 16, 128)
        + op("opts", 0, 32, w(65535), 47)
        + op("abort", 0)
        + op("opts", 0, 1)
        + op("tcp_info", 0),
    }
    return seeds


def option_seeds() -> dict[str, bytes]:
    """Lists of TCP options and chains of extension headers."""
    v6, established, extension, plain = 1, 2, 4, 8
    ts = bytes([8, 10, 0, 0, 0, 1, 0, 0, 0, 0])
    syn = bytes([2, 4, 5, 180, 3, 3, 7, 1, 4, 2]) + ts
    pad = bytes([1, 4, 0, 0, 0, 0])
    seeds = {
        "syn": bytes([0]) + syn,
        "syn6": bytes([v6]) + syn,
        "none": bytes([0]),
        "mss_0": bytes([0, 2, 4, 0, 0]),
        "mss_0_v6": bytes([v6, 2, 4, 0, 0]),
        "mss_48": bytes([0, 2, 4, 0, 48, 1, 1]) + ts,
        "mss_65535": bytes([v6, 2, 4, 255, 255]),
        "wscale_255": bytes([0, 3, 3, 255, 1]),
        "length_0": bytes([0, 8, 0, 1, 1]),
        "length_1": bytes([0, 3, 1, 1, 1]),
        "overrun": bytes([0, 1, 1, 8, 10, 1]),
        "last_kind": bytes([0, 1, 1, 1, 2]),
        "nops": bytes([0] + [1] * 40),
        "end_then": bytes([0, 0, 8, 200, 1]),
        "twice": bytes([0, 2, 4, 5, 0, 2, 4, 2, 0, 3, 3, 2, 3, 3, 3, 1, 1]),
        "unknown": bytes([0, 30, 8, 1, 2, 3, 4, 5, 6, 253, 4, 1, 2]),
        "data_ts": bytes([established, 1, 1]) + ts,
        "data_sack": bytes([established | plain, 1, 1, 5, 10]) + bytes(8),
        "data_broken": bytes([established | plain, 5, 40, 1, 1]),
        "hop_by_hop": bytes([extension, 0, 6, 0]) + pad,
        "destination": bytes([extension, 60, 60, 0]) + pad + bytes([6, 0]) + pad,
        "hop_by_hop_late": bytes([extension, 60, 0, 0]) + pad + bytes([6, 0]) + pad,
        "routing_0": bytes([extension, 43, 6, 0, 0, 0, 0, 0, 0, 0]),
        "fragment": bytes([extension, 44, 6, 0, 0, 1, 0, 0, 0, 1]),
        "authentication": bytes([extension, 51, 6, 1]) + bytes(10),
        "five": bytes([extension, 60]) + (bytes([60, 0]) + pad) * 4 + bytes([6, 0]) + pad,
        "long": bytes([extension, 60, 6, 255]) + bytes(200),
        "no_next": bytes([extension, 59]) + bytes(8),
        "unknown_discard": bytes([extension, 60, 6, 0, 0xC2, 4, 0, 0, 0, 0]),
    }
    return seeds


def framing_seeds() -> dict[str, bytes]:
    """Messages of each framing; the first octet chooses it."""
    http, resp = bytes([3]), bytes([4])
    post = b"POST /a HTTP/1.1\r\n"
    chunked = post + b"Transfer-Encoding: chunked\r\n\r\n"
    return {
        "length": bytes([0, 0, 0, 0, 3]) + b"abcd",
        "little": bytes([1]) + b"abc" + bytes([9, 0]) + b"defgh",
        "line": bytes([2]) + b"a\rb\r\nc\r\n",
        "get": http + b"GET /a HTTP/1.1\r\nA: b\r\n\r\n",
        "counted": http + post + b"Content-Length: 3\r\n\r\nabc",
        "chunked": http + chunked + b"3;a=b\r\nabc\r\n0\r\nA: b\r\n\r\n",
        "trailers": http + chunked + b"1 ;a\r\nb\r\n0;c\r\nA: b\r\nC: d\r\n\r\n",
        "response": http + b"HTTP/1.1 204 No Content\r\n\r\n",
        "status": http + b"HTTP/1.0 200\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        "both": http + post + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "bulk": resp + b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
        "nested": resp + b"*2\r\n%1\r\n+a\r\n*-1\r\n|1\r\n:1\r\n_\r\n#t\r\n",
        "attribute": resp + b"|1\r\n$1\r\na\r\n=5\r\ntxt:b\r\n>1\r\n!1\r\nc\r\n",
        "inline": resp + b"PING a\r\n",
    }


def main() -> None:
    """Writes the seeds below the directory given."""
    for target, seeds in (
        ("rx", rx_seeds()),
        ("options", option_seeds()),
        ("framing", framing_seeds()),
    ):
        where = Path(sys.argv[1]) / target
        where.mkdir(parents=True, exist_ok=True)
        for name, content in seeds.items():
            (where / name).write_bytes(content)


if __name__ == "__main__":
    main()

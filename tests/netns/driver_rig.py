# SPDX-License-Identifier: Apache-2.0
"""Runs native/tests/drv_echo in a lab, and raw frames to put before it."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from qstack.lab import Namespace

NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all")
ROOT = Path(__file__).parents[2]
BUILD = Path(os.environ.get("QSTACK_BUILD", ROOT / "build/gcc"))


def program(name: str) -> str:
    path = BUILD / "native" / name
    if not path.exists():
        pytest.skip(f"{path} is not built; `tools/dev test` does it first, or set QSTACK_BUILD")
    return str(path)


class Echo:
    """A drv_echo that is ready."""

    def __init__(self, namespace: Namespace, *args: str, prefix: Sequence[str] = ()) -> None:
        command = [*prefix, program("tests/drv_echo"), *args]
        self.process = namespace.popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.output = self.process.stdout
        line = self.output.readline()
        self.ready: dict[str, Any] = json.loads(line)
        assert self.ready.get("ready"), line

    def __enter__(self) -> Echo:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.output.close()

    def stop(self) -> dict[str, Any]:
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=10)
        counts: dict[str, Any] = json.loads(out)
        return counts

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=10)


def refused(namespace: Namespace, *args: str, prefix: Sequence[str] = ()) -> tuple[int, str]:
    """Returns code and words of a device that cannot be opened."""
    command = [*prefix, program("tests/drv_echo"), *args]
    result = namespace.run(command, capture_output=True, text=True, timeout=20)
    assert result.returncode == 1, result
    answer = json.loads(result.stdout)
    return answer["error"], answer["text"]


def total(counts: dict[str, Any], key: str) -> int:
    return sum(queue[key] for queue in counts["queues"])


# --- frames -------------------------------------------------------------------------------------


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def checksum(data: bytes) -> int:
    words = struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2))
    value: int = sum(words)
    while value >> 16:
        value = (value & 0xFFFF) + (value >> 16)
    return 0xFFFF - value


def tcp_frame(
    ether: tuple[bytes, bytes], ends: tuple[str, str], ports: tuple[int, int], payload: bytes
) -> bytes:
    """An Ethernet frame with a TCP segment; pairs are (source, destination)."""
    family = socket.AF_INET6 if ":" in ends[0] else socket.AF_INET
    src, dst = (socket.inet_pton(family, end) for end in ends)
    length = 20 + len(payload)
    pseudo = src + dst + struct.pack("!II", length, 6)
    tcp = struct.pack("!HHIIBBHHH", *ports, 1, 0, 5 << 4, 0x10, 1000, 0, 0)
    tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp + payload)) + tcp[18:]
    if family == socket.AF_INET6:
        ip = struct.pack("!IHBB", 6 << 28, length, 6, 64) + src + dst
        kind = 0x86DD
    else:
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, 6, 0) + src + dst
        ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
        kind = 0x0800
    return ether[1] + ether[0] + struct.pack("!H", kind) + ip + tcp + payload


def icmp_error(ether: tuple[bytes, bytes], ends: tuple[str, str], quoted: bytes) -> bytes:
    """A frame that says "packet too big" of a frame; pairs are (source, destination)."""
    family = socket.AF_INET6 if ":" in ends[0] else socket.AF_INET
    src, dst = (socket.inet_pton(family, end) for end in ends)
    six = family == socket.AF_INET6
    message = struct.pack("!BBHI", 2 if six else 3, 0 if six else 4, 0, 1300) + quoted[14:][:100]
    pseudo = src + dst + struct.pack("!II", len(message), 58) if six else b""
    message = message[:2] + struct.pack("!H", checksum(pseudo + message)) + message[4:]
    if six:
        ip = struct.pack("!IHBB", 6 << 28, len(message), 58, 64) + src + dst
    else:
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(message), 0, 0, 64, 1, 0) + src + dst
        ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    return ether[1] + ether[0] + quoted[12:14] + ip + message


class Wiretap:
    """Sends and receives whole frames at an interface of the calling thread's namespace."""

    # Not the interface's own address: its kernel leaves the answers alone.
    MAC = mac("02:00:00:00:00:99")

    def __init__(self, ifname: str) -> None:
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(263, 23, 1)  # SOL_PACKET, PACKET_IGNORE_OUTGOING
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        self.socket.bind((ifname, 3))
        self.socket.settimeout(2)

    def __enter__(self) -> Wiretap:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, frame: bytes) -> None:
        self.socket.send(frame)

    def receive(self, n: int) -> list[bytes]:
        """Returns up to `n` frames for our address, fewer if 2 s pass without one."""
        frames: list[bytes] = []
        deadline = time.monotonic() + 20
        try:
            while len(frames) < n and time.monotonic() < deadline:
                frame = self.socket.recv(65536)
                if frame[:6] == self.MAC:
                    frames.append(frame)
        except TimeoutError:
            pass
        return frames

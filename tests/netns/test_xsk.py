# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from qstack.lab import Lab, Namespace, veth_lab
from tests.netns.driver_rig import (
    NOBODY,
    Echo,
    Wiretap,
    icmp_error,
    mac,
    program,
    refused,
    tcp_frame,
    total,
)

ARG, PERM, NODEV, BUSY, STATE = -1, -14, -15, -16, -18
PORT = 7000


@pytest.fixture
def lab() -> Iterator[Lab]:
    with veth_lab() as made:
        yield made


def xsk_args(lab: Lab, *more: str, queues: int = 4) -> list[str]:
    device = ["--driver", "xsk", "--ifname", lab.server_if, "--queues", str(queues)]
    return [*device, "--claim", str(PORT), *more]


def exchange(lab: Lab, echo: Echo, sizes: list[int], source_port: int = 20000) -> None:
    """Sends a TCP segment of each size, of a flow of its own, and checks what comes back."""
    ends4 = (str(lab.client4.ip), str(lab.server4.ip))
    ends6 = (str(lab.client6.ip), str(lab.server6.ip))
    there = (Wiretap.MAC, mac(echo.ready["mac"]))
    expected = []
    with lab.client.entered(), Wiretap(lab.client_if) as wire:
        for i, size in enumerate(sizes):
            ends = ends6 if i % 2 else ends4
            size -= 20 * (i % 2)
            payload = random.Random(i).randbytes(size)
            wire.send(tcp_frame(there, ends, (source_port + i, PORT), payload))
            back = tcp_frame(there[::-1], ends[::-1], (PORT, source_port + i), payload)
            expected.append(back)
        received = wire.receive(len(expected))
    assert sorted(received) == sorted(expected)


def programs_attached(namespace: Namespace, ifname: str) -> bool:
    shown = namespace.run(["ip", "-d", "link", "show", ifname], capture_output=True, text=True)
    return "prog/xdp" in shown.stdout


@pytest.mark.parametrize("mtu", [1500, 3400, 9000])
@pytest.mark.parametrize("offload", [True, False])
def test_claimed_frames_of_every_size_reach_the_queue_that_the_lookup_says(
    mtu: int, offload: bool
) -> None:
    with veth_lab(mtu=mtu) as lab:
        # The checksum is written again, by the kernel if it takes the request.
        more = ["--rewrite-checksum"] + ([] if offload else ["--no-offload"])
        with Echo(lab.server, *xsk_args(lab, *more)) as echo:
            assert echo.ready["mode"] == "copy, software NIC"
            assert echo.ready["mtu"] == mtu
            assert echo.ready["offloads"] == (1 if offload else 0)
            sizes = [20, 21, 100, mtu // 2, mtu - 41, mtu - 40] * 20
            exchange(lab, echo, sizes)
            counts = echo.stop()
    assert total(counts, "rx") == len(sizes)
    assert max(queue["len_max"] for queue in counts["queues"]) == mtu + 14
    assert all(queue["rx"] > 5 for queue in counts["queues"])
    for key in (
        "csum_proven",
        "csum_bad",
        "wrong_queue",
        "no_room",
        "rx_bad",
        "rx_lost",
        "tx_lost",
    ):
        assert total(counts, key) == 0, key


def test_more_frames_than_buffers_pass_through_shared_rings(lab: Lab) -> None:
    with Echo(lab.server, *xsk_args(lab, "--workers", "2")) as echo:
        for turn in range(40):
            exchange(lab, echo, [30 + turn] * 500, source_port=10000 + turn)
        counts = echo.stop()
    assert total(counts, "rx") == total(counts, "tx") == 20000
    assert total(counts, "rx_lost") == total(counts, "rx_bad") == 0


@pytest.mark.parametrize(("mtu", "n_frames"), [(1500, 3000), (9000, 700)])
def test_frames_wait_for_a_worker_that_has_no_core(mtu: int, n_frames: int) -> None:
    size = mtu - 40
    with veth_lab(mtu=mtu) as lab, Echo(lab.server, *xsk_args(lab, queues=1)) as echo:
        ends = (str(lab.client4.ip), str(lab.server4.ip))
        there = (Wiretap.MAC, mac(echo.ready["mac"]))
        payload = random.Random(1).randbytes(size)
        with lab.client.entered(), Wiretap(lab.client_if) as wire:
            frames = [tcp_frame(there, ends, (20000 + i, PORT), payload) for i in range(n_frames)]
            with stopped(echo.process):
                for frame in frames:
                    wire.send(frame)
            received = wire.receive(n_frames)
        counts = echo.stop()
    assert total(counts, "rx_lost") == 0
    assert total(counts, "rx") == n_frames
    back = {tcp_frame(there[::-1], ends[::-1], (PORT, 20000 + i), payload) for i in range(n_frames)}
    assert set(received) == back


@contextmanager
def stopped(process: subprocess.Popen[str]) -> Iterator[None]:
    """The process has no core inside."""
    process.send_signal(signal.SIGSTOP)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def test_r07_a_wrong_checksum_is_not_called_proven(lab: Lab) -> None:
    with Echo(lab.server, *xsk_args(lab)) as echo:
        ends = (str(lab.client4.ip), str(lab.server4.ip))
        ether = (Wiretap.MAC, mac(echo.ready["mac"]))
        with lab.client.entered(), Wiretap(lab.client_if) as wire:
            good = tcp_frame(ether, ends, (1, PORT), b"payload")
            wire.send(good)
            wire.send(good[:-1] + b"x")
            assert len(wire.receive(2)) == 2
        counts = echo.stop()
    assert total(counts, "csum_bad") == 1
    assert total(counts, "csum_proven") == 0


def kernel_answers(lab: Lab, port: int) -> bool:
    """A TCP connection to the kernel of the server's namespace carries data."""
    with lab.server.entered():
        listener = socket.create_server((str(lab.server4.ip), port))
    with listener, lab.client.entered():
        try:
            client = socket.create_connection((str(lab.server4.ip), port), 3)
        except OSError:
            return False
        with client:
            client.sendall(b"hello")
            connection, _ = listener.accept()
            with connection:
                return connection.recv(5) == b"hello"


def test_r19_unclaimed_traffic_reaches_the_kernel(lab: Lab) -> None:
    with Echo(lab.server, *xsk_args(lab)) as echo:
        assert kernel_answers(lab, PORT + 1)
        assert total(echo.stop(), "rx") == 0
    assert kernel_answers(lab, PORT)


@pytest.mark.parametrize("version", [4, 6])
def test_icmp_errors_about_claimed_ports_and_no_others_are_taken(lab: Lab, version: int) -> None:
    ends = (lab.client4, lab.server4) if version == 4 else (lab.client6, lab.server6)
    client, server = (str(end.ip) for end in ends)
    sources = [PORT, PORT + 1, 20000, PORT]
    with Echo(lab.server, *xsk_args(lab)) as echo:
        there = (Wiretap.MAC, mac(echo.ready["mac"]))
        with lab.client.entered(), Wiretap(lab.client_if) as wire:
            for source in sources:
                sent = tcp_frame(there[::-1], (server, client), (source, 20000), bytes(100))
                wire.send(icmp_error(there, (client, server), sent))
        exchange(lab, echo, [100])  # what came before it has arrived, too
        counts = echo.stop()
    assert total(counts, "rx") == sources.count(PORT) + 1


def test_a_sleeping_worker_wakes_for_frames_and_burns_no_core(lab: Lab) -> None:
    with Echo(lab.server, *xsk_args(lab, "--sleep")) as echo:
        for turn in range(5):
            exchange(lab, echo, [100], source_port=20000 + turn)
        time.sleep(1)
        counts = echo.stop()
    assert counts["sleeps"] > 5
    assert counts["cpu_ns"] < 0.5e9


def test_r59_sigkill_leaves_no_program_and_a_usable_interface(lab: Lab) -> None:
    for _ in range(3):
        with Echo(lab.server, *xsk_args(lab)) as echo:
            assert programs_attached(lab.server, lab.server_if)
            exchange(lab, echo, [100] * 8)
            echo.kill()
        assert not programs_attached(lab.server, lab.server_if)
        assert kernel_answers(lab, PORT)


def test_r60_what_cannot_be_opened_is_said_in_words(lab: Lab) -> None:
    name = lab.server_if
    add = [
        "ip",
        "link",
        "add",
        "many0",
        "numrxqueues",
        "2",
        "type",
        "veth",
        "peer",
        "name",
        "many1",
    ]
    lab.server.run(add, check=True)
    lab.server.run(["ip", "link", "set", "many0", "up"], check=True)
    wrong = [
        (["--ifname", "absent0"], NODEV, 'no network interface "absent0"'),
        (["--ifname", "many1"], STATE, "many1 is down; `ip link set dev many1 up`"),
        (["--ifname", "many0"], ARG, "veth with 2 receive queues"),
        (["--queues", "0"], ARG, f"0 queues on {name}: 1 to 64 are possible"),
        (["--queues", "65"], ARG, f"65 queues on {name}: 1 to 64 are possible"),
        (["--mtu", "9000"], ARG, f"an MTU of 9000 bytes on {name}, which has 1500"),
    ]
    for args, code, words in wrong:
        error, text = refused(lab.server, *xsk_args(lab, *args))
        assert (error, words in text) == (code, True), text
    with Echo(lab.server, *xsk_args(lab)) as echo:
        error, text = refused(lab.server, *xsk_args(lab))
        assert (error, name in text) == (BUSY, True), text
        exchange(lab, echo, [100] * 8)


def test_without_rights_it_says_what_is_needed(lab: Lab) -> None:
    error, text = refused(lab.server, *xsk_args(lab), prefix=NOBODY)
    assert error == PERM
    assert "CAP_" in text or "root" in text


class MultiQueueTap:
    """A TAP with one descriptor for each queue: to AF_XDP it looks like a NIC with such queues."""

    TUNSETIFF = 0x400454CA
    FLAGS = 0x0002 | 0x1000 | 0x0100  # IFF_TAP, IFF_NO_PI, IFF_MULTI_QUEUE

    def __init__(self, ifname: str, n_queues: int) -> None:
        self.queues = []
        for _ in range(n_queues):
            fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            self.queues.append(fd)
            fcntl.ioctl(fd, self.TUNSETIFF, struct.pack("16sH14x", ifname.encode(), self.FLAGS))

    def close(self) -> None:
        for fd in self.queues:
            os.close(fd)

    def read(self, wanted: int, to: bytes) -> list[bytes]:
        """Returns frames sent at the device to the address `to`, from any queue."""
        frames: list[bytes] = []
        deadline = time.monotonic() + 5
        while len(frames) < wanted and time.monotonic() < deadline:
            for fd in self.queues:
                try:
                    frame = os.read(fd, 65536)
                except BlockingIOError:
                    continue
                if frame[:6] == to:
                    frames.append(frame)
        return frames


def test_on_a_nic_each_hardware_queue_has_its_own_socket(lab: Lab) -> None:
    with lab.server.entered():
        nic = MultiQueueTap("nic0", 2)
    lab.server.run(["ip", "link", "set", "nic0", "up"], check=True)
    lab.server.run(["ip", "addr", "add", "10.78.0.2/24", "dev", "nic0"], check=True)
    args = ["--driver", "xsk", "--ifname", "nic0", "--claim", str(PORT), "--rewrite-checksum"]
    error, text = refused(lab.server, *args, "--queues", "3")
    assert (error, "1 to 2 are possible" in text) == (ARG, True), text
    with Echo(lab.server, *args, "--queues", "2") as echo:
        assert echo.ready["mode"] == "copy"
        assert not echo.ready["soft_nic"]
        ether = (Wiretap.MAC, mac(echo.ready["mac"]))
        ends = ("10.78.0.1", "10.78.0.2")
        expected = []
        for i in range(30):
            # 10 frames to queue 0, 20 to queue 1.
            os.write(nic.queues[i % 3 != 0], tcp_frame(ether, ends, (i, PORT), b"x" * i))
            expected.append(tcp_frame(ether[::-1], ends[::-1], (PORT, i), b"x" * i))
        # Not claimed: the kernel refuses it.
        os.write(nic.queues[0], tcp_frame(ether, ends, (99, PORT + 1), b""))
        # The kernel knows the asker without ARP.
        assert sorted(nic.read(30, Wiretap.MAC)) == sorted(expected)
        counts = echo.stop()
    assert [queue["rx"] for queue in counts["queues"]] == [10, 20]
    nic.close()


def test_interface_and_neighbours_are_as_the_kernel_has_them(lab: Lab) -> None:
    route = ["ip", "route", "add", "default", "via", str(lab.client4.ip)]
    lab.server.run([*route, "metric", "20"], check=True)
    lab.server.run(
        ["ip", "route", "add", "default", "via", "10.77.0.9", "metric", "30"], check=True
    )
    command = [program("tests/iface_tool"), lab.server_if, str(lab.client6.ip)]
    with lab.server.popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as tool:
        assert tool.stdin
        assert tool.stdout
        found = json.loads(tool.stdout.readline())
        assert (found["mtu"], found["up"], found["driver"]) == (1500, True, "veth")
        assert found["rx_queues"] == 1
        assert found["gateway4"] == f"::ffff:{lab.client4.ip}"
        assert found["gateway6"] == "::"
        assert found["addrs"][:2] == [[f"::ffff:{lab.server4.ip}", 24], [str(lab.server6.ip), 64]]
        assert found["addrs"][2][0].startswith("fe80::")
        # The kernel was asked for the client, and finds it.
        change: dict[str, str | None] = {}
        while change.get("addr") != str(lab.client6.ip):
            change = json.loads(tool.stdout.readline())
        with lab.client.entered():
            assert change["mac"] == mac_of(lab.client_if)
        gone = ["ip", "neigh", "del", str(lab.client6.ip), "dev", lab.server_if]
        lab.server.run(gone, check=True)
        while change["mac"] is not None or change["addr"] != str(lab.client6.ip):
            change = json.loads(tool.stdout.readline())
        tool.stdin.close()
    assert tool.returncode == 0


def mac_of(ifname: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        answer = fcntl.ioctl(s, 0x8927, struct.pack("256s", ifname.encode()))
    return answer[18:24].hex(":")

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from qstack.lab import Lab, tap_lab
from tests.netns.driver_rig import NOBODY, Echo, refused, total

BUSY, ARG, PERM = -16, -1, -14
SMALL = (0, 1, 100, 1400)
# Code for a client process: datagrams of the given sizes come back as they went.
UDP_CLIENT = """
import socket, sys
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.connect((sys.argv[1], 5000))
for n in map(int, sys.argv[2:]):
    sent = bytes(i * 7 & 255 for i in range(n))
    s.send(sent)
    assert s.recv(70000) == sent, n
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with tap_lab() as made:
        yield made


def tap_args(lab: Lab, *more: str, queues: int = 4) -> list[str]:
    return [
        *("--driver", "tap", "--ifname", lab.server_if, "--queues", str(queues)),
        *("--host4", str(lab.client4), "--host6", str(lab.client6)),
        *("--addr4", str(lab.server4.ip), "--addr6", str(lab.server6.ip)),
        *more,
    ]


def udp(lab: Lab, address: object, *sizes: int) -> None:
    command = [sys.executable, "-c", UDP_CLIENT, str(address), *map(str, sizes)]
    lab.client.run(command, check=True, timeout=60)


@pytest.mark.parametrize(("mtu", "sizes"), [(1500, SMALL), (65521, (*SMALL, 9000, 60000, 65400))])
@pytest.mark.parametrize("offload", [True, False])
def test_frames_of_every_size_come_back(
    lab: Lab, mtu: int, sizes: tuple[int, ...], offload: bool
) -> None:
    sizes = (*sizes, mtu - 48)
    more = ["--mtu", str(mtu)] + ([] if offload else ["--no-offload"])
    with Echo(lab.server, *tap_args(lab, *more)) as echo:
        assert echo.ready["mode"] == "tap"
        assert echo.ready["soft_nic"]
        assert echo.ready["mtu"] == mtu
        assert echo.ready["offloads"] == (3 if offload else 0)
        udp(lab, lab.server4.ip, *sizes)
        udp(lab, lab.server6.ip, *sizes)
        counts = echo.stop()
    assert total(counts, "csum_proven") == (2 * len(sizes) if offload else 0)
    assert max(queue["len_max"] for queue in counts["queues"]) == mtu - 48 + 48 + 14
    for key in ("csum_bad", "wrong_queue", "no_room", "rx_bad", "tx_lost"):
        assert total(counts, key) == 0, key
    assert total(counts, "answers") >= 2


def test_steering_spreads_flows_as_the_lookup_says(lab: Lab) -> None:
    with Echo(lab.server, *tap_args(lab)) as echo, lab.client.entered():
        for _ in range(64):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.settimeout(5)
                s.connect((str(lab.server4.ip), 5000))
                s.send(b"x")
                assert s.recv(10) == b"x"
        counts = echo.stop()
    assert all(queue["rx"] > 4 for queue in counts["queues"])
    assert total(counts, "wrong_queue") == 0


def test_the_kernel_is_told_where_to_put_the_checksum(lab: Lab) -> None:
    with Echo(lab.server, *tap_args(lab)), lab.client.entered():
        spy = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        spy.setsockopt(263, 15, 1)  # SOL_PACKET, PACKET_VNET_HDR
        spy.setsockopt(263, 23, 1)  # PACKET_IGNORE_OUTGOING
        spy.settimeout(5)
        with spy:
            spy.bind((lab.server_if, 0x0800))
            udp(lab, lab.server4.ip, 100)
            received = spy.recv(65536)
    flags, gso_type, _, _, start, offset = struct.unpack("<BBHHHH", received[:10])
    # VIRTIO_NET_HDR_F_NEEDS_CSUM, after Ethernet and IP, where UDP has its checksum
    assert (flags, gso_type, start, offset) == (1, 0, 14 + 20, 6)


def transfer(sender: Lab, receiver: Lab, to: str, n_bytes: int) -> None:
    """Kernel TCP from one namespace to the other; the data must arrive as they were."""
    data = os.urandom(1 << 20) * (n_bytes >> 20)
    with receiver.client.entered():
        listener = socket.create_server((to, 6000))
    sends = (
        "import socket, sys; s = socket.create_connection((sys.argv[1], 6000), 10)\n"
        "s.sendall(sys.stdin.buffer.read()); s.shutdown(1); s.recv(1)"
    )
    command = [sys.executable, "-c", sends, to]
    with listener, sender.client.popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin
        process.stdin.write(data)
        process.stdin.close()
        listener.settimeout(10)
        connection, _ = listener.accept()
        digest = hashlib.sha256()
        with connection:
            connection.settimeout(10)
            while block := connection.recv(1 << 20):
                digest.update(block)
    assert digest.digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("offload", [True, False])
def test_kernel_tcp_crosses_two_taps_with_segmentation_left_to_them(
    lab: Lab, offload: bool
) -> None:
    with tap_lab() as far:
        more = [] if offload else ["--no-offload"]
        bridge = ["--bridge-if", "far0", "--bridge-ns", f"/run/netns/{far.server.name}"]
        args = ["--driver", "tap", "--ifname", "near0", "--queues", "2", *bridge, *more]
        with Echo(lab.server, *args) as echo:
            for namespace, ifname, address in (
                (lab.client, "near0", lab.client4),
                (far.client, "far0", lab.server4),
            ):
                namespace.run(["ip", "addr", "add", str(address), "dev", ifname], check=True)
            transfer(lab, far, str(lab.server4.ip), 16 << 20)
            transfer(far, lab, str(lab.client4.ip), 16 << 20)
            counts = echo.stop()
    longest = max(queue["len_max"] for queue in counts["queues"])
    assert (total(counts, "gso") > 100) == offload
    assert longest > 30000 if offload else longest <= 1514
    for key in ("csum_bad", "no_room", "rx_bad", "tx_lost"):
        assert total(counts, key) == 0, key


def test_a_sleeping_worker_wakes_for_frames_and_burns_no_core(lab: Lab) -> None:
    with Echo(lab.server, *tap_args(lab, "--sleep")) as echo:
        for _ in range(5):
            udp(lab, lab.server4.ip, 100)
        time.sleep(1)
        counts = echo.stop()
    assert counts["sleeps"] > 5
    assert counts["cpu_ns"] < 0.3e9


def test_without_bpf_it_works_and_says_how_it_steers(lab: Lab) -> None:
    private = ["unshare", "--user", "--map-root-user", "--net"]
    with Echo(lab.server, *tap_args(lab), prefix=private) as echo:
        assert echo.ready["mode"] == "tap, RX follows TX"
        assert not echo.ready["soft_nic"]
        enter = ["nsenter", "--target", str(echo.process.pid), "--net"]
        client = [sys.executable, "-c", UDP_CLIENT, str(lab.server4.ip), "100", "1400"]
        subprocess.run([*enter, *client], check=True, timeout=30)
        assert total(echo.stop(), "csum_proven") == 2


def test_r59_sigkill_takes_the_device_along_and_its_name_is_free_again(lab: Lab) -> None:
    for _ in range(3):
        with Echo(lab.server, *tap_args(lab)) as echo:
            udp(lab, lab.server4.ip, 100)
            echo.kill()
    # The kernel lets go of it a moment after the process is gone.
    deadline = time.monotonic() + 3
    gone = 0
    while not gone and time.monotonic() < deadline:
        gone = lab.server.run(["ip", "link", "show", lab.server_if], capture_output=True).returncode
    assert gone


def test_what_cannot_be_opened_is_said_in_words(lab: Lab) -> None:
    name = lab.server_if
    lab.server.run(["ip", "link", "add", "other0", "type", "veth"], check=True)
    with Echo(lab.server, *tap_args(lab)):
        assert refused(lab.server, *tap_args(lab)) == (
            BUSY,
            f"the TAP {name} is in use by another process; stop it or choose another name",
        )
    wrong = [
        (["--ifname", "other0"], BUSY, "the interface other0 exists already and is no TAP"),
        (["--ifname", "x" * 16], ARG, "1 to 15 characters"),
        (["--queues", "0"], ARG, "0 queues for the TAP"),
        (["--queues", "65"], ARG, "1 to 64 are possible"),
        (["--mtu", "70000"], ARG, "does not take an MTU of 70000 bytes"),
        (["--host4", "10.0.0.300/24"], ARG, '"10.0.0.300/24" is not an address'),
        (["--host6", "fd00::1/129"], ARG, '"fd00::1/129" is not an address'),
    ]
    for args, code, words in wrong:
        error, text = refused(lab.server, *tap_args(lab, *args))
        assert (error, words in text) == (code, True), text
    assert lab.server.run(["ip", "link", "show", name], capture_output=True).returncode


def test_without_rights_it_says_what_is_needed(lab: Lab) -> None:
    error, text = refused(lab.server, *tap_args(lab), prefix=NOBODY)
    assert error == PERM
    assert "root" in text

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qstack import lab
from qstack.rundir import run_dir
from tests.netns.driver_rig import ROOT, program

LAB = str(ROOT / "tools/provision/lab")


@pytest.fixture(autouse=True)
def _own_run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sweeping must not meet the labs of others."""
    monkeypatch.setenv("QSTACK_RUN_DIR", str(tmp_path / "run"))
    yield
    for record in lab.labs():
        lab.remove(record.name)


def exists(namespaces: tuple[str, ...] | list[str]) -> list[bool]:
    return [(lab.NETNS_DIR / name).exists() for name in namespaces]


def namespaces_of(made: lab.Lab) -> list[str]:
    return [made.client.name, made.server.name]


@pytest.mark.parametrize("make", [lab.tap_lab, lab.veth_lab])
def test_everything_is_gone_after_the_end(make: type) -> None:
    with make() as made:
        assert all(exists(namespaces_of(made)))
        command = ["sh", "-c", "echo inside; exec sleep 60"]
        sleeper = made.client.popen(command, stdout=subprocess.PIPE)
        assert sleeper.stdout
        with sleeper.stdout:
            assert sleeper.stdout.readline() == b"inside\n"
        (run_dir() / f"{made.server_if}.nic").touch()
    assert not any(exists(namespaces_of(made)))
    assert sleeper.wait(timeout=5) == -signal.SIGTERM
    assert list(run_dir().glob("*")) == [run_dir() / "labs"]
    assert lab.labs() == []


def test_everything_is_gone_after_an_exception() -> None:
    with pytest.raises(ZeroDivisionError), lab.veth_lab() as made:
        raise ZeroDivisionError
    assert not any(exists(namespaces_of(made)))
    assert lab.labs() == []


def test_nothing_is_left_when_a_lab_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(lab, "_checksum_in_software", fail)
    before = set(lab.NETNS_DIR.iterdir())
    with pytest.raises(OSError), lab.veth_lab():  # noqa: PT011
        pass
    assert {path for path in set(lab.NETNS_DIR.iterdir()) - before if "qsl-" in path.name} == set()


def start(*args: str) -> tuple[subprocess.Popen[str], dict[str, str]]:
    process = subprocess.Popen(
        [sys.executable, LAB, "--json", *args], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    facts = json.loads(process.stdout.readline())
    return process, facts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_lab_of_a_command(number: signal.Signals) -> None:
    process, facts = start("veth")
    with process:
        process.send_signal(number)
    assert process.returncode == 128 + number
    assert not any(exists([facts["client_namespace"], facts["server_namespace"]]))


def test_what_a_killed_process_left_goes_with_the_next_lab() -> None:
    process, facts = start("veth")
    namespaces = [facts["client_namespace"], facts["server_namespace"]]
    with process:
        process.kill()
    assert all(exists(namespaces))
    assert [record.alive for record in lab.labs()] == [False]
    with lab.tap_lab() as made:
        assert not any(exists(namespaces))
        assert [record.name for record in lab.labs()] == [made.name]


def test_labs_side_by_side_leave_each_other_alone() -> None:
    process, facts = start("veth")
    with process:
        with lab.veth_lab() as one, lab.veth_lab() as two:
            names = {one.name, two.name, facts["name"]}
            assert {record.name for record in lab.labs() if record.alive} == names
            assert lab.sweep() == []
            reaches(one)
            reaches(two)
        assert all(exists([facts["client_namespace"], facts["server_namespace"]]))
        process.terminate()


def reaches(made: lab.Lab) -> None:
    for address in (made.server4.ip, made.server6.ip):
        with made.server.entered():
            listener = socket.create_server(
                (str(address), 80),
                family=socket.AF_INET6 if ":" in str(address) else socket.AF_INET,
            )
        with listener, made.client.entered():
            socket.create_connection((str(address), 80), 3).close()


def test_a_kept_lab_stays_until_it_is_taken_down() -> None:
    process, facts = start("tap", "--keep")
    with process:
        pass
    namespaces = [facts["server_namespace"]]
    assert lab.sweep() == []
    assert all(exists(namespaces))
    subprocess.run([sys.executable, LAB, "down", facts["name"]], check=True)
    assert not any(exists(namespaces))
    again = subprocess.run(
        [sys.executable, LAB, "down", facts["name"]], capture_output=True, text=True
    )
    assert again.returncode == 1
    assert again.stderr == f"lab: no lab '{facts['name']}'; there are: none\n"


def test_a_command_runs_inside_and_its_status_comes_back() -> None:
    command = [sys.executable, LAB, "veth", "--", "sh", "-c", "ip -br addr; exit 7"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 7
    assert "10.77.0.2/24 fd77::2/64" in result.stdout
    assert lab.labs() == []


def test_a_forked_copy_does_not_take_the_lab_away() -> None:
    try:
        with lab.tap_lab() as made:
            pid = os.fork()
            if pid == 0:
                raise ZeroDivisionError
            os.waitpid(pid, 0)
            assert all(exists(namespaces_of(made)))
    except ZeroDivisionError:
        os._exit(0)


def test_a_record_that_cannot_be_read_is_left_alone() -> None:
    with lab.tap_lab():
        stray = run_dir() / "labs/stray.json"
        stray.touch()
        assert lab.sweep() == []
        with pytest.raises(lab.LabError, match="no lab 'stray'"):
            lab.remove("stray")
        assert stray.exists()


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(lab.LabError, match="needs root; run it with sudo"), lab.tap_lab():
        pass


def test_a_missing_impairer_is_named(tmp_path: Path) -> None:
    absent = tmp_path / "qs-impair"
    with (
        pytest.raises(lab.LabError, match=f"not at {absent}"),
        lab.veth_lab(to_server=lab.Impairment(), impair_program=absent),
    ):
        pass


def flood(made: lab.Lab, n: int, size: int) -> list[int]:
    """Numbers of the datagrams that arrived, in their order, of `n` from client to server."""
    with made.server.entered():
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)  # SO_RCVBUFFORCE
    server.bind((str(made.server4.ip), 9))
    with server, made.client.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect((str(made.server4.ip), 9))
        for i in range(n):
            client.send(i.to_bytes(4, "big") + bytes(size - 4))
            if i % 50 == 0:
                time.sleep(0.001)
        server.settimeout(0.5)
        arrived = []
        try:
            while True:
                arrived.append(int.from_bytes(server.recv(65536)[:4], "big"))
        except TimeoutError:
            return arrived


def test_the_bad_wire_does_what_it_counts() -> None:
    bad = lab.Impairment(loss=10, duplicate=2, reorder=2, reorder_us=2000, corrupt=3)
    with lab.veth_lab(
        mtu=9000, to_server=bad, seed=3, impair_program=program("bench/qs-impair")
    ) as made:
        reaches(made)  # each knows where the other is
        arrived = flood(made, 5000, 8000)
        wire = made.wire
        assert wire
        counters = wire.stop()["a_to_b"]
    assert 400 < counters["lost"] < 600
    assert 50 < counters["duplicated"] < 150
    assert counters["queue_dropped"] == counters["oversize"] == counters["send_failed"] == 0
    assert counters["unfinished_checksum"] == 0
    copies = len(arrived) - len(set(arrived))
    # A corrupted copy is not taken by the kernel.
    assert counters["duplicated"] - 10 <= copies <= counters["duplicated"]
    missing = 5000 - len(set(arrived))
    assert counters["lost"] <= missing + 20
    assert missing <= counters["lost"] + counters["corrupted"]
    assert any(later < earlier for earlier, later in itertools.pairwise(arrived))


def test_the_wire_passes_tcp_unharmed_and_its_delay_is_felt() -> None:
    slow = lab.Impairment(delay_us=20000)
    with lab.veth_lab(
        to_server=slow, to_client=slow, impair_program=program("bench/qs-impair")
    ) as made:
        reaches(made)
        start = time.monotonic()
        with made.server.entered():
            listener = socket.create_server((str(made.server4.ip), 81))
        with listener, made.client.entered():
            socket.create_connection((str(made.server4.ip), 81), 3).close()
        assert 0.04 <= time.monotonic() - start < 0.2
        assert made.wire
        assert made.wire.stop()["a_to_b"]["unfinished_checksum"] == 0

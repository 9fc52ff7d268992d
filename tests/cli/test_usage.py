# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

IFACES = Path("/sys/class/net")


def qstack(*args: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from qstack.cli import main; main()", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


SERVE = ("serve", "--nic", "pair:qy-cli")


@pytest.mark.parametrize(
    ("args", "status", "what"),
    [
        ((), 2, "Usage"),
        (("frobnicate",), 2, "No such command"),
        (("serve", "--frobnicate"), 2, "No such option"),
        (("serve", "--nic", ""), 2, "is not the name of a network device"),
        (("serve", "--nic", "tap:much-too-long-a-name"), 2, "1 to 15 bytes"),
        (("serve", "--nic", "qy-none"), 1, "qy-none"),
        ((*SERVE, "--queues", "0"), 2, "queues must be 1..64, got 0"),
        ((*SERVE, "--queues", "65"), 2, "queues must be 1..64, got 65"),
        ((*SERVE, "--queues", "many"), 2, "'many' is not a valid integer"),
        ((*SERVE, "--queues", "2", "--workers", "3"), 2, "workers must be 1..2, got 3"),
        ((*SERVE, "--listen", "0"), 2, "port must be 1..65535"),
        ((*SERVE, "--listen", "80:8"), 2, "priority must be 0..7"),
        ((*SERVE, "--listen", "http"), 2, "write PORT or PORT:CLASS"),
        ((*SERVE, "--listen", "80", "--listen", "80:7"), 2, "port 80 is named twice"),
        ((*SERVE, "--address", "10.0.0.2"), 2, "lacks the length of its prefix"),
        ((*SERVE, "--address", "10.0.0.256/24"), 2, "10.0.0.256"),
        ((*SERVE, "--host-address", "10.0.0.1/24"), 2, "belong to a TAP"),
        ((*SERVE, "--mtu", "100"), 2, "mtu must be"),
        ((*SERVE, "/no/such/directory"), 2, "No such file"),
        ((*SERVE, "/etc/passwd"), 2, "ot a directory"),
        ((*SERVE, "--config", "/no/such/file"), 2, "No such file"),
        (("doctor", "qy-none"), 1, "no such network device"),
        (("doctor", "../../etc"), 1, "no such network device"),
        (("bench",), 2, "Usage"),
        (("bench", "engine", "--cpu", "x"), 2, "'x' is not a valid integer"),
        (("bench", "tcp", "--cells", "some"), 2, "pairs, full, or a number from 1 to 7168"),
        (("bench", "tcp", "--cells", "0"), 2, "pairs, full, or a number from 1 to 7168"),
        (("bench", "tcp", "--bytes", "0"), 2, "0 is not in the range"),
        (("bench", "tcp", "--limit", "0"), 2, "0.0 is not in the range"),
        (("bench", "tcp", "--seed", "-1"), 2, "-1 is not in the range"),
        (("bench", "priority", "--driver", "tap"), 2, "'tap' is not one of 'pair', 'xsk'"),
        (("bench", "priority", "--connections", "1"), 2, "1 is not in the range"),
        (("bench", "priority", "--work", "1"), 2, "--work 1: "),
        (("bench", "priority", "--work", "2s"), 2, "at most 1s"),
    ],
)
def test_bad_input_is_one_message_and_changes_nothing(
    args: tuple[str, ...], status: int, what: str
) -> None:
    before = sorted(path.name for path in IFACES.iterdir() if path.name.startswith("qy"))
    done = qstack(*args)
    assert done.returncode == status, done.stderr
    assert what in done.stderr + (done.stdout if "Usage" in what else "")
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in IFACES.iterdir() if path.name.startswith("qy")) == before


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[stack\n", "line 1"),
        ("\n[stack]\nqueues = \n", "line 3"),
        ("[stack]\nqueues = 65\n", "queues must be 1..64"),
        ('[stack]\nqueues = "4"\n', "queues must be 1..64, got '4'"),
        ("[[listen]]\nport = true\n", "port must be"),
    ],
)
def test_a_malformed_file_names_itself(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "serve.toml"
    path.write_text(text)
    done = qstack(*SERVE, "--config", str(path))
    assert done.returncode == 2
    assert what in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_version_and_help() -> None:
    assert "0.1.0" in qstack("--version").stdout
    for verb in ("serve", "doctor", "bench", "demo", "sim"):
        done = qstack(verb, "--help")
        assert done.returncode == 0
        assert done.stdout.startswith("Usage: ")


def test_doctor_reports_every_driver_with_a_mode_or_a_reason() -> None:
    done = qstack("doctor", "--json", timeout=60)
    report = json.loads(done.stdout)
    assert set(report["drivers"]) == {"pair", "tap", "xsk"}
    for driver in report["drivers"].values():
        assert ("mode" in driver) == driver["ok"]
        assert ("why_not" in driver) != driver["ok"]
    assert report["drivers"]["pair"]["ok"]
    assert done.returncode == 0
    assert report["system"]["cpus"] >= 1
    assert {f["name"] for f in report["findings"]} == {
        "rights",
        "tun",
        "bpf",
        "memory_lock",
        "huge_pages",
    }


def test_doctor_without_rights_says_so_and_still_has_pair() -> None:
    if Path("/usr/bin/setpriv").exists() is False:
        pytest.skip("setpriv (util-linux) is missing")
    command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"]
    command += [sys.executable, "-c", "from qstack.cli import main; main()", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    report = json.loads(done.stdout)
    assert report["drivers"]["pair"]["ok"]
    assert not report["drivers"]["tap"]["ok"]
    assert not report["drivers"]["xsk"]["ok"]
    rights = next(f for f in report["findings"] if f["name"] == "rights")
    assert "CAP_NET_ADMIN" in rights["detail"]
    assert done.returncode == 0


def test_serve_prints_one_document_and_ends_on_sigterm() -> None:
    command = [sys.executable, "-c", "from qstack.cli import main; main()", *SERVE]
    command += ["--queues", "2", "--listen", "8443:7", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        document = json.loads(server.stdout.readline())
        server.terminate()
        assert server.stdout.read() == ""
        assert server.wait(10) == 0
    assert document["driver"] == "pair"
    assert document["queues"] == 2
    assert [(port["port"], port["priority"]) for port in document["listen"]] == [(8443, 7)]


def test_a_wire_that_is_taken_is_refused_and_goes_on() -> None:
    command = [sys.executable, "-c", "from qstack.cli import main; main()", *SERVE, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline()
        done = qstack(*SERVE)
        assert done.returncode == 1
        assert "qy-cli" in done.stderr
        assert "Traceback" not in done.stderr
        assert server.poll() is None
        server.terminate()
        assert server.wait(10) == 0

# SPDX-License-Identifier: Apache-2.0
"""``qstack explain``, and what else other processes may ask a server that runs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import nicprog
import qstack
from qstack import Server, control, http, programs
from qstack.errors import QStackError
from qstack.http import Request, Response
from qstack.rundir import run_dir

LOW, HIGH, TAGGED = 8080, 8443, 8444
WIRE = f"qe-{os.getpid()}"


@pytest.fixture(autouse=True)
def _own_run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSTACK_RUN_DIR", str(tmp_path))


@pytest.fixture
def server() -> Iterator[Server]:
    """A server with two classes."""
    app = Server(nic=f"pair:{WIRE}", addresses=("10.79.0.2/24",))

    def web(_: Request) -> Response:
        return Response(body=b"hello")

    app.listen(port=LOW)(http.handler(web))
    app.listen(port=HIGH, priority=7)(http.handler(web))
    with app:
        yield app


def explain(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "qstack", "explain", *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def load() -> None:
    command = [programs.find("qs-load"), WIRE, "10.79.0.1/24", "10.79.0.2", str(LOW), str(HIGH)]
    subprocess.run([*command, "16", "200", "1"], capture_output=True, timeout=60, check=True)


def test_each_stage_of_each_class(server: Server) -> None:
    load()
    done = explain("--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["ports"] == {"0": [LOW], "7": [HIGH]}
    for priority in ("0", "7"):
        assert list(document["residency"][priority]) == list(document["stages"])
        assert document["classes"][priority]["segments"] > 0
        slow = document["slowest"][priority]
        assert slow["peer"][0] == "10.79.0.1"
        assert slow["port"] == document["ports"][priority][0]
        assert 0 <= slow["ago_s"] < 3600, "of the clock that the engine has"
        parts = [slow[f"{name}_us"] for name in ("event", "answer", "transmit")]
        assert all(part >= 0 for part in parts)
        assert slow["all_us"] == pytest.approx(sum(parts), abs=0.3)
    text = explain(WIRE)
    assert text.returncode == 0, text.stderr
    for word in ("transmit", "handler", "slowest", str(HIGH), *document["stages"].values()):
        assert word in text.stdout


def test_what_is_beyond_the_rate_of_its_source_is_served_and_told() -> None:
    rates = (*(0,) * 7, 1000)
    app = Server(nic=f"pair:{WIRE}", addresses=("10.79.0.2/24",), source_rate_bytes=rates)

    def web(_: Request) -> Response:
        return Response(body=b"hello")

    for port in (LOW, HIGH):
        app.listen(port=port, priority=7)(http.handler(web))
    with app:
        load()  # which ends in order only when all is answered
        done = explain("--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["classes"]["7"]["capped"] > 0
        assert "capped" in explain().stdout


def test_without_traffic_there_is_nothing_to_show(server: Server) -> None:
    done = explain(WIRE)
    assert done.returncode == 0, done.stderr
    document = json.loads(explain("--json").stdout)
    assert document["residency"] == {"0": {}, "7": {}}
    assert document["slowest"] == {"0": None, "7": None}


def test_no_server() -> None:
    done = explain()
    assert (done.returncode, done.stderr) == (1, "qstack: no server runs here\n")
    done = explain("eth7")
    assert done.returncode == 1
    assert done.stderr == "qstack: eth7: no server answers here; there are: none\n"


def test_of_several_servers_one_is_named(server: Server) -> None:
    other = Server(nic=f"pair:{WIRE}-b", addresses=("10.79.1.2/24",))
    with other:
        done = explain()
        assert done.returncode == 1
        assert f"say which one, of {WIRE}, {WIRE}-b" in done.stderr
        assert explain(f"{WIRE}-b").returncode == 0


def test_a_socket_whose_owner_died_is_replaced() -> None:
    path = run_dir() / f"{WIRE}.stack"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    assert control.servers() == []
    assert not path.exists()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    answers = control.Control(WIRE, {"name": lambda: {"wire": WIRE}})
    assert control.ask(WIRE, "name") == {"wire": WIRE}
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(QStackError, match="another process answers there"):
        control.Control(WIRE, {})
    answers.close()
    assert not path.exists()


def test_strange_questions(server: Server) -> None:
    with pytest.raises(QStackError, match="unknown: 'weather'; known: buckets, explain, stats"):
        control.ask(WIRE, "weather")
    for question in (b"", b"\n", b"\xff" * 5000, b"no end"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.connect(str(run_dir() / f"{WIRE}.stack"))
            link.sendall(question)
    assert "queues" in control.ask(WIRE, "stats")


def test_who_asks_and_says_nothing_holds_nobody_up(server: Server) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.connect(str(run_dir() / f"{WIRE}.stack"))
        assert "queues" in control.ask(WIRE, "stats")
        server.stop()
        server.start()
        assert "queues" in control.ask(WIRE, "stats")


@pytest.fixture
def classifying() -> Iterator[Server]:
    """A server whose classes depend on headers and octets."""
    app = Server(nic=f"pair:{WIRE}", addresses=("10.79.0.2/24",), queues=2, vlans=(5,))
    classify = qstack.classify(
        qstack.match(7, octets=(0, b"!")),
        qstack.match(5, remote="10.79.0.0/24", remote_port=(1024, 2047)),
    )
    app.listen(port=LOW, framing=qstack.framing.delimiter(), classify=classify)(lambda conn: None)
    app.listen(port=HIGH, priority=6)(lambda conn: None)
    tagged = qstack.classify(
        qstack.match(4, vlan=5), qstack.match(3, vlan=5, pcp=6), qstack.match(2, vlan=0)
    )
    app.listen(port=TAGGED, classify=tagged)(lambda conn: None)
    with app:
        yield app


def test_where_a_class_is_told(classifying: Server) -> None:
    spec = f'device = "{WIRE}"\n[[reserve]]\nqueue = 1\nport = {HIGH}\n'
    with nicprog.open(WIRE) as nic:
        nicprog.apply(nic, nicprog.plan(nic, nicprog.parse(spec, "test")))
    done = explain("--where", "--json")
    assert done.returncode == 0, done.stderr
    decisions = json.loads(done.stdout)["decisions"]
    assert [(one["port"], one["class"], one["by"], one["nic_queues"]) for one in decisions] == [
        (LOW, 7, "octets", None),
        (LOW, 5, "header", None),
        (LOW, 0, "port", None),
        (HIGH, 6, "port", [1]),
        (TAGGED, 4, "header", None),
        (TAGGED, 3, "header", None),
        (TAGGED, 2, "header", None),
        (TAGGED, 0, "port", None),
    ]
    to_tagged = {"protocol": "tcp", "dst_port": TAGGED}
    assert [one["rule"] for one in decisions[4:7]] == [
        {**to_tagged, "vlan": 5},
        {**to_tagged, "vlan_tci": "0xc005/0xefff"},
        None,  # rules look into a tag, not whether there is one
    ]
    assert decisions[1]["rule"] == {
        "protocol": "tcp",
        "dst_port": LOW,
        "src": "10.79.0.0/24",
        "src_port": "1024-2047",
    }
    text = explain("--where").stdout
    assert "NIC, queue 1" in text
    # The rule that it shows is one that nicprog takes.
    shown = text[text.index("[[rule]]") :].split("\n\n")[0].replace("queue = N", "queue = 0")
    with nicprog.open(WIRE) as nic:
        nicprog.apply(nic, nicprog.plan(nic, nicprog.parse(f'device = "{WIRE}"\n{shown}', "t")))
    decisions = json.loads(explain("--where", "--json").stdout)["decisions"]
    assert decisions[1]["nic_queues"] == [0]

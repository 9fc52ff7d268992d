# SPDX-License-Identifier: Apache-2.0
"""A policy decides, while a server runs, who has which flows and which workers there are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

import nicprog
import qstack
from qstack import Connection, Server, programs
from qstack.errors import ConfigError, NotSupportedError, QStackError, WrongStateError

pytest.importorskip("numba")

R: TypeAlias = Any  # records, or their C form

LOW, HIGH = 8080, 8443
WIRE = f"ql-{os.getpid()}"
QUEUES, BUCKETS = 4, 256


@qstack.policy
def spread(figures: R, cores: R, queues: R, buckets: R, flows: R, memory: R, moves: R) -> int:
    """A bucket that is used goes to the queue that its number says."""
    n = 0
    for b in range(len(buckets)):
        to = b % len(queues)
        if n < len(moves) and buckets[b].packets > 0 and buckets[b].queue != to:
            if figures[0].now_ns - buckets[b].moved_ns < figures[0].cooldown_ns:
                continue
            moves[n].kind = 1
            moves[n].what = b
            moves[n].to = to
            n += 1
    return n


@qstack.policy
def one_core(figures: R, cores: R, queues: R, buckets: R, flows: R, memory: R, moves: R) -> int:
    """All queues go to the first core, and the second one off."""
    n = 0
    for q in range(len(queues)):
        if queues[q].core == 1:
            moves[n].kind = 2
            moves[n].what = q
            moves[n].to = 0
            n += 1
    if n == 0 and cores[1].on == 1:
        moves[0].kind = 4
        moves[0].what = 1
        n = 1
    return n


@qstack.policy
def nonsense(figures: R, cores: R, queues: R, buckets: R, flows: R, memory: R, moves: R) -> int:
    """Nobody has bucket 99999."""
    moves[0].kind = 1
    moves[0].what = 99999
    moves[0].to = 0
    return 1


@pytest.fixture(autouse=True)
def _own_run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSTACK_RUN_DIR", str(tmp_path))


def server(queues: int = QUEUES) -> Server:
    app = Server(
        nic=f"pair:{WIRE}", addresses=("10.79.0.2/24",), queues=queues, workers=min(2, queues)
    )

    def answer(conn: Connection) -> None:
        conn.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    app.listen(port=LOW)(answer)
    app.listen(port=HIGH, priority=7)(answer)
    return app


def table() -> tuple[int, ...]:
    with nicprog.open(WIRE) as nic:
        return nic.read().table.entries


def wait_for(what: Callable[[], bool]) -> None:
    for _ in range(1000):
        if what():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come to pass")


def test_flows_go_where_a_policy_says() -> None:
    app = server()
    command = [programs.find("qs-load"), WIRE, "10.79.0.1/24", "10.79.0.2"]
    command += [str(LOW), str(HIGH), "32", "2000", "3"]
    with app:
        app.move_buckets(dict.fromkeys(range(BUCKETS), 0), timeout="10s")
        app.balance(spread, period="10ms", budget=4, cooldown="1s", workers_min=2)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            document = json.loads(process.communicate()[0])
        stats = app.stats()
        app.stop_balancing()
        assert app.stats()["policy"] is None
        entries = table()
    assert stats["policy"]["policy"] == "spread"
    assert stats["policy"]["decisions"] > 10
    assert stats["policy"]["set_aside"] == ""
    assert stats["policy"]["moves"] > 0
    assert {queue for bucket, queue in enumerate(entries) if queue == bucket % QUEUES} == {
        0,
        1,
        2,
        3,
    }
    assert all(queue in (0, bucket % QUEUES) for bucket, queue in enumerate(entries))
    assert sum(queue["arrived"] for queue in stats["flows"]) > 0
    assert not sum(queue["lost"] + queue["frames_lost"] for queue in stats["flows"])
    assert document["socket_errors"] == 0


def test_queues_and_workers_go_where_a_policy_says() -> None:
    app = server()
    with app:
        app.balance(one_core, period="10ms")
        wait_for(lambda: [w["state"] for w in app.stats()["workers"]] == ["active", "parked"])
        assert app.stats()["workers"][0]["queues"] == [0, 1, 2, 3]


def test_a_policy_that_answers_nonsense_is_set_aside() -> None:
    app = server()
    with app:
        app.balance(nonsense, period="1ms")
        wait_for(lambda: app.stats()["policy"]["set_aside"] != "")
        assert app.stats()["policy"]["moves"] == 0
        assert "bucket" in app.stats()["policy"]["set_aside"]


REFUSED: list[tuple[Callable[[Server], object], type[QStackError], str]] = [
    (lambda app: app.balance("nobody"), ConfigError, "no policy is called 'nobody'"),
    (lambda app: app.balance("rsspp"), ConfigError, "keeps to no limits"),
    (lambda app: app.balance(spread, period="1us"), ConfigError, "period: 1us is too short"),
    (lambda app: app.balance(spread, period="soon"), ConfigError, "period: "),
    (lambda app: app.balance(spread, cooldown="1"), ConfigError, "cooldown: "),
    (lambda app: app.balance(spread, budget=0), ConfigError, "budget: 0"),
    (lambda app: app.balance(spread, workers_min=3), ConfigError, "workers_min: 3"),
]


def test_what_cannot_be_says_why() -> None:
    app = server()
    with pytest.raises(WrongStateError):
        app.balance(spread)
    app.stop_balancing()
    with app:
        for call, kind, words in REFUSED:
            with pytest.raises(kind, match=words):
                call(app)
        app.balance(spread)
        with pytest.raises(WrongStateError, match="decides already"):
            app.balance(spread)
    with server(queues=1) as alone, pytest.raises(NotSupportedError, match="more than one queue"):
        alone.balance(spread)


def cli(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "qstack", *args],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_a_load_is_recorded_and_played_to_a_policy(tmp_path: Path) -> None:
    path = tmp_path / "load.json"
    command = [programs.find("qs-load"), WIRE, "10.79.0.1/24", "10.79.0.2"]
    command += [str(LOW), str(HIGH), "32", "2000", "4"]
    with server(), subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        time.sleep(1.0)  # it connects; what is recorded is some of the load
        done = cli(
            "record", WIRE, "--to", str(path), "--seconds", "1", "--period", "50ms", "--json"
        )
        process.communicate()
    assert done.returncode == 0, done.stderr
    about = json.loads(done.stdout)
    assert about["periods"] >= 10
    assert about["frames"] > 100
    assert about["buckets_used"] > 8
    done = cli(
        *("sim", "--load", str(path), "--policy", "static", "--seconds", "1", "--warm-up", "0"),
        *("--cores", "2", "--queues", "4", "--json"),
    )
    assert done.returncode == 0, done.stderr
    assert str(path) in json.loads(done.stdout)["loads"]


def test_recording_says_what_is_missing(tmp_path: Path) -> None:
    path = str(tmp_path / "load.json")
    done = cli("record", "nobody", "--to", path)
    assert done.returncode == 1
    assert "no server answers here" in done.stderr
    done = cli("record", "--to", path, "--period", "1us")
    assert done.returncode == 2
    assert "at least 1ms" in done.stderr
    with server(queues=1):
        done = cli("record", "--to", path)
        assert done.returncode == 1
        assert "more than one queue" in done.stderr

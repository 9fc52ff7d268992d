# SPDX-License-Identifier: Apache-2.0
"""Buckets of flows move between the queues of a server that runs, by nicprog and the stack."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import nicprog
from qstack import Connection, Server, http, programs
from qstack import server as server_module
from qstack.errors import ConfigError, WrongStateError
from qstack.http import Request, Response

LOW, HIGH = 8080, 8443
WIRE = f"qb-{os.getpid()}"
QUEUES, BUCKETS = 4, 256


@pytest.fixture(autouse=True)
def _own_run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSTACK_RUN_DIR", str(tmp_path))


@pytest.fixture
def app() -> Server:
    server = Server(nic=f"pair:{WIRE}", addresses=("10.79.0.2/24",), queues=QUEUES, workers=2)

    def answer(_: Request) -> Response:
        return Response(body=b"hello")

    server.listen(port=LOW)(http.handler(answer))
    server.listen(port=HIGH, priority=7)(http.handler(answer))
    return server


def load(connections: int, seconds: int) -> subprocess.Popen[str]:
    command = [programs.find("qs-load"), WIRE, "10.79.0.1/24", "10.79.0.2"]
    command += [str(LOW), str(HIGH), str(connections), "2000", str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_clients_notice_nothing_of_moves(app: Server) -> None:
    source = random.Random(1)
    n_moves = 0
    with app:
        with load(64, 3) as process:
            while process.poll() is None:
                chosen = source.sample(range(BUCKETS), 32)
                app.move_buckets({b: source.randrange(QUEUES) for b in chosen}, timeout="10s")
                n_moves += 1
            document = json.loads(process.communicate()[0])
        stats = app.stats()
        with nicprog.open(WIRE) as nic:
            assert len(set(nic.read().table.entries)) == QUEUES
    flows = stats["flows"]
    print(f"{n_moves} moves, {flows}")
    assert n_moves > 20
    assert sum(queue["arrived"] for queue in flows) > 20
    assert not sum(queue["lost"] + queue["frames_lost"] for queue in flows)
    assert not sum(queue["retransmits"] for queue in stats["queues"])
    assert document["socket_errors"] == 0
    assert document["high_requests"] >= 90


def test_a_connection_stays_the_same_for_its_handler() -> None:
    seen: dict[Connection, set[int]] = {}
    app = Server(nic=f"pair:{WIRE}", addresses=("10.79.0.2/24",), queues=QUEUES, workers=2)

    def note(conn: Connection) -> None:
        seen.setdefault(conn, set()).add(conn.queue)
        conn.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    app.listen(port=LOW)(note)
    app.listen(port=HIGH, priority=7)(note)
    turn = 0
    with app, load(8, 2) as process:
        while process.poll() is None:
            app.move_buckets(dict.fromkeys(range(BUCKETS), turn % QUEUES), timeout="10s")
            turn += 1
    assert any(len(queues) == QUEUES for queues in seen.values())


REFUSED: list[tuple[Callable[[Server], object], type[Exception], str]] = [
    (lambda app: app.move_buckets({256: 0}), ConfigError, "no bucket 256"),
    (lambda app: app.move_buckets({0: 4}), ConfigError, "no queue 4"),
    (lambda app: app.move_buckets({-1: 0}), ConfigError, "bucket must be a number"),
    (lambda app: app.move_buckets({0: True}), ConfigError, "queue must be a number"),
    (lambda app: app.move_buckets({0: 1}, timeout="1"), ConfigError, "timeout: "),
]


def test_what_cannot_be_says_why(app: Server) -> None:
    with pytest.raises(WrongStateError):
        app.move_buckets({0: 1})
    with app:
        for call, kind, words in REFUSED:
            with pytest.raises(kind, match=words):
                call(app)
        app.move_buckets({})
        assert all(queue["arrived"] == 0 for queue in app.stats()["flows"])


def test_a_table_that_cannot_be_written_moves_nobody(
    app: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise nicprog.NicprogError("out of order")

    with app:
        with load(16, 1) as process:
            with monkeypatch.context() as patched:
                patched.setattr(server_module, "_write_table", fail)
                for _ in range(10):
                    with pytest.raises(nicprog.NicprogError, match="out of order"):
                        app.move_buckets(dict.fromkeys(range(BUCKETS), 0))
            document = json.loads(process.communicate()[0])
        assert all(queue["arrived"] == 0 for queue in app.stats()["flows"])
        app.move_buckets(dict.fromkeys(range(BUCKETS), 0))
    assert document["socket_errors"] == 0

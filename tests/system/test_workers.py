# SPDX-License-Identifier: Apache-2.0
"""Queues of a server that runs move between workers, which come and go."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qstack import Server, http, programs
from qstack.config import StackConfig
from qstack.errors import ConfigError, OutOfMemoryError, WrongStateError
from qstack.http import Request, Response

LOW, HIGH = 8080, 8443
WIRE = f"qw-{os.getpid()}"


@pytest.fixture(autouse=True)
def _own_run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSTACK_RUN_DIR", str(tmp_path))


@pytest.fixture
def app() -> Server:
    server = Server(
        nic=f"pair:{WIRE}", addresses=("10.79.0.2/24",), queues=4, workers=2, workers_max=3
    )

    def answer(_: Request) -> Response:
        return Response(body=b"hello")

    server.listen(port=LOW)(http.handler(answer))
    server.listen(port=HIGH, priority=7)(http.handler(answer))
    return server


def queues_of(app: Server) -> list[list[int]]:
    return [worker["queues"] for worker in app.stats()["workers"]]


def states_of(app: Server) -> list[str]:
    return [worker["state"] for worker in app.stats()["workers"]]


def wait_for(app: Server, queues: list[list[int]]) -> None:
    """Parking does not wait for the queues to be gone."""
    for _ in range(1000):
        if queues_of(app) == queues:
            return
        time.sleep(0.01)
    raise AssertionError(f"{queues_of(app)}, not {queues}")


def test_clients_notice_nothing_of_moves(app: Server) -> None:
    command = [programs.find("qs-load"), WIRE, "10.79.0.1/24", "10.79.0.2"]
    command += [str(LOW), str(HIGH), "8", "2000", "2"]
    n_moves = 0
    with app:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            while process.poll() is None:
                app.move_queue(n_moves % 4, n_moves // 4 % 2)
                n_moves += 1
            document = json.loads(process.communicate()[0])
        assert n_moves > 20
        assert not sum(queue["retransmits"] for queue in app.stats()["queues"])
    print(f"{n_moves} moves")
    assert document["socket_errors"] == 0
    assert document["high_requests"] >= 90


def test_workers_are_added_parked_woken_and_removed(app: Server) -> None:
    with app:
        assert queues_of(app) == [[0, 2], [1, 3], []]
        assert states_of(app) == ["active", "active", "absent"]
        assert app.add_worker() == 2
        app.move_queue(3, 2)
        assert queues_of(app) == [[0, 2], [1], [3]]
        app.park_worker(0)
        app.remove_worker(2, timeout="10s")
        assert states_of(app) == ["parked", "active", "absent"]
        wait_for(app, [[], [0, 1, 2, 3], []])
        app.wake_worker(0)
        app.move_queue(1, 0, timeout="10s")
        assert states_of(app) == ["active", "active", "absent"]
        assert queues_of(app) == [[1], [0, 2, 3], []]


REFUSED: list[tuple[Callable[[Server], object], type[Exception], str]] = [
    (lambda app: app.move_queue(4, 0), ConfigError, "no queue 4"),
    (lambda app: app.move_queue(0, 2), ConfigError, "no worker 2"),
    (lambda app: app.move_queue(-1, 0), ConfigError, "queue must be a number"),
    (lambda app: app.move_queue(0, True), ConfigError, "worker must be a number"),
    (lambda app: app.move_queue(0, 1, timeout="1"), ConfigError, "timeout: "),
    (lambda app: app.move_queue(1, 0), WrongStateError, "worker 0 is parked"),
    (lambda app: app.park_worker(1), WrongStateError, "last one"),
    (lambda app: app.park_worker(7), ConfigError, "no worker 7"),
    (lambda app: app.wake_worker(2), ConfigError, "no worker 2"),
    (lambda app: app.remove_worker(1), WrongStateError, "last one"),
    (lambda app: app.remove_worker(1, timeout="soon"), ConfigError, "timeout: "),
    (lambda app: (app.add_worker(), app.add_worker()), OutOfMemoryError, "all 3 workers"),
]


def test_what_cannot_be_says_why(app: Server) -> None:
    with app:
        app.park_worker(0)
        for call, error, words in REFUSED:
            with pytest.raises(error, match=words):
                call(app)


def test_a_server_that_does_not_run_has_no_workers(app: Server) -> None:
    with pytest.raises(WrongStateError, match="not running"):
        app.move_queue(0, 1)


@pytest.mark.parametrize("least", [0, 3, True, "1"])
def test_the_least_workers_are_checked(least: object) -> None:
    with pytest.raises(ConfigError, match=r"workers_min must be 1\.\.2"):
        StackConfig(
            addresses=("10.0.0.1/24",),
            queues=4,
            workers=2,
            workers_min=least,  # type: ignore[arg-type]
        )


def test_workers_that_follow_the_load_are_there_from_the_start() -> None:
    app = Server(
        nic=f"pair:{WIRE}",
        addresses=("10.79.0.2/24",),
        queues=2,
        workers=1,
        workers_min=1,
        workers_max=2,
    )
    with app:
        assert states_of(app) == ["active", "parked"]
        assert queues_of(app) == [[0, 1], []]


@pytest.mark.parametrize("most", [1, 65, True, "3"])
def test_the_most_workers_are_checked(most: object) -> None:
    with pytest.raises(ConfigError, match=r"workers_max must be 2\.\.64"):
        StackConfig(
            addresses=("10.0.0.1/24",),
            queues=4,
            workers=2,
            workers_max=most,  # type: ignore[arg-type]
        )

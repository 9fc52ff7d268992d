# SPDX-License-Identifier: Apache-2.0
"""Application threads: who waits in a handler delays the listeners of its thread alone."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from qstack import Connection, Server, http, programs
from qstack.errors import WrongStateError
from qstack.http import Request, Response

LOW, HIGH, SLOW = 8080, 8443, 9000
WIRE = f"qt-{os.getpid()}"


@pytest.fixture(autouse=True)
def _own_run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSTACK_RUN_DIR", str(tmp_path))


def web(seen: set[int], before: Callable[[], object] = lambda: None) -> http.HttpHandler:
    def answer(_: Request) -> Response:
        seen.add(threading.get_ident())
        before()
        return Response(body=b"hello")

    return http.handler(answer)


def load(low_port: int, high_port: int) -> subprocess.Popen[str]:
    command = [programs.find("qs-load"), WIRE, "10.79.0.1/24", "10.79.0.2"]
    command += [str(low_port), str(high_port), "8", "200", "2"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_handler_that_waits_delays_its_own_thread_only() -> None:
    app = Server(nic=f"pair:{WIRE}", addresses=("10.79.0.2/24",))
    let_go = threading.Event()
    low, high = set[int](), set[int]()
    app.listen(port=LOW, thread="waits")(web(low, let_go.wait))
    app.listen(port=HIGH, priority=7)(web(high))
    with app, load(LOW, HIGH) as process:
        try:
            while not low or app.stats()["listeners"][str(HIGH)]["calls"] < 100:
                assert process.poll() is None
            held = app.stats()["listeners"][str(LOW)]["calls"]
        finally:
            let_go.set()
        out, _ = process.communicate(timeout=60)
    assert held == 1
    document = json.loads(out)
    assert document["high_requests"] >= 90
    assert document["socket_errors"] == 0
    assert len(low) == len(high) == 1
    assert low != high


def test_listeners_that_name_the_same_thread_share_it() -> None:
    app = Server(nic=f"pair:{WIRE}", addresses=("10.79.0.2/24",))
    seen = set[int]()
    app.listen(port=LOW, thread="one")(web(seen))
    app.listen(port=HIGH, priority=7, thread="one")(web(seen))
    with app, load(LOW, HIGH) as process:
        process.communicate(timeout=60)
        assert app.stats()["connections"] > 0
    assert len(seen) == 1


def test_the_end_of_a_thread_ends_run() -> None:
    app = Server(nic=f"pair:{WIRE}", addresses=("10.79.0.2/24",))

    class Fatal(BaseException):
        pass

    def die(_: Connection) -> None:
        raise Fatal

    app.listen(port=LOW)(web(set()))
    app.listen(port=HIGH, priority=7, thread="dies")(die)
    with app, load(LOW, HIGH) as process:
        with pytest.raises(Fatal):
            app.wait()
        process.kill()
        process.communicate()


def test_no_handler_stops_its_server() -> None:
    app = Server(nic=f"pair:{WIRE}", addresses=("10.79.0.2/24",))
    errors: list[Exception] = []

    def stop() -> None:
        try:
            app.stop()
        except WrongStateError as e:
            errors.append(e)

    app.listen(port=LOW)(web(set()))
    app.listen(port=HIGH, priority=7, thread="other")(web(set(), stop))
    with app, load(LOW, HIGH) as process:
        process.communicate(timeout=60)
    assert errors


def test_a_server_without_listeners_can_be_stopped() -> None:
    app = Server(nic=f"pair:{WIRE}", addresses=("10.79.0.2/24",))
    runs = threading.Thread(target=app.run)
    runs.start()
    while True:
        try:
            assert app.stats()["connections"] == 0
            break
        except WrongStateError:  # it is starting
            continue
    app.stop()
    runs.join(timeout=30)
    assert not runs.is_alive()

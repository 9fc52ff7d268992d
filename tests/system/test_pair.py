# SPDX-License-Identifier: Apache-2.0
"""The server in Python and a client of QStack's own TCP, joined by a wire in memory: no rights."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from qstack import Server, StackConfig, http, programs
from qstack.errors import ConfigError, NoDeviceError
from qstack.http import Request, Response
from qstack.residency import STAGES

LOW, HIGH = 8080, 8443


@pytest.fixture(autouse=True)
def _own_run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSTACK_RUN_DIR", str(tmp_path))


def test_http_over_a_wire_with_classes() -> None:
    wire = f"qy-{os.getpid()}"
    app = Server(nic=f"pair:{wire}", queues=4, addresses=("10.79.0.2/24",))
    seen: list[tuple[int, int]] = []

    def web(request: Request) -> Response:
        seen.append((request.connection.port, request.connection.priority))
        return Response(body=b"hello")

    app.listen(port=LOW)(http.handler(web))
    app.listen(
        port=HIGH,
        priority=7,
        congestion="newreno",
        keepalive="1ms",
        user_timeout="30s",
        nodelay=False,
    )(http.handler(web))
    command = [programs.find("qs-load"), wire, "10.79.0.1/24", "10.79.0.2", str(LOW), str(HIGH)]
    with app:
        assert (app.info.driver, app.info.mode, app.info.queues) == ("pair", "memory", 4)
        done = subprocess.run(
            [*command, "16", "100", "2"], capture_output=True, text=True, timeout=60, check=False
        )
        stats, residency = app.stats(), app.residency()
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["low_rps"] > 0
    assert document["high_requests"] >= 90
    assert document["socket_errors"] == 0
    assert set(seen) == {(LOW, 0), (HIGH, 7)}
    assert stats["listeners"][str(LOW)]["opened"] == 16
    assert stats["listeners"][str(LOW)]["handler_errors"] == 0
    opened = sum(stats["listeners"][str(port)]["opened"] for port in (LOW, HIGH))
    assert sum(queue["passive_opens"] for queue in stats["queues"]) == opened
    assert set(stats["classes"]) == {"0", "7"}
    assert stats["classes"]["0"]["opens"] == 16
    assert sum(of["opens"] for of in stats["classes"].values()) == opened
    assert stats["classes"]["7"]["shed_conns"] == 0
    assert set(residency) == {"0", "7"}
    for stages in residency.values():
        assert list(stages) == list(STAGES)
        for figures in stages.values():
            assert figures["count"] > 0
            assert 0 < figures["p50_us"] <= figures["p99_us"] <= figures["max_us"]
        parts = ("event", "ring", "handler", "transmit")
        assert stages["all"]["p50_us"] < 2 * sum(stages[part]["p99_us"] for part in parts)
    assert sum(queue["keepalive_probes"] for queue in stats["queues"]) > 0


def test_a_wire_is_made_anew_after_a_stop() -> None:
    app = Server()
    app.listen(port=LOW)(lambda conn: conn.write(conn.data))
    for _ in range(3):
        with app:
            assert app.info.driver == "pair"
        assert app.config.nic is None


def test_to_join_a_wire_that_is_not_there_says_so() -> None:
    app = Server(nic="pair:qy-none", join=True, addresses=("10.79.0.1/24",))
    with pytest.raises(NoDeviceError, match="qy-none"):
        app.start()


def test_config_and_single_settings_exclude_each_other() -> None:
    with pytest.raises(TypeError):
        Server("pair:x", config=StackConfig(nic="pair:x", addresses=("10.0.0.1/8",)))
    with pytest.raises(ConfigError, match="queues"):
        Server(queues=0)

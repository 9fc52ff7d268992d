# SPDX-License-Identifier: Apache-2.0
"""Balance, and what Prometheus reads, by Prometheus' own parser."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.request import urlopen

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import nicprog
from nicprog import cli, sim
from nicprog.balance import balance
from nicprog.metrics import NicCollector, counters_of
from nicprog.model import RssTable
from tests.nicprog.owner import Owner

Samples = dict[tuple[str, str], float]


def parsed(text: str) -> Samples:
    """Value by name and the labels after the device."""
    return {
        (sample.name, "".join(v for k, v in sample.labels.items() if k != "device")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped(registry: CollectorRegistry) -> Samples:
    return parsed(generate_latest(registry).decode())


@pytest.mark.parametrize(
    ("entries", "packets", "variation", "spread"),
    [
        ((0, 1), {0: 50, 1: 50}, 0, 0),
        ((0, 1), {0: 150, 1: 50}, 0.5, 1),
        ((0, 0, 0, 1), {0: 300, 1: 100}, 0, 0),
        ((0, 1), {0: 50, 1: 50, 2: 1_000_000}, 0, 0),  # by a rule
        ((0, 1, 2, 3), {0: 10}, 3**0.5, 2),
    ],
)
def test_balance(
    entries: tuple[int, ...], packets: dict[int, int], variation: float, spread: float
) -> None:
    found = balance(RssTable(entries=entries), packets)
    assert found.variation == pytest.approx(variation)
    assert found.spread == pytest.approx(spread)
    assert sum(found.shares.values()) == pytest.approx(1)


def test_balance_without_packets() -> None:
    found = balance(RssTable(entries=(0, 2)), {1: 5})
    assert (found.shares, found.variation, found.spread) == ({}, None, None)
    assert found.table_shares == {0: 0.5, 2: 0.5}


@given(st.lists(st.integers(0, 5), min_size=1), st.dictionaries(st.integers(0, 5), st.integers(0)))
def test_balance_of_anything(entries: Sequence[int], packets: dict[int, int]) -> None:
    found = balance(RssTable(entries=tuple(entries)), packets)
    assert sum(found.table_shares.values()) == pytest.approx(1)
    assert found.spread is None or 0 <= found.spread <= 2.000001
    assert found.variation is None or found.variation >= 0


def test_what_is_read_of_a_software_nic(owner: Owner, nic: nicprog.Backend) -> None:
    spec = nicprog.parse(
        'device = "qp0"\nrss = { equal = [0, 1] }\n'
        '[[rule]]\nname = "web"\nprotocol = "tcp"\nfamily = "ipv4"\nqueue = 7'
    )
    registry = CollectorRegistry()
    registry.register(NicCollector(["qp0"], [spec]))
    found = scraped(registry)
    assert found["nicprog_up", ""] == 1
    assert found["nicprog_drift", ""] == 193  # three quarters of the entries, and the rule
    assert found["nicprog_table_share", "7"] == 1 / 8
    assert ("nicprog_imbalance_variation", "") not in found
    nicprog.apply(nic, nicprog.plan(nic, spec))
    for queue, frames in ((0, 3), (1, 1), (7, 5)):
        for _ in range(frames):
            owner.frame(queue, 100)
    found = scraped(registry)
    assert found["nicprog_drift", ""] == 0
    assert found["nicprog_rx_queue_packets_total", "7"] == 5
    assert found["nicprog_rx_queue_bytes_total", "0"] == 300
    assert found["nicprog_rx_queue_share", "0"] == 0.75
    assert found["nicprog_imbalance_variation", ""] == 0.5
    assert found["nicprog_imbalance_spread", ""] == 1
    assert (found["nicprog_rules", ""], found["nicprog_rule_locations", ""]) == (1, 4096)
    assert found["nicprog_rule_packets_total", "0"] == 0
    assert found["nicprog_drops_total", "rx_rule_drops"] == 0
    owner.frame(1, 100)
    assert scraped(registry)["nicprog_rx_queue_share", "1"] == 1  # since the read before


def test_a_nic_that_is_gone_is_down_and_the_others_are_told(owner: Owner) -> None:
    registry = CollectorRegistry()
    registry.register(NicCollector(["absent", "qp0"]))
    text = generate_latest(registry).decode()
    assert 'nicprog_up{device="absent"} 0.0' in text
    assert 'nicprog_up{device="qp0"} 1.0' in text


def test_counters_that_began_anew_are_taken_whole() -> None:
    nic = sim.SimNic("mlx5")
    registry = CollectorRegistry()
    registry.register(NicCollector(["sim:mlx5"], open_nic=lambda _: sim.connect(nic)))
    nic.received = {0: (100, 0), 1: (300, 0)}
    scraped(registry)
    nic.received = {0: (10, 0), 1: (10, 0)}
    assert scraped(registry)["nicprog_rx_queue_share", "0"] == 0.5


def test_the_command_prints(owner: Owner, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["metrics"]) == 0
    assert parsed(capsys.readouterr().out)["nicprog_up", ""] == 1
    assert cli.main(["metrics", "qp0", "--json"]) == 0
    samples = json.loads(capsys.readouterr().out)["samples"]
    assert {"name": "nicprog_up", "labels": {"device": "qp0"}, "value": 1} in samples


def test_the_command_has_nothing_to_read(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["metrics"]) == 2
    assert "no software NIC is live" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["9100", "x:y", "127.0.0.1:65536", "::1:9100"])
def test_addresses_that_are_none(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["metrics", "qp0", "--listen", address])
    assert "is not ADDRESS:PORT" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["", "[::1]"])
def test_the_command_serves_until_the_signal(owner: Owner, host: str) -> None:
    if host and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    command = [sys.executable, "-m", "nicprog.cli", "metrics", "qp0", "--listen", f"{host}:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        assert address.startswith(f"http://{host or '127.0.0.1'}:")
        owner.frame(3, 60)
        with urlopen(address, timeout=20) as answer:
            found = parsed(answer.read().decode())
        assert found["nicprog_rx_queue_packets_total", "3"] == 1
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=20) == 0


def test_an_address_that_is_taken_is_said(owner: Owner, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert cli.main(["metrics", "qp0", "--listen", address]) == 1
    assert f"cannot listen on {address}: Address already in use" in capsys.readouterr().err


def test_without_the_package_the_command_says_so(
    owner: Owner, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    assert cli.main(["metrics"]) == 1
    assert "pip install 'qstack-net[metrics]'" in capsys.readouterr().err


class _Kernel:
    """Statistics of queues as the family netdev tells them."""

    def __init__(self, device: str) -> None:
        assert device == "sim:mlx5"

    def __enter__(self) -> _Kernel:
        return self

    def __exit__(self, *_: object) -> None: ...

    def queue_statistics(self) -> dict[tuple[str, int], dict[str, int]]:
        return {("rx", 1): {"rx-packets": 7, "rx-bytes": 700}, ("tx", 1): {"tx-packets": 9}}

    def totals(self) -> dict[str, int]:
        return {"rx-hw-drops": 3, "rx-packets": 7}


def test_the_kernel_tells_what_names_of_counters_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nicprog.metrics.is_interface", lambda _: True)
    monkeypatch.setattr("nicprog.metrics.Netdev", _Kernel)
    nic = sim.SimNic("mlx5")
    with sim.connect(nic) as backend:
        assert counters_of(backend).queues != ()  # the driver's own come first
        monkeypatch.setattr(type(backend), "counters", _no_counters)
        found = counters_of(backend)
    assert [(one.queue, one.packets, one.bytes) for one in found.queues] == [(1, 7, 700)]
    assert found.totals["rx-hw-drops"] == 3


def _no_counters(_: object) -> None:
    raise nicprog.NicprogError("its driver does not do this")

# SPDX-License-Identifier: Apache-2.0
"""The contract of backends, on models of all drivers and on the software NIC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nicprog
from nicprog import sim
from tests.nicprog import contract
from tests.nicprog.owner import Owner
from tests.nicprog.strategies import specs

MODELS = [name for name in sim.PROFILES if name != "e1000e"]
HOLDS_RULES = ("mlx5", "ice", "i40e", "ixgbe", "gve", "octeontx2", "qp0")


@pytest.fixture(params=[*MODELS, "qp0"], scope="module")
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def opened(kind: str, run_dir: Path) -> Iterator[nicprog.Backend]:
    """A NIC as new; its locks and snapshots are in the test's own folder."""
    with _owner(kind), nicprog.open(kind if kind == "qp0" else f"sim:{kind}") as nic:
        yield nic


@contextmanager
def _owner(kind: str) -> Iterator[None]:
    if kind != "qp0":
        yield
        return
    with Owner(kind):
        yield


def test_a_new_nic_is_as_its_own_dump(opened: nicprog.Backend) -> None:
    contract.plan_of_its_own_state_is_empty(opened)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_a_spec_is_refused_with_a_reason_or_holds(
    opened: nicprog.Backend, data: st.DataObject
) -> None:
    """From a state that another spec led to."""
    new, apart = opened.read(), opened.read().channels.rx > 0
    contract.applied(opened, data.draw(specs(opened.device, apart)))
    contract.refused_or_applied_and_rolled_back(opened, data.draw(specs(opened.device, apart)))
    nicprog.apply(opened, nicprog.plan(opened, new))
    assert opened.read() == new


@pytest.mark.parametrize("name", MODELS)
def test_rules_send_packets_where_the_spec_says(name: str, run_dir: Path) -> None:
    model = sim.SimNic(name)
    queues = "rx = 4\ntx = 4" if name == "gve" else "combined = 4"
    spec = nicprog.parse(
        f'device = "sim:{name}"\n[channels]\n{queues}\n[rss]\nequal = [0, 1]\n'
        '[[rule]]\nname = "web"\nprotocol = "tcp"\nfamily = "ipv4"\ndst_port = 443\nqueue = 3\n'
    )
    with sim.connect(model) as nic:
        if name not in HOLDS_RULES:
            with pytest.raises(nicprog.Refused):
                nicprog.plan(nic, spec)
            return
        nicprog.apply(nic, nicprog.plan(nic, spec))
        web = [sim.Packet.of(f"10.0.0.{i}", "10.1.0.1", 1024 + i, 443) for i in range(64)]
        other = [sim.Packet.of(f"10.0.0.{i}", "10.1.0.1", 1024 + i, 80) for i in range(64)]
        assert {sim.deliver(model, packet) for packet in web} == {3}
        assert {sim.deliver(model, packet) for packet in other} == {0, 1}
        counted = {item.queue: item.packets for item in nic.counters().queues}
        assert counted[3] == 64
        assert counted[0] + counted[1] == 64


def test_what_has_no_channels_is_not_programmed() -> None:
    with (
        nicprog.open("sim:e1000e") as nic,
        pytest.raises(nicprog.NicprogError, match="cannot be programmed: its driver has no chan"),
    ):
        nicprog.plan(nic, nicprog.Spec(device="sim:e1000e"))

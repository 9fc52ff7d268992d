# SPDX-License-Identifier: Apache-2.0
"""A model in a file: what one command does the next one finds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import nicprog
from nicprog import sim
from nicprog.ethtool import Ethtool, FlowType, HashField, InputTransform, RxMatch, RxRule
from nicprog.model import Masked
from nicprog.sim.file import load, save
from nicprog.sim.transport import SimTransport

SPEC = (
    '[channels]\ncombined = 6\n[[rule]]\nname = "web"\nprotocol = "tcp"\ndst_port = 80\nqueue = 5\n'
)


@pytest.fixture
def name(run_dir: Path, tmp_path: Path) -> str:
    """A model that has no file yet."""
    return f"sim:mlx5@{tmp_path / 'nic.json'}"


def apply(name: str) -> nicprog.NicState:
    with nicprog.open(name) as nic:
        spec = nicprog.parse(f'device = "{name}"\n{SPEC}')
        nicprog.apply(nic, nicprog.plan(nic, spec))
        return nic.read()


def test_everything_is_kept(tmp_path: Path) -> None:
    nic, path = sim.SimNic("mlx5"), tmp_path / "nic.json"
    calls = Ethtool("sim", SimTransport(nic))
    context = calls.new_rss_context([6, 7] * 128, bytes(range(40)))
    calls.set_rss(table=[3, 1] * 128, transform=InputTransform.SYMMETRIC_OR_XOR)
    calls.set_hash_fields(FlowType.UDP4, HashField.SRC | HashField.DST)
    calls.set_rings(replace(calls.rings(), rx_pending=1024))
    calls.set_coalesce(replace(calls.coalesce(), rx_coalesce_usecs=9))
    match = RxMatch(src_mac=Masked(value=0x020000000001, mask=0xFFFFFFFFFFFF))
    calls.insert_rule(RxRule(flow=FlowType.ETHER, match=match, location=3, context=context))
    save(path, nic, "abc")
    again = sim.SimNic("mlx5")
    assert load(path, again) == "abc"
    for part in ("channels", "rings", "coalesce", "contexts", "hashed", "rules", "ntuple"):
        assert getattr(again, part) == getattr(nic, part), part


def test_the_next_finds_what_one_did_and_can_take_it_back(name: str) -> None:
    with nicprog.open(name) as nic:
        before = nic.read()
    after = apply(name)
    assert after != before
    with nicprog.open(name) as nic:
        assert nic.read() == after
        nicprog.rollback(nic)
    with nicprog.open(name) as nic:
        assert nic.read() == before


def test_a_death_in_the_middle_is_ended_by_the_next(name: str) -> None:
    with nicprog.open(name) as nic:
        before = nic.read()
        spec = nicprog.parse(f'device = "{name}"\n{SPEC}')
        plan = nicprog.plan(nic, spec)
        transport = nic._transport
        assert isinstance(transport, SimTransport)
        transport.faults = {transport.requests + 10: sim.Fault(at=0, errno=None, late=True)}
        with pytest.raises(sim.Died):
            nicprog.apply(nic, plan)
    with nicprog.open(name) as nic:
        assert nic.read() != before, "the death came after a change"
        assert nicprog.recover(nic) is not None
        assert nic.read() == before


def test_a_nic_made_anew_is_another_one(name: str) -> None:
    apply(name)
    Path(name.partition("@")[2]).unlink()
    with nicprog.open(name) as nic, pytest.raises(nicprog.SnapshotError, match="of an earlier NIC"):
        nicprog.rollback(nic)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}'])
def test_a_damaged_file_is_named(name: str, text: str) -> None:
    path = Path(name.partition("@")[2])
    path.write_text(text)
    with pytest.raises(nicprog.NicprogError, match=r"nic\.json is damaged .* remove it to begin"):
        nicprog.open(name)
    assert path.read_text() == text


def test_each_part_of_the_file_is_needed(name: str) -> None:
    apply(name)
    path = Path(name.partition("@")[2])
    held = json.loads(path.read_text())
    for part in held:
        path.write_text(json.dumps({key: value for key, value in held.items() if key != part}))
        with pytest.raises(nicprog.NicprogError, match="is damaged"):
            nicprog.open(name)


def test_a_file_of_another_kind_is_refused(name: str) -> None:
    apply(name)
    with pytest.raises(nicprog.NicprogError, match="holds a NIC of driver mlx5_core"):
        nicprog.open(name.replace("mlx5", "ice"))


def test_a_file_that_cannot_be_written_leaves_all_as_it_was(name: str, tmp_path: Path) -> None:
    where = name.replace("nic.json", "no/such/folder/nic.json")
    with nicprog.open(where) as nic:
        plan = nicprog.plan(nic, nicprog.parse(f'device = "{where}"\n{SPEC}'))
        with pytest.raises(nicprog.ApplyError, match=r"cannot write .* No such file or directory"):
            nicprog.apply(nic, plan)
    with nicprog.open(where) as nic:
        assert nic.read() == plan.now

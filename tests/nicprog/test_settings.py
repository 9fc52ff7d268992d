# SPDX-License-Identifier: Apache-2.0
"""Rings, coalescing, features, private flags and hashing in specs, on models."""

from __future__ import annotations

from pathlib import Path

import pytest

import nicprog
from nicprog import sim
from nicprog.errors import ApplyError, Refused, SpecError
from nicprog.plan import Disruption
from nicprog.settings import GROUPS
from nicprog.spec_toml import spec_to_toml
from nicprog.text import state_to_toml

HEAD = 'device = "sim:{}"\n'
RULE = '[[rule]]\nname = "web"\nprotocol = "tcp"\nfamily = "ipv4"\ndst_port = 80\nqueue = 1\n'


def steps_of(model: sim.SimNic, text: str) -> list[str]:
    """Applies a spec and returns what was done."""
    with sim.connect(model) as nic:
        plan = nicprog.plan(nic, nicprog.parse(f'device = "{model.device}"\n{text}'))
        nicprog.apply(nic, plan)
        return [str(step.do) for step in plan.steps]


@pytest.mark.parametrize(
    ("profile", "text", "done"),
    [
        ("ice", "[rings]\nrx = 8160\n", ["set rings: rx 8160"]),
        ("ice", "[rings]\nrx = 1024\ntx = 64\n", ["set rings: rx 1024, tx 64"]),
        ("mlx5", "[coalesce]\nrx_usecs = 8\nrx_frames = 4\n",
         ["set coalesce: rx_usecs 8, rx_frames 4"]),
        ("mlx5", "[coalesce]\nadaptive_rx = true\n", ["set coalesce: adaptive_rx on"]),
        ("i40e", "[coalesce.queue.7]\nrx_usecs = 2\n", ["set coalesce.queue.7: rx_usecs 2"]),
        ("ice", "[features]\nrxhash = false\nrx-gro = false\n",
         ["set features: rx-hashing off, rx-gro off"]),
        ("mlx5", "[private_flags]\nrx_cqe_compress = true\n",
         ["set private_flags: rx_cqe_compress on"]),
        ("igb", '[hash]\nudp4 = "nfds"\nudp6 = "sdfn"\n',
         ["set hash: udp4 sdfn", "set hash: udp6 sdfn"]),
        ("mlx5", '[hash]\nfunction = "xor"\n', ["set hash: function xor"]),
        ("ice", "[rings]\nrx = 512\n", []),
    ],
)  # fmt: skip
def test_what_a_group_says_is_done_held_and_taken_back(
    profile: str, text: str, done: list[str], run_dir: Path
) -> None:
    model = sim.SimNic(profile)
    groups = (*GROUPS, "coalesce.queue.7")
    with sim.connect(model) as nic:
        before = nic.read(groups)
        spec = nicprog.parse(HEAD.format(profile) + text)
        differences = nicprog.verify(nic, spec)
        assert bool(differences) == bool(done)
        assert steps_of(model, text) == done
        assert nicprog.verify(nic, spec) == ()
        assert nicprog.plan(nic, spec).steps == ()
        assert (nic.read(groups) != before) == bool(done)
        if done:
            nicprog.rollback(nic)
        assert nic.read(groups) == before


def test_differences_name_group_value_and_both_texts() -> None:
    with sim.connect(sim.SimNic("mlx5")) as nic:
        found = nicprog.verify(
            nic, nicprog.parse('device = "sim:mlx5"\n[features]\nrxhash = false\n')
        )
    (one,) = found
    assert (one.what, one.wanted, one.found) == ("setting features rx-hashing", "off", "on")


def test_the_order_is_that_of_what_rests_on_what(run_dir: Path) -> None:
    text = (
        "[channels]\ncombined = 12\n[rings]\nrx = 1024\n[coalesce.queue.11]\nrx_usecs = 1\n"
        '[features]\nrx-gro = false\n[hash]\ntransform = "symmetric-xor"\ntcp4 = "sd"\n'
        "[private_flags]\nfw-lldp-agent = true\n"
    )
    model = sim.SimNic("ice")
    assert [step.split(":")[0].split(" ")[1] for step in steps_of(model, text + RULE)] == [
        "private_flags", "rings", "hash", "hash", "12", "the", "rule", "coalesce.queue.11",
        "features",
    ]  # fmt: skip
    with sim.connect(model) as nic:
        back = nicprog.rollback(nic)
    assert [str(step.do).split(":")[0] for step in back.steps][:1] == ["set private_flags"]


def test_a_transform_comes_after_fields_that_are_symmetric_and_goes_before_others(
    run_dir: Path,
) -> None:
    model = sim.SimNic("ice")
    steps_of(model, '[hash]\ntcp4 = "s"\n')
    both = '[hash]\ntransform = "symmetric-xor"\ntcp4 = "sd"\n'
    assert steps_of(model, both) == ["set hash: tcp4 sd", "set hash: transform symmetric-xor"]
    back = '[hash]\ntransform = "none"\ntcp4 = "s"\n'
    assert steps_of(model, back) == ["set hash: transform none", "set hash: tcp4 s"]


def test_ring_sizes_and_flags_stop_traffic_and_coalescing_does_not() -> None:
    text = "[rings]\nrx = 64\n[private_flags]\nfw-lldp-agent = true\n[coalesce]\nrx_usecs = 1\n"
    with sim.connect(sim.SimNic("ice")) as nic:
        plan = nicprog.plan(nic, nicprog.parse(HEAD.format("ice") + text))
    assert [step.disruption for step in plan.steps] == [
        Disruption.LINK, Disruption.LINK, Disruption.NONE
    ]  # fmt: skip


def test_queues_keep_what_is_theirs_when_all_are_written(run_dir: Path) -> None:
    model = sim.SimNic("i40e")
    steps_of(model, "[coalesce]\nrx_usecs = 9\n[coalesce.queue.2]\nrx_usecs = 3\n")
    steps_of(model, "[coalesce]\nrx_usecs = 50\n[coalesce.queue.2]\nrx_usecs = 3\n")
    assert model.coalesce.rx_coalesce_usecs == 50
    assert model.coalesce_of[2].rx_coalesce_usecs == 3
    with sim.connect(model) as nic:
        nicprog.rollback(nic)
    assert model.coalesce.rx_coalesce_usecs == 9
    assert model.coalesce_of[2].rx_coalesce_usecs == 3


def test_a_feature_that_resets_the_table_is_turned_on_before_it_is_set(run_dir: Path) -> None:
    model = sim.SimNic("ixgbe")
    steps_of(model, "[rss]\nequal = [0, 1]\n[features]\nntuple = false\n")
    set_before = model.contexts[0].table
    done = steps_of(model, "[features]\nntuple = true\n" + RULE)
    assert done[0] == "set features: rx-ntuple-filter on"
    assert done[1].startswith("set the table")
    assert model.contexts[0].table == set_before


@pytest.mark.parametrize("queues", [4, 12])
def test_a_table_that_channels_put_out_of_effect_is_written_again(
    queues: int, run_dir: Path
) -> None:
    """Measured on virtio_net: docs/design/013-settings.md."""
    model = sim.SimNic("virtio_net")
    steps_of(model, "[rss]\nequal = [0, 1]\n")
    done = steps_of(model, f"[channels]\ncombined = {queues}\n")
    assert done == [f"set {queues} combined channels", "set the table (queue 0: 64, queue 1: 64)"]


def test_fields_without_effect_are_warned_of() -> None:
    def warnings(text: str) -> tuple[str, ...]:
        with sim.connect(sim.SimNic("virtio_net")) as nic:
            spec = nicprog.parse(HEAD.format("virtio_net") + text)
            return nicprog.plan(nic, spec).warnings

    (text,) = warnings('[hash]\nudp4 = "sd"\n')
    assert "uses them only while rx-hashing is on; add [features] rx-hashing = true" in text
    (text,) = warnings("[features]\nrxhash = false\n")
    assert "sends every packet to queue 0 once rx-hashing was turned off" in text
    assert warnings('[features]\nrxhash = true\n[hash]\nudp4 = "sd"\n') == ()


@pytest.mark.parametrize(
    ("profile", "text", "line", "words"),
    [
        ("ice", "[rings]\nrx = 9000\n", 3, "rx 9000 asked, it has at most 8160"),
        ("ice", "[rings]\nrx_mini = 9\n", 3, "has no 'rx_mini' in rings; it has rx, tx"),
        ("ice", "[coalesce.queue.8]\nrx_usecs = 9\n", 2, r"queue 8 is named, but 8 .*\(0 to 7\)"),
        ("ixgbe", "[coalesce.queue.0]\nrx_usecs = 9\n", 3, "has no coalesce.queue.0 that can be"),
        ("ice", "[features]\nrx-grow = true\n", 3, "no 'rx-grow' in features; did you mean 'rx-"),
        ("ena", "[features]\nntuple = true\n", 2, "rx-ntuple-filter is fixed off by driver ena"),
        ("igb", "[private_flags]\nx = true\n", 3, "driver igb has no private_flags that can be"),
        ("ice", '[hash]\ntransform = "symmetric-xor"\nudp4 = "s"\n', 3,
         "needs both directions' fields, but udp4 hashes 's'"),
        ("vmxnet3", "[rings]\nrx = 5000\n", 3, "it has at most 4096"),
    ],
)  # fmt: skip
def test_the_planner_refuses_with_the_numbers_and_the_place(
    profile: str, text: str, line: int, words: str
) -> None:
    with sim.connect(sim.SimNic(profile)) as nic:
        spec = nicprog.parse(HEAD.format(profile) + text, "nic.toml")
        with pytest.raises(Refused, match=rf"nic.toml:{line}:\d+: sim:{profile}: .*{words}"):
            nicprog.plan(nic, spec)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("[rings]\nrx = 0\n", "3:1", "rx must be an integer of 1 to"),
        ("[rings]\nrx = true\n", "3:1", "rx must be an integer"),
        ("[rings]\nsize = 5\n", "3:1", "unknown key 'size'; known are rx, tx"),
        ("[coalesce]\nrx_usec = 5\n", "3:1", "unknown key 'rx_usec'; did you mean 'rx_usecs'"),
        ("[coalesce]\nadaptive_rx = 1\n", "3:1", "adaptive_rx must be true or false, got 1"),
        ("[coalesce]\nqueue = 1\n", "3:1", r"written \[coalesce.queue.0\]"),
        ("[coalesce.queue.x]\nrx_usecs = 5\n", "2:", "needs the number of a queue"),
        ("[coalesce.queue.1]\nrx_usecs = -5\n", "3:1", "rx_usecs must be an integer of 0 to"),
        ("[features]\nrxhash = 1\n", "3:1", "rxhash must be true or false"),
        ("[features]\nntuple = true\nrx-ntuple-filter = false\n", "4:1", "are the same feature"),
        ('[hash]\nudp4 = "sx"\n', "3:1", "udp4 must be letters of 'mvtsdfn'"),
        ('[hash]\nfunction = "md5"\n', "3:1", "function must be one of toeplitz, xor, crc32"),
        ("rings = 5\n", "2:1", "rings must be a table"),
    ],
)  # fmt: skip
def test_bad_values_are_refused_with_line_and_column(text: str, place: str, words: str) -> None:
    with pytest.raises(SpecError, match=rf"nic.toml:{place}.*{words}"):
        nicprog.parse(HEAD.format("ice") + text, "nic.toml")


def test_rules_do_not_stay_when_the_feature_goes(run_dir: Path) -> None:
    model = sim.SimNic("ice")
    steps_of(model, RULE)
    with sim.connect(model) as nic:
        spec = nicprog.parse('device = "sim:ice"\n[features]\nntuple = false\n')
        with pytest.raises(Refused, match="has no rules, and 1 are wanted or kept"):
            nicprog.plan(nic, spec)
    gone = steps_of(model, 'other_rules = "remove"\n[features]\nntuple = false\n')
    assert gone == ["delete the rule at location 0", "set features: rx-ntuple-filter off"]


def test_what_the_driver_refuses_is_undone(run_dir: Path) -> None:
    model = sim.SimNic("igb")
    with sim.connect(model) as nic:
        before = nic.read(GROUPS)
        spec = nicprog.parse('device = "sim:igb"\n[rings]\nrx = 64\n[coalesce]\nrx_frames = 4\n')
        with pytest.raises(ApplyError, match=r"rx_max_coalesced_frames is not.*1 step undone"):
            nicprog.apply(nic, nicprog.plan(nic, spec))
        assert nic.read(GROUPS) == before


def test_a_spec_and_a_dump_are_read_back() -> None:
    text = (
        'device = "sim:ice"\n[rings]\nrx = 64\n[coalesce.queue.3]\nrx_usecs = 4\n'
        '[features]\nrxhash = true\n[hash]\nudp4 = "sd"\n'
    )
    spec = nicprog.parse(text)
    assert nicprog.parse(spec_to_toml(spec)) == spec
    with sim.connect(sim.SimNic("mlx5")) as nic:
        state = nic.read(GROUPS)
        dumped = nicprog.parse(state_to_toml("sim:mlx5", state))
        assert dumped.settings == {group: dict(values) for group, values in state.settings.items()}

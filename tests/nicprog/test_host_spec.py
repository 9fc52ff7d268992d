# SPDX-License-Identifier: Apache-2.0
"""The section [host] of specs on models of NICs: 16 CPUs, node 0 has 0-3 and 8-11."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import nicprog
from nicprog import cli, sim, watch
from nicprog.errors import ApplyError, Refused, SpecError
from nicprog.host.spec import HostSpec, NapiSpec
from nicprog.settings import GROUPS, HOST_GROUPS
from nicprog.shell import write_plan, write_spec
from nicprog.sim.host import SimFiles, SimHost
from nicprog.spec_toml import spec_to_toml
from nicprog.text import state_to_toml

ALL = """
interrupts = {0 = "1-2", rx-2 = "5"}
xps = "by-queue"
rps = {1 = ""}
rfs = {0 = 64}
irqbalance = "keep-away"

[host.xps_rxqs]
1 = "0,2"

[host.napi]
threaded = true
gro_flush_timeout_us = 20.5
"""


def spec(text: str, channels: int = 4) -> nicprog.Spec:
    return nicprog.parse(f'device = "sim:ice"\n[channels]\ncombined = {channels}\n[host]\n{text}')


@pytest.fixture
def model(run_dir: Path) -> sim.SimNic:
    """A NIC of four queues."""
    found = sim.SimNic("ice")
    with sim.connect(found) as nic:
        nicprog.apply(nic, nicprog.plan(nic, nicprog.parse(FOUR)))
    return found


FOUR = 'device = "sim:ice"\n[channels]\ncombined = 4\n'


@pytest.fixture
def nic(model: sim.SimNic) -> Iterator[nicprog.Backend]:
    with sim.connect(model) as opened:
        yield opened


def values(nic: nicprog.Backend, text: str, group: str) -> dict[str, object]:
    """What the group should hold by ``text``; the rest is applied, too, and read back."""
    plan = nicprog.plan(nic, spec(text))
    nicprog.apply(nic, plan)
    assert nicprog.plan(nic, spec(text)).steps == ()
    return dict(plan.wanted.settings[f"host.{group}"])


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("", "0 1 2 3"),
        ("cpus = 'local'\navoid_smt = true", "0 1 2 3"),
        ("cpus = 'node:1'", "4 5 6 7"),
        ("cpus = '9,1,14'", "1 9 14 1"),
        ("cpus = '1-2,9-10'\navoid_smt = true", "1 2 1 2"),
    ],
)
def test_interrupts_are_spread(nic: nicprog.Backend, text: str, cpus: str) -> None:
    found = values(nic, f"{text}\ninterrupts = 'spread'", "interrupts")
    assert list(found.values()) == cpus.split()


def test_isolated_cpus_are_taken_by_name_only(nic: nicprog.Backend, model: sim.SimNic) -> None:
    model.host.isolated = frozenset({1, 2, 8, 9, 10})
    found = values(nic, "interrupts = 'spread'", "interrupts")
    assert list(found.values()) == ["0", "3", "11", "0"]
    assert set(values(nic, "cpus = '2'\ninterrupts = 'spread'", "interrupts").values()) == {"2"}


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("", ["0,8", "1,9", "2,10", "3,11"]),
        ("avoid_smt = true", ["0,8", "1,9", "2,10", "3,11"]),
        ("cpus = '5-6'", ["5", "6", "5", "6"]),
        ("cpus = '0-15'", ["0,4,8,12", "1,5,9,13", "2,6,10,14", "3,7,11,15"]),
        ("interrupts = {0 = '7', 3 = '2-3'}", ["7", "", "", "2-3"]),
    ],
)
def test_a_cpu_sends_by_one_queue(nic: nicprog.Backend, text: str, cpus: list[str]) -> None:
    assert list(values(nic, f"{text}\nxps = 'by-queue'", "xps").values()) == cpus


def test_other_values(nic: nicprog.Backend) -> None:
    assert values(nic, "xps_rxqs = 'by-queue'", "xps_rxqs") == {f"tx-{n}": str(n) for n in range(4)}
    assert values(nic, "rps = 'cpus'\ncpus = 'node:1'", "rps")["rx-3"] == "4-7,12-15"
    assert values(nic, "rps = 'off'", "rps") == {f"rx-{n}": "" for n in range(4)}
    assert values(nic, "rfs = 100", "rfs")["rx-0"] == 128, "as the kernel rounds"
    napi = "napi = {threaded = false, defer_hard_irqs = 3, irq_suspend_timeout_us = 0.5}"
    assert values(nic, napi, "napi") == {
        "threaded": False,
        "defer_hard_irqs": 3,
        "irq_suspend_timeout_ns": 500,
    }


def test_every_value_is_a_step_in_order(nic: nicprog.Backend) -> None:
    plan = nicprog.plan(nic, spec(ALL))
    assert [str(step.do).removeprefix("set host.") for step in plan.steps] == [
        "irqbalance: banned all",
        "interrupts: rx-0 1-2",
        "interrupts: rx-2 5",
        "xps: tx-0 1-2",
        "xps: tx-2 5",
        "xps_rxqs: tx-1 0,2",
        "rfs: rx-0 64",
        "napi: threaded on",
        "napi: gro_flush_timeout_ns 20500",
    ]
    assert str(plan.steps[1].undo) == "set host.interrupts: rx-0 0-15"
    assert plan.steps[1].reason == "rx-0 is 0-15"
    assert {str(step.disruption.value) for step in plan.steps[3:6]} == {"none"}
    assert plan.steps[1].disruption is nicprog.Disruption.REORDERS


def test_with_other_channels_all_is_written_again(nic: nicprog.Backend, model: sim.SimNic) -> None:
    text = "cpus = '4-7'\ninterrupts = 'spread'\nirqbalance = 'keep-away'\n"
    nicprog.apply(nic, nicprog.plan(nic, spec(text)))
    numbers = {line.number for line in model.host.lines}
    nicprog.apply(nic, nicprog.plan(nic, spec(text, channels=6)))
    assert not numbers & {line.number for line in model.host.lines}
    assert nicprog.verify(nic, spec(text, channels=6)) == ()
    before = nic.read(HOST_GROUPS)
    nicprog.apply(nic, nicprog.plan(nic, spec(text, channels=3)))
    nicprog.rollback(nic)
    now = nic.read(HOST_GROUPS)
    assert now == before


def test_verify_tells_what_another_program_moved(nic: nicprog.Backend, model: sim.SimNic) -> None:
    nicprog.apply(nic, nicprog.plan(nic, spec(ALL)))
    next(one for one in model.host.lines if one.name.endswith("-2")).cpus = frozenset((3, 4))
    model.host.banned = frozenset()  # irqbalance was started anew
    assert [(d.what, d.wanted, d.found) for d in nicprog.verify(nic, spec(ALL))] == [
        ("setting host.irqbalance banned", "all", "none"),
        ("setting host.interrupts rx-2", "5", "3-4"),
    ]


def offline(host: SimHost) -> None:
    host.offline = frozenset((3, 15))


def isolated(host: SimHost) -> None:
    host.isolated = frozenset((6,))


def managed(host: SimHost) -> None:
    host.managed = True


def whole_node(host: SimHost) -> None:
    host.isolated = frozenset((0, 1, 2, 3, 8, 9, 10, 11))


def down(host: SimHost) -> None:
    host.instances = []


def without_interrupts(host: SimHost) -> None:
    host.lines = []


@pytest.mark.parametrize(
    ("prepare", "text", "words"),
    [
        (offline, "interrupts = {0 = '2-3'}", "3:15: sim:ice: CPU 3 is offline (online: 0-2,4-14)"),
        (offline, "xps = {1 = '99'}", "CPU 99 does not exist, the host has 0-15"),
        (offline, "cpus = '3'\nrps = 'cpus'", "3:1: sim:ice: CPU 3 is offline"),
        (isolated, "rps = '5-7'", "3:1: sim:ice: CPU 6 is isolated by isolcpus="),
        (isolated, "rps = {0 = '6'}", "3:8: sim:ice: CPU 6 is isolated by isolcpus="),
        (whole_node, "interrupts = 'spread'", "all CPUs of node 0 (0-3,8-11) are isolated"),
        (isolated, "cpus = 'node:7'\nrps = 'cpus'", "no NUMA node 7 with CPUs (nodes: 0-1)"),
        (managed, "interrupts = 'spread'", "interrupt 74 (sim:ice-TxRx-0) of rx-0 is managed"),
        (down, "napi = {irq_suspend_timeout_us = 1}", "3:9: sim:ice: the kernel tells of no NAPI"),
        (without_interrupts, "interrupts = {0 = '1'}", "has no interrupt that is known"),
        (without_interrupts, "irqbalance = 'keep-away'", "3:1: sim:ice: the device has no interr"),
        (isolated, "interrupts = {4 = '1'}", "no interrupt is that of queue 4; there are rx-0 to"),
        (isolated, "rfs = {9 = 64}", "queue 9 is named, but 4 RX queues are active (0 to 3)"),
        (isolated, "xps_rxqs = {0 = '2-5'}", "RX queue 4 is not active, 4 are (0 to 3)"),
        (isolated, "irqbalance = '1'", "interrupt 1 is none of the device, which has 73-77"),
    ],
)
def test_what_the_kernel_would_refuse_or_ignore(
    nic: nicprog.Backend, model: sim.SimNic, prepare: object, text: str, words: str
) -> None:
    assert callable(prepare)
    prepare(model.host)
    with pytest.raises(Refused) as refused:
        nicprog.plan(nic, nicprog.parse(f'device = "sim:ice"\n[host]\n{text}'))
    assert words in str(refused.value)


def test_xps_needs_a_choice_of_queues(nic: nicprog.Backend) -> None:
    with pytest.raises(Refused, match="the device has 1 TX queue and no choice among them"):
        nicprog.plan(nic, spec("xps = 'by-queue'", channels=1))


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("cpus = '4-2'", "3:1", "4-2 is an empty range"),
        ("cpus = ''", "3:1", "cpus is empty"),
        ("interrupts = {9x = '1'}", "3:15", "'9x' in interrupts is not a queue"),
        ("interrupts = {0 = ''}", "3:15", "interrupts.0 is empty"),
        ("interrupts = {0 = 1}", "3:15", 'must be a list in quotes such as "0-3", got 1'),
        ("interrupts = {0 = '1', tx-0 = '2'}", "3:24", "names queue 0 twice, by '0' and 'tx-0'"),
        ("interrupts = 'even'", "3:1", "'even' is not one of spread"),
        ("napi = {threaded = 1}", "3:9", "threaded must be true or false, got 1"),
        ("napi = {defer_hard_irqs = -1}", "3:9", "must be 0 to 2147483647, got -1"),
        ("napi = {gro_flush_timeout_us = -0.1}", "3:9", "must be 0 to"),
        ("rfs = -1", "3:1", "must be a number of flows"),
        ("rfs = {0 = true}", "3:8", "got True"),
        ("rps = {tx-0 = '1'}", "3:8", "'tx-0' in rps is not a queue such as 3 or rx-3"),
        ("irqbalance = 'off'", "3:1", "'off' is not one of keep-away, allow"),
        ("affinity = '1'", "3:1", "unknown key 'affinity' in [host]"),
    ],
)
def test_errors_have_their_place(text: str, place: str, words: str) -> None:
    with pytest.raises(SpecError) as wrong:
        nicprog.parse(f'device = "sim:ice"\n[host]\n{text}', "nic.toml")
    assert str(wrong.value).startswith(f"nic.toml:{place}: ")
    assert words in str(wrong.value)


def test_warnings(nic: nicprog.Backend, model: sim.SimNic) -> None:
    def told(text: str) -> str:
        return " ".join(nicprog.plan(nic, spec(text)).warnings)

    assert 'add to [host] irqbalance = "keep-away"' in told("interrupts = 'spread'")
    assert not told("interrupts = 'spread'\nirqbalance = 'keep-away'")
    assert "rps_sock_flow_entries is 0 on this host; set it to 256" in told("rfs = 50")
    model.host.sock_flows = 256
    assert not told("rfs = 50")
    assert "while gro_flush_timeout_ns is 0" in told("napi = {defer_hard_irqs = 1}")
    assert not told("napi = {defer_hard_irqs = 1, gro_flush_timeout_us = 1}")
    model.host.banned = None
    assert (
        told("irqbalance = 'keep-away'") == "irqbalance does not run: there is nothing to tell it"
    )
    assert not told("interrupts = 'spread'")


def test_a_refusal_undoes_what_was_done(nic: nicprog.Backend, model: sim.SimNic) -> None:
    """A CPU goes offline between plan and apply."""
    plan = nicprog.plan(nic, spec("rps = '4'\ncpus = '5'\ninterrupts = 'spread'"))
    before = nic.read(HOST_GROUPS)
    model.host.offline = frozenset((5,))
    with pytest.raises(ApplyError) as failed:
        nicprog.apply(nic, plan)
    assert (
        "step 1 of 8 (set host.interrupts: rx-0 5) failed: sim:ice: rx-0: cannot write '5' to "
        in (str(failed.value))
    )
    assert "cause: rx-0 is to have CPU 5, which is offline (online: 0-4,6-15)" in str(failed.value)
    assert nic.read(HOST_GROUPS) == before


def test_an_interrupt_that_an_older_kernel_manages(nic: nicprog.Backend, model: sim.SimNic) -> None:
    """It tells by refusing alone."""
    plan = nicprog.plan(nic, spec("rps = '4'\ninterrupts = {1 = '5'}"))
    model.host.managed = True
    with pytest.raises(ApplyError, match=r"cause: interrupt 75 \(sim:ice-TxRx-1\) is managed"):
        nicprog.apply(nic, plan)


def test_a_balancer_that_is_faster_than_the_read_back(
    nic: nicprog.Backend, model: sim.SimNic, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moves(files: SimFiles, path: str, text: str) -> None:
        write(files, path, text)
        if path.startswith("/proc/irq/75/"):
            model.host.lines[2].cpus = frozenset((9,))

    write = SimFiles.write
    monkeypatch.setattr(SimFiles, "write", moves)
    with pytest.raises(ApplyError, match=r"holds 9, 5 was written .*cause: irqbalance runs"):
        nicprog.apply(nic, nicprog.plan(nic, spec("interrupts = {1 = '5'}")))


def test_watch_tells_a_new_irqbalance_again(nic: nicprog.Backend, model: sim.SimNic) -> None:
    nicprog.apply(nic, nicprog.plan(nic, spec(ALL)))
    told: list[watch.Event] = []
    watcher = watch.Watcher(
        spec(ALL), log=told.append, clock=lambda: 0.0, open_nic=lambda: sim.connect(model)
    )
    watcher.look()
    model.host.banned = frozenset((1,))
    watcher.look()
    assert [one.name for one in told] == ["ok", "drift", "repaired"]
    assert told[2].facts["steps"] == ["set host.irqbalance: banned all"]
    assert model.host.banned == {1, *(line.number for line in model.host.lines)}


def test_a_model_in_a_file_has_its_host_there(run_dir: Path, tmp_path: Path) -> None:
    device = f"sim:ice@{tmp_path}/nic.json"
    wanted = replace(spec(ALL), device=device)
    for _ in range(2):
        with nicprog.open(device) as nic:
            nicprog.apply(nic, nicprog.plan(nic, wanted))
    with nicprog.open(device) as nic:
        assert nicprog.verify(nic, wanted) == ()
        nicprog.rollback(nic)
        assert len(nicprog.verify(nic, wanted)) > 5


def test_the_command_host(
    model: sim.SimNic, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nicprog.api.open_sim", lambda _: sim.connect(model))
    monkeypatch.setenv("COLUMNS", "200")
    model.host.isolated, model.host.managed = frozenset((9,)), True
    assert cli.main(["host", "sim:ice"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "CPUs 0-15 of 0-15 online; 9 isolated" in text
    assert "node 0; irqbalance leaves none of its interrupts alone" in text
    assert "rx-3 tx-3 │ 0-15 (managed by the kernel) │ 0" in text
    assert "NAPI: 4 instances; threaded off" in text
    assert cli.main(["host", "sim:ice", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["queues"] for one in found["interrupts"]][:2] == [[], ["rx-0", "tx-0"]]
    assert found["rps"] == {f"rx-{n}": "" for n in range(4)}
    assert cli.main(["host"]) == 0


def test_a_dump_is_a_spec_of_the_host(nic: nicprog.Backend, model: sim.SimNic) -> None:
    nicprog.apply(nic, nicprog.plan(nic, spec(ALL)))
    text = state_to_toml("sim:ice", nic.read((*GROUPS, *HOST_GROUPS)))
    assert nicprog.verify(nic, nicprog.parse(text)) == ()
    assert "gro_flush_timeout_us = 20.5" in text
    assert 'irqbalance = "keep-away"' in text
    model.host.instances[0] = replace(model.host.instances[0], defer_hard_irqs=9)
    text = state_to_toml("sim:ice", nic.read(HOST_GROUPS))
    assert "# defer_hard_irqs differs, of the interface / of each instance: 0/9,0,0,0" in text
    assert nicprog.verify(nic, nicprog.parse(text)) == ()


def test_a_spec_reads_back_from_its_text() -> None:
    for text in (ALL, "rps = 'off'\n", "napi = {threaded = true}\ninterrupts = 'spread'\n"):
        assert nicprog.parse(spec_to_toml(spec(text))) == spec(text)


def test_a_spec_in_python(nic: nicprog.Backend) -> None:
    wanted = nicprog.Spec(
        device="sim:ice",
        host=HostSpec(cpus="4-5", interrupts="spread", napi=NapiSpec(defer_hard_irqs=1)),
    )
    nicprog.apply(nic, nicprog.plan(nic, wanted))
    assert nic.read(["host.interrupts"]).settings["host.interrupts"]["rx-3"] == "5"
    assert nicprog.verify(nic, wanted) == ()


def test_ethtool_has_no_words_for_it(nic: nicprog.Backend) -> None:
    wanted = spec("rps = '4'")
    with pytest.raises(Refused, match=r"3:1|\[host\] says what is not ethtool's"):
        write_spec(wanted)
    assert "# not ethtool's: set host.rps: rx-0 4" in write_plan(nicprog.plan(nic, wanted))


def test_a_nic_that_is_no_device_of_this_host(owner: object, nic: nicprog.Backend) -> None:
    with nicprog.open("qp0") as soft:
        wanted = nicprog.parse('device = "qp0"\n[host]\nrps = "off"\n')
        with pytest.raises(Refused, match="is no device of this host; leave"):
            nicprog.plan(soft, wanted)

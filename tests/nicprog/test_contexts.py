# SPDX-License-Identifier: Apache-2.0
"""RSS contexts as state: names, whose they are, what is refused, and where packets go."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import nicprog
from nicprog import sim
from nicprog.actions import CreateContext, DeleteContext, InsertRule, SetChannels, SetContext
from nicprog.backends.contexts import ByNetlink
from nicprog.backends.ethtool import EthtoolNic
from nicprog.backends.memory import MemoryNic
from nicprog.errors import RequestError
from nicprog.ethtool import FlowType, HashField, HashFunction, InputTransform, RxMatch, RxRule
from nicprog.model import Channels, Flow, FlowRule, Match, NicState, RssContext, RssTable
from nicprog.netlink import EthtoolNetlink
from nicprog.plan import diff
from nicprog.resolve import resolve
from nicprog.text import state_from_json, state_to_json, state_to_toml
from nicprog.watch import Watcher
from nicprog.where import Steering
from tests.nicprog.owner import Owner
from tests.nicprog.strategies import capabilities

WEB = '[[context]]\nname = "web"\nequal = [4, 5, 6]\n'
RULE = '[[rule]]\nname = "{0}"\nprotocol = "tcp"\nfamily = "ipv4"\ndst_port = {0}\n{1}\n'
TO_WEB = RULE.format(443, 'context = "web"')
PACKETS = [sim.Packet.of(f"10.0.0.{i}", "10.1.0.1", 1024 + i, 443) for i in range(64)]


@pytest.fixture(params=["netlink", "ioctl"])
def model(request: pytest.FixtureRequest, run_dir: Path) -> sim.SimNic:
    """A mlx5 under a kernel with or without contexts by netlink."""
    nic = sim.SimNic("mlx5")
    nic.has_netlink = request.param == "netlink"
    return nic


@pytest.fixture
def nic(model: sim.SimNic) -> Iterator[EthtoolNic]:
    with sim.connect(model) as opened:
        yield opened


def spec(text: str, driver: str = "mlx5") -> nicprog.Spec:
    head, tables = text.partition("[")[::2]
    return nicprog.parse(f'device = "sim:{driver}"\n{head}[{tables}')


def apply(nic: EthtoolNic, text: str) -> nicprog.Plan:
    plan = nicprog.plan(nic, spec(text))
    nicprog.apply(nic, plan)
    assert nicprog.plan(nic, spec(text)).steps == ()
    return plan


def foreign(nic: EthtoolNic, table: tuple[int, ...] = (0, 1)) -> int:
    """A context that another program makes."""
    return nic.calls.new_rss_context(table * (256 // len(table)))


def context(nic: EthtoolNic, name: str) -> RssContext:
    return next(one for one in nic.read().contexts if one.name == name)


def test_a_rule_hands_packets_to_the_queues_of_its_context(
    model: sim.SimNic, nic: EthtoolNic
) -> None:
    plan = apply(nic, f"[rss]\nequal = [0, 1]\n{WEB}{TO_WEB}")
    assert [type(step.do) for step in plan.steps][1:] == [CreateContext, InsertRule]
    assert plan.steps[1].reason == f"not there; by {nic.capabilities().contexts_by}"
    assert nic.capabilities().contexts_by == ("netlink" if model.has_netlink else "ioctl")
    steering = Steering(nic)
    for packet in PACKETS:
        place = steering.place(packet)
        assert (place.context, place.rule is not None) == ("web", True)
        assert place.queue == sim.deliver(model, packet)
    assert {steering.place(packet).queue for packet in PACKETS} == {4, 5, 6}
    nicprog.rollback(nic)
    assert nic.read().contexts == ()


def test_a_context_spreads_by_its_own_key_fields_and_transform(
    model: sim.SimNic, nic: EthtoolNic
) -> None:
    own = (
        'key = "symmetric"\n[context.hash]\ntransform = "symmetric-or-xor"\ntcp4 = "sd"\n'
        'udp6 = ""\n'
    )
    apply(nic, f'[hash]\ntcp4 = "sdfn"\n{WEB}{own}{TO_WEB}')
    held = context(nic, "web")
    assert held.key == b"\x6d\x5a" * 20 != nic.read().key
    assert held.hashing == {
        "function": "toeplitz", "transform": "symmetric-or-xor", "tcp4": "sd", "udp4": "sdfn",
        "tcp6": "sdfn", "udp6": "", "sctp4": "", "sctp6": "",
    }  # fmt: skip
    there = [sim.Packet.of("10.0.0.1", "10.1.0.1", port, 443) for port in range(64)]
    assert len({sim.deliver(model, packet) for packet in there}) == 1, "ports are not hashed"
    steering = Steering(nic)
    for packet in (*there, *PACKETS):
        assert steering.place(packet).queue == sim.deliver(model, packet)


def test_a_context_changes_in_place_and_moves_few_entries(nic: EthtoolNic) -> None:
    apply(nic, WEB + TO_WEB)
    before, number = context(nic, "web"), nic.context_numbers()["web"]
    plan = apply(nic, WEB.replace("6]", "6, 7]") + TO_WEB)
    (step,) = plan.steps
    assert isinstance(step.do, SetContext)
    assert before.table.moved(context(nic, "web").table) == 64
    assert step.reason == "64 of 256 table entries change their queue"
    assert nic.context_numbers()["web"] == number


def test_a_transform_and_its_fields_change_in_an_order_that_the_kernel_takes(
    nic: EthtoolNic,
) -> None:
    hashed = '{0}[context.hash]\ntransform = "{1}"\nudp4 = "{2}"\n'
    for transform, fields in (
        ("none", "s"), ("symmetric-or-xor", "sd"), ("none", "s"), ("symmetric-or-xor", "sdfn"),
    ):  # fmt: skip
        apply(nic, hashed.format(WEB, transform, fields))
    with pytest.raises(nicprog.Refused, match="its udp4 hashes 's'"):
        nicprog.plan(nic, spec(hashed.format(WEB, "symmetric-or-xor", "s")))


def test_channels_come_before_a_context_and_go_after_it(nic: EthtoolNic) -> None:
    more = "[channels]\ncombined = 12\n[rss]\nequal = [0, 1]\n"
    plan = apply(nic, more + WEB.replace("6", "11") + TO_WEB)
    kinds = [type(step.do) for step in plan.steps]
    assert kinds.index(SetChannels) < kinds.index(CreateContext)
    plan = apply(nic, more.replace("12", "4") + TO_WEB.replace('context = "web"', "queue = 1"))
    kinds = [type(step.do) for step in plan.steps]
    assert kinds.index(InsertRule) < kinds.index(DeleteContext) < kinds.index(SetChannels)


def test_contexts_of_others_stay_and_are_told(nic: EthtoolNic) -> None:
    number = foreign(nic)
    plan = apply(nic, WEB + TO_WEB)
    (warning,) = plan.warnings
    assert f"context '#{number}' (queues 0, 1) was made by another program and stays" in warning
    kept = f'other_contexts = "keep"\n{WEB}{TO_WEB}'
    assert nicprog.plan(nic, spec(kept)).warnings == ()
    assert [one.name for one in nic.read().contexts] == [f"#{number}", "web"]
    apply(nic, f'other_contexts = "remove"\n{WEB}{TO_WEB}')
    assert [one.name for one in nic.read().contexts] == ["web"]


def test_our_contexts_go_when_neither_spec_nor_rules_name_them(nic: EthtoolNic) -> None:
    apply(nic, WEB + TO_WEB)
    apply(nic, "[rss]\nequal = [0]\n")  # says nothing of rules and contexts
    assert [one.name for one in nic.read().contexts] == ["web"]
    kept = RULE.format(80, "queue = 1")
    apply(nic, f'other_rules = "keep"\n[rss]\nequal = [0]\n{kept}')
    assert [one.name for one in nic.read().contexts] == ["web"]
    removes = 'other_rules = "keep"\nother_contexts = "remove"\n[rss]\nequal = [0]\n'
    with pytest.raises(nicprog.Refused, match="names context 'web', which other_contexts"):
        nicprog.plan(nic, spec(removes + kept))
    apply(nic, kept)
    assert nic.read().contexts == ()


def test_a_rollback_that_makes_a_context_anew_follows_its_number(
    model: sim.SimNic, nic: EthtoolNic
) -> None:
    """The kernel gives the number to somebody else in between, so rules get another one."""
    apply(nic, WEB + TO_WEB)
    assert nic.context_numbers() == {"web": 1}
    before = nic.read()
    apply(nic, RULE.format(443, "queue = 3"))
    assert foreign(nic) == 1
    nicprog.rollback(nic)  # takes that one away, as it was not there, after web is made
    assert nic.read() == before
    assert nic.context_numbers() == {"web": 2}
    assert {rule.context for rule in model.rules.values()} == {2}


def test_a_context_of_others_that_comes_back_keeps_its_number_where_that_can_be(
    model: sim.SimNic, nic: EthtoolNic
) -> None:
    foreign(nic)
    number = foreign(nic, (2, 3))
    nic.calls.insert_rule(RxRule(flow=FlowType.TCP4, match=RxMatch(), location=9, context=number))
    nic.calls.delete_rss_context(1)
    before = nic.read()
    assert before.rules[0].context == "#2"
    apply(nic, 'other_contexts = "remove"\nother_rules = "remove"\n[rss]\nequal = [0]\n')
    nicprog.rollback(nic)
    assert nic.read() == before
    assert nic.context_numbers() == {"#2": 2 if model.has_netlink else 1}
    if not model.has_netlink:  # number 2 is free for a stranger, which must not be taken for it
        assert foreign(nic) == 2
        assert nic.context_numbers() | {"#2'": 2} == {"#2": 1, "#2'": 2}
        assert [one.name for one in nic.read().contexts] == ["#2", "#2'"]


def test_another_process_knows_the_names(model: sim.SimNic, nic: EthtoolNic, run_dir: Path) -> None:
    apply(nic, WEB + TO_WEB)
    with sim.connect(model) as other:
        assert other.read() == nic.read()
        assert nicprog.verify(other, spec(WEB + TO_WEB)) == ()
    (names,) = run_dir.glob("*.contexts.json")
    names.unlink()  # then it is somebody's, and the next apply makes its own
    with sim.connect(model) as other:
        assert [one.name for one in other.read().contexts] == ["#1"]
        apply(other, WEB + TO_WEB)
        assert other.read().rules[0].context == "web"
    names.write_text("{")
    with sim.connect(model) as other, pytest.raises(nicprog.SnapshotError, match="is damaged"):
        other.read()


def test_the_names_of_an_earlier_nic_are_not_those_of_a_new_one(nic: EthtoolNic) -> None:
    apply(nic, WEB + TO_WEB)
    with sim.connect(sim.SimNic("mlx5")) as new:
        foreign(new)
        assert [one.name for one in new.read().contexts] == ["#1"]


def test_a_number_that_is_used_again_has_the_newer_name(model: sim.SimNic, nic: EthtoolNic) -> None:
    apply(nic, WEB + TO_WEB)
    model.rules.clear()
    del model.contexts[1]
    apply(nic, WEB.replace("web", "api") + TO_WEB.replace("web", "api"))
    assert nic.context_numbers() == {"api": 1}


def test_a_context_without_a_file_for_its_name_is_taken_back(
    model: sim.SimNic, run_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with sim.connect(model) as nic:
        plan = nicprog.plan(nic, spec(WEB))
        (run_dir / f"{nic.device}.contexts.json").mkdir()
        with pytest.raises(nicprog.NicprogError, match="Is a directory"):
            nicprog.apply(nic, plan)
    (run_dir / f"{model.device}.contexts.json").rmdir()
    with sim.connect(model) as nic:
        nicprog.recover(nic)
        assert nic.read().contexts == ()


def test_verify_names_what_differs_in_a_context(nic: EthtoolNic) -> None:
    apply(nic, WEB + TO_WEB)
    number = nic.context_numbers()["web"]
    table = list(context(nic, "web").table.entries)
    nic.calls.set_rss(context=number, table=[7, *table[1:]], key=bytes(40))
    found = {one.what: (one.wanted, one.found) for one in nicprog.verify(nic, spec(WEB + TO_WEB))}
    assert found == {"context web entry 0": ("queue 4", "queue 7")}
    keyed = spec(WEB + 'key = "symmetric"\n' + TO_WEB)
    assert {one.what for one in nicprog.verify(nic, keyed)} == {
        "context web entry 0", "context web key",
    }  # fmt: skip
    rules = RULE.format(443, "queue = 0")
    nic.calls.insert_rule(
        RxRule(flow=FlowType.TCP4, match=RxMatch(), location=0, context=None, queue=1)
    )
    nic.calls.delete_rss_context(number)
    assert nicprog.verify(nic, spec(WEB + rules))[0].what == "context web"


def test_watch_makes_a_context_that_was_lost_again(model: sim.SimNic, nic: EthtoolNic) -> None:
    apply(nic, WEB + TO_WEB)
    wanted, events = nic.read(), list[str]()
    watcher = Watcher(
        spec(WEB + TO_WEB),
        log=lambda event: events.append(event.name),
        clock=lambda: 0.0,
        open_nic=lambda: sim.connect(model),
    )
    watcher.look()
    model.rules.clear()
    del model.contexts[1]
    watcher.look()
    watcher.look()
    assert events == ["ok", "drift", "repaired"]
    assert nic.read() == wanted


def test_what_a_dump_says_is_a_spec_and_a_snapshot_of_the_same(nic: EthtoolNic) -> None:
    foreign(nic)
    hashed = '[context.hash]\nudp4 = "sd"\n'
    apply(nic, WEB + hashed + TO_WEB + RULE.format(80, 'context = "#1"'))
    state = nic.read()
    document = state_to_json(state)
    assert state_from_json(document) == state
    for old in (document, *document["rules"]):  # as a snapshot of a version without contexts
        old.pop("contexts", None)
        old.pop("context", None)
    assert state_from_json(document).contexts == ()
    with sim.connect(sim.SimNic("mlx5")) as other:
        apply(other, state_to_toml("sim:mlx5", state).partition("\n")[2])
        assert other.read() == state


def test_a_rule_may_name_the_nics_own_table(model: sim.SimNic, nic: EthtoolNic) -> None:
    own = TO_WEB.replace("web", "#0")
    apply(nic, f"[rss]\nequal = [0, 1]\n{WEB}{own}")
    steering = Steering(nic)
    assert {sim.deliver(model, packet) for packet in PACKETS} == {0, 1}
    assert all(steering.place(p).queue == sim.deliver(model, p) for p in PACKETS)


@pytest.mark.parametrize(
    ("driver", "text", "why"),
    [
        ("ice", WEB, "spec:3:1: sim:ice: driver ice has no RSS contexts"),
        ("ice", TO_WEB, "driver ice has no RSS contexts"),
        ("mlx5", WEB.replace("6", "8"), "context 'web' names queue 8, but 8 queues are active (0"),
        (
            "mlx5",
            "".join(WEB.replace("web", f"w{n}") for n in range(16)),
            "16 RSS contexts are wanted ('w0', 'w1', 'w10', 'w11', 'w12', 'w13', 'w14', 'w15', "
            "'w2', 'w3', 'w4', 'w5', 'w6', 'w7', 'w8', 'w9'), driver mlx5_core has at most 15",
        ),
        ("fbnic", WEB + WEB.replace("web", "api"), "('api', 'web'), driver fbnic has at most 1"),
        (
            "octeontx2",
            WEB + 'key = "symmetric"\n',
            "driver rvu-nicpf has one hash key for all contexts; say it in [rss]",
        ),
        (
            "bnxt",
            WEB + '[context.hash]\ntcp4 = "sd"\n',
            "driver bnxt_en has one tcp4 for all contexts; say it in [hash]",
        ),
        (
            "octeontx2",
            WEB + '[context.hash]\nfunction = "xor"\n',
            "driver rvu-nicpf has one function for all contexts; say it in [hash]",
        ),
        ("mlx5", WEB + 'key = "00"\n', "key has 1 bytes, the NIC takes exactly 40"),
        ("mlx5", WEB + 'key = "default"\n', "the default key of driver mlx5_core is not known"),
        (
            "mlx5",
            '[[context]]\nname = "web"\ntable = [1, 2, 3]\n',
            "table of context 'web' has 3 entries, the NIC's have 256; give 256, or a number that",
        ),
        ("mlx5", WEB + TO_WEB.replace('"web"', '"wbe"'), "has; did you mean 'web'?"),
        ("mlx5", WEB + TO_WEB + "queue = 1\n", "adds queue 1 to context 'web', which driver mlx5"),
        ("bnxt", WEB + TO_WEB, "driver bnxt_en chooses the locations of rules itself"),
        (
            "mlx5",
            WEB + '[context.hash]\ntransform = "symmetric-or-xor"\ntcp4 = "s"\n',
            "needs both directions' fields, but its tcp4 hashes 's'",
        ),
    ],
)
def test_the_planner_refuses_what_driver_or_kernel_would(
    driver: str, text: str, why: str, run_dir: Path
) -> None:
    with nicprog.open(f"sim:{driver}") as nic, pytest.raises(nicprog.Refused) as caught:
        nicprog.plan(nic, spec(text, driver))
    assert why in str(caught.value)


def test_channels_do_not_go_below_a_context_of_others(nic: EthtoolNic) -> None:
    foreign(nic, (0, 6))
    few = "[channels]\ncombined = 4\n"
    with pytest.raises(nicprog.Refused) as caught:
        nicprog.plan(nic, spec(few))
    assert str(caught.value) == (
        "sim:mlx5: context '#1' uses queue 6, but 4 queues are active (0 to 3); "
        'other_contexts = "remove" takes it away'
    )
    apply(nic, f'other_contexts = "remove"\n{few}')


def test_a_context_of_another_size_is_in_nobodys_way() -> None:
    """Where the table grew since, it may stay or go; a change could not be undone."""
    can, small = capabilities(table_size=16), RssTable(entries=(0, 1) * 4)
    now = NicState(
        channels=Channels(combined=4),
        table=RssTable.default(4, 16),
        key=bytes(40),
        contexts=tuple(RssContext(name=name, table=small, key=bytes(40)) for name in ("#1", "a")),
    )
    (step,) = diff(now, replace(now, contexts=now.contexts[:1]), can)
    assert isinstance(step.do, DeleteContext)
    asked = nicprog.ContextSpec(name="a", equal=(0, 1))
    wanted = resolve(nicprog.Spec(device="x", contexts=(asked,)), now, can).state
    with pytest.raises(nicprog.Refused, match="'a' has 8 and 16 entries, the NIC takes exactly 16"):
        diff(now, wanted, can)
    with pytest.raises(nicprog.Refused, match="'b' has 8 entries, the NIC takes exactly 16"):
        diff(now, replace(now, contexts=(replace(now.contexts[1], name="b"),)), can)


def test_a_software_nic_has_none_and_says_so(owner: Owner) -> None:
    with (
        nicprog.open(owner.name) as soft,
        pytest.raises(nicprog.Refused, match="has no RSS contexts"),
    ):
        nicprog.plan(soft, nicprog.parse(f'device = "qp0"\n{WEB}'))


@pytest.mark.parametrize("driver", ["fbnic", "sfc", "octeontx2", "bnxt"])
def test_contexts_of_each_driver_are_made_changed_and_deleted(driver: str, run_dir: Path) -> None:
    """With nothing of their own but what the driver has for each."""
    with nicprog.open(f"sim:{driver}") as nic:
        before = nic.read()
        for text in (WEB, WEB.replace("6]", "6, 7]"), WEB.replace("equal", "weights")):
            nicprog.apply(nic, nicprog.plan(nic, spec(text, driver)))
            (held,) = nic.read().contexts
            assert bool(held.key) == nic.capabilities().context_keys
            assert ("tcp4" in held.hashing) == nic.capabilities().context_fields
        gone = f'device = "sim:{driver}"\nother_contexts = "remove"\n'
        nicprog.apply(nic, nicprog.plan(nic, nicprog.parse(gone)))
        assert nic.read() == before


def test_one_context_takes_the_place_of_another_where_there_is_room_for_one() -> None:
    """As fbnic: its rules go first, then it, then the new one and its rules."""
    can = capabilities(contexts=1)
    now, wanted = (
        NicState(
            channels=Channels(combined=4),
            table=RssTable.default(4, 8),
            key=bytes(40),
            rules=(FlowRule(location=0, match=Match(flow=Flow.TCP4), queue=0, context=name),),
            contexts=(RssContext(name=name, table=RssTable(entries=(queue,) * 8), key=bytes(40)),),
        )
        for name, queue in (("a", 2), ("b", 3))
    )
    steps = diff(now, wanted, can)
    assert [step.do.name for step in steps] == [
        "delete_rule", "delete_context", "create_context", "insert_rule",
    ]  # fmt: skip
    nic = MemoryNic(can, now)
    for step in steps:
        nic.run(step.do)
    assert nic.read() == wanted


def test_contexts_that_share_the_nics_key_follow_it(run_dir: Path) -> None:
    model, ways = sim.SimNic("octeontx2"), list[list[int | None]]()
    with sim.connect(model) as nic:
        for key in (bytes(range(40)), bytes(range(40, 80))):
            text = f'[rss]\nequal = [0]\nkey = "{key.hex()}"\n{WEB}{TO_WEB}'
            nicprog.apply(nic, nicprog.plan(nic, spec(text, "octeontx2")))
            steering = Steering(nic)
            ways.append([steering.place(packet).queue for packet in PACKETS])
            assert ways[-1] == [sim.deliver(model, packet) for packet in PACKETS]
    assert ways[0] != ways[1]


def test_a_queue_beside_a_context_is_added_where_the_driver_adds(run_dir: Path) -> None:
    """On sfc, which chooses locations: the rule is another program's, and is read and followed."""
    model = sim.SimNic("sfc")
    with sim.connect(model) as nic:
        number = nic.calls.new_rss_context([0, 1] * 64)
        match = RxMatch()
        rule = RxRule(
            flow=FlowType.TCP4, match=match, location=0xFFFF_FFFF, context=number, queue=4
        )
        nic.calls.insert_rule(rule)
        (held,) = nic.read().rules
        assert (held.context, held.queue) == ("#1", 4)
        steering = Steering(nic)
        assert {sim.deliver(model, packet) for packet in PACKETS} == {4, 5}
        assert all(steering.place(p).queue == sim.deliver(model, p) for p in PACKETS)
        few = nicprog.parse('device = "sim:sfc"\n[channels]\ncombined = 5\n')
        with pytest.raises(nicprog.Refused, match="adds queue 4 to context '#1', whose table goes"):
            nicprog.plan(nic, few)
        with pytest.raises(RequestError, match=r"ntuple filter settings \(5\)"):
            nic.run(SetChannels(combined=5))


def test_a_context_that_cannot_be_filled_is_not_left(model: sim.SimNic) -> None:
    table = RssTable(entries=(1,) * 256)
    with sim.connect(model) as nic:
        nic.read()
        held = dict(model.contexts)
        wanted = RssContext(name="web", table=table, hashing={"tcp4": "sd", "sctp4": "sd"})
        with pytest.raises(RequestError) as caught:
            nic.run(CreateContext(context=wanted))
        assert caught.value.errno == errno.EINVAL
        assert model.contexts == held
        assert nic.context_numbers() == {}


class Answers(EthtoolNetlink):
    """The family with these contexts, as the kernel tells of them; keeps what it is asked."""

    def __init__(self) -> None:
        self.device, self.asked = "eth9", list[dict[str, object]]()

    def _ask(
        self, command: int, layout: object, values: dict[str, Any], what: str, *, many: bool = False
    ) -> list[dict[str, Any]]:
        self.asked.append({"command": command, **values})
        table, both = struct.pack("=4I", 0, 1, 0, 1), struct.pack("=I", 0x30)
        first = {"indir": table, "hkey": bytes(4), "hfunc": 1, "flow-hash": {"tcp4": both}}
        second = {**first, "context": 3, "input-xfrm": 2, "flow-hash": {"udp6": both}}
        return [first, second] if many else [{"context": 3}]

    def close(self) -> None:
        """Nothing is open."""


def test_contexts_by_netlink_as_the_kernel_tells_of_them() -> None:
    """The attributes alone: that a kernel takes them only a NIC with contexts shows."""
    answers = Answers()
    calls = ByNetlink(answers, keys=True, fields=True)
    (held,) = calls.listed().values()
    fields = {"tcp4": "", "udp4": "", "sctp4": "", "tcp6": "", "udp6": "sd", "sctp6": ""}
    assert held == RssContext(
        name="#3",
        table=RssTable(entries=(0, 1, 0, 1)),
        key=bytes(4),
        hashing={"function": "toeplitz", "transform": "symmetric-or-xor", **fields},
    )
    answers.asked.clear()
    wanted = {**held.hashing, "udp6": "sdfn"}
    assert calls.create(replace(held, hashing=wanted), 5) == 3
    calls.change(3, None, bytes(4), {"transform": "none"})
    calls.delete(3)
    create, _, fill, change, delete = answers.asked
    table = struct.pack("=4I", 0, 1, 0, 1)
    assert create == {
        "command": 49, "indir": table, "hkey": bytes(4), "hfunc": 1, "input-xfrm": 2, "context": 5,
    }  # fmt: skip
    four = struct.pack("=I", 0xF0)
    assert fill == {"command": 48, "flow-hash": {"udp6": four}, "context": 3}
    assert change == {"command": 48, "hkey": bytes(4), "input-xfrm": 0, "context": 3}
    assert delete == {"command": 50, "context": 3}


def test_calls_fill_a_context_with_function_and_transform(model: sim.SimNic) -> None:
    with sim.connect(model) as nic:
        transform = InputTransform.SYMMETRIC_OR_XOR
        number = nic.calls.new_rss_context([0] * 256, None, HashFunction.XOR, transform)
        found = nic.calls.rss(number)
        assert (found.function, found.transform) == (HashFunction.XOR, transform)
        nic.calls.set_hash_fields(FlowType.TCP4, HashField.SRC | HashField.DST, number)
        assert nic.calls.hash_fields(FlowType.TCP4) != nic.calls.hash_fields(FlowType.TCP4, number)

# SPDX-License-Identifier: Apache-2.0
"""Reservations: who gets which queue, how few others move, what is refused, while packets come."""

from __future__ import annotations

import json
from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nicprog
from nicprog import Refused, cli, reserve, sim
from nicprog.apply import differences
from nicprog.backends.memory import MemoryNic
from nicprog.errors import UsageError
from nicprog.model import (
    FLOWS,
    Capabilities,
    Channels,
    FlowRule,
    Masked,
    Match,
    NicState,
    RssContext,
    RssTable,
)
from tests.nicprog import strategies
from tests.nicprog.owner import Owner

WEB = reserve.flow("tcp dst_port=8443")
CAN = replace(strategies.capabilities(table_size=128, contexts=0), queues_max=8, locations=64)


def state(queues: int = 8, rules: Sequence[FlowRule] = ()) -> NicState:
    return NicState(
        channels=Channels(combined=queues),
        table=RssTable.default(queues, 128),
        key=bytes(40),
        rules=tuple(rules),
    )


def others_queues(one: NicState) -> set[int]:
    return set(one.table.entries)


def test_a_queue_is_taken_out_of_the_table_and_gets_the_flows() -> None:
    found = reserve.reserve(state(), CAN, WEB, 1)
    assert found.queues == (7,)
    assert found.moved == 16  # its entries and no other
    assert others_queues(found.state) == set(range(7))
    assert [(rule.match, rule.queue) for rule in found.state.rules] == [(one, 7) for one in WEB]


def test_it_grows_and_shrinks_and_ends_where_it_began() -> None:
    now, moved = state(), []
    for queues in (1, 2, 4, 3, 1, 0):
        found = reserve.reserve(now, CAN, WEB, queues)
        assert len(found.queues) == queues
        assert not others_queues(found.state) & set(found.queues)
        assert {rule.queue for rule in found.state.rules} == set(found.queues)
        moved.append(found.moved)
        now = found.state
    assert moved == [16, 18, 42, 25, 36, 16]  # the least for these shares
    assert now == state()


BY_PORTS_AND_BY_CONTEXT = pytest.mark.parametrize("driver", ["gve", "mlx5"])


@BY_PORTS_AND_BY_CONTEXT
def test_several_queues_share_the_flows(driver: str, run_dir: Path) -> None:
    nic = sim.SimNic(driver)
    with sim.connect(nic) as backend:
        found, plan = reserve.plan(backend, WEB, 3)
        nicprog.apply(backend, plan)
        assert (found.context is not None) == (driver == "mlx5")
        assert reserve.plan(backend, WEB, 3)[1].steps == ()
    reserved = set(found.queues)
    got = {port: sim.deliver(nic, _packet(port, 8443)) for port in range(4096)}
    counts = {queue: list(got.values()).count(queue) for queue in reserved}
    assert set(got.values()) == reserved
    assert max(counts.values()) <= 4096 / 3 * 5 / 4
    others = {sim.deliver(nic, _packet(port, 80)) for port in range(4096)}
    assert not others & reserved


def _packet(source: int, destination: int) -> sim.Packet:
    return sim.Packet.of("10.0.0.1", "10.0.0.2", source, destination)


@BY_PORTS_AND_BY_CONTEXT
def test_while_it_changes_its_packets_never_get_a_queue_of_others(
    driver: str, run_dir: Path
) -> None:
    nic = sim.SimNic(driver)
    with sim.connect(nic) as backend:
        before = backend.read()
        nicprog.apply(backend, reserve.plan(backend, WEB, 1)[1])
        for queues in (2, 4, 1, 3):
            _, plan = reserve.plan(backend, WEB, queues)
            ends = targets(plan.now) | targets(plan.wanted)
            for step in plan.steps:
                backend.run(step.do)
                assert {sim.deliver(nic, _packet(port, 8443)) for port in range(256)} <= ends
            assert differences(plan.wanted, backend.read()) == ()
        nicprog.apply(backend, reserve.plan(backend, WEB, 0)[1])
        assert backend.read() == before


def targets(one: NicState, rules: Set[FlowRule] | None = None) -> set[int]:
    """Queues that rules send packets to, by themselves or through a context."""
    tables = {context.name: context.table.entries for context in one.contexts}
    return {
        queue
        for rule in (one.rules if rules is None else rules)
        if rule.queue is not None
        for queue in (tables[rule.context] if rule.context else (rule.queue,))
    }


CONTEXTS = replace(CAN, contexts=3)


def test_a_context_takes_the_place_of_many_rules_and_changes_in_place() -> None:
    now, moved = state(), []
    for queues in (1, 2, 3, 6, 2, 1, 0):
        found = reserve.reserve(now, CONTEXTS, WEB, queues)
        assert targets(found.state) == set(found.queues)
        assert not others_queues(found.state) & set(found.queues)
        assert len(found.state.rules) == (len(WEB) if queues else 0)
        names = [context.name for context in found.state.contexts]
        assert names == ["reserved tcp ipv4 dst_port 8443"] * (queues > 1)
        assert found.context == (names[0] if names else None)
        moved.append(found.moved_classes)
        now = found.state
    assert moved == [0, 64, 43, 65, 84, 64, 0]  # the least for shares that are rounded
    assert now == state()


def test_without_a_free_context_flows_are_shared_by_source_ports() -> None:
    full = tuple(
        RssContext(name=f"#{n}", table=RssTable(entries=(0,) * 128), key=bytes(40))
        for n in range(1, 4)
    )
    by_ports = reserve.reserve(replace(state(), contexts=full), CONTEXTS, WEB, 4)
    assert (by_ports.context, len(by_ports.state.rules)) == (None, 8)
    assert by_ports.state.contexts == full
    # One is free by now: the reservation moves to it, and all its flows may.
    left = replace(by_ports.state, contexts=full[:2])
    by_context = reserve.reserve(left, CONTEXTS, WEB, 4)
    assert by_context.queues == by_ports.queues
    assert (len(by_context.state.rules), by_context.moved_classes) == (2, 128)


def test_a_context_spreads_what_source_ports_cannot() -> None:
    flows = reserve.flow("any dst=10.0.0.1")
    with pytest.raises(Refused, match="name no protocol cannot be spread"):
        reserve.reserve(state(), CAN, flows, 2)
    found = reserve.reserve(state(), CONTEXTS, flows, 2)
    assert len(found.state.rules) == 1
    assert targets(found.state) == {6, 7}


def test_queues_of_a_context_of_others_are_not_reserved() -> None:
    other = RssContext(name="#1", table=RssTable(entries=(6, 7) * 64), key=bytes(40))
    rule = FlowRule(location=9, match=FLOWS_OF[1][0], queue=0, context="#1")
    now = replace(state(rules=[rule]), contexts=(other,))
    assert reserve.reserve(now, CONTEXTS, WEB, 2).queues == (4, 5)
    with pytest.raises(Refused, match="queue 7 is named by the rule at location 9"):
        reserve.reserve(now, CONTEXTS, WEB, [7])


@given(st.lists(st.integers(0, 7), min_size=1, max_size=6), strategies.states(128))
def test_other_flows_keep_their_queue_where_it_is_not_taken(
    sizes: list[int], begin: NicState
) -> None:
    queues = begin.channels.rx_queues
    now = replace(begin, rules=())
    for size in sizes:
        if size >= queues:
            with pytest.raises(Refused, match=f"{size} queues asked"):
                reserve.reserve(now, CAN, WEB, size)
            continue
        found = reserve.reserve(now, CAN, WEB, size)
        had = {rule.queue for rule in now.rules}
        taken = [q for q in now.table.entries if q in found.queues]
        returned = had - set(found.queues)
        if not returned:
            assert found.moved == len(taken)
            assert not set(found.queues) & others_queues(found.state)
        else:
            assert returned <= others_queues(found.state)
        assert had <= set(found.queues) or set(found.queues) <= had
        now = found.state


def test_a_reservation_that_lost_a_rule_can_be_made_whole_and_ended() -> None:
    whole = reserve.reserve(state(), CAN, WEB, 4).state
    damaged = replace(whole, rules=whole.rules[1:4] + whole.rules[5:])
    again = reserve.reserve(damaged, CAN, WEB, 4)
    assert again.queues == (4, 5, 6, 7)
    assert others_queues(again.state) == {0, 1, 2, 3}
    assert reserve.reserve(again.state, CAN, WEB, 0).state == state()
    ended = reserve.reserve(damaged, CAN, WEB, 0).state
    assert ended.rules == ()
    assert others_queues(ended) == {0, 1, 2, 3, 5, 6, 7}  # nothing tells of queue 4


def test_a_part_of_the_flows_leaves_the_queues_to_the_others() -> None:
    both = reserve.reserve(state(), CAN, WEB, 2).state
    left = reserve.reserve(both, CAN, WEB[:1], 0)
    assert left.state.table == both.table
    assert {rule.match.flow for rule in left.state.rules} == {WEB[1].flow}
    assert reserve.reserve(left.state, CAN, WEB[1:], 0).state == state()


def test_queues_that_no_other_flow_uses_are_taken_first() -> None:
    now = replace(state(), table=RssTable(entries=(0, 1, 2, 3, 6, 7) * 20 + (0,) * 8))
    found = reserve.reserve(now, CAN, WEB, 2)
    assert (found.queues, found.moved) == ((4, 5), 0)


RULE = FlowRule(location=3, match=Match(flow=FLOWS["udp", 4]), queue=5)
ALL_TCP = [
    FlowRule(location=at, match=Match(flow=FLOWS["tcp", version]), queue=5)
    for at, version in enumerate((4, 6))
]


@pytest.mark.parametrize(
    ("now", "can", "flows", "queues", "why"),
    [
        (state(), CAN, WEB, 8, "8 queues asked; 8 are active, rules of others name 0 of them, and "
         "one has to be left for all other flows, so at most 7 can be reserved"),
        (replace(state(rules=[RULE]), table=RssTable(entries=(0, 1) * 64)), CAN, WEB, 7,
         "rules of others name 1 of them, and one has to be left for all other flows, so at "
         "most 6 can"),
        (state(), CAN, WEB, [8], "queue 8 asked, but 8 are active (0 to 7)"),
        (state(2), CAN, WEB, [0, 1], "all 2 active queues asked"),
        (state(rules=[RULE]), CAN, WEB, [5], "queue 5 is named by the rule at location 3 (udp"),
        (state(rules=ALL_TCP), CAN, WEB, 1, "takes these flows first"),
        (state(), replace(CAN, locations=7), WEB, 4, "8 rules are needed (2 kinds of flows, 4 "
         "values of source port bits), 7 of 7 locations are free"),
        (state(), CAN, reserve.flow("tcp src_port=80"), 2, "that name a source port cannot"),
        (state(), CAN, reserve.flow("47 family=ipv4"), 2, "name no protocol cannot be spread"),
        (state(), replace(CAN, locations=0), WEB, 1, "no flow rules"),
        (state(), replace(CAN, table_size=0), WEB, 1, "no indirection table"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_numbers(
    now: NicState, can: Capabilities, flows: tuple[Match, ...], queues: int | list[int], why: str
) -> None:
    with pytest.raises(Refused) as refused:
        reserve.reserve(now, can, flows, queues)
    assert why in str(refused.value)


def test_rules_of_others_stay_and_are_named_when_they_lose_their_packets() -> None:
    narrow = replace(WEB[0], src=Masked(value=10 << 24, mask=255 << 24))
    rule = FlowRule(location=9, match=narrow, queue=1)
    found = reserve.reserve(state(rules=[rule]), CAN, WEB, 1)
    assert rule in found.state.rules
    assert "location 9" in found.warnings[0]


@pytest.mark.parametrize(
    ("text", "why"),
    [("tcp port=1", "'port=1' is not KEY=VALUE"), ("tcp dst_port=x", "not a port"),
     ("sctp", "protocol 'sctp'"), ("", "protocol ''")],
)  # fmt: skip
def test_flows_that_are_none(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        reserve.flow(text)


def test_a_driver_that_takes_whole_fields_only_gets_one_queue(run_dir: Path) -> None:
    with nicprog.open("sim:ice") as nic:
        found, plan = reserve.plan(nic, WEB, 1)
        nicprog.apply(nic, plan)
        assert nic.read() == found.state
        with pytest.raises(Refused, match="compares part of src_port"):
            reserve.plan(nic, WEB, 2)


def test_the_commands_reserve_and_release(
    owner: Owner, nic: nicprog.Backend, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = nic.read()
    flow = ("qp0", "--flow", "tcp dst_port=8443 family=ipv4", "--json")
    assert cli.main(["reserve", *flow, "--queues", "2", "--dry-run"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["applied"], told["queues"], told["moved_entries"]) == (False, [6, 7], 64)
    assert nic.read() == before
    assert cli.main(["reserve", *flow, "--queues", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["applied"]
    assert len(nic.read().rules) == 2
    assert cli.main(["reserve", *flow[:3], "--queue", "6"]) == 0
    assert "qp0: reserved: queue 6\n" in capsys.readouterr().out
    assert {rule.queue for rule in nic.read().rules} == {6}
    assert cli.main(["reserve", *flow, "--queues", "9"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "refused"
    assert cli.main(["release", *flow]) == 0
    assert nic.read() == before
    assert cli.main(["release", *flow]) == 0  # there is nothing to end
    assert nic.read() == before
    assert cli.main(["reserve", "qp0", "--queues", "1", "--flow", "tcp", "--flow", "tcp"]) == 2


@given(
    st.text(max_size=30)
    | st.lists(
        st.sampled_from(["tcp", "47", "dst_port=80", "dst_port=9-3", "src=10.0.0.1/8", "vlan=5000",
                         "family=ipv6", "dscp=x", "queue=1", "tos=1/2", "src=::1"]), max_size=4
    ).map(" ".join)
)  # fmt: skip
def test_any_text_is_flows_or_a_usage_error(text: str) -> None:
    try:
        flows = reserve.flow(text)
    except UsageError as error:
        why = str(error)
    else:
        why = "flow "
        assert flows
    assert why.startswith("flow ")


FLOWS_OF = (WEB, reserve.flow("udp dst_port=53 family=ipv4"), reserve.flow("tcp src=10.0.0.0/8"))


@given(
    strategies.states(128) | strategies.states(128, contexts=True),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), min_size=1, max_size=6),
)
def test_reservations_of_several_flows_on_any_nic(
    begin: NicState, wishes: list[tuple[int, int]]
) -> None:
    can = CONTEXTS if begin.contexts else CAN
    nic = MemoryNic(can, begin, table_is_set=True)
    for which, size in wishes:
        before = nic.read()
        refusal = ""
        try:
            found, plan = reserve.plan(nic, FLOWS_OF[which], size)
        except Refused as error:
            refusal = str(error)
        if refusal:
            assert any(digit in refusal for digit in "0123456789"), refusal
            assert nic.read() == before
            continue
        for step in plan.steps:
            nic.run(step.do)
        after = nic.read()
        assert after == found.state
        assert len(found.queues) == size
        assert targets(after, set(after.rules) - set(before.rules)) <= set(found.queues)
        assert not set(after.table.entries) & set(found.queues)
        assert after.table.entries
        others = [rule for rule in begin.rules if rule.match not in _possible(FLOWS_OF)]
        assert set(others) <= set(after.rules)


def _possible(flows: Sequence[Sequence[Match]]) -> set[Match]:
    """Matches that a reservation may have taken for its own."""
    return {one for group in flows for one in group}

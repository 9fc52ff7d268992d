# SPDX-License-Identifier: Apache-2.0
"""The planner against a NIC that refuses what the kernel refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nicprog.actions import DeleteRule, InsertRule, ResetTable, SetChannels, SetTable
from nicprog.backends.memory import MemoryNic
from nicprog.errors import Refused
from nicprog.model import Channels, Flow, FlowRule, Masked, Match, NicState, RssTable
from nicprog.plan import Disruption, diff
from tests.nicprog.strategies import capabilities, states

CAN = capabilities()
KEY = bytes(40)


def state(queues: int, entries: tuple[int, ...] | None = None, *rules: FlowRule) -> NicState:
    table = RssTable.default(queues, 8) if entries is None else RssTable(entries=entries)
    return NicState(channels=Channels(combined=queues), table=table, key=KEY, rules=rules)


def rule(location: int, port: int, queue: int | None) -> FlowRule:
    match = Match(flow=Flow.TCP4, dst_port=Masked(value=port, mask=0xFFFF))
    return FlowRule(location=location, match=match, queue=queue)


@given(states(contexts=True), states(contexts=True), st.booleans(), st.sampled_from([None, 3, 6]))
def test_steps_lead_to_wanted_and_undo_leads_back(
    now: NicState, wanted: NicState, table_is_set: bool, masks_max: int | None
) -> None:
    """Two contexts are as many as the states have: some have to go before others come."""
    can = capabilities(masks_max=masks_max, contexts=2)
    for one in (now, wanted):
        masks = {item.match.mask_key() for item in one.rules}
        assume(masks_max is None or len(masks) <= masks_max)
    nic = MemoryNic(can, now, table_is_set=table_is_set)
    steps = diff(now, wanted, can)
    for step in steps:
        nic.run(step.do)  # refuses what a NIC would
    assert nic.read() == wanted
    for step in reversed(steps):
        nic.run(step.undo)
    assert nic.read() == now


@given(states(contexts=True))
def test_no_steps_when_nothing_differs(now: NicState) -> None:
    assert diff(now, now, CAN) == ()


@given(states(contexts=True), states(contexts=True))
def test_every_step_changes_something_or_says_that_it_does_not(
    now: NicState, wanted: NicState
) -> None:
    nic = MemoryNic(CAN, now)
    for step in diff(now, wanted, CAN):
        before = nic.read()
        nic.run(step.do)
        after = nic.read()
        if isinstance(step.do, ResetTable):
            assert (before == after) == (step.disruption is Disruption.NONE)
        else:
            assert before != after
        assert before.table == after.table or step.disruption is Disruption.REORDERS


def verdict(rules: tuple[FlowRule, ...], packet: Match) -> int | str | None:
    for item in rules:
        if item.match.covers(packet):
            return item.context or ("drop" if item.queue is None else item.queue)
    return None


@given(states(contexts=True), states(contexts=True))
def test_a_packet_goes_the_old_way_or_the_new_way_at_every_step(
    now: NicState, wanted: NicState
) -> None:
    """Unless a location is used for another rule, where old and new meet in one slot."""
    old = {item.location: item for item in now.rules}
    assume(all(old.get(item.location, item) == item for item in wanted.rules))
    nic = MemoryNic(CAN, now)
    packets = [
        Match(
            flow=flow,
            src=Masked(value=src << flow.address_bits - 8, mask=(1 << flow.address_bits) - 1),
            src_port=Masked(value=9, mask=0xFFFF),
            dst_port=Masked(value=port, mask=0xFFFF),
            tos=Masked(value=tos, mask=0xFF),
            vlan_tci=Masked(value=vlan, mask=0xFFFF),
        )
        for flow in (Flow.TCP4, Flow.UDP6)
        for src in (10, 11)
        for port in (80, 81, 443)
        for tos in (0, 0xB8)
        for vlan in (0, 5)
    ]
    for step in diff(now, wanted, CAN):
        nic.run(step.do)
        rules = nic.read().rules
        for packet in packets:
            ways = {verdict(now.rules, packet), verdict(wanted.rules, packet)}
            assert verdict(rules, packet) in ways


def test_growing_makes_queues_before_anything_points_at_them() -> None:
    wanted = state(4, (0, 1, 2, 3, 3, 2, 1, 0), rule(0, 80, 3))
    kinds = [type(step.do) for step in diff(state(2), wanted, CAN)]
    assert kinds == [SetChannels, SetTable, InsertRule]


def test_shrinking_takes_the_queues_last_and_moves_flows_once() -> None:
    steps = diff(state(4, None, rule(0, 80, 3)), state(2), CAN)
    assert [type(step.do) for step in steps] == [SetTable, DeleteRule, SetChannels, ResetTable]
    assert [step.disruption is Disruption.NONE for step in steps] == [False, False, True, True]


def test_reasons_have_the_numbers() -> None:
    steps = diff(state(2), state(4), CAN)
    assert steps[0].reason == (
        "2 queues are active, 4 wanted; the default table follows, "
        "4 of 8 table entries change their queue"
    )


def test_a_rule_is_replaced_in_its_slot() -> None:
    (step,) = diff(state(4, None, rule(3, 80, 1)), state(4, None, rule(3, 80, 2)), CAN)
    assert step.do == InsertRule(rule=rule(3, 80, 2))
    assert step.undo == InsertRule(rule=rule(3, 80, 1))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (state(7, (0,) * 8), "7 combined channels asked, the NIC has at most 6"),
        (state(2, (0, 1)), "the table has 2 entries, the NIC takes exactly 8"),
        (
            state(2, (0, 1, 2, 0, 0, 0, 0, 0)),
            "entry 2 of the table is queue 2, but 2 queues are active (0 to 1)",
        ),
        (
            state(2, None, rule(3, 80, 2)),
            "the rule at location 3 points at queue 2, but 2 queues are active (0 to 1)",
        ),
        (
            state(2, None, rule(12, 80, 1)),
            "the rule at location 12: the NIC has 12 locations (0 to 11)",
        ),
        (replace(state(2), key=b"12"), "the key has 2 bytes, the NIC takes exactly 40"),
    ],
)
def test_refuses_what_the_nic_would_refuse(wanted: NicState, message: str) -> None:
    with pytest.raises(Refused) as caught:
        diff(state(2), wanted, CAN)
    assert str(caught.value) == message


def test_refuses_more_masks_than_the_nic_can_hold() -> None:
    rules = [
        FlowRule(location=i, queue=0, match=Match(flow=Flow.TCP4, dst_port=Masked(mask=1 << i)))
        for i in range(3)
    ]
    with pytest.raises(Refused, match="the rules have 3 different masks, the NIC can hold 2"):
        diff(state(2), state(2, None, *rules), capabilities(masks_max=2))


@pytest.mark.parametrize(("old", "new"), [((4, 4), (2, 3)), ((2, 3), (4, 4)), ((2, 2), (2, 3))])
def test_a_nic_with_channels_apart_and_nothing_else(
    old: tuple[int, int], new: tuple[int, int]
) -> None:
    """No step may touch the table that is not there, also when fewer channels are left."""
    can = replace(
        capabilities(table_size=0), queues_max=0, rx_max=4, tx_max=4, key_bytes=0, locations=0
    )
    now, wanted = (
        NicState(channels=Channels(rx=rx, tx=tx), table=RssTable(entries=()), key=b"")
        for rx, tx in (old, new)
    )
    (step,) = diff(now, wanted, can)
    assert step.do == SetChannels(rx=new[0], tx=new[1])
    assert step.undo == SetChannels(rx=old[0], tx=old[1])
    with pytest.raises(Refused, match="4 tx channels asked, the NIC has at most 3"):
        diff(wanted, replace(now, channels=Channels(rx=1, tx=4)),
             replace(can, tx_max=3))  # fmt: skip

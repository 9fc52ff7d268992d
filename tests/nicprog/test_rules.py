# SPDX-License-Identifier: Apache-2.0
"""From rules as people write them to slots of the NIC."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nicprog.fields import address, address_text, range_masks
from nicprog.model import ANY, Flow, FlowRule, Masked, Match
from nicprog.rules import NoRoom, Wanted, expand, locate, shadowed
from nicprog.spec import RuleSpec
from tests.nicprog.strategies import matches


@given(st.integers(0, 255), st.integers(0, 255))
def test_range_masks_take_exactly_the_range(one: int, other: int) -> None:
    low, high = sorted((one, other))
    blocks = range_masks(low, high, 8)
    taken = [n for n in range(256) for block in blocks if n & block.mask == block.value]
    assert sorted(taken) == list(range(low, high + 1))  # each once
    assert len(blocks) <= 14  # 2 * (bits - 1), the least that suffices for every range


@given(st.booleans(), st.integers(0, 2**128 - 1), st.integers(0, 2**128 - 1))
def test_addresses_are_read_as_written(is_v6: bool, value: int, mask: int) -> None:
    bits = 128 if is_v6 else 32
    mask %= 1 << bits
    item = Masked(value=value % (1 << bits) & mask, mask=mask)
    version = 6 if is_v6 else 4
    assert address("src", address_text(version, item)) == (version, item)


def test_expand_without_addresses_is_for_both_versions() -> None:
    found = expand(RuleSpec(name="a", protocol="udp", dst_port="80-82", queue=1))
    assert [(m.flow, m.dst_port.value, m.dst_port.mask) for m in found] == [
        (Flow.UDP4, 80, 0xFFFE),
        (Flow.UDP4, 82, 0xFFFF),
        (Flow.UDP6, 80, 0xFFFE),
        (Flow.UDP6, 82, 0xFFFF),
    ]


def test_expand_takes_the_version_of_the_addresses() -> None:
    (found,) = expand(RuleSpec(name="a", protocol=47, dst="2001:db8::/32", queue=1))
    assert found == Match(
        flow=Flow.IP6,
        dst=Masked(value=int(ip_address("2001:db8::")), mask=0xFFFF_FFFF << 96),
        l4_proto=Masked(value=47, mask=0xFF),
    )


def wanted(*ports: int) -> list[Wanted]:
    return [
        Wanted(
            name=str(port),
            match=Match(flow=Flow.TCP4, dst_port=Masked(value=port, mask=0xFFFF)),
            queue=0,
        )
        for port in ports
    ]


def place(now: list[FlowRule], *ports: int, taken: tuple[int, ...] = (), locations: int = 8) -> str:
    found = locate(wanted(*ports), now=now, taken=set(taken), locations=locations)
    return " ".join(f"{rule.location}:{rule.match.dst_port.value}" for rule in found)


def test_locations_are_the_lowest_free_ones_in_order() -> None:
    assert place([], 1, 2, 3, taken=(0, 2)) == "1:1 3:2 4:3"


def test_rules_on_the_nic_stay_where_the_order_allows() -> None:
    now = [item.at(i * 2) for i, item in enumerate(wanted(1, 2, 3))]  # 0:1 2:2 4:3
    assert place(now, 1, 3, 4) == "0:1 4:3 5:4"
    assert place(now, 1, 9, 2, 3) == "0:1 1:9 2:2 4:3"
    assert place(now, 3, 1, 2) == "0:3 1:1 2:2"  # nothing fits before 0:1, so anew
    assert place(now, 2, 1, 3) == "0:2 1:1 4:3" or place(now, 2, 1, 3) == "0:2 1:1 2:3"


def test_no_room_is_said_only_when_there_is_none() -> None:
    now = [item.at(7) for item in wanted(1)]
    assert place(now, 1, 2) == "0:1 1:2"
    assert place(now, *range(8)) == " ".join(f"{i}:{i}" for i in range(8))
    with pytest.raises(NoRoom):
        place(now, *range(9))
    with pytest.raises(NoRoom):
        place(now, *range(8), taken=(3,))


@given(st.lists(st.sampled_from(range(10)), unique=True), st.permutations(range(10)))
def test_locations_ascend_and_avoid_what_is_taken(ports: list[int], before: list[int]) -> None:
    now = [item.at(at) for at, item in enumerate(wanted(*before[:7]), 3)]
    found = locate(wanted(*ports), now=now, taken={4, 11}, locations=12)
    at = [rule.location for rule in found]
    assert at == sorted(set(at) - {4, 11})
    assert [rule.match.dst_port.value for rule in found] == ports
    again = locate(wanted(*ports), now=found, taken={4, 11}, locations=12)
    assert again == found


@given(st.lists(matches(), max_size=8))
def test_shadowed_is_what_covers_says(items: list[Match]) -> None:
    rules = [FlowRule(location=i, match=match, queue=0) for i, match in enumerate(items)]
    plain = {
        rule.location
        for rule in rules
        if any(first.match.covers(rule.match) for first in rules[: rule.location])
    }
    found = shadowed(rules)
    assert {rule.location for rule, _ in found} == plain
    assert all(over.match.covers(rule.match) for rule, over in found)


def test_covers() -> None:
    tcp, any4 = Match(flow=Flow.TCP4), Match(flow=Flow.IP4)
    assert any4.covers(tcp)
    assert not tcp.covers(any4)
    assert not any4.covers(Match(flow=Flow.TCP6))
    assert not Match(flow=Flow.IP4, l4_proto=Masked(value=17, mask=0xFF)).covers(tcp)
    assert Match(flow=Flow.IP4, l4_proto=Masked(value=6, mask=0xFF)).covers(tcp)
    assert Masked(value=80, mask=0xFFF0).covers(Masked(value=81, mask=0xFFFF))
    assert not Masked(value=80, mask=0xFFFF).covers(ANY)

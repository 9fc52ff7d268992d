# SPDX-License-Identifier: Apache-2.0
"""What a spec means on one NIC."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nicprog import parse
from nicprog.errors import Refused
from nicprog.model import Capabilities, Channels, NicState, RssTable, largest_remainder
from nicprog.resolve import resolve
from nicprog.text import state_to_toml
from tests.nicprog.strategies import capabilities, states

CAN = capabilities()
NOW = NicState(channels=Channels(combined=4), table=RssTable.default(4, 8), key=bytes(40))


def resolved(text: str, now: NicState = NOW, can: Capabilities = CAN) -> NicState:
    return resolve(parse(f'device = "qp0"\n{text}'), now, can).state


def shares(state: NicState) -> dict[int, int]:
    return dict(Counter(state.table.entries))


def test_an_empty_spec_leaves_all() -> None:
    assert resolved("") == NOW


def test_the_default_table_follows_the_channels() -> None:
    assert resolved("[channels]\ncombined = 6").table == RssTable.default(6, 8)


def test_equal_and_weights_move_as_few_entries_as_possible() -> None:
    table = resolved("[rss]\nequal = [0, 1, 2]").table
    assert NOW.table.moved(table) == 2  # those of queue 3
    assert shares(resolved("[rss]\nequal = [0, 1, 2]")) == {0: 3, 1: 3, 2: 2}
    assert shares(resolved("[rss]\nweights = [2, 1, 1]")) == {0: 4, 1: 2, 2: 2}
    assert resolved('[rss]\nequal = "all"') == NOW


@given(states(), st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any))
def test_shares_are_exact_minimal_and_stay(now: NicState, weights: list[int]) -> None:
    wanted = {queue: weight for queue, weight in enumerate(weights) if weight}
    table = now.table.with_shares(wanted)
    target = largest_remainder(wanted, 8)
    assert Counter(table.entries) == +Counter(target)
    surplus = Counter(now.table.entries) - Counter(target)
    assert now.table.moved(table) == surplus.total()
    assert table.with_shares(wanted) == table


def test_explicit_tables_are_repeated_to_the_size_of_the_nic() -> None:
    assert resolved("[rss]\ntable = [0, 3]").table.entries == (0, 3) * 4


def test_keys() -> None:
    assert resolved('[rss]\nkey = "symmetric"').key == bytes.fromhex("6d5a") * 20
    assert resolved(f'[rss]\nkey = "{"a5" * 40}"').key == b"\xa5" * 40
    with pytest.raises(Refused, match=r"spec:3:1: qp0: the default key .* is not known"):
        resolved('[rss]\nkey = "default"')


def test_reserve_shrinks_the_table_and_adds_rules_for_both_versions() -> None:
    state = resolved("[[reserve]]\nqueue = 3\nport = 8443")
    assert shares(state) == {0: 3, 1: 3, 2: 2}
    assert NOW.table.moved(state.table) == 2
    assert [(r.location, r.match.flow.name, r.queue) for r in state.rules] == [
        (0, "TCP4", 3),
        (1, "TCP6", 3),
    ]
    assert resolved("[[reserve]]\nqueue = 3\nport = 8443", state) == state


def test_reserve_when_the_table_uses_nothing_else() -> None:
    now = NicState(channels=Channels(combined=3), table=RssTable(entries=(2,) * 8), key=bytes(40))
    assert shares(resolved("[[reserve]]\nqueue = 2\nport = 1", now)) == {0: 4, 1: 4}


@given(states(), states())
def test_a_dump_as_spec_leads_to_the_same_state(now: NicState, wanted: NicState) -> None:
    spec = parse(state_to_toml("qp0", wanted))
    assert resolve(spec, now, CAN).state == wanted


def test_other_rules_are_removed_unless_kept() -> None:
    now = resolved('[[rule]]\nname = "a"\nprotocol = "tcp"\nfamily = "ipv4"\nqueue = 1')
    another = '[[rule]]\nname = "b"\nprotocol = "udp"\nfamily = "ipv4"\nqueue = 2'
    assert resolved("", now).rules == now.rules
    assert resolved('other_rules = "remove"', now).rules == ()
    assert [r.match.flow.name for r in resolved(another, now).rules] == ["UDP4"]
    kept = resolved(f'other_rules = "keep"\n{another}', now).rules
    assert [(r.location, r.match.flow.name) for r in kept] == [(0, "TCP4"), (1, "UDP4")]
    assert resolved(f'other_rules = "keep"\n{another}', NicState(
        channels=now.channels, table=now.table, key=now.key, rules=kept)).rules == kept  # fmt: skip
    with pytest.raises(Refused, match="location 0 of rule 'b' holds a rule that"):
        resolved(f'other_rules = "keep"\n{another}\nlocation = 0', now)


def test_shadowed_rules_are_reported_by_name() -> None:
    spec = parse(
        'device = "qp0"\n[[rule]]\nname = "all"\nprotocol = "tcp"\nfamily = "ipv4"\nqueue = 1\n'
        '[[rule]]\nname = "web"\nprotocol = "tcp"\ndst_port = 80\nqueue = 2\n'
    )
    assert resolve(spec, NOW, CAN).warnings == (
        "rule 'web' never takes a packet in 1 of its 2 locations: rule 'all' comes first and takes "
        "all of them",
    )


RULE = '[[rule]]\nname = "a"\nprotocol = "tcp"\nfamily = "ipv4"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[channels]\ncombined = 7",
            "spec:3:1: qp0: 7 combined channels asked, it has at most 6",
        ),
        (
            "[rss]\nequal = [0, 4]",
            "spec:3:1: qp0: equal names queue 4, but 4 queues are active (0 to 3); "
            "choose a lower queue or raise [channels] combined",
        ),
        (
            "[rss]\ntable = [0, 1, 2]",
            "spec:3:1: qp0: table has 3 entries, the NIC's has 8; "
            "give 8, or a number that divides it",
        ),
        ('[rss]\nkey = "00"', "spec:3:1: qp0: key has 1 bytes, the NIC takes exactly 40"),
        (
            RULE + "queue = 4",
            "spec:6:1: qp0: rule 'a' names queue 4, but 4 queues are active (0 to 3); "
            "choose a lower queue or raise [channels] combined",
        ),
        (
            "[[reserve]]\nqueue = 9\nport = 1",
            "spec:3:1: qp0: rule 'reserve 1/tcp' names queue 9, but 4 queues are active (0 to 3); "
            "choose a lower queue or raise [channels] combined",
        ),
        (
            "[channels]\ncombined = 1\n[[reserve]]\nqueue = 0\nport = 1",
            "spec:5:1: qp0: every one of its 1 active queues is reserved; leave one",
        ),
        (
            RULE + "queue = 1\nlocation = 12",
            "spec:7:1: qp0: rule 'a' needs location 12, the NIC has 12 (0 to 11)",
        ),
        (
            RULE + 'queue = 1\ndst_port = "1-2"\nlocation = 11',
            "spec:8:1: qp0: rule 'a' needs locations 11 to 12, the NIC has 12 (0 to 11)",
        ),
        (
            RULE + 'queue = 1\ndst_port = "1-2"\nlocation = 3\n'
            + RULE.replace('"a"', '"b"') + "queue = 1\nlocation = 4\n",
            "spec:14:1: qp0: location 4 is taken twice, by rule 'a' and by rule 'b', "
            "which needs location 4",
        ),
        (
            RULE + 'queue = 1\ndst_port = "1-65534"',
            "qp0: the rules need 30 more locations after 0 that are taken, the NIC has 12; "
            "port ranges and rules for both IP versions need several each",
        ),
    ],
)  # fmt: skip
def test_refusals_have_line_and_limit(text: str, message: str) -> None:
    with pytest.raises(Refused) as caught:
        resolved(text)
    assert str(caught.value) == message

# SPDX-License-Identifier: Apache-2.0
"""The typed calls: layouts, round trips, and a NIC in C that was written apart from them."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nicprog._ethtool import ffi, lib
from nicprog.backends import codec
from nicprog.backends.softnic import SocketTransport, socket_path
from nicprog.errors import NicprogError, RequestError
from nicprog.ethtool import (
    LOCATION_ANY,
    LOCATION_LAST,
    Channels,
    Coalesce,
    Ethtool,
    FlowType,
    HashField,
    HashFunction,
    InputTransform,
    Rings,
    RxAction,
    RxMatch,
    RxRule,
    rules,
)
from nicprog.model import ANY, FlowRule, Masked, Match
from tests.nicprog.fake_nic import FakeNic
from tests.nicprog.owner import Owner
from tests.nicprog.strategies import matches

SIZES = {
    "struct ethtool_channels": 36,
    "struct ethtool_ringparam": 36,
    "struct ethtool_coalesce": 92,
    "struct ethtool_per_queue_op": 520,
    "struct ethtool_get_features_block": 16,
    "struct ethtool_set_features_block": 8,
    "struct ethtool_value": 8,
    "struct ethtool_sset_info": 16,
    "struct ethtool_gstrings": 12,
    "struct ethtool_stats": 8,
    "struct ethtool_rxfh": 24,
    "struct ethtool_flow_ext": 20,
    "union ethtool_flow_union": 52,
    "struct ethtool_rx_flow_spec": 168,
    "struct ethtool_rxnfc": 192,
}
WORDS: dict[str, type[Channels | Rings | Coalesce]] = {
    "struct ethtool_channels": Channels,
    "struct ethtool_ringparam": Rings,
    "struct ethtool_coalesce": Coalesce,
}
RULE_FLOWS = [flow for flow in FlowType if flow not in
              (FlowType.IP4, FlowType.IP6, FlowType.AH_ESP4, FlowType.AH_ESP6)]  # fmt: skip
U32 = st.integers(0, 2**32 - 1)
INSERT = lib.ETHTOOL_SRXCLSRLINS


@pytest.fixture
def soft(owner: Owner) -> Iterator[Ethtool]:
    with Ethtool(owner.name, SocketTransport(owner.name, socket_path(owner.name))) as calls:
        yield calls


@pytest.mark.parametrize(("kind", "octets"), SIZES.items())
def test_structures_have_the_published_sizes(kind: str, octets: int) -> None:
    assert ffi.sizeof(kind) == octets


@pytest.mark.parametrize(
    ("field", "offset"),
    [("flow_type", 0), ("h_u", 4), ("h_ext", 56), ("m_u", 76), ("m_ext", 128),
     ("ring_cookie", 152), ("location", 160)],
)  # fmt: skip
def test_a_rule_has_the_published_offsets(field: str, offset: int) -> None:
    assert ffi.offsetof("struct ethtool_rx_flow_spec", field) == offset


@pytest.mark.parametrize(("kind", "of"), WORDS.items())
def test_values_have_the_fields_of_their_structure_in_its_order(
    kind: str, of: type[Channels | Rings | Coalesce]
) -> None:
    names = [item.name for item in dataclasses.fields(of)]
    assert [ffi.offsetof(kind, name) for name in names] == [4 + 4 * i for i in range(len(names))]
    assert ffi.sizeof(kind) == 4 + 4 * len(names)


@given(st.data())
def test_values_survive_their_structure(data: st.DataObject) -> None:
    kind, of = data.draw(st.sampled_from(sorted(WORDS.items(), key=str)))
    value = of(**{item.name: data.draw(U32) for item in dataclasses.fields(of)})
    structure = value.to_struct(kind, 7)
    assert structure.cmd == 7
    assert of.from_struct(structure) == value


def test_a_value_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"rx_pending must be 0 to 2\*\*32 - 1, got -1"):
        Rings(rx_pending=-1)


@st.composite
def rx_rules(draw: st.DrawFn) -> RxRule:
    flow = draw(st.sampled_from(RULE_FLOWS))
    compared = {}
    for name, place in rules._places(flow).items():
        mask = draw(st.just(0) | st.integers(0, (1 << 8 * place.octets) - 1))
        compared[name] = Masked(value=draw(st.integers(0, mask)) & mask, mask=mask) if mask else ANY
    action = draw(st.sampled_from(RxAction))
    is_queue = action is RxAction.QUEUE
    return RxRule(
        flow=flow,
        match=RxMatch(**compared),
        location=draw(U32),
        action=action,
        queue=draw(U32) if is_queue else 0,
        vf=draw(st.integers(0, 255)) if is_queue else 0,
        context=draw(st.none() | U32),
    )


@given(rx_rules())
def test_a_rule_survives_its_structure(rule: RxRule) -> None:
    assert rules.decode(rules.encode(rule, INSERT), "nic") == rule


@given(matches(), st.none() | st.integers(0, 5), st.integers(0, 11))
def test_both_encodings_of_a_rule_mean_the_same(match: Match, queue: int | None, at: int) -> None:
    """The fast one of the planner's rules and the full one were written apart."""
    fast = codec.encode_rule(FlowRule(location=at, match=match, queue=queue))
    full = rules.decode(ffi.from_buffer("struct ethtool_rxnfc *", fast), "nic")
    assert bytes(ffi.buffer(rules.encode(full, INSERT))) == fast


def test_ports_are_where_the_packet_has_them() -> None:
    port = Masked(value=443, mask=0xFFFF)
    rule = RxRule(flow=FlowType.TCP4, match=RxMatch(dst_port=port), location=3, queue=2, vf=1)
    spec = rules.encode(rule, INSERT).fs
    assert bytes(ffi.buffer(ffi.addressof(spec, "h_u")))[10:12] == b"\x01\xbb"
    assert spec.ring_cookie == 1 << 32 | 2


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"flow": FlowType.IP4}, "for hashed fields"),
        ({"match": RxMatch(spi=Masked(value=1, mask=1))}, "TCP4 cannot compare spi"),
        ({"match": RxMatch(src=Masked(value=0, mask=1 << 32))}, "src does not fit into 32 bits"),
        ({"location": -1}, "location must be"),
        ({"vf": 256}, "vf must be"),
        ({"action": RxAction.DROP, "queue": 1}, "has no queue"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(wrong: dict[str, Any], why: str) -> None:
    rule = RxRule(flow=FlowType.TCP4, match=RxMatch(), location=0)
    with pytest.raises(ValueError, match=why):
        dataclasses.replace(rule, **wrong)


def test_what_a_rule_compares_is_never_left_out() -> None:
    request = rules.encode(RxRule(flow=FlowType.TCP4, match=RxMatch(), location=9), INSERT)
    request.fs.m_u.hdata[13] = 0xFF
    with pytest.raises(NicprogError, match="location 9 compares fields that flow type TCP4"):
        rules.decode(request, "nic")
    request.fs.flow_type = 0x7F
    with pytest.raises(NicprogError, match="unknown flow type 0x7f"):
        rules.decode(request, "nic")


def test_ip_version_may_be_compared_or_not() -> None:
    rule = RxRule(flow=FlowType.IP4_RULE, match=RxMatch(), location=0)
    request = rules.encode(rule, INSERT)
    assert (request.fs.h_u.usr_ip4_spec.ip_ver, request.fs.m_u.usr_ip4_spec.ip_ver) == (1, 0)
    request.fs.m_u.usr_ip4_spec.ip_ver = 0xFF
    assert rules.decode(request, "nic") == rule


def test_rss_is_set_part_by_part(soft: Ethtool) -> None:
    before = soft.rss()
    assert (len(before.table), len(before.key)) == (256, 40)
    assert (before.function, before.transform) == (HashFunction.TOEPLITZ, InputTransform(0))
    soft.set_rss(key=bytes(range(40)))
    assert soft.rss() == dataclasses.replace(before, key=bytes(range(40)))
    soft.set_rss(table=[1] * 256, function=HashFunction.TOEPLITZ)
    assert soft.rss() == dataclasses.replace(before, key=bytes(range(40)), table=(1,) * 256)
    soft.reset_rss_table()
    assert soft.rss().table == before.table


def test_rss_of_another_size_says_the_size(soft: Ethtool) -> None:
    rows: list[tuple[dict[str, Any], str]] = [
        ({"table": [0] * 3}, "table has 3 entries, the NIC takes exactly 256"),
        ({"key": b"123"}, "key has 3 bytes, the NIC takes exactly 40"),
    ]
    for wrong, why in rows:
        with pytest.raises(RequestError, match=why) as refused:
            soft.set_rss(**wrong)
        assert refused.value.errno == errno.EINVAL
    with pytest.raises(ValueError, match="nothing to set"):
        soft.set_rss()


def test_contexts_that_a_nic_does_not_have_are_refused(soft: Ethtool) -> None:
    before = soft.rss()
    for call in (
        lambda: soft.new_rss_context([0] * 256),
        lambda: soft.delete_rss_context(1),
        lambda: soft.rss(1),
    ):
        with pytest.raises(RequestError) as refused:
            call()
        assert refused.value.errno == errno.EOPNOTSUPP
    with pytest.raises(ValueError, match="context 0"):
        soft.delete_rss_context(0)
    assert soft.rss() == before


def test_rules_are_inserted_listed_read_and_deleted(soft: Ethtool) -> None:
    port = Masked(value=443, mask=0xFFFF)
    web = RxRule(flow=FlowType.TCP6, match=RxMatch(dst_port=port), location=7, queue=3)
    drop = RxRule(
        flow=FlowType.IP4_RULE,
        match=RxMatch(protocol=Masked(value=47, mask=0xFF), vlan_tci=Masked(value=5, mask=0xFFF)),
        location=2,
        action=RxAction.DROP,
    )
    assert soft.rule_locations() == ()
    assert [soft.insert_rule(rule) for rule in (web, drop)] == [7, 2]
    assert soft.rule_locations() == (2, 7)
    assert (soft.rule(7), soft.rule(2)) == (web, drop)
    assert soft.insert_rule(dataclasses.replace(web, location=LOCATION_LAST)) == 4095
    assert soft.insert_rule(dataclasses.replace(web, location=LOCATION_ANY)) == 0
    table = soft.rule_table()
    assert (table.rules, table.locations, table.chooses) == (4, 4096, True)
    soft.delete_rule(7)
    assert soft.rule_locations() == (0, 2, 4095)
    with pytest.raises(RequestError) as refused:
        soft.rule(7)
    assert refused.value.errno == errno.ENOENT


def test_a_long_list_of_rules_is_read_whole(soft: Ethtool) -> None:
    for location in range(100):
        soft.insert_rule(RxRule(flow=FlowType.UDP4, match=RxMatch(), location=location))
    assert soft.rule_locations() == tuple(range(100))


def test_channels_and_statistics(soft: Ethtool, owner: Owner) -> None:
    assert soft.driver_info().driver == "qs_soft"
    soft.set_channels(dataclasses.replace(soft.channels(), combined_count=4))
    assert soft.channels().combined_count == soft.rx_rings() == 4
    owner.frame(2, 600)
    assert dict(soft.statistics())["rx_queue_2_bytes"] == 600


@pytest.fixture
def fake() -> FakeNic:
    return FakeNic()


def test_contexts_are_made_read_changed_and_deleted(fake: FakeNic) -> None:
    nic = Ethtool("nic", fake)
    first = nic.new_rss_context([1, 1, 1, 1], bytes(range(8)))
    second = nic.new_rss_context([0, 0, 0, 0])
    assert (first, second) == (1, 2)
    assert (nic.rss(1).table, nic.rss(1).key) == ((1, 1, 1, 1), bytes(range(8)))
    nic.set_rss(context=2, table=[1, 0, 1, 0])
    assert nic.rss(2).table == (1, 0, 1, 0)
    nic.delete_rss_context(1)
    assert set(fake.contexts) == {0, 2}
    assert fake.contexts[0] == fake.fresh()
    with pytest.raises(RequestError):
        nic.rss(1)


def test_the_transform_stays_unless_it_is_given(fake: FakeNic) -> None:
    """Zero in its octet turns it off, so that a new table would cost symmetry."""
    nic = Ethtool("nic", fake)
    nic.set_rss(table=[1, 1, 0, 0])
    nic.set_rss(key=b"12345678")
    nic.set_rss(function=HashFunction.XOR)
    assert nic.rss().transform is InputTransform.SYMMETRIC_XOR
    assert nic.rss().function is HashFunction.XOR
    nic.reset_rss_table()
    assert nic.rss().transform is InputTransform.SYMMETRIC_XOR
    nic.set_rss(transform=InputTransform(0))
    assert nic.rss().transform == 0
    assert nic.rss().key == b"12345678"


def test_hashed_fields_of_a_flow_and_a_context(fake: FakeNic) -> None:
    nic = Ethtool("nic", fake)
    wanted = HashField.SRC | HashField.DST | HashField.SRC_PORT | HashField.DST_PORT
    nic.set_hash_fields(FlowType.UDP4, wanted)
    nic.set_hash_fields(FlowType.IP6, HashField.SRC, context=3)
    assert nic.hash_fields(FlowType.UDP4) == wanted
    assert nic.hash_fields(FlowType.IP6, context=3) == HashField.SRC
    assert nic.hash_fields(FlowType.IP6) == 0
    assert fake.hashed == {(2, 0): 0xF0, (0x11, 3): 0x10}


def test_private_flags_are_set_by_name(fake: FakeNic) -> None:
    nic = Ethtool("nic", fake)
    before = {"legacy-rx": False, "link-down-on-close": True, "fw-lldp-agent": False}
    assert nic.private_flags() == before
    nic.set_private_flags({"fw-lldp-agent": True})
    assert nic.private_flags() == before | {"fw-lldp-agent": True}
    with pytest.raises(RequestError, match=r"no private flag 'legacy_rx'.*mean 'legacy-rx'"):
        nic.set_private_flags({"legacy_rx": True, "link-down-on-close": False})
    assert fake.flags == 0b110


def test_single_queues_interrupt_as_they_are_told(fake: FakeNic) -> None:
    nic = Ethtool("nic", fake)
    wanted = {1: Coalesce(rx_coalesce_usecs=7, rate_sample_interval=9), 0: Coalesce()}
    nic.set_coalesce_of_queues(wanted)
    assert nic.coalesce_of_queues([1, 0, 1]) == wanted
    assert nic.coalesce_of_queues([1]) == {1: wanted[1]}
    with pytest.raises(RequestError):
        nic.coalesce_of_queues([40])
    with pytest.raises(ValueError, match="queues are 0 to 4095"):
        nic.coalesce_of_queues([4096])

# SPDX-License-Identifier: Apache-2.0
"""Against the software NIC's own code: what we send it takes, what we refuse it refuses."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nicprog
from nicprog._ethtool import lib
from nicprog.actions import (
    DeleteRule,
    InsertRule,
    ResetTable,
    SetChannels,
    SetKey,
    SetTable,
)
from nicprog.backends import codec, softnic
from nicprog.backends.ethtool import EthtoolNic
from nicprog.backends.run_dir import run_dir as found_dir
from nicprog.errors import DeviceError, NicprogError, RequestError
from nicprog.model import ANY, Channels, Flow, FlowRule, Masked, Match, NicState, RssTable
from nicprog.plan import diff
from tests.nicprog.owner import Owner
from tests.nicprog.strategies import matches, states

ON_THE_NIC = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def raw(nic: nicprog.Backend) -> list[bytes]:
    """Everything that the NIC answers about its settings, byte for byte."""
    assert isinstance(nic, EthtoolNic)
    ask = nic._transport.ask
    get = lib.ETHTOOL_GRXCLSRULE
    rules = [codec.at_location(get, rule.location) for rule in nic.read().rules]
    rss = b"".join(n.to_bytes(4, "little") for n in (lib.ETHTOOL_GRSSH, 0, 256, 40)) + bytes(8)
    channels = lib.ETHTOOL_GCHANNELS.to_bytes(4, "little") + bytes(32)
    return [
        ask(lib.ETHTOOL_GRSSH, rss + bytes(256 * 4 + 40)),
        ask(lib.ETHTOOL_GCHANNELS, channels),
        *(ask(get, rule) for rule in rules),
    ]


def set_up(nic: nicprog.Backend, state: NicState) -> None:
    """Brings the NIC to ``state`` without trust in the planner's order."""
    for rule in nic.read().rules:
        nic.run(DeleteRule(location=rule.location))
    nic.run(ResetTable())
    nic.run(SetChannels(combined=state.channels.combined))
    if not state.table.is_default(state.channels.combined):
        nic.run(SetTable(entries=state.table.entries))
    nic.run(SetKey(key=state.key))
    for rule in state.rules:
        nic.run(InsertRule(rule=rule))


def test_a_new_nic(nic: nicprog.Backend) -> None:
    can = nic.capabilities()
    assert (can.driver, can.bus, can.queues_max) == ("qs_soft", "memory", 8)
    assert (can.table_size, can.key_bytes, can.locations) == (256, 40, 4096)
    state = nic.read()
    assert state.channels == Channels(combined=8)
    assert state.table.is_default(8)
    assert state.key == can.default_key
    assert state.rules == ()


@ON_THE_NIC
@given(state=states(256))
def test_what_is_written_is_read_back(nic: nicprog.Backend, state: NicState) -> None:
    set_up(nic, state)
    assert nic.read() == state


@ON_THE_NIC
@given(now=states(256), wanted=states(256))
def test_every_step_is_taken_and_undone_byte_for_byte(
    nic: nicprog.Backend, now: NicState, wanted: NicState
) -> None:
    set_up(nic, now)
    before = raw(nic)
    steps = diff(now, wanted, nic.capabilities())
    for step in steps:
        nic.run(step.do)
    assert nic.read() == wanted
    for step in reversed(steps):
        nic.run(step.undo)
    assert raw(nic) == before


@ON_THE_NIC
@given(now=states(256), wanted=states(256))
def test_rollback_restores_byte_for_byte(
    nic: nicprog.Backend, now: NicState, wanted: NicState
) -> None:
    set_up(nic, now)
    before = raw(nic)
    if nicprog.apply(nic, nicprog.plan(nic, wanted)).snapshot:
        nicprog.rollback(nic)
    assert raw(nic) == before


@given(matches(), st.none() | st.integers(0, 0xFFFF_FFFE))
def test_a_rule_survives_its_structure(match: Match, queue: int | None) -> None:
    rule = FlowRule(location=7, match=match, queue=queue)
    assert codec.decode_rule(codec.encode_rule(rule), "x") == rule


def test_a_rule_as_the_kernel_lays_it_out() -> None:
    match = Match(
        flow=Flow.TCP4,
        src=Masked(value=0x0A010200, mask=0xFFFFFF00),
        dst_port=Masked(value=8443, mask=0xFFFF),
        tos=Masked(value=0xB8, mask=0xFC),
        vlan_tci=Masked(value=5, mask=0x0FFF),
    )
    data = codec.encode_rule(FlowRule(location=9, match=match, queue=3))
    assert len(data) == 192
    assert data[16:20] == (0x8000_0001).to_bytes(4, "little")  # TCP_V4_FLOW | FLOW_EXT
    assert data[20:32] == bytes([10, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0x20, 0xFB])
    assert data[32] == 0xB8
    assert data[82:84] == bytes([0, 5])  # h_ext.vlan_tci
    assert data[92:104] == bytes([255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 255, 255])
    assert data[154:156] == bytes([0x0F, 0xFF])  # m_ext.vlan_tci
    assert data[168:176] == (3).to_bytes(8, "little")  # ring_cookie
    assert data[176:180] == (9).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("offset", "octet", "message"),
    [
        (16, 0x12, "has flow type 0x12, which this version cannot read"),  # ETHER_FLOW
        (19, 0x10, "has flow type 0x10000001, which this version cannot read"),  # no flag yet
        (172, 1, "has ring cookie 0x100000003, which is not a plain queue"),  # a VF
        (82, 1, "matches on fields that this version cannot read"),  # h_ext without FLOW_EXT
        (33, 1, "matches on fields that this version cannot read"),  # after tcpip4_spec
        (40, 1, "matches on fields that this version cannot read"),  # the end of h_u
        (143, 1, "matches on fields that this version cannot read"),  # the end of m_u
        (20, 1, "matches on fields that this version cannot read"),  # a value without a mask
    ],
)
def test_a_rule_that_cannot_be_expressed_is_not_read_as_another(
    offset: int, octet: int, message: str
) -> None:
    data = bytearray(codec.encode_rule(FlowRule(location=9, match=Match(flow=Flow.TCP4), queue=3)))
    data[offset] = octet
    with pytest.raises(NicprogError, match=f"x: the rule at location 9 {message}"):
        codec.decode_rule(bytes(data), "x")


def test_the_nic_refuses_with_its_own_words_and_changes_nothing(nic: nicprog.Backend) -> None:
    before = raw(nic)
    rule = FlowRule(location=1, match=Match(flow=Flow.TCP4), queue=8)
    for action, words, number in (
        (InsertRule(rule=rule), "queue 8 is not an active one", errno.EINVAL),
        (DeleteRule(location=5), "there is no rule at location 5", errno.ENOENT),
        (SetTable(entries=(8,) * 256), "entry 0: queue 8 out of range", errno.EINVAL),
        (SetTable(entries=(0,)), "table has 1 entries, the NIC takes exactly 256", errno.EINVAL),
        (SetChannels(combined=9), "9 combined channels asked for", errno.EINVAL),
        (SetKey(key=b"1"), "key has 1 bytes, the NIC takes exactly 40", errno.EINVAL),
    ):
        with pytest.raises(RequestError, match=words) as caught:
            nic.run(action)
        assert caught.value.errno == number
    assert raw(nic) == before


def test_sixteen_masks_fit_and_the_limit_is_the_nics(nic: nicprog.Backend) -> None:
    rules = [
        FlowRule(location=i, queue=0, match=Match(flow=Flow.TCP4, dst_port=Masked(mask=1 << i)))
        for i in range(16)
    ]
    more = FlowRule(location=16, queue=0, match=Match(flow=Flow.TCP4, src=Masked(mask=1)))
    now = nic.read()

    def with_rules(*items: FlowRule) -> NicState:
        return NicState(channels=now.channels, table=now.table, key=now.key, rules=items)

    nicprog.apply(nic, nicprog.plan(nic, with_rules(*rules)))
    with pytest.raises(nicprog.Refused, match="17 different masks, the NIC can hold 16"):
        nicprog.plan(nic, with_rules(*rules, more))
    with pytest.raises(RequestError, match="16 different masks are there already"):
        nic.run(InsertRule(rule=more))
    # The planner takes the old ones away first when both do not fit.
    nicprog.apply(nic, nicprog.plan(nic, with_rules(*rules[:15], more)))


def test_counters(owner: Owner, nic: nicprog.Backend) -> None:
    nic.run(InsertRule(rule=FlowRule(location=70, match=Match(flow=Flow.UDP6), queue=None)))
    owner.frame(2, 100)
    owner.frame(2, 60)
    counters = nic.counters()
    assert [(q.queue, q.packets, q.bytes) for q in counters.queues if q.packets] == [(2, 2, 160)]
    assert len(counters.queues) == 8
    assert counters.rule_hits == {70: 0}
    assert counters.totals == {"rx_rule_hits": 0, "rx_rule_drops": 0, "rx_not_ip": 0}


def test_a_full_rule_table_is_read_and_counted(nic: nicprog.Backend) -> None:
    match = [Match(flow=Flow.TCP4, dst_port=Masked(value=i, mask=0xFFFF)) for i in range(4096)]
    now = nic.read()
    rules = tuple(FlowRule(location=i, match=m, queue=i % 8) for i, m in enumerate(match))
    wanted = NicState(channels=now.channels, table=now.table, key=now.key, rules=rules)
    nicprog.apply(nic, nicprog.plan(nic, wanted))
    assert nic.read() == wanted
    assert len(nic.counters().rule_hits) == 4096
    nicprog.rollback(nic)
    assert nic.read() == now


def test_moving_buckets_as_a_program_does(nic: nicprog.Backend) -> None:
    spec = nicprog.Spec(device="qp0", reserve=(nicprog.Reserve(queue=7, port=8443),))
    nicprog.apply(nic, nicprog.plan(nic, spec))
    now = nic.read()
    assert 7 not in now.table.entries
    assert [rule.queue for rule in now.rules] == [7, 7]
    moved = RssTable(entries=tuple(0 if q == 1 else q for q in now.table.entries))
    wanted = NicState(channels=now.channels, table=moved, key=now.key, rules=now.rules)
    plan = nicprog.plan(nic, wanted)
    assert [step.do.name for step in plan.steps] == ["set_table"]
    nicprog.apply(nic, plan)
    assert nic.read() == wanted


def test_names_and_places(run_dir: Path) -> None:
    for name in ("", "../x", "a/b", ".x", "x" * 32):
        with pytest.raises(DeviceError, match="cannot be the name of a NIC"):
            nicprog.open(name)
    with pytest.raises(
        DeviceError, match=r"qp9: no such interface and no such software NIC; none is live"
    ):
        nicprog.open("qp9")
    run_dir.chmod(0o777)
    with pytest.raises(DeviceError, match="can be changed by other users"):
        nicprog.open("qp9")


def test_a_close_name_is_suggested(owner: Owner) -> None:
    with pytest.raises(DeviceError, match="did you mean qp0"):
        nicprog.open("qpo")


def test_a_dead_owners_socket_is_removed(run_dir: Path) -> None:
    dead = Owner("qp0")
    dead.kill()
    assert (run_dir / "qp0.nic").exists()
    with pytest.raises(DeviceError, match="the process that owned this software NIC is gone"):
        nicprog.open("qp0")
    assert not (run_dir / "qp0.nic").exists()


def test_list_leaves_live_ones_and_removes_dead_ones(owner: Owner, run_dir: Path) -> None:
    Owner("qp1").kill()
    assert nicprog.live_softnics() == ["qp0"]
    assert not (run_dir / "qp1.nic").exists()
    assert (run_dir / "qp0.nic").exists()


def test_an_owner_that_ends_in_between(owner: Owner, nic: nicprog.Backend) -> None:
    plan = nicprog.plan(nic, nicprog.parse('device = "qp0"\n[channels]\ncombined = 2'))
    owner.kill()
    with pytest.raises(DeviceError, match="qp0: the process that owns this software NIC has ended"):
        nicprog.apply(nic, plan)


def test_an_owner_that_does_not_answer(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softnic, "TIMEOUT_SECONDS", 0.2)
    with nicprog.open("qp0") as impatient:
        with owner.paused(), pytest.raises(DeviceError, match=r"did not answer within 0\.2 s"):
            impatient.read()
        with pytest.raises(DeviceError, match="given up after an earlier failure"):
            impatient.read()


def test_a_nic_made_anew_is_another_instance(run_dir: Path) -> None:
    with Owner("qp0"), nicprog.open("qp0") as nic:
        nicprog.apply(nic, nicprog.plan(nic, nicprog.parse('device="qp0"\n[channels]\ncombined=2')))
    with Owner("qp0"), nicprog.open("qp0") as nic:
        with pytest.raises(nicprog.SnapshotError, match="of an earlier NIC of that name"):
            nicprog.rollback(nic)
        assert nic.read().channels == Channels(combined=8)


@pytest.fixture
def liar(run_dir: Path) -> Iterator[tuple[nicprog.Backend, socket.socket]]:
    """A connection to something that answers what the test wants."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(run_dir / "qp0.nic"))
        listener.listen()
        with nicprog.open("qp0") as nic:
            peer, _ = listener.accept()
            with peer:
                yield nic, peer


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "has ended"),
        (b"abc", "answered 3 bytes, too few for a head"),
        (bytes(16), "answered command 0x0 with 0 of 0 bytes to command 0x3"),
        ((0x3C).to_bytes(4, "little") + bytes(4) + b"\x05" + bytes(7), "with 0 of 5 bytes"),
        (
            (0x3C).to_bytes(4, "little") + bytes(12),
            "answered 0 bytes where struct ethtool_channels",
        ),
    ],
)
def test_malformed_answers_are_refused(
    liar: tuple[nicprog.Backend, socket.socket], answer: bytes, message: str
) -> None:
    nic, peer = liar
    peer.send(answer) if answer else peer.shutdown(socket.SHUT_WR)
    with pytest.raises(NicprogError, match=message):
        nic.read()


def test_constants_are_the_kernels() -> None:
    assert (lib.ETHTOOL_SRXCLSRLINS, lib.ETHTOOL_SRSSH, lib.ETHTOOL_SCHANNELS) == (0x32, 0x47, 0x3D)
    assert lib.NICPROG_RULE_LOCS_OFFSET == 188
    assert lib.RX_CLS_FLOW_DISC == 2**64 - 1


def test_run_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QSTACK_RUN_DIR", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert found_dir() == Path("/run/qstack")
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert found_dir() == Path("/run/user/7/qstack")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert found_dir() == Path("/tmp/qstack-7")


def test_any_is_compared_by_value() -> None:
    assert Masked(value=0, mask=0) == ANY


def test_a_software_nic_comes_before_the_interface_of_its_name(run_dir: Path) -> None:
    with Owner("lo"), nicprog.open("lo") as nic:
        assert nic.capabilities().driver == "qs_soft"
    with nicprog.open("lo") as nic, pytest.raises(NicprogError, match="lo: cannot be programmed"):
        nic.read()

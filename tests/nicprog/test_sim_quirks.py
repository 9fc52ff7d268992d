# SPDX-License-Identifier: Apache-2.0
"""One test for each quirk in the database: that the model has it, and what nicprog makes of it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import nicprog
from nicprog import sim
from nicprog.errors import RequestError
from nicprog.ethtool import Ethtool, FlowType, HashField, InputTransform, RxMatch, RxRule
from nicprog.model import Masked
from nicprog.packet import hash_input, toeplitz
from nicprog.sim.transport import SimTransport
from nicprog.where import Steering

ADDRESSES_AND_PORTS = HashField.SRC | HashField.DST | HashField.SRC_PORT | HashField.DST_PORT
RULE = RxRule(
    flow=FlowType.TCP4, match=RxMatch(dst_port=Masked(value=80, mask=0xFFFF)), location=0, queue=1
)


def calls(nic: sim.SimNic) -> Ethtool:
    return Ethtool(nic.device, SimTransport(nic))


def refused_with(code: int, call: Callable[[], object]) -> bool:
    with pytest.raises(RequestError) as caught:
        call()
    return caught.value.errno == code


def fails_and_is_undone(nic: sim.SimNic, text: str) -> str:
    """What apply says of a spec that the planner allows."""
    with sim.connect(nic) as backend:
        before = backend.read()
        spec = nicprog.parse(f'device = "{nic.device}"\n{text}')
        plan = nicprog.plan(backend, spec)
        with pytest.raises(nicprog.ApplyError) as caught:
            nicprog.apply(backend, plan)
        assert caught.value.undone
        assert backend.read() == before
    return str(caught.value)


def channels_reset_table(quirk: sim.Quirk) -> None:
    nic = sim.SimNic("igb")
    for count in (8, 2):
        calls(nic).set_rss(table=[1, 0] * 64)
        calls(nic).set_channels(replace(nic.channels, combined_count=count))
        assert calls(nic).rss().table == tuple(i * count // 128 for i in range(128))
    for count in (8, 4, 2):  # nicprog sets it again each time
        with sim.connect(nic) as backend:
            text = f"[channels]\ncombined = {count}\n[rss]\nweights = [3, 1]\n"
            spec = nicprog.parse(f'device = "sim:igb"\n{text}')
            nicprog.apply(backend, nicprog.plan(backend, spec))
            assert backend.read().table.entries.count(0) == 96


def fewer_channels_lose_rss(quirk: sim.Quirk) -> None:
    key, table = bytes(range(52)), [0, 0, 0, 1] * 128
    for name, keeps in (("i40e", False), ("ice", True)):
        nic = sim.SimNic(name)
        first = calls(nic).rss()
        calls(nic).set_rss(table=[0, 0, 0, 1] * (len(first.table) // 4), key=key)
        calls(nic).set_channels(replace(nic.channels, combined_count=12))
        assert calls(nic).rss().key == key
        calls(nic).set_channels(replace(nic.channels, combined_count=8))
        assert (calls(nic).rss().key == key) == keeps
        assert (calls(nic).rss().table == first.table) != keeps
    calls(nic := sim.SimNic("i40e")).set_rss(table=table, key=key)
    with sim.connect(nic) as backend:  # nicprog sets both again
        before = backend.read()
        spec = nicprog.parse('device = "sim:i40e"\n[channels]\ncombined = 4\n')
        nicprog.apply(backend, nicprog.plan(backend, spec))
        assert (backend.read().key, list(backend.read().table.entries)) == (key, table)
        nicprog.rollback(backend)
        assert backend.read() == before


def ntuple_resets_table(quirk: sim.Quirk) -> None:
    for name, table in (("ixgbe", (0, 1, 2, 3, 4, 5, 6, 7) * 16), ("ice", (1,) * 2048)):
        nic = sim.SimNic(name)
        calls(nic).set_rss(table=[1] * len(calls(nic).rss().table))
        for on in (False, True):
            calls(nic).set_features({"rx-ntuple-filter": on})
        assert calls(nic).rss().table == table


def shifted_key(quirk: sim.Quirk) -> None:
    nics = sim.SimNic("virtio_net"), sim.SimNic("virtio_net", [quirk.name])
    key = bytes(range(40))
    for nic in nics:
        calls(nic).set_rss(key=key)
    assert calls(nics[0]).rss() == calls(nics[1]).rss()
    packets = [sim.Packet.of(f"10.0.0.{i}", "10.1.0.1", 1024, 80) for i in range(64)]
    table = calls(nics[0]).rss().table
    for nic, used in zip(nics, (key, b"\0" + key[:-1]), strict=True):
        for packet in packets:
            data = hash_input(packet, ADDRESSES_AND_PORTS, InputTransform(0))
            assert sim.deliver(nic, packet) == table[toeplitz(used, data) % len(table)]


WEB = 'protocol = "tcp"\nfamily = "ipv4"\ndst_port = 80\nqueue = 1\n'


def ignores_protocol(quirk: sim.Quirk) -> None:
    nic = sim.SimNic("macb")
    with sim.connect(nic) as backend:
        spec = nicprog.parse(f'device = "sim:macb"\n[[rule]]\nname = "web"\n{WEB}')
        plan = nicprog.plan(backend, spec)
        assert "takes udp with the same addresses and ports, too" in plan.warnings[-1]
        nicprog.apply(backend, plan)
        where = Steering(backend)
        for port, protocol, queue in ((80, 6, 1), (80, 17, 1), (80, 1, 0), (81, 6, 0)):
            packet = sim.Packet.of("10.0.0.1", "10.1.0.1", 1024, port, protocol)
            assert (where.place(packet).queue, sim.deliver(nic, packet)) == (queue, queue)


def idle_rules(quirk: sim.Quirk) -> None:
    nic = sim.SimNic("macb")
    for number, flow in enumerate((FlowType.TCP6, FlowType.ETHER)):
        ports = RxMatch(dst_port=Masked(value=80, mask=0xFFFF))
        match = RxMatch() if flow is FlowType.ETHER else ports
        calls(nic).insert_rule(replace(RULE, flow=flow, match=match, location=number))
        assert calls(nic).rule(number).flow is flow
    for src, dst in (("fd00::1", "fd00::2"), ("10.0.0.1", "10.0.0.2")):
        assert sim.deliver(nic, sim.Packet.of(src, dst, 1024, 80)) == 0
    nic.rules.clear()
    text = WEB.replace("ipv4", "ipv6")
    spec = nicprog.parse(f'device = "sim:macb"\n[[rule]]\nname = "web"\n{text}')
    with (
        sim.connect(nic) as backend,
        pytest.raises(nicprog.Refused, match="which the driver has no rules for"),
    ):
        nicprog.plan(backend, spec)


def untold_locations(quirk: sim.Quirk) -> None:
    for name, locations in (("mlx5", 1024), ("macb", 4)):
        nic = sim.SimNic(name)
        assert calls(nic).rule_table().locations == 0
        with sim.connect(nic) as backend:
            assert backend.capabilities().locations == locations


def loses_fields(quirk: sim.Quirk) -> None:
    nic = sim.SimNic("gve")
    match = replace(
        RULE.match, tos=Masked(value=0xB8, mask=0xFC), vlan_tci=Masked(value=5, mask=0xFFF)
    )
    calls(nic).insert_rule(replace(RULE, match=match))
    assert calls(nic).rule(0) == RULE
    spec = nicprog.parse(
        'device = "sim:gve"\n[[rule]]\nname = "voice"\nprotocol = "udp"\ndscp = 46\nqueue = 1\n'
    )
    with (
        sim.connect(sim.SimNic("gve")) as backend,
        pytest.raises(nicprog.Refused, match="compares tos, which the driver does not look at"),
    ):
        nicprog.plan(backend, spec)


def irdma_holds_channels(quirk: sim.Quirk) -> None:
    nic = sim.SimNic("ice", [quirk.name])
    change = replace(nic.channels, combined_count=4)
    assert refused_with(errno.EBUSY, lambda: calls(nic).set_channels(change))
    said = fails_and_is_undone(nic, "[channels]\ncombined = 9\n")
    assert "refused (EBUSY); cause: " in said
    assert said.endswith("; nothing was changed")


def xsk_blocks_rules(quirk: sim.Quirk) -> None:
    nic = sim.SimNic("i40e", [quirk.name])
    assert refused_with(errno.EINVAL, lambda: calls(nic).insert_rule(RULE))
    for on in (False, True):
        calls(nic).set_features({"rx-ntuple-filter": on})
    calls(nic).insert_rule(RULE)


def firmware_keeps_key(quirk: sim.Quirk) -> None:
    nic = sim.SimNic("ena", [quirk.name])
    assert refused_with(errno.EOPNOTSUPP, lambda: calls(nic).set_rss(key=bytes(40)))
    said = fails_and_is_undone(nic, '[channels]\ncombined = 9\n[rss]\nkey = "symmetric"\n')
    assert "older generations of instances" in said  # the cause that fits
    assert said.endswith("; 1 step undone, the NIC is as before")


def another_hash(quirk: sim.Quirk) -> None:
    nics = sim.SimNic("ena"), sim.SimNic("ena", [quirk.name])
    assert calls(nics[0]).rss() == calls(nics[1]).rss()
    packets = [sim.Packet.of(f"10.0.0.{i}", "10.1.0.1", 1024, 80) for i in range(64)]
    queues = [[sim.deliver(nic, packet) for packet in packets] for nic in nics]
    assert queues[0] != queues[1]


def instance_without_rss(quirk: sim.Quirk) -> None:
    nic = sim.SimNic("gve", [quirk.name])
    assert refused_with(errno.EOPNOTSUPP, lambda: calls(nic).rss())
    spec = nicprog.parse('device = "sim:gve"\n[rss]\nequal = [0]\n')
    with (
        sim.connect(nic) as backend,
        pytest.raises(nicprog.Refused, match="driver gve has no indirection table"),
    ):
        nicprog.plan(backend, spec)


def channels_lose_contexts(quirk: sim.Quirk) -> None:
    text = (
        "[channels]\ncombined = {0}\n[rss]\nequal = [0, 1]\n"
        '[[context]]\nname = "web"\nequal = [2, 3]\n'
        '[[rule]]\nname = "w"\nprotocol = "tcp"\nfamily = "ipv4"\ndst_port = 80\ncontext = "web"\n'
    )
    nic = sim.SimNic("mlx5", [quirk.name])
    with sim.connect(nic) as backend:
        spec = nicprog.parse(f'device = "sim:mlx5"\n{text.format(8)}')
        nicprog.apply(backend, nicprog.plan(backend, spec))
    said = fails_and_is_undone(nic, text.format(4))
    assert "context web: the NIC holds nothing, there was written" in said


@pytest.mark.parametrize("name", sim.QUIRKS)
def test_quirk(name: str, run_dir: Path) -> None:
    globals()[name.replace("-", "_")](sim.QUIRKS[name])


def test_udp_is_spread_by_addresses_alone_on_some() -> None:
    packets = [sim.Packet.of("10.0.0.1", "10.1.0.1", port, 53, 17) for port in range(64)]
    for name, count in (("ixgbe", 1), ("mlx5", 8)):
        nic = sim.SimNic(name)
        assert len({sim.deliver(nic, packet) for packet in packets}) == count


@pytest.mark.parametrize(
    ("profile", "rules", "why"),
    [
        ("ice", 'src = "10.0.0.0/8"', "compares part of src, the driver takes whole fields only"),
        ("ice", 'src = "10.0.0.1"', "the rules for TCP4 compare different fields"),
        ("ixgbe", 'src = "10.0.0.1"', "the rules have 2 different masks, the NIC can hold 1"),
        ("ixgbe", 'family = "ipv6"\ndst_port = 80', "takes packets of kind TCP6"),
        ("igb", 'src = "10.0.0.1"', "takes packets of kind TCP4"),
        ("bnxt", "dst_port = 81", "driver bnxt_en chooses the locations of rules itself"),
        ("mlx5", 'vlan_tci = "0x2000/0xe000"', "compares other bits of vlan_tci than the VLAN"),
    ],
)
def test_the_planner_says_what_the_driver_would_not(profile: str, rules: str, why: str) -> None:
    family = "" if "family" in rules else 'family = "ipv4"\n'
    spec = nicprog.parse(
        f'device = "sim:{profile}"\n'
        '[[rule]]\nname = "a"\nprotocol = "tcp"\nfamily = "ipv4"\ndst_port = 80\nqueue = 1\n'
        f'[[rule]]\nname = "b"\nprotocol = "tcp"\n{family}{rules}\nqueue = 2\n'
    )
    with nicprog.open(f"sim:{profile}") as nic, pytest.raises(nicprog.Refused) as caught:
        nicprog.plan(nic, spec)
    assert why in str(caught.value)


def test_the_planner_goes_round_one_mask(run_dir: Path) -> None:
    """The old rules have to go before rules with another mask come."""
    with nicprog.open("sim:ixgbe") as nic:
        for field in ("dst_port = 80", 'src = "10.0.0.1"', "dst_port = 81"):
            text = f'[[rule]]\nname = "a"\nprotocol = "tcp"\nfamily = "ipv4"\n{field}\nqueue = 1\n'
            spec = nicprog.parse(f'device = "sim:ixgbe"\n{text}')
            nicprog.apply(nic, nicprog.plan(nic, spec))
            assert nicprog.verify(nic, spec) == ()


@pytest.mark.parametrize(
    ("profile", "text", "why"),
    [
        ("mlx5", "combined = 100", "with 100 queues the table would have 512 entries"),
        ("vmxnet3", "combined = 4", "driver vmxnet3 has a fixed number of channels"),
        ("ixgbe", "combined = 40", "the table of driver ixgbe reaches queues 0 to 15 only"),
    ],
)
def test_channels_that_the_planner_refuses(profile: str, text: str, why: str) -> None:
    spec = nicprog.parse(f'device = "sim:{profile}"\n[channels]\n{text}\n')
    with nicprog.open(f"sim:{profile}") as nic, pytest.raises(nicprog.Refused) as caught:
        nicprog.plan(nic, spec)
    assert why in str(caught.value)

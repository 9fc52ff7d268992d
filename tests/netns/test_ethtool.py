# SPDX-License-Identifier: Apache-2.0
"""The typed calls on the kernel's own drivers: what those do, and clear refusals of the rest."""

from __future__ import annotations

import dataclasses
import errno
import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from nicprog.errors import DeviceError, RequestError
from nicprog.ethtool import (
    Ethtool,
    FlowType,
    HashField,
    HashFunction,
    RxMatch,
    RxRule,
    open_interface,
)
from qstack.lab import Namespace

LINKS = (
    ("link", "add", "v0", "numrxqueues", "4", "numtxqueues", "4", "type", "veth",
     "peer", "name", "v1", "numrxqueues", "4", "numtxqueues", "4"),
    ("tuntap", "add", "t0", "mode", "tap", "multi_queue"),
    ("link", "add", "b0", "type", "bridge"),
)  # fmt: skip


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    """A namespace with a veth pair of four queues, a TAP and a bridge, and nothing else."""
    name = f"nicprog-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for link in LINKS:
            subprocess.run(["ip", "-n", name, *link], check=True)
        yield Namespace(name=name)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture
def opened(namespace: Namespace) -> Iterator[Callable[[str], Ethtool]]:
    """Opens an interface in the namespace; the calls are made from outside of it."""
    interfaces = []

    def interface(device: str) -> Ethtool:
        with namespace.entered():
            interfaces.append(open_interface(device))
        return interfaces[-1]

    yield interface
    for one in interfaces:
        one.close()


def refusal(call: Callable[[], object]) -> str:
    """The text of a refusal for what the driver does not do."""
    with pytest.raises(RequestError) as refused:
        call()
    assert refused.value.errno == errno.EOPNOTSUPP
    assert "(EOPNOTSUPP); " in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(("device", "driver"), [("v0", "veth"), ("t0", "tun"), ("b0", "bridge")])
def test_the_driver_is_named(opened: Callable[[str], Ethtool], device: str, driver: str) -> None:
    assert opened(device).driver_info().driver == driver


def test_channels_of_veth(opened: Callable[[str], Ethtool]) -> None:
    veth = opened("v0")
    before = veth.channels()
    assert (before.max_rx, before.max_tx, before.max_combined) == (4, 4, 0)
    wanted = dataclasses.replace(before, rx_count=2, tx_count=3)
    veth.set_channels(wanted)
    assert veth.channels() == wanted
    with pytest.raises(
        RequestError, match="v0: cannot set the channels: a count is above its max"
    ) as e:
        veth.set_channels(dataclasses.replace(before, rx_count=5))
    assert e.value.errno == errno.EINVAL
    assert veth.channels() == wanted
    veth.set_channels(before)


def test_features_of_veth(opened: Callable[[str], Ethtool]) -> None:
    veth = opened("v0")
    before = veth.features()
    assert before["rx-gro"].changeable
    after = veth.set_features(
        {"rx-gro": not before["rx-gro"].active, "tx-checksum-ip-generic": True}
    )
    assert after["rx-gro"].active is not before["rx-gro"].active
    same = {name for name in before if before[name] == after[name]}
    assert set(before) - same == {"rx-gro"}
    veth.set_features({"rx-gro": before["rx-gro"].active})
    assert veth.features() == before


def test_features_that_cannot_be_set(opened: Callable[[str], Ethtool]) -> None:
    veth = opened("v0")
    before = veth.features()
    with pytest.raises(
        RequestError, match="no feature 'rx-grow' \\(ENOENT\\); did you mean 'rx-gro"
    ) as e:
        veth.set_features({"rx-grow": True, "rx-gro": not before["rx-gro"].active})
    assert e.value.errno == errno.ENOENT
    assert "'rx-ntuple-filter' is fixed off" in refusal(
        lambda: veth.set_features({"rx-ntuple-filter": True, "rx-gro": not before["rx-gro"].active})
    )
    assert veth.features() == before


def test_statistics_of_veth(opened: Callable[[str], Ethtool]) -> None:
    names = [name for name, _ in opened("v0").statistics()]
    assert {f"rx_queue_{queue}_xdp_packets" for queue in range(4)} <= set(names)
    assert opened("b0").statistics() == ()


def test_coalescing_of_tun(opened: Callable[[str], Ethtool]) -> None:
    """Its one parameter is the length of a batch."""
    tap = opened("t0")
    wanted = dataclasses.replace(tap.coalesce(), rx_max_coalesced_frames=16)
    tap.set_coalesce(wanted)
    assert tap.coalesce() == wanted
    text = refusal(lambda: tap.set_coalesce(dataclasses.replace(wanted, tx_coalesce_usecs=5)))
    assert "leave those at zero that read as zero" in text
    assert tap.coalesce() == wanted
    assert refusal(lambda: tap.coalesce_of_queues([0, 3]))
    assert refusal(lambda: tap.set_coalesce_of_queues({0: wanted}))


def test_private_flags(opened: Callable[[str], Ethtool]) -> None:
    bridge = opened("b0")
    assert bridge.private_flags() == {}
    with pytest.raises(RequestError, match=r"no private flag 'legacy-rx' \(ENOENT\)"):
        bridge.set_private_flags({"legacy-rx": True})


@pytest.mark.parametrize("device", ["v0", "t0", "b0"])
@pytest.mark.parametrize(
    "call",
    [
        lambda nic: nic.rss(),
        lambda nic: nic.set_rss(function=HashFunction.XOR),
        lambda nic: nic.new_rss_context([0]),
        lambda nic: nic.delete_rss_context(1),
        lambda nic: nic.reset_rss_table(),
        lambda nic: nic.rx_rings(),
        lambda nic: nic.hash_fields(FlowType.TCP4),
        lambda nic: nic.set_hash_fields(FlowType.TCP4, HashField.SRC | HashField.DST),
        lambda nic: nic.rule_table(),
        lambda nic: nic.rule_locations(),
        lambda nic: nic.rule(0),
        lambda nic: nic.insert_rule(RxRule(flow=FlowType.TCP4, match=RxMatch(), location=0)),
        lambda nic: nic.delete_rule(0),
    ],
)
def test_what_a_driver_does_not_do_is_said(
    opened: Callable[[str], Ethtool], device: str, call: Callable[[Ethtool], object]
) -> None:
    assert refusal(lambda: call(opened(device))).startswith(f"{device}: cannot ")


def test_an_interface_that_is_not_there(namespace: Namespace) -> None:
    with namespace.entered(), pytest.raises(DeviceError) as missing:
        open_interface("v11")
    assert "v11: no such interface in this network namespace; did you mean v1? " in str(
        missing.value
    )
    with pytest.raises(DeviceError, match="cannot be the name of an interface"):
        open_interface("a name that is too long")


def test_an_interface_that_goes_away(namespace: Namespace) -> None:
    subprocess.run(["ip", "-n", namespace.name, "link", "add", "b1", "type", "bridge"], check=True)
    with namespace.entered():
        bridge = open_interface("b1")
    with bridge:
        bridge.features()
        subprocess.run(["ip", "-n", namespace.name, "link", "del", "b1"], check=True)
        with pytest.raises(DeviceError, match="b1: no such interface"):
            bridge.features()
    with pytest.raises(DeviceError, match="was closed"):
        bridge.features()


def test_without_the_right_nothing_is_changed(
    opened: Callable[[str], Ethtool], namespace: Namespace
) -> None:
    veth = opened("v0")
    before = veth.channels()
    os.seteuid(65534)
    try:
        with pytest.raises(
            DeviceError, match=r"cannot set the channels: no right to \(EPERM\); run as root"
        ):
            veth.set_channels(dataclasses.replace(before, rx_count=1))
    finally:
        os.seteuid(0)
    assert veth.channels() == before

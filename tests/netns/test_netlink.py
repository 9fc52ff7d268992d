# SPDX-License-Identifier: Apache-2.0
"""The netlink families on the kernel's own drivers, and our layouts against the running kernel."""

from __future__ import annotations

import errno
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nicprog.errors import DeviceError, RequestError
from nicprog.ethtool import HashField, HashFunction, InputTransform, open_interface
from nicprog.netlink import EthtoolNetlink, Family, Monitor, Netdev, ethtool, layouts, netdev
from qstack.lab import Namespace

LINKS = (
    ("link", "add", "v0", "numrxqueues", "4", "numtxqueues", "4", "type", "veth",
     "peer", "name", "v1", "numrxqueues", "4", "numtxqueues", "4"),
    ("tuntap", "add", "t0", "mode", "tap"),
    ("link", "set", "v0", "up"),
    ("link", "set", "v1", "up"),
)  # fmt: skip
WAIT_S = 10.0


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    name = f"nicprog-netlink-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for link in LINKS:
            subprocess.run(["ip", "-n", name, *link], check=True)
        entered = Namespace(name=name)
        with entered.entered():
            yield entered
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture
def veth(namespace: Namespace) -> Iterator[EthtoolNetlink]:
    with EthtoolNetlink("v0") as opened:
        yield opened


def refused(error: pytest.ExceptionInfo[RequestError], number: int, text: str) -> None:
    assert error.value.errno == number
    assert str(error.value) == text


def test_channels_are_set_one_by_one_and_agree_with_the_ioctl(veth: EthtoolNetlink) -> None:
    with open_interface("v0") as by_ioctl:
        assert veth.channels() == by_ioctl.channels()
        rx, tx = by_ioctl.channels().rx_count, by_ioctl.channels().tx_count
        veth.set_channels(rx_count=rx % 4 + 1)
        assert by_ioctl.channels().rx_count == rx % 4 + 1
        assert by_ioctl.channels().tx_count == tx
        assert veth.channels() == by_ioctl.channels()


def test_a_refusal_has_the_kernels_text_and_the_attribute(veth: EthtoolNetlink) -> None:
    before = veth.channels()
    with pytest.raises(RequestError) as error:
        veth.set_channels(rx_count=2, tx_count=77)
    refused(
        error,
        errno.EINVAL,
        "v0: cannot set the channels: requested channel count exceeds maximum "
        "(EINVAL, attribute tx-count)",
    )
    assert veth.channels() == before
    with pytest.raises(RequestError, match=r"attribute wanted\.bits\.bit\.name\)$"):
        veth.set_features({"no-such-feature": True})
    with pytest.raises(RequestError) as error:
        veth.rings()
    refused(
        error,
        errno.EOPNOTSUPP,
        "v0: cannot read the ring sizes: Operation not supported (EOPNOTSUPP)",
    )


def test_what_veth_does_not_have_is_refused_with_its_errno(veth: EthtoolNetlink) -> None:
    for call in (
        veth.rss,
        veth.hash_fields,
        veth.new_rss_context,
        lambda: veth.delete_rss_context(1),
        lambda: veth.set_rss(
            table=[0, 1],
            key=bytes(40),
            function=HashFunction.TOEPLITZ,
            transform=InputTransform.SYMMETRIC_XOR,
            fields={"tcp4": HashField.SRC | HashField.DST},
        ),
        lambda: veth.set_rings(rx_pending=64),
        lambda: veth.set_coalesce({"rx-usecs": 10, "use-adaptive-rx": 0}),
    ):
        with pytest.raises(RequestError) as error:
            call()
        assert error.value.errno == errno.EOPNOTSUPP
    assert veth.rss_contexts() == {}
    assert veth.context_fields() == {}


def test_coalescing_of_a_tap(namespace: Namespace) -> None:
    with EthtoolNetlink("t0") as tap:
        assert tap.coalesce() == {"rx-max-frames": 0}
        tap.set_coalesce({"rx-max-frames": 5})
        assert tap.coalesce() == {"rx-max-frames": 5}
        with pytest.raises(ValueError, match=r"'rx-usec' cannot be set; these can: .*rx-usecs, "):
            tap.set_coalesce({"rx-usec": 5})


def test_features_agree_with_the_ioctl(veth: EthtoolNetlink) -> None:
    with open_interface("v0") as by_ioctl:
        ours, theirs = veth.features(), by_ioctl.features()
        assert {name for name, one in ours.items() if one.active} == {
            name for name, one in theirs.items() if one.active
        }
        assert {name for name, one in ours.items() if one.changeable} == {
            name for name, one in theirs.items() if one.changeable
        }
        wanted = {"rx-gro": not ours["rx-gro"].active, "tx-tcp-segmentation": False}
        veth.set_features(wanted)
        after = by_ioctl.features()
        assert {name: after[name].active for name in wanted} == wanted


@pytest.mark.parametrize("call", ["channels", "features"])
def test_an_interface_that_is_not_there(namespace: Namespace, call: str) -> None:
    with EthtoolNetlink("absent") as absent, pytest.raises(DeviceError, match=r"^absent: .*ENODEV"):
        getattr(absent, call)()
    with pytest.raises(DeviceError, match="absent: no such interface"):
        Netdev("absent")


def test_without_the_right_nothing_is_changed(veth: EthtoolNetlink) -> None:
    before = veth.channels()
    os.seteuid(65534)
    try:
        with (
            EthtoolNetlink("v0") as plain,
            pytest.raises(DeviceError, match=r"^v0: cannot set the channels: .*EPERM"),
        ):
            plain.set_channels(rx_count=before.rx_count % 4 + 1)
    finally:
        os.seteuid(0)
    assert veth.channels() == before


def test_changes_of_others_are_told(namespace: Namespace, veth: EthtoolNetlink) -> None:
    with Monitor() as monitor:
        assert monitor.read(0) == []
        with open_interface("v0") as by_ioctl:
            now = by_ioctl.channels().rx_count
        veth.set_channels(rx_count=now % 4 + 1)
        (first,) = monitor.read(WAIT_S)
        assert (first.kind, first.device) == ("channels", "v0")
        assert first.values["rx-count"] == now % 4 + 1
        namespace.run(["ethtool", "-K", "v1", "gro", "on"], check=True)
        assert [(one.kind, one.device) for one in monitor.read(WAIT_S)] == [("features", "v1")]
        assert monitor.read(0.1) == []


def drain(monitor: Monitor) -> None:
    while monitor.read(0):
        pass


def test_more_notifications_than_fit_are_an_error_and_no_silence(veth: EthtoolNetlink) -> None:
    with Monitor() as monitor:
        for turn in range(4000):
            veth.set_channels(rx_count=turn % 2 + 1)
        with pytest.raises(DeviceError, match="notifications were lost"):
            drain(monitor)
        drain(monitor)
        veth.set_channels(rx_count=3)
        assert [one.values["rx-count"] for one in monitor.read(WAIT_S)] == [3]


def test_queues_and_napi_instances(namespace: Namespace, veth: EthtoolNetlink) -> None:
    veth.set_channels(rx_count=3, tx_count=2)
    namespace.run(["ethtool", "-K", "v0", "gro", "on"], check=True)  # with it veth polls by NAPI
    with Netdev("v0") as dev:
        found = [(queue.kind, queue.number) for queue in dev.queues()]
        assert found == [("rx", 0), ("rx", 1), ("rx", 2), ("tx", 0), ("tx", 1)]
        first, second, *_ = dev.napis()
        assert first.irq is None  # a veth has no interrupt
        assert first.gro_flush_timeout_ns == first.defer_hard_irqs == 0
        dev.set_napi(first.number, gro_flush_timeout_ns=20_000, defer_hard_irqs=3)
        dev.set_napi(first.number, irq_suspend_timeout_ns=5_000_000_000)  # more than 32 bits
        after, other, *_ = dev.napis()
        assert (after.gro_flush_timeout_ns, after.defer_hard_irqs) == (20_000, 3)
        assert after.irq_suspend_timeout_ns == 5_000_000_000
        assert other == second
        with pytest.raises(RequestError, match=r"NAPI instance 1: .*ENOENT"):
            dev.set_napi(1, defer_hard_irqs=1)
        for call in (dev.totals, dev.queue_statistics):
            with pytest.raises(RequestError, match="EOPNOTSUPP"):
                call()
    namespace.run(["ip", "link", "set", "v0", "down"], check=True)
    with Netdev("v0") as dev:
        assert dev.queues() == ()


def test_a_family_that_is_not_there(namespace: Namespace) -> None:
    with pytest.raises(DeviceError, match="no generic netlink family 'nonesuch'"):
        Family("nonesuch", {})


# Types of attributes in a policy (enum netlink_attribute_type), and of pyroute2.
TYPES = {2: "uint8", 4: "uint32", 10: "cdata", 17: "cdata"}


@pytest.mark.parametrize(
    ("family", "command", "layout"),
    [
        ("ethtool", ethtool.FEATURES_SET, layouts.FEATURES),
        ("ethtool", ethtool.RINGS_SET, layouts.RINGS),
        ("ethtool", ethtool.CHANNELS_SET, layouts.CHANNELS),
        ("ethtool", ethtool.COALESCE_SET, layouts.COALESCE),
        ("ethtool", ethtool.RSS_GET, layouts.RSS),
        ("ethtool", ethtool.RSS_SET, layouts.RSS),
        ("ethtool", ethtool.RSS_CREATE, layouts.RSS),
        ("ethtool", ethtool.RSS_DELETE, layouts.RSS),
        ("netdev", netdev.QUEUE_GET, layouts.QUEUE),
        ("netdev", netdev.NAPI_SET, layouts.NAPI),
    ],
)
def test_layouts_agree_with_the_policy_of_the_kernel(
    namespace: Namespace, family: str, command: int, layout: Any
) -> None:
    with Family(family, {}) as opened:
        if command not in opened.commands():
            pytest.skip("this kernel does not have it")
        taken = opened.accepts(command)
    assert taken
    for number, told in taken.items():
        if number >= len(layout.nla_map):
            continue  # newer than our layout
        kind = layout.nla_map[number][1]
        if told["type"] == 13:  # nested
            assert hasattr(layout, kind), layout.nla_map[number]
        else:
            assert kind == TYPES[told["type"]], layout.nla_map[number]


def test_flows_have_the_kernels_numbers(namespace: Namespace) -> None:
    """Those of IPv6, and no others, can be hashed by the flow label (from Linux 6.18 on)."""
    flow_label = 1 << 9
    with Family("ethtool", {}) as opened:
        taken = opened.accepts(ethtool.RSS_SET)
        nest = taken.get(layouts.number_of(layouts.RSS, "flow-hash"), {}).get("nest")
        flows = {} if nest is None else opened.policy(nest)
    if not any(told["mask"] & flow_label for told in flows.values()):
        pytest.skip("this kernel hashes no flow label")
    names = {layouts.RSS.flows.nla_map[number][0]: told["mask"] for number, told in flows.items()}
    assert len(names) == 27
    for name, mask in names.items():
        assert bool(mask & flow_label) is name.endswith("6"), name


def test_layouts_agree_with_the_kernels_header(tmp_path: Path) -> None:
    """Names and numbers of linux/ethtool_netlink.h, those that its version has."""
    header = Path("/usr/include/linux/ethtool_netlink.h")
    known = set(re.findall(r"\bETHTOOL_[A-Z0-9_]+\b", header.read_text()))
    expected = {}
    for kind, layout in (
        ("FEATURES", layouts.FEATURES),
        ("RINGS", layouts.RINGS),
        ("CHANNELS", layouts.CHANNELS),
        ("COALESCE", layouts.COALESCE),
        ("RSS", layouts.RSS),
    ):
        for number, (name, _) in enumerate(layout.nla_map):
            expected[f"ETHTOOL_A_{kind}_{name.upper().replace('-', '_')}"] = number
    for command in ("FEATURES", "RINGS", "CHANNELS", "COALESCE", "RSS"):
        for verb in ("GET", "SET"):
            expected[f"ETHTOOL_MSG_{command}_{verb}"] = getattr(ethtool, f"{command}_{verb}")
    for number, (kind, _) in ethtool._NOTIFICATIONS.items():
        expected[f"ETHTOOL_MSG_{kind.upper()}_NTF"] = number
    checked = {name: number for name, number in expected.items() if name in known}
    assert len(checked) > 60
    lines = [f'_Static_assert({name} == {number}, "{name}");' for name, number in checked.items()]
    source = tmp_path / "check.c"
    source.write_text("#include <linux/ethtool_netlink.h>\n" + "\n".join(lines))
    done = subprocess.run(
        ["cc", "-fsyntax-only", str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

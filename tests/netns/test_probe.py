# SPDX-License-Identifier: Apache-2.0
"""A report about any interface: what it has, what it has not and why, and never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

import nicprog
from nicprog.errors import DeviceError, RequestError
from nicprog.netlink import EthtoolNetlink, Netdev, XdpFeature
from nicprog.netlink.abilities import abilities
from nicprog.netlink.family import Family
from nicprog.netlink.link import link
from nicprog.probe import Part, probe
from qstack.lab import Namespace

KINDS = ("dummy", "bridge", "ifb", "bond", "vrf", "wireguard")


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    name = f"nicprog-probe-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for link_ in (
            ("link", "add", "v0", "numrxqueues", "2", "numtxqueues", "2", "type", "veth",
             "peer", "name", "v1"),
            ("link", "set", "v0", "up"),
            ("link", "set", "v1", "up"),
            ("tuntap", "add", "t0", "mode", "tap"),
        ):  # fmt: skip
            subprocess.run(["ip", "-n", name, *link_], check=True)
        entered = Namespace(name=name)
        with entered.entered():
            yield entered
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def parts_of(device: str) -> dict[str, Part]:
    parts = {part.name: part for part in probe(device).parts}
    json.dumps([part.value for part in parts.values()])
    for part in parts.values():
        assert (part.way is None) == (part.value is None), part.name
        assert part.way or part.refusals, part.name
        assert all(why for _, why in part.refusals)
    return parts


def test_an_interface_that_is_up(namespace: Namespace) -> None:
    parts = parts_of("v0")
    told: dict[str, Any] = parts["link"].value
    assert (told["is_up"], told["kind"], told["mtu"]) == (True, "veth", 1500)
    assert parts["kernel"].value == abilities()
    assert "basic" in parts["xdp"].value["features"]
    assert len(parts["queues"].value) == 4
    assert parts["rss contexts"].way is None
    assert parts["coalescing of queue 0"].way is None


def test_interfaces_with_nothing(namespace: Namespace) -> None:
    for device in ("lo", "t0"):
        parts = parts_of(device)
        assert parts["link"].value["is_up"] is False
        assert parts["napis"].way is None
        assert parts["queues"].way is None
        assert parts["flow rules"].way is None


@pytest.mark.parametrize("kind", KINDS)
def test_interfaces_of_other_kinds(namespace: Namespace, kind: str) -> None:
    made = subprocess.run(["ip", "link", "add", "x0", "type", kind], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"this kernel makes no {kind}")
    assert parts_of("x0")["link"].value["kind"] == kind


@pytest.mark.parametrize("device", ["absent", "a b", "a/b", "%d", "", "x" * 40, "\udcff", "v0\n"])
def test_what_is_no_interface_is_an_error_of_one_line(namespace: Namespace, device: str) -> None:
    done = namespace.run(
        [sys.executable, "-m", "nicprog.cli", "probe", device, "--json"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("nicprog: ")
    assert done.stderr.count("\n") == 1
    assert json.loads(done.stdout)["error"]["kind"] == "device"
    with pytest.raises(DeviceError):
        link(device)


def test_without_rights_the_report_says_what_it_may_not_read(namespace: Namespace) -> None:
    with_rights = parts_of("v0")
    os.seteuid(65534)
    try:
        without = parts_of("v0")
    finally:
        os.seteuid(0)
    assert without["channels"] == with_rights["channels"]
    assert without["link"] == with_rights["link"]


def test_an_answer_that_nobody_understands_is_a_refusal(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def strange(*_: object) -> None:
        raise KeyError("rx-max")

    monkeypatch.setattr(EthtoolNetlink, "channels", strange)
    part = parts_of("v0")["channels"]
    assert part.way == "ioctl"
    assert part.refusals == (("netlink", "the answer is not understood (KeyError('rx-max'))"),)


def test_a_kernel_without_a_family_has_none_of_its_abilities(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Missing(Family):
        def __init__(self, name: str, layouts: dict[int, Any]) -> None:
            if name == "netdev":
                raise DeviceError("the kernel has no generic netlink family 'netdev'")
            super().__init__(name, layouts)

    before = abilities()
    assert before["set channels"]
    monkeypatch.setattr("nicprog.netlink.abilities.Family", Missing)
    after = abilities()
    assert after["set channels"]
    assert not any(after[name] for name in ("list queues", "list napis", "set napis"))


def test_abilities_are_those_that_the_kernel_grants(namespace: Namespace) -> None:
    """What it says it can, it does not refuse as unknown; what it cannot, it does."""
    able = abilities()
    with EthtoolNetlink("v0") as nic, Netdev("v0") as dev:
        assert able["make rss contexts"] == nic.has(49)
        (napi, *_) = dev.napis() or [None]
        if able["list napis"]:
            assert dev.queues()
        if napi is not None and able["suspend interrupts"]:
            dev.set_napi(napi.number, irq_suspend_timeout_ns=0)
        if napi is not None and able["napi threads"] and not able["napi threads that poll"]:
            with pytest.raises(RequestError, match="threaded"):
                dev._family.ask(
                    14, nicprog.netlink.layouts.NAPI, {"id": napi.number, "threaded": 2}, about="x"
                )


def test_whether_a_driver_makes_contexts_is_asked_without_making_one(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EthtoolNetlink("v0") as nic:
        if not abilities()["delete rss contexts"]:
            pytest.skip("this kernel leaves contexts to the ioctl")
        assert nic.makes_rss_contexts() is False
        answer = RequestError("no such context (ENOENT)", 2)

        def delete(_: EthtoolNetlink, context: int) -> None:
            assert context == 0xFFFF_FFFE
            raise answer

        monkeypatch.setattr(EthtoolNetlink, "delete_rss_context", delete)
        assert nic.makes_rss_contexts() is True
        answer = RequestError("busy (EBUSY)", 16)
        with pytest.raises(RequestError, match="busy"):
            nic.makes_rss_contexts()


def test_features_of_xdp(namespace: Namespace) -> None:
    with Netdev("v0") as veth, Netdev("lo") as lo:
        assert XdpFeature.BASIC | XdpFeature.REDIRECT in veth.xdp().features
        assert veth.xdp().zero_copy_segments is None
        assert replace(lo.xdp(), features=XdpFeature(0)) == lo.xdp()


def test_quirks_of_the_driver_are_told() -> None:
    assert [one.name for one in probe("sim:i40e").quirks] == [
        "fewer-channels-lose-rss",
        "xsk-blocks-rules",
    ]
    assert probe("sim:mlx5").parts[0].way is None  # a model has no link

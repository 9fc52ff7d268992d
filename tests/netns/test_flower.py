# SPDX-License-Identifier: Apache-2.0
"""Filters of flower: what we say to the kernel is what the program tc says."""

from __future__ import annotations

import errno
import os
import shlex
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nicprog.errors import DeviceError, RequestError
from nicprog.model import ANY, FLOWS, Flow, Masked, Match
from nicprog.netlink.flower import Filter, Flower, Message, Where, decode, encode
from qstack.lab import Namespace

ROOT = Path(__file__).parents[2]
TCP4, UDP6, IP4, IP6 = FLOWS["tcp", 4], FLOWS["udp", 6], FLOWS["any", 4], FLOWS["any", 6]
WEB = Match(flow=TCP4, dst_port=Masked(value=443, mask=0xFFFF))
NET = Masked(value=10 << 24, mask=0xFF << 24)
_BUILD = TemporaryDirectory(prefix="nicprog-tests-")

# What tc is told, and the filter that says the same.
LINES = {
    "pref 7 protocol ip flower skip_sw ip_proto tcp dst_port 443 action skbedit queue_mapping 3 "
    "skip_sw": Filter(priority=7, match=WEB, queue=3),
    "pref 1 protocol ip flower skip_sw ip_proto tcp dst_port 443 hw_tc 15":
        Filter(priority=1, match=WEB, traffic_class=15),
    "pref 65535 protocol ip flower skip_sw ip_proto tcp dst_port 443 action drop":
        Filter(priority=65535, match=WEB),
    "pref 2 protocol ip flower skip_hw src_ip 10.0.0.0/8 action drop":
        Filter(priority=2, match=Match(flow=IP4, src=NET), where=Where.SOFTWARE),
    "pref 3 protocol ip flower ip_proto 0x2f ip_tos 0xb8/0xfc action drop":
        Filter(
            priority=3, where=Where.EITHER,
            match=Match(flow=IP4, tos=Masked(value=0xB8, mask=0xFC),
                        l4_proto=Masked(value=47, mask=0xFF)),
        ),
    "pref 4 protocol ipv6 flower skip_sw ip_proto udp dst_ip 2001:db8::/32 src_port 0x1f40/0xfff0 "
    "hw_tc 0":
        Filter(
            priority=4, traffic_class=0,
            match=Match(flow=UDP6, dst=Masked(value=0x20010DB8 << 96, mask=0xFFFFFFFF << 96),
                        src_port=Masked(value=8000, mask=0xFFF0)),
        ),
    "pref 5 protocol 802.1q flower skip_sw vlan_id 5 vlan_prio 3 vlan_ethtype ip ip_proto tcp "
    "dst_port 443 action drop":
        Filter(
            priority=5,
            match=Match(flow=TCP4, dst_port=WEB.dst_port,
                        vlan_tci=Masked(value=5 | 3 << 13, mask=0xEFFF)),
        ),
    "pref 6 protocol 802.1q flower skip_sw vlan_id 9 vlan_ethtype ipv6 hw_tc 2":
        Filter(priority=6, traffic_class=2,
               match=Match(flow=IP6, vlan_tci=Masked(value=9, mask=0xFFF))),
}  # fmt: skip


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    name = f"nicprog-flower-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        made = ["ip", "-n", name, "link", "add", "v0", "type", "veth", "peer", "name", "v1"]
        subprocess.run(made, check=True)
        entered = Namespace(name=name)
        with entered.entered():
            yield entered
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@cache
def _shim() -> str:
    output = Path(_BUILD.name) / "netlink_tap.so"
    subprocess.run(
        [os.environ.get("CC", "cc"), "-std=gnu11", "-D_GNU_SOURCE", "-fPIC", "-shared",
         f"-I{ROOT / 'native' / 'include'}", "-o", output,
         ROOT / "native" / "tests" / "netlink_tap.c"],
        check=True,
    )  # fmt: skip
    return str(output)


def message_of_tc(line: str, folder: Path) -> bytes:
    """What tc sends to add a filter, from ``struct nlmsghdr`` on."""
    path = folder / "tap"
    subprocess.run(
        ["tc", "filter", "add", "dev", "v0", "ingress", *shlex.split(line)],
        env=os.environ | {"LD_PRELOAD": _shim(), "NETLINK_TAP": str(path)},
        capture_output=True,
        check=False,
    )
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack_from("=I", data)
        message, data = data[4 : 4 + length], data[4 + length :]
        if struct.unpack_from("=IH", message)[1] == 44:  # RTM_NEWTFILTER
            found.append(message)
    (message,) = found
    return message


def tree(data: bytes, path: tuple[int, ...] = ()) -> dict[int, Any]:
    """Attributes by number, nests as such dictionaries; padding of strings left out."""
    nests = {(2,), (2, 3), (2, 3, 1), (2, 3, 1, 2)}
    found: dict[int, Any] = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        number, value = kind & 0x3FFF, data[4:length]
        inside = (*path, number)
        found[number] = tree(value, inside) if inside in nests else value
        data = data[(length + 3) & ~3 :]
    return found


def message_of(wanted: Filter, flower: Flower) -> bytes:
    sent: list[Any] = []
    flower._ask = lambda _, message, *__: sent.append(message) or []  # type: ignore[method-assign,func-returns-value]
    flower.add(wanted)
    sent[0].encode()
    return bytes(sent[0].data)


@pytest.mark.parametrize("line", LINES)
def test_we_say_what_tc_says(namespace: Namespace, tmp_path: Path, line: str) -> None:
    theirs = message_of_tc(line, tmp_path)
    with Flower("v0") as flower:
        ours = message_of(LINES[line], flower)
    assert ours[16:36] == theirs[16:36]  # struct tcmsg
    ours_tree, theirs_tree = tree(ours[36:]), tree(theirs[36:])
    # What tc leaves out: no flags, and the mask of a whole port.
    theirs_tree[2].setdefault(22, bytes(4))
    for port, mask in ((18, 35), (19, 36), (20, 37), (21, 38)):
        if port in theirs_tree[2]:
            theirs_tree[2].setdefault(mask, b"\xff\xff")
    assert ours_tree == theirs_tree


def filters() -> st.SearchStrategy[Filter]:
    def masked(bits: int) -> st.SearchStrategy[Masked]:
        values = st.tuples(st.integers(0, 2**bits - 1), st.integers(1, 2**bits - 1))
        return st.just(ANY) | values.map(lambda vm: Masked(value=vm[0] & vm[1], mask=vm[1]))

    @st.composite
    def one(draw: st.DrawFn) -> Filter:
        flow = draw(st.sampled_from(list(Flow)))
        is_any = flow.protocol == "any"
        vlan_mask = draw(st.sampled_from([0, 0xFFF, 0xE000, 0xEFFF]))
        protocol = st.sampled_from([n for n in range(256) if n not in (6, 17)])
        match = Match(
            flow=flow,
            src=draw(masked(flow.address_bits)),
            dst=draw(masked(flow.address_bits)),
            src_port=ANY if is_any else draw(masked(16)),
            dst_port=ANY if is_any else draw(masked(16)),
            tos=draw(masked(8)),
            vlan_tci=Masked(value=draw(st.integers(0, 0xFFFF)) & vlan_mask, mask=vlan_mask),
            l4_proto=Masked(value=draw(protocol), mask=0xFF)
            if is_any and draw(st.booleans())
            else ANY,
        )
        target = draw(st.sampled_from(["queue", "traffic_class", "drop"]))
        return Filter(
            priority=draw(st.integers(1, 0xFFFF)),
            match=match,
            queue=draw(st.integers(0, 0xFFFF)) if target == "queue" else None,
            traffic_class=draw(st.integers(0, 15)) if target == "traffic_class" else None,
            where=Where.HARDWARE if target == "queue" else draw(st.sampled_from(list(Where))),
        )

    return one()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(filters())
def test_what_is_written_reads_back(wanted: Filter) -> None:
    message = Message()
    message["info"] = wanted.priority << 16
    message["attrs"] = [("TCA_KIND", "flower"), ("TCA_OPTIONS", {"attrs": encode(wanted)})]
    message.encode()
    again = Message(bytes(message.data))
    again.decode()
    assert decode(again) == wanted


def test_what_a_filter_cannot_say_is_left_out() -> None:
    for attrs in (
        [("KEY_ETH_TYPE", 8)],  # no action
        [*encode(Filter(priority=1, match=WEB))[:-1], ("FLAGS", 3)],
        [("KEY_ETH_TYPE", 0x0608), ("CLASSID", 0xFFFF_FFE0)],  # ARP
    ):
        message = Message()
        message["info"] = 1 << 16
        message["attrs"] = [("TCA_OPTIONS", {"attrs": attrs})]
        message.encode()
        again = Message(bytes(message.data))
        again.decode()
        assert decode(again) is None


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"priority": 0}, "priority must be 1 to 65535"),
        ({"queue": 1, "traffic_class": 1}, "exclude each other"),
        ({"queue": 1, "where": Where.EITHER}, "in hardware only"),
        ({"traffic_class": 16}, "0 to 15, got 16"),
        ({"match": Match(flow=IP4, dst_port=WEB.dst_port)}, "ports of TCP and UDP only"),
        ({"match": Match(flow=IP4, l4_proto=Masked(value=4, mask=4))}, "whole protocol numbers"),
        ({"match": Match(flow=IP4, vlan_tci=Masked(value=1, mask=1))}, "got mask 0x1"),
    ],
)
def test_what_flower_cannot_is_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        replace(Filter(priority=1, match=WEB), **wrong)


def refusal_of(flower: Flower, wanted: Filter) -> str | None:
    try:
        flower.add(wanted)
    except RequestError as error:
        return str(error)
    return None


def test_filters_of_the_running_kernel(namespace: Namespace) -> None:
    with Flower("v0") as flower:
        flower.prepare()
        flower.prepare()  # it is there
        assert flower.filters() == ()
        wanted = Filter(priority=9, match=WEB, where=Where.SOFTWARE)
        if (why := refusal_of(flower, wanted)) is not None:
            assert why.endswith("(ENOENT); the kernel has no classifier flower (module cls_flower)")
            pytest.skip("this kernel has no classifier flower")
        assert flower.filters() == (wanted,)
        with pytest.raises(RequestError, match="priority 9"):
            flower.add(wanted)
        with pytest.raises(RequestError, match=r"v0: cannot add the filter of priority 1: "):
            flower.add(Filter(priority=1, match=WEB))  # veth has no hardware
        flower.delete(9)
        assert flower.filters() == ()


def test_refusals_say_what_and_why(namespace: Namespace) -> None:
    with Flower("v0") as flower:
        flower.prepare()
        with pytest.raises(
            RequestError, match="v0: cannot delete the filter of priority 5: "
        ) as no:
            flower.delete(5)
        assert no.value.errno in (errno.ENOENT, errno.EINVAL)
        os.seteuid(65534)
        try:
            with pytest.raises(DeviceError, match="EPERM"):
                flower.add(Filter(priority=1, match=WEB))
        finally:
            os.seteuid(0)
    with pytest.raises(DeviceError, match="absent: no such interface"):
        Flower("absent")

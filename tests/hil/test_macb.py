# SPDX-License-Identifier: Apache-2.0
"""Flow rules of a real driver that emulated hardware carries out: Cadence GEM, lane arm64."""

from __future__ import annotations

import random

import pytest

from tests.hil import inside
from tests.hil.nic import Nic
from tools.hil.guest import GuestError

SEED = 20261128
ON = "[features]\nntuple = true\n"
WEB = '[[rule]]\nname = "web"\nprotocol = "tcp"\nfamily = "ipv4"\ndst_port = 443\nqueue = 1\n'
NAMES = '[[rule]]\nname = "names"\nprotocol = "udp"\nfamily = "ipv4"\ndst_port = 53\nqueue = 1\n'


def flows(nic: Nic, n: int, dst_port: int, *, udp: bool, version: int = 4) -> list[bytes]:
    draw = random.Random(SEED)
    return [nic.frame(draw, version, dst_port, udp=udp) for _ in range(n)]


def test_rules_steer_and_the_rest_goes_to_queue_0(macb: Nic) -> None:
    """Also UDP to the ports of a rule for TCP: the quirk ignores-protocol."""
    macb.call(inside.apply, ON + WEB + NAMES)
    frames = flows(macb, 20, 443, udp=False) + flows(macb, 30, 53, udp=True)
    frames += flows(macb, 40, 444, udp=False) + flows(macb, 10, 443, udp=True)
    expected, got = macb.spread(frames)
    assert got == expected == {0: 40, 1: 60}
    macb.call(inside.apply, ON + WEB)
    expected, got = macb.spread(frames)
    assert got == expected == {0: 70, 1: 30}
    macb.call(inside.rollback)
    expected, got = macb.spread(frames)
    assert got == expected == {0: 40, 1: 60}


def test_probe_and_plan_tell_of_the_quirks(macb: Nic) -> None:
    report = macb.caller.call(inside.command, "probe", macb.name)
    told = {quirk["name"] for quirk in report["quirks"]}
    assert {"ignores-protocol", "idle-rules", "untold-locations"} <= told
    (warning,) = macb.call(inside.warnings, ON + WEB)
    assert "takes udp with the same addresses and ports, too" in warning


@pytest.mark.parametrize(
    ("flow", "matches", "spec"),
    [
        ("TCP6", {"dst_port": 443}, 'protocol = "tcp"\nfamily = "ipv6"\ndst_port = 443\n'),
        ("ETHER", {"ether_type": 0x88F7}, None),
    ],
)
def test_rules_that_the_driver_shows_and_does_not_carry_out(
    macb: Nic, flow: str, matches: dict[str, int], spec: str | None
) -> None:
    """They read back as if they were there; the planner knows better, where it has such rules."""
    frames = flows(macb, 30, 443, udp=False, version=6)
    if spec is None:
        frames = [frame[:12] + b"\x88\xf7" + frame[14:] for frame in frames]
    macb.call(inside.apply, ON)
    assert macb.call(inside.forced_rule, "TCP4", {"dst_port": 443}, 1) == "TCP4"
    assert macb.counted(flows(macb, 30, 443, udp=False), 30) == {1: 30}
    macb.call(inside.delete_rule)
    assert macb.call(inside.forced_rule, flow, matches, 1) == flow
    assert macb.counted(frames, 30) == {0: 30}
    macb.call(inside.delete_rule)
    if spec is not None:
        with pytest.raises(GuestError, match="which the driver has no rules for"):
            macb.call(inside.apply, f'{ON}[[rule]]\nname = "v6"\nqueue = 1\n{spec}')


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("drop = true", "drops, which the driver cannot"),
        ('queue = 1\nsrc = "10.0.0.0/8"', "compares part of src"),
        ("queue = 2", "queue 2"),
    ],
)
def test_what_the_planner_refuses_before_the_driver_does(macb: Nic, spec: str, why: str) -> None:
    rule = f'[[rule]]\nname = "one"\nprotocol = "tcp"\nfamily = "ipv4"\n{spec}\n'
    with pytest.raises(GuestError, match=why):
        macb.call(inside.apply, ON + rule)
    assert macb.call(inside.state) == macb.before

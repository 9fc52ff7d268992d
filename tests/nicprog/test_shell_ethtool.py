# SPDX-License-Identifier: Apache-2.0
"""The program ethtool itself on a software NIC: what a line does there is what the spec says."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

import nicprog
from nicprog import shell, sim
from nicprog.model import RssContext
from nicprog.rules import expand
from tests.nicprog.owner import Owner
from tests.nicprog.real_ethtool import run, served

if not shutil.which("ethtool"):
    pytest.skip("ethtool is not installed", allow_module_level=True)

LINES = (
    "-L qp0 combined 4",
    "-X qp0 equal 3",
    "-X qp0 equal 2 start 2",
    "-X qp0 weight 1 0 2 5",
    "-X qp0 start 1 weight 3 1",
    f"-X qp0 hkey {':'.join(f'{octet:02x}' for octet in range(40))}",
    "-X qp0 equal 2\nethtool -X qp0 default",
    "-N qp0 flow-type tcp4 src-ip 10.0.0.0 m 0.255.255.255 dst-port 80 m 0xf action 2 loc 7",
    "-N qp0 flow-type tcp4 dst-port 443",
    "-N qp0 flow-type ip4 l4proto 47 src-port 5 action -1",
    "-U qp0 flow-type ip6 l4proto 47 m 1 tclass 4 m 3 l4data 0x10002 m 0xff action 1",
    "-N qp0 flow-type udp6 src-ip fe80:: m ::ffff:ffff vlan 5 m 0xf000 loc 3 queue 1",
    "-N qp0 flow-type udp4 src-port 010 dst-ip 192.0.2.1 tos 0xb8 m 0x3 loc 4095 action 7",
    "-N qp0 flow-type tcp6 dst-ip 2001:db8::1 src-port 0x1f90 vlan 4095 m 0 action 3",
    "-N qp0 flow-type ip4 loc 5 action 1\nethtool -N qp0 flow-type ip6 loc 5 action 2",
    "-N qp0 flow-type ip4 loc 5 action 1\nethtool -N qp0 delete 5",
)
SPEC = """
device = "qp0"
channels = { combined = 6 }
rss = { weights = [1, 2, 0, 1], key = "KEY" }
[[rule]]
name = "web"
protocol = "tcp"
dst_port = "8000-8015"
queue = 1
[[rule]]
name = "no-tests"
protocol = "udp"
src = "192.0.2.0/24"
dst_port = "1-6"
drop = true
[[rule]]
name = "gre"
protocol = 47
family = "ipv6"
dscp = 12
queue = 5
location = 900
""".replace("KEY", "5d" * 40)


@pytest.mark.parametrize("line", LINES)
def test_what_ethtool_does_is_what_the_spec_says(owner: Owner, line: str) -> None:
    script = f"ethtool {line}"
    spec = shell.read(script).spec
    with nicprog.open("qp0") as nic:
        before = nic.read()
        run(script)
        assert nicprog.verify(nic, spec) == ()
        if "delete" not in line and "default" not in line:
            assert nic.read() != before, "the line has an effect to compare"


def test_a_spec_as_commands_programs_what_the_spec_says(owner: Owner) -> None:
    spec = nicprog.parse(SPEC)
    run(shell.write_spec(spec))
    with nicprog.open("qp0") as nic:
        assert nicprog.verify(nic, spec) == ()
        assert len(nic.read().rules) == 7


def test_a_plan_as_commands_leads_to_the_wanted_rules_and_shares(owner: Owner) -> None:
    run(shell.write_spec(nicprog.parse(SPEC)))
    text = 'device = "qp0"\nchannels = { combined = 4 }\nrss = { equal = "all", key = "symmetric" }'
    spec = nicprog.parse(f'{text}\n[[reserve]]\nqueue = 3\nport = 8443\nprotocol = "udp"')
    with nicprog.open("qp0") as nic:
        plan = nicprog.plan(nic, spec)
        run(shell.write_plan(plan))
        found = nic.read()
    assert (found.channels, found.key, found.rules) == (
        plan.wanted.channels, plan.wanted.key, plan.wanted.rules,
    )  # fmt: skip
    assert sorted(found.table.entries) == sorted(plan.wanted.table.entries)


@pytest.mark.parametrize("profile", ["mlx5", "ice", "i40e", "ixgbe", "gve", "virtio_net"])
@pytest.mark.parametrize(
    "lines",
    [
        "-L qp0 combined 4",
        "-X qp0 weight 3 0 1",
        "-X qp0 equal 3 start 1",
        "-N qp0 flow-type tcp4 src-ip 192.0.2.7 dst-port 80 action 1 loc 3",
        "-N qp0 flow-type tcp4 dst-port 80 action 2",
    ],
)
def test_on_models_of_drivers(run_dir: object, profile: str, lines: str) -> None:
    """Also where the driver has no place of its own for a rule without loc."""
    nic = sim.SimNic(profile, device="qp0")
    if not nic.channels.max_combined:
        lines = lines.replace("combined 4", "rx 4 tx 4")
    script = f"ethtool {lines}"
    spec = shell.read(script).spec
    with served(nic, "qp0"), sim.connect(nic) as opened:
        if " flow-type " in lines and not opened.capabilities().locations:
            pytest.skip("no rules")
        if " flow-type " in lines and " loc " not in lines and profile == "mlx5":
            pytest.skip("ethtool finds no location where the driver does not tell how many")
        run(script)
        found = opened.read()
        assert nicprog.plan(opened, spec).wanted.table == found.table
        assert nicprog.verify(opened, replace(spec, rules=())) == ()
        matches = [(rule.match, rule.queue) for rule in found.rules]
        assert matches == [(m, r.queue) for r in spec.rules for m in expand(r)]


CONTEXTS = """
# web
ethtool -X qp0 context new start 4 equal 2
# api
ethtool -X qp0 context new weight 1 0 1
ethtool -N qp0 rx-flow-hash udp4 sd context 1
ethtool -N qp0 flow-type tcp4 dst-port 443 context 1 loc 5
ethtool -N qp0 flow-type udp4 dst-port 53 context 2 loc 6
"""


def test_contexts_that_ethtool_makes_are_those_of_the_spec(run_dir: object) -> None:
    """But for their names, which the NIC does not hold, and the order of weights' entries."""
    nic = sim.SimNic("mlx5", device="qp0")
    spec = shell.read(CONTEXTS).spec
    with served(nic, "qp0"), sim.connect(nic) as opened:
        run(CONTEXTS)
        found = opened.read()
        with sim.connect(sim.SimNic("mlx5", device="qp0")) as other:
            nicprog.apply(other, nicprog.plan(other, spec))
            wanted = other.read()
    names = {"#1": "web", "#2": "api"}
    parts = {names[one.name]: _parts(one) for one in found.contexts}
    assert parts == {one.name: _parts(one) for one in wanted.contexts}
    assert [(rule.match, names[rule.context or ""]) for rule in found.rules] == [
        (rule.match, rule.context) for rule in wanted.rules
    ]


def _parts(context: RssContext) -> tuple[list[int], bytes, dict[str, object]]:
    return sorted(context.table.entries), context.key, dict(context.hashing)


def test_contexts_of_a_spec_and_a_plan_as_commands(run_dir: object) -> None:
    spec = shell.read(CONTEXTS).spec
    for text in (shell.write_spec(spec), None):
        nic = sim.SimNic("mlx5", device="qp0")
        with served(nic, "qp0"), sim.connect(nic) as opened:
            plan = nicprog.plan(opened, spec)
            # ethtool 6.1 sets no hash transform of a context, and the key has not to change.
            run(shell.write_plan(plan).replace(" xfrm none", "") if text is None else text)
            found = opened.read()
            assert {rule.context for rule in found.rules} == {"#1", "#2"}
            by_name = {rule.match: rule.context for rule in plan.wanted.rules}
            for rule in found.rules:
                tables = {context.name: context.table for context in found.contexts}
                wanted = {context.name: context.table for context in plan.wanted.contexts}
                name = by_name[rule.match]
                assert sorted(tables[rule.context or ""].entries) == sorted(
                    wanted[name or ""].entries
                )


def test_weights_that_do_not_divide_the_table_are_rounded_otherwise(run_dir: object) -> None:
    """ethtool rounds each run up or down, nicprog gives what is over to the largest remainders."""
    nic = sim.SimNic("mlx5", device="qp0")
    script = "ethtool -X qp0 weight 1 0 1 0 1"
    with served(nic, "qp0"), sim.connect(nic) as opened:
        run(script)
        assert 1 <= len(nicprog.verify(opened, shell.read(script).spec)) <= 3

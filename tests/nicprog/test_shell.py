# SPDX-License-Identifier: Apache-2.0
"""Command lines of ethtool to a spec and back: grammar, refusals with their place, round trips."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import nicprog
from nicprog import Channels, Refused, RssSpec, RuleSpec, Spec, SpecError, cli, shell
from nicprog.actions import CreateContext
from nicprog.backends.memory import MemoryNic
from nicprog.model import NicState, RssTable
from nicprog.resolve import resolve
from nicprog.rules import expand
from nicprog.spec_toml import spec_to_toml
from tests.nicprog import strategies

SCRIPT = """#!/bin/sh
set -eu
# queues
ethtool -L eth0 combined 8
sudo /usr/sbin/ethtool -X eth0 start 2 equal 4 \\
    hkey 6d:5a:6d:5a

# web
ethtool -N eth0 flow-type tcp4 dst-port 443 loc 1 action 2
ethtool -U 'eth0' flow-type udp6 src-ip 2001:db8:: m ::ffff:ffff:ffff:ffff \\
    dst-port 0x1f40 m 0xf action -1 loc 0; ethtool -N eth0 delete 7
"""


def test_a_script_becomes_a_spec() -> None:
    found = shell.read(SCRIPT)
    assert found.spec == Spec(
        device="eth0",
        channels=Channels(combined=8),
        rss=RssSpec(equal=(2, 3, 4, 5), key="6d5a6d5a"),
        rules=(
            RuleSpec(
                name="line 10", protocol="udp", family="ipv6", src="2001:db8::/64",
                dst_port="8000-8015", drop=True, location=0,
            ),
            RuleSpec(
                name="web", protocol="tcp", family="ipv4", dst_port=443, queue=2, location=1
            ),
        ),
        other_rules="remove",
    )  # fmt: skip
    (warning,) = found.warnings
    assert "location 7 is deleted" in warning


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("equal 3", RssSpec(equal=(0, 1, 2))),
        ("equal 2 start 5", RssSpec(equal=(5, 6))),
        ("weight 1 0 3", RssSpec(weights=(1, 0, 3))),
        ("weight 1 2 start 1 hkey 01:02", RssSpec(weights=(0, 1, 2), key="0102")),
        ("default", RssSpec(table="default")),
        ("hkey 01:0a", RssSpec(key="010a")),
    ],
)
def test_the_table_and_the_key(options: str, wanted: RssSpec) -> None:
    assert shell.read(f"ethtool -X eth0 {options}").spec.rss == wanted


def test_later_commands_win_over_earlier_ones() -> None:
    spec = shell.read(
        "ethtool -L e rx 4 tx 4\nethtool -L e rx 2\n"
        "ethtool -X e equal 2 hkey 01\nethtool -X e weight 1 1 1\n"
        "ethtool -N e flow-type ip4 loc 3 action 1\nethtool -N e flow-type ip6 loc 3 action 0\n"
        "ethtool -N e flow-type ip4 loc 5\nethtool -N e delete 5\n"
    ).spec
    assert spec.channels == Channels(rx=2, tx=4)
    assert spec.rss == RssSpec(weights=(1, 1, 1), key="01")
    assert [(rule.family, rule.queue) for rule in spec.rules] == [("ipv6", 0)]
    assert spec.other_rules == "keep"


@pytest.mark.parametrize(
    ("text", "where", "why"),
    [
        ("ethtool -L $DEV combined 4", "1:12", "$DEV: variables are not expanded"),
        ('ethtool -L "a${DEV}" combined 4', "1:12", "$DEV: variables are not expanded"),
        ("DEV=eth0", "1:1", "variables are not kept"),
        ("ethtool -L `x` combined 4", "1:12", "not substituted"),
        ("ethtool -L e combined 4 | cat", "1:25", "'|' is not understood"),
        ("ethtool -L 'e combined 4", "1:12", "quote ' is not closed"),
        ("\n\nip link set e up", "3:1", "'ip' is not ethtool"),
        ("ethtool -L e \\\n  combined x", "2:12", "must be a number of at most 32 bits, got 'x'"),
        ("ethtool -L e combined", "1:14", "number of combined channels is missing"),
        ("ethtool -L e", "1:12", "-L sets nothing here"),
        ("ethtool -L e other 1", "1:14", "'other' channels"),
        ("ethtool -L e rx 4", "1:12", "at least one RX and one TX queue"),
        ("ethtool -s e speed 10", "1:9", "-s is not among the options"),
        ("ethtool -L e rx 1 tx 1\nethtool -L f rx 1 tx 1", "2:12", "choose it with --device"),
        ("ethtool -X e equal 2 weight 1", "1:22", "exclude each other"),
        ("ethtool -X e start 2", "1:14", "start needs equal or weight"),
        ("ethtool -X e weight 0 0", "1:14", "at least one weight above 0"),
        ("ethtool -X e hkey zz", "1:19", "hexadecimal"),
        (
            "ethtool -X e context 1 equal 2",
            "1:22",
            "no line before makes context 1; they make none",
        ),
        ("ethtool -X e context new", "1:22", "a new context needs equal or weight here"),
        ("ethtool -X e context new default", "1:22", "a context has no default table"),
        ("ethtool -X e context new equal 2 delete", "1:34", "a new context cannot be deleted"),
        ("ethtool -X e context", "1:14", "the number of a context, or new, is missing"),
        ("ethtool -X e delete", "1:14", "delete needs context"),
        ("ethtool -X e context x equal 2", "1:22", "no line before makes context x"),
        (
            "ethtool -X e context new equal 2\nethtool -N e flow-type ip4 context 1\n"
            "ethtool -X e context 1 delete",
            "3:22",
            "a rule names context 'context 1', so it cannot be deleted",
        ),
        (
            "ethtool -N e flow-type ip4 action -1 context 1",
            "1:24",
            "a rule drops or names a context, not both",
        ),
        ("ethtool -N e flow-type ether action 1", "1:24", "cannot say flow type 'ether'"),
        ("ethtool -N e flow-type tcp4 src-ip 1.2.3", "1:36", "must be one of ipv4, got '1.2.3'"),
        ("ethtool -N e flow-type tcp4 tclass 3", "1:29", "unknown option 'tclass' for tcp4"),
        ("ethtool -N e flow-type tcp4 vf 1", "1:29", "a spec cannot say 'vf'"),
        ("ethtool -N e flow-type tcp4 dst-port 65536", "1:38", "got '65536'"),
        ("ethtool -N e flow-type tcp4 action -2", "1:36", "wakes the machine"),
        ("ethtool -N e delete 1 2", "1:23", "'2' is too much here"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_place(text: str, where: str, why: str) -> None:
    with pytest.raises(SpecError) as refused:
        shell.read(text, "nic.sh")
    assert str(refused.value).startswith(f"nic.sh:{where}: ")
    assert why in str(refused.value)


def test_contexts_of_command_lines_get_names() -> None:
    found = shell.read(
        "# web\nethtool -X e context new start 4 equal 2 hkey 6d:5a xfrm symmetric-or-xor\n"
        "ethtool -X e context new equal 1\nethtool -X e context 2 weight 0 1 1\n"
        "ethtool -N e rx-flow-hash udp4 sd context 1\nethtool -X e hfunc toeplitz\n"
        "ethtool -X e context 2 delete\nethtool -X e context new equal 3\n"
        "# a\nethtool -N e flow-type tcp4 dst-port 80 context 1 loc 1\n"
        "# b\nethtool -N e flow-type tcp4 dst-port 81 context 2 loc 2\n"
        "# c\nethtool -N e flow-type tcp4 dst-port 82 context 9 action 3 loc 3\n"
    )
    assert found.spec.contexts == (
        nicprog.ContextSpec(
            name="web",
            equal=(4, 5),
            key="6d5a",
            hash={"transform": "symmetric-or-xor", "udp4": "sd"},
        ),
        nicprog.ContextSpec(name="context 2", equal=(0, 1, 2)),
    )
    assert found.spec.settings == {"hash": {"function": "toeplitz"}}
    assert [(rule.context, rule.queue) for rule in found.spec.rules] == [
        ("web", None), ("context 2", None), ("#9", 3),
    ]  # fmt: skip
    (warning,) = found.warnings
    assert warning.endswith("a NIC without others: 1 is 'web', 2 is 'context 2'")


def test_rules_whose_order_the_nic_would_choose_are_refused() -> None:
    lines = "ethtool -N e flow-type tcp4 dst-port 80 action 1\nethtool -N e flow-type ip4 action 2"
    with pytest.raises(SpecError, match=r"nic\.sh:2:14: this rule and that of line 1 can take"):
        shell.read(lines, "nic.sh")
    same = lines.replace("action 2", "action 1")
    assert len(shell.read(same).spec.rules) == 2
    apart = lines.replace("flow-type ip4", "flow-type ip6")
    assert len(shell.read(apart).spec.rules) == 2


def test_commands_for_another_nic_are_left_out_when_one_is_chosen() -> None:
    text = "ethtool -L e combined 4\nethtool -L f combined 8"
    assert shell.read(text, device="f").spec.channels == Channels(combined=8)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (Spec(device="e", rss=RssSpec(key="symmetric")), "as long as the NIC says"),
        (Spec(device="e", rss=RssSpec(table=(0, 2, 1, 3))), "tables in runs"),
        (Spec(device="e", rss=RssSpec(equal="all")), "as many as the NIC has active"),
        (Spec(device="e", reserve=(nicprog.Reserve(queue=1, port=80),)), "table that is there"),
    ],
)
def test_what_only_the_nic_makes_a_command_of_needs_a_plan(spec: Spec, why: str) -> None:
    with pytest.raises(Refused, match=r"\(--plan\)") as refused:
        shell.write_spec(spec)
    assert why in str(refused.value)


KEY = st.sampled_from([None, "6d5a" * 20, "00" * 40])


@st.composite
def rss(draw: st.DrawFn) -> RssSpec | None:
    queues = st.sets(st.integers(0, 5), min_size=1).map(lambda some: tuple(sorted(some)))
    weights = st.lists(st.integers(0, 3), min_size=1, max_size=6).filter(any).map(tuple)
    shares = draw(
        st.one_of(
            st.builds(RssSpec, equal=queues),
            st.builds(RssSpec, weights=weights),
            st.just(RssSpec(table="default")),
            st.just(RssSpec()),
        )
    )
    made = replace(shares, key=draw(KEY))
    return None if made == RssSpec() else made


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    names = draw(st.sampled_from([(), (), ("a",), ("a", "b c")]))
    rules = [
        draw(strategies.rule_specs(f"rule {n}", names)) for n in range(draw(st.integers(0, 4)))
    ]
    contexts = [draw(strategies.context_specs(name)) for name in names]
    return Spec(
        device="memory",
        channels=draw(st.none() | st.builds(Channels, combined=st.integers(1, 6))),
        rss=draw(rss()),
        contexts=tuple(replace(context, key=draw(KEY)) for context in contexts),
        rules=tuple(replace(rule, location=None) for rule in rules),
    )


@given(specs())
def test_a_spec_that_went_through_shell_means_the_same(spec: Spec) -> None:
    can = strategies.capabilities()
    empty = NicState(
        channels=Channels(combined=6), table=RssTable.default(6, 8), key=bytes(40), rules=()
    )

    def meaning(one: Spec) -> NicState | str:
        try:
            return resolve(one, empty, can).state
        except Refused as refused:
            return type(refused).__name__

    assume(spec != Spec(device=spec.device))
    again = shell.read(shell.write_spec(spec))
    assert meaning(again.spec) == meaning(spec)
    # What shell made is in shell's own form, which nothing changes any more.
    assert shell.read(shell.write_spec(again.spec)).spec == again.spec
    assert nicprog.parse(spec_to_toml(again.spec)) == again.spec


@given(strategies.states(contexts=True), strategies.states(contexts=True))
def test_each_step_of_a_plan_is_one_command(now: NicState, wanted: NicState) -> None:
    """Fields of contexts are set by one more each."""
    plan = nicprog.plan(MemoryNic(strategies.capabilities(), now), wanted)
    numbers = {context.name: n for n, context in enumerate(now.contexts, 1)}
    text = shell.write_plan(plan, numbers)
    made = [step for step in plan.steps if isinstance(step.do, CreateContext)]
    assert text.count("\nethtool ") == len(plan.steps) + len(made)
    inserted = [line for line in text.splitlines() if " flow-type " in line]
    if inserted:
        rules = shell.read("\n".join(inserted)).spec.rules
        by_location = {rule.location: rule for rule in wanted.rules}
        for rule in rules:
            slot = by_location[rule.location or 0]
            assert expand(rule) == (slot.match,)
            assert rule.target()[0] == slot.queue
            assert (rule.context is None) == (slot.context is None)
        assert len(rules) == len(inserted)


def test_a_table_that_ethtool_cannot_write_keeps_its_shares() -> None:
    nic = MemoryNic(
        strategies.capabilities(),
        NicState(channels=Channels(combined=4), table=RssTable.default(4, 8), key=bytes(40)),
    )
    spec = Spec(device="memory", rss=RssSpec(equal=(0, 1, 2)))
    text = shell.write_plan(nicprog.plan(nic, spec))
    assert text.endswith(
        "# 2 of 8 table entries change their queue\n"
        "# 5 of 8 entries are at other places than in the plan; each queue has as many\n"
        "ethtool -X memory weight 3 3 2\n"
    )


def test_the_commands_import_and_export(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script, toml, model = tmp_path / "nic.sh", tmp_path / "nic.toml", f"sim:ice@{tmp_path}/nic"
    script.write_text(
        "ethtool -L e combined 4\n# web\nethtool -N e flow-type tcp4 action 3 loc 9\n"
    )
    assert cli.main(["import", str(script)]) == 0
    toml.write_text(capsys.readouterr().out)
    assert cli.main(["export", str(toml), "--json"]) == 0
    text = json.loads(capsys.readouterr().out)["shell"]
    assert "ethtool -N e flow-type tcp4 action 3 loc 9\n" in text
    assert cli.main(["export", str(toml), "--plan", "--nic", model]) == 0
    assert f"ethtool -N '{model}'" not in capsys.readouterr().out  # no quotes are needed
    assert cli.main(["import", str(tmp_path / "absent")]) == 2
    assert "cannot read" in capsys.readouterr().err


OPTIONS = st.sampled_from(["-L", "-X", "-N", "-G", "-C", "-Q", "-K", "--set-priv-flags", "-s"])
WORDS = st.sampled_from(
    [
        "e", "f", "combined", "rx", "tx", "4", "0x", "08", "-1", "99999999999", "equal", "start",
        "weight", "hkey", "6d:5a", "flow-type", "tcp4", "ip6", "src-ip", "10.0.0.1", "fe80::1", "m",
        "dst-port", "vlan", "loc", "action", "delete", "rx-flow-hash", "udp4", "sdfn", "l4data",
        "context", "new", "queue_mask", "--coalesce", "rx-usecs", "on", "off", "ntuple", "hfunc",
        "xfrm", "tos", ";",
        "&&", "\\\n", "\n", "#", "'", '"', "$x", "`y`", "|", "\nethtool",
        "\nethtool -N e flow-type",
    ]
)  # fmt: skip
LINES = st.builds(
    lambda option, words: f"ethtool {option} e {' '.join(words)}",
    OPTIONS,
    st.lists(WORDS, max_size=10),
)


@given(LINES | st.lists(WORDS, max_size=6).map(" ".join) | st.text(max_size=40))
def test_any_text_is_a_spec_or_an_error_with_its_place(text: str) -> None:
    try:
        found = shell.read(text, "nic.sh")
    except SpecError as error:
        why = str(error)
    else:
        why = ""
        assert nicprog.parse(spec_to_toml(found.spec)) == found.spec
    assert re.match(r"nic\.sh(:\d+:\d+)?: .|$", why)

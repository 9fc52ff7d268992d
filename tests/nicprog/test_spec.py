# SPDX-License-Identifier: Apache-2.0
"""Spec files: what is read, and every error with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from nicprog import load, parse
from nicprog.errors import FieldError, SpecError
from nicprog.model import Channels, Masked
from nicprog.spec import Reserve, RssSpec, RuleSpec, Spec

HEAD = 'device = "qp0"\n'
RULE = HEAD + '\n[[rule]]\nname = "a"\nprotocol = "tcp"\n'


def test_everything_a_spec_can_say() -> None:
    spec = parse(
        """
device = "qp0"
other_rules = "keep"

[channels]
combined = 4

[rss]
weights = [2, 1, 1]
key = "symmetric"

[[rule]]
name = "control"
protocol = "tcp"
src = "10.0.0.0/8"
dst_port = "8000-8015"
dscp = 46
vlan = 5
queue = 1
location = 7

[[rule]]
name = "gre"
protocol = 47
family = "ipv6"
drop = true

[[reserve]]
queue = 3
port = 8443
"""
    )
    assert spec == Spec(
        device="qp0",
        other_rules="keep",
        channels=Channels(combined=4),
        rss=RssSpec(weights=(2, 1, 1), key="symmetric"),
        rules=(
            RuleSpec(
                name="control",
                protocol="tcp",
                src="10.0.0.0/8",
                dst_port="8000-8015",
                dscp=46,
                vlan=5,
                queue=1,
                location=7,
            ),
            RuleSpec(name="gre", protocol=47, family="ipv6", drop=True),
        ),
        reserve=(Reserve(queue=3, port=8443),),
    )
    assert spec.rules[0].versions() == (4,)
    assert spec.rules[0].port_masks("dst_port") == (Masked(value=8000, mask=0xFFF0),)
    assert spec.rules[0].tos_mask() == Masked(value=46 << 2, mask=0xFC)
    assert spec.rules[1].l4_proto_mask() == Masked(value=47, mask=0xFF)
    assert spec.reserve[0].rule().versions() == (4, 6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "spec:1:1: device is missing; every spec needs it"),
        (HEAD + "x", "spec:2:2: Expected '=' after a key in a key/value pair"),
        (HEAD + "[rss\n", "spec:2:5: Expected ']' at the end of a table declaration"),
        (HEAD + '[rss]\nkey = """ab\ncd', "spec:4:3: Unterminated string"),
        (HEAD + 'device = "b"\n', "spec:2:13: Cannot overwrite a value"),
        (
            HEAD + "[chanels]\ncombined = 4\n",
            "spec:2:2: unknown key 'chanels'; did you mean 'channels'?",
        ),
        (
            HEAD + "\n[channels]\ncombine = 4\n",
            "spec:4:1: unknown key 'combine' in [channels]; did you mean 'combined'?",
        ),
        (HEAD + "[channels]\n", "spec:2:2: combined must be at least 1, got 0"),
        (
            HEAD + "[channels]\ncombined = 0\n",
            "spec:3:1: combined must be at least 1, got 0",
        ),
        (
            HEAD + '[channels]\ncombined = "4"\n',
            "spec:3:1: combined must be an integer, got '4'",
        ),
        (
            HEAD + "[channels]\ncombined = true\n",
            "spec:3:1: combined must be an integer, got True",
        ),
        (HEAD + "rule = 3\n", "spec:2:1: rule must be a list of tables, written [[rule]], got 3"),
        ("device = 3\n", "spec:1:1: device must be a string, got 3"),
        ('device = ""\n', "spec:1:1: device must not be empty"),
        (
            HEAD + 'other_rules = "delete"\n',
            "spec:2:1: other_rules 'delete' is not one of remove, keep",
        ),
        (
            HEAD + "[rss]\nequal = [0, 1]\nweights = [1]\n",
            "spec:4:1: weights and equal exclude each other",
        ),
        (HEAD + "[rss]\nequal = []\n", "spec:3:1: equal names no queue"),
        (HEAD + "[rss]\nequal = [1, 1]\n", "spec:3:1: equal names a queue twice"),
        (HEAD + '[rss]\nequal = "some"\n', "spec:3:1: equal 'some' is not one of all"),
        (
            HEAD + "[rss]\nequal = [\n  0,\n  -1,\n]\n",
            "spec:3:1: equal must not hold negative numbers, got -1",
        ),
        (
            HEAD + "[rss]\ntable = [0, true]\n",
            "spec:3:1: table must be a list of integers or a string, got [0, True]",
        ),
        (
            HEAD + "[rss]\nweights = [0, 0]\n",
            "spec:3:1: weights needs at least one weight above 0",
        ),
        (
            HEAD + '[rss]\nkey = "6d5"\n',
            'spec:3:1: key \'6d5\' is neither hexadecimal nor "symmetric" or "default"',
        ),
        (
            RULE,
            "spec:3:3: rule 'a' needs queue = N, drop = true or a context; drop goes alone",
        ),
        (
            RULE + "queue = 1\ndrop = true\n",
            "spec:7:1: rule 'a' needs queue = N, drop = true or a context; drop goes alone",
        ),
        (HEAD + "[[rule]]\nqueue = 1\n", "spec:2:3: rule lacks name"),
        (RULE + "queu = 1\n", "spec:6:1: unknown key 'queu' in [rule]; did you mean 'queue'?"),
        (RULE + "queue = -1\n", "spec:6:1: queue must be 0 to 4294967294, got -1"),
        (
            RULE + 'queue = 1\nsrc = "10.0.0.1/8"\n',
            "spec:7:1: src '10.0.0.1/8' is not an address or prefix; did you mean 10.0.0.0/8?",
        ),
        (
            RULE + 'queue = 1\nsrc = "10.0.0.300"\n',
            "spec:7:1: src '10.0.0.300' is not an address or prefix",
        ),
        (
            RULE + 'queue = 1\nsrc = "10.0.0.1/ff::"\n',
            "spec:7:1: src '10.0.0.1/ff::': address and mask differ in IP version",
        ),
        (
            RULE + 'queue = 1\nsrc = "10.0.0.1"\ndst = "fe80::1"\n',
            "spec:8:1: dst 'fe80::1' and src '10.0.0.1' differ in IP version",
        ),
        (
            RULE + 'queue = 1\nfamily = "ipv6"\nsrc = "10.0.0.1"\n',
            "spec:8:1: src '10.0.0.1' is not ipv6",
        ),
        (
            RULE + "queue = 1\ndst_port = 65536\n",
            "spec:7:1: dst_port 65536: ports are 0 to 65535",
        ),
        (
            RULE + 'queue = 1\ndst_port = "9-8"\n',
            "spec:7:1: dst_port '9-8': the range is empty, 9 is above 8",
        ),
        (
            RULE + 'queue = 1\ndst_port = "http"\n',
            "spec:7:1: dst_port 'http' is not a port or a range such as \"8000-8015\"",
        ),
        (
            RULE + 'queue = 1\ndst_port = "0x1f41/0xfff0"\n',
            "spec:7:1: dst_port '0x1f41/0xfff0': value 0x1f41 has bits outside of mask 0xfff0",
        ),
        (
            RULE + 'queue = 1\ntos = "0x110/0x1ff"\n',
            "spec:7:1: tos '0x110/0x1ff' does not fit into 8 bits",
        ),
        (RULE + "queue = 1\ndscp = 64\n", "spec:7:1: dscp must be 0 to 63, got 64"),
        (RULE + "queue = 1\nvlan = 4096\n", "spec:7:1: vlan must be 0 to 4095, got 4096"),
        (
            RULE + 'queue = 1\ndscp = 1\ntos = "1/1"\n',
            "spec:8:1: tos and dscp say the same thing; give one of them",
        ),
        (
            RULE.replace('"tcp"', '"any"') + "queue = 1\ndst_port = 80\n",
            'spec:7:1: dst_port needs protocol "tcp" or "udp"; "VALUE/MASK" compares the octets at '
            "its place in any protocol",
        ),
        (
            RULE.replace('"tcp"', '"tpc"') + "queue = 1\n",
            "spec:5:1: protocol 'tpc' is not one of tcp, udp, any",
        ),
        (
            RULE.replace('"tcp"', "256") + "queue = 1\n",
            "spec:5:1: protocol must be 0 to 255, got 256",
        ),
        (
            RULE + 'queue = 1\nl4_proto = "1/1"\n',
            'spec:7:1: l4_proto needs protocol "any"',
        ),
        (
            RULE + "queue = 1\n\n# again\n[[rule]]\nqueue = 2\nname = 'a'\nprotocol = 'udp'\n",
            "spec:11:1: name 'a' is used twice; give each rule a name of its own",
        ),
        (
            HEAD + 'rule = [{name = "a", protocol = "tcp", queue = 1, dscp = 99}]\n',
            "spec:2:51: dscp must be 0 to 63, got 99",
        ),
        (HEAD + "[[reserve]]\nqueue = 1\n", "spec:2:3: reserve lacks port"),
        (
            HEAD + "[rss]\nequal = [0, 1]\n[[reserve]]\nqueue = 1\nport = 80\n",
            "spec:3:1: equal uses queue 1, which [[reserve]] keeps for a class of traffic",
        ),
        (
            HEAD + '[rss]\ntable = "default"\n[[reserve]]\nqueue = 1\nport = 80\n',
            'spec:3:1: table "default" uses every queue, also the reserved ones; use equal = "all"',
        ),
    ],
)
def test_every_error_has_its_line(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(text)
    assert str(caught.value) == message


def test_the_line_of_a_rule_in_a_long_file() -> None:
    rules = "".join(
        f'[[rule]]\nname = "r{i}"\nprotocol = "tcp"\nqueue = 1\ndst_port = {i}\n\n'
        for i in range(400)
    )
    with pytest.raises(SpecError, match=r"^spec:1508:1: dscp must be"):
        parse(HEAD + "\n" + rules.replace("dst_port = 250\n", "dst_port = 250\ndscp = 64\n"))


def test_crlf_and_multi_line_strings_count_as_lines() -> None:
    text = 'device = """\r\nqp0"""\r\n\r\n[channels]\r\ncombined = 0\r\n'
    with pytest.raises(SpecError, match=r"^spec:5:1: "):
        parse(text)


def test_python_specs_get_the_same_errors() -> None:
    with pytest.raises(FieldError, match="dscp must be 0 to 63, got 64") as caught:
        RuleSpec(name="a", protocol="tcp", queue=1, dscp=64)
    assert caught.value.field == "dscp"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"cannot read .*/none\.toml: No such file"):
        load(tmp_path / "none.toml")
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b'device = "\xe9"')
    with pytest.raises(SpecError, match=r"latin\.toml: is not UTF-8 \(byte 10\)"):
        load(latin)

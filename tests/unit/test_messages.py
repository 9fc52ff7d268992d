# SPDX-License-Identifier: Apache-2.0
"""Declarations of framings and classes, and functions that numba compiles to C."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import qstack
from qstack import framing
from qstack.classes import MATCHES_MAX
from qstack.config import ListenConfig, read_serve_config
from qstack.errors import ConfigError


def test_a_length_counts_what_follows_it_unless_told_otherwise() -> None:
    assert framing.length_prefix(2, at=1).length_adds == 3
    assert framing.length_prefix(2, adds=0).length_adds == 0
    assert framing.length_prefix(message_max="16KiB").message_max == 16_384


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: framing.length_prefix(5), "octets must be 1, 2, 3, 4 or 8"),
        (lambda: framing.length_prefix(at=1025), "at must be"),
        (lambda: framing.length_prefix(adds=-1025), "adds must be"),
        (lambda: framing.length_prefix(message_max="1 zebra"), "message_max '1 zebra'"),
        (lambda: framing.delimiter(b""), "1..8 bytes"),
        (lambda: framing.delimiter(b"123456789"), "1..8 bytes"),
        (lambda: qstack.match(8), "priority must be 0..7"),
        (lambda: qstack.match(1, remote="10.0.0.1/8"), "remote: 10.0.0.1/8 has host bits set"),
        (lambda: qstack.match(1, remote_port=(2, 1)), "remote_port"),
        (lambda: qstack.match(1, dscp=64), "dscp must be 0..63"),
        (lambda: qstack.match(1, vlan=4095), "vlan must be 0..4094"),
        (lambda: qstack.match(1, pcp=8), "pcp must be 0..7"),
        (lambda: qstack.match(1, octets=(16_384, b"a")), "offset of octets must be 0..16368"),
        (lambda: qstack.match(1, octets=(0, b"")), "1..16 bytes"),
        (lambda: qstack.match(1, octets=(0, b"ab", b"a")), "a mask of 1 bytes"),
        (lambda: qstack.match(1, http_path="/ä"), "http_path must be ASCII"),
        (lambda: qstack.match(1, http_header=("a" * 32, "b")), "name of a header field"),
        (lambda: qstack.match(1, http_path="/", http_header=("a", "b")), "one of them"),
        (qstack.classify, "needs a match or a function"),
        (lambda: qstack.classify(*[qstack.match(1)] * (MATCHES_MAX + 1)), "at most 32 matches"),
    ],
)
def test_what_is_out_of_range_is_named(make: Callable[[], object], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        make()


@pytest.mark.parametrize(
    ("make", "settings", "what"),
    [
        (framing.length_prefix, {"octets": True}, "octets must be 1..8, got True"),
        (framing.length_prefix, {"octets": "4"}, "octets must be 1..8"),
        (framing.length_prefix, {"at": 1.5}, "at must be 0..1024"),
        (framing.length_prefix, {"adds": "1"}, "adds must be"),
        (framing.length_prefix, {"little": 2}, "little must be True or False"),
        (framing.length_prefix, {"message_max": 4096}, "message_max = 4096 needs a unit"),
        (framing.delimiter, {"end": "\n"}, "1..8 bytes"),
        (framing.Framing, {"kind": "length", "length_octets": 5}, "octets must be 1, 2, 3"),
        (framing.Framing, {"kind": "resp", "delimiter": b"123456789"}, "1..8 bytes"),
        (framing.Framing, {"kind": "line"}, "kind must be length, "),
        (framing.Framing, {"kind": "function"}, "compiled by qstack.framing_function, got None"),
        (framing.custom, {"function": len}, "compiled by qstack.framing_function"),
        (qstack.match, {"priority": True}, "priority must be 0..7, got True"),
        (qstack.match, {"priority": 1, "remote": 5}, "remote must be text"),
        (qstack.match, {"priority": 1, "remote_port": (1, 2, 3)}, "a tuple of first and last"),
        (qstack.match, {"priority": 1, "remote_port": (1.0, 2)}, "remote_port must be 1..65535"),
        (qstack.match, {"priority": 1, "octets": (1,)}, "a tuple of offset, bytes and mask"),
        (qstack.match, {"priority": 1, "octets": (1, "a", b"a")}, "octets must be 1..16 bytes"),
        (qstack.match, {"priority": 1, "http_path": b"/"}, "http_path must be text"),
        (qstack.match, {"priority": 1, "http_path": "/a b"}, "no message of HTTP has '/a b'"),
        (qstack.match, {"priority": 1, "http_header": "ab"}, "a tuple of name and value"),
        (qstack.match, {"priority": 1, "http_header": ("a:", "b")}, "no message of HTTP has 'a:'"),
        (qstack.match, {"priority": 1, "http_header": ("a", "b ")}, "no message of HTTP has 'b '"),
        (qstack.Match, {"priority": 8}, "priority must be 0..7"),
        (qstack.Match, {"priority": 1, "remote": "10.0.0.0/8"}, "remote must be a network"),
        (qstack.Classifier, {"matches": ()}, "needs a match or a function"),
        (qstack.Classifier, {"matches": (7,)}, "a match must be made by qstack.match, got 7"),
        (qstack.classify, {"function": len}, "function must be made by qstack.classifier"),
        (ListenConfig, {"port": 80, "framing": "http1"}, "port 80: framing must be made by"),
        (ListenConfig, {"port": 80, "framing": framing.resp}, "port 80: framing must be made by"),
        (ListenConfig, {"port": 80, "classify": qstack.match(1)}, "classify must be made by"),
    ],
)
def test_what_is_of_another_kind_is_named(
    make: Callable[..., object], settings: dict[str, Any], what: str
) -> None:
    with pytest.raises(ConfigError, match=what):
        make(**settings)


def test_a_file_cannot_name_a_framing(tmp_path: Path) -> None:
    path = tmp_path / "serve.toml"
    path.write_text('[[listen]]\nport = 80\nframing = "http1"\n')
    with pytest.raises(ConfigError, match=r"port 80: framing must be made by .* in a program"):
        read_serve_config(path)


class Flow(ctypes.Structure):
    """``struct qs_flow``."""

    _fields_ = (
        ("local", ctypes.c_uint8 * 16),
        ("remote", ctypes.c_uint8 * 16),
        ("local_port", ctypes.c_uint16),
        ("remote_port", ctypes.c_uint16),
        ("vlan", ctypes.c_uint16),
        ("pcp", ctypes.c_uint8),
        ("dscp", ctypes.c_uint8),
        ("prio", ctypes.c_uint8),
    )


CLASSIFY = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(Flow), ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p
)
LENGTH = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p)


def by_flow_and_data(flow: Any, data: Any) -> int:
    if len(data) == 0:
        return int(flow.dscp + flow.vlan + flow.pcp)
    if data[0] == 255:
        raise ValueError
    return int(flow.remote[15] + flow.remote_port + data[0])


@pytest.fixture(scope="module")
def classify() -> Callable[..., int]:
    compiled = qstack.classifier(by_flow_and_data)
    return CLASSIFY(compiled.address)


def test_a_compiled_classifier_sees_flow_and_data(classify: Callable[..., int]) -> None:
    flow = Flow(remote=(ctypes.c_uint8 * 16)(*[0] * 15, 3), remote_port=1000, prio=2)
    flow.vlan, flow.pcp, flow.dscp = 4000, 7, 46
    assert classify(flow, b"\x02rest", 5, None) == 1005
    assert classify(flow, None, 0, None) == 4053


def test_what_it_raises_is_no_answer(
    classify: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert classify(Flow(), b"\xff", 1, None) == -1
    assert capfd.readouterr().err == ""


def one_byte(data: Any) -> int:
    return int(data[0]) + 1 if data[0] < 128 else -1


compiled_one_byte = qstack.framing_function(one_byte)


@given(st.binary(min_size=1, max_size=200))
def test_a_compiled_framing_answers_as_its_python(data: bytes) -> None:
    length = LENGTH(compiled_one_byte.address)
    assert length(data, len(data), None) == compiled_one_byte.python(data)


def test_a_function_of_one_kind_is_not_taken_for_the_other() -> None:
    with pytest.raises(ConfigError, match=r"made by qstack\.classifier, got CompiledFraming"):
        qstack.classify(function=compiled_one_byte)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"by qstack\.framing_function, got CompiledClassifier"):
        framing.custom(qstack.classifier(by_flow_and_data))  # type: ignore[arg-type]


def test_without_numba_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    what = r"need numba: pip install 'qstack-net\[compiled\]'"
    with pytest.raises(ConfigError, match=what):
        qstack.classifier(by_flow_and_data)
    with pytest.raises(ConfigError, match=what):
        qstack.framing_function(one_byte)

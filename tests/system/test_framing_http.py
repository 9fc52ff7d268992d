# SPDX-License-Identifier: Apache-2.0
"""Framing of HTTP/1.1 beside llhttp, the parser that handlers have: they end messages alike.

Where one of them takes what the other refuses, nothing is smuggled: the connection ends.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

_NATIVE = Path(__file__).parents[2] / "native"
_CHUNKED = b"10;a=b\r\n0123456789abcdef\r\n0\r\nA: b\r\n\r\n"
MESSAGES = (
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789",
    b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + _CHUNKED,
    b"PUT /x HTTP/1.0\r\nContent-Length: 0\r\nX: y z\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + _CHUNKED,
)
_OCTETS = b"\r\n :;,0123456789abcfx\0\x0b\x7f\xff-+/.HT"
REFUSED, MORE = -1, 0

Length = Callable[[bytes], int]


@pytest.fixture(scope="session")
def framing_length(tmp_path_factory: pytest.TempPathFactory) -> Length:
    """Return the C function, which no library exports."""
    path = tmp_path_factory.mktemp("framing") / "framing.so"
    flags = ["-std=gnu11", "-shared", "-fPIC", f"-I{_NATIVE}", f"-I{_NATIVE / 'include'}"]
    source = _NATIVE / "core" / "framing_http.c"
    subprocess.run(["cc", *flags, str(source), "-o", str(path)], check=True, timeout=60)
    function = ctypes.CDLL(str(path)).qs_framing_http1
    function.restype = ctypes.c_int64
    function.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return lambda data: int(function(data, len(data)))


class _End:
    """Takes llhttp's call at the end of a message."""

    def __init__(self) -> None:
        self.reached = False

    def on_message_complete(self) -> None:
        self.reached = True


def llhttp_length(data: bytes) -> int:
    """As the framing: octets of the message, `MORE` or `REFUSED`."""
    end = _End()
    response = data.startswith(b"HTTP/")
    parser = (httptools.HttpResponseParser if response else httptools.HttpRequestParser)(end)
    for n in range(len(data)):
        try:
            parser.feed_data(data[n : n + 1])
        except httptools.HttpParserUpgrade:
            return n + 1
        except httptools.HttpParserError:
            return REFUSED
        if end.reached:
            return n + 1
    return MORE


@st.composite
def nearly_messages(draw: st.DrawFn) -> bytes:
    """Return a message with up to three wrong places, and octets of the next one."""
    data = bytearray(draw(st.sampled_from(MESSAGES)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data) - 1))
        what = draw(st.sampled_from(["change", "insert", "remove", "repeat"]))
        if what == "repeat":
            data[at:at] = data[at : at + draw(st.integers(1, 30))]
        else:
            new = bytes([draw(st.sampled_from(_OCTETS))]) if what != "remove" else b""
            data[at : at + (what != "insert")] = new
    return bytes(data) + b"z" * 20


@settings(max_examples=1000, deadline=None)
@given(nearly_messages())
def test_messages_end_where_llhttp_ends_them(framing_length: Length, data: bytes) -> None:
    told, parsed = framing_length(data), llhttp_length(data)
    if told == REFUSED or parsed == REFUSED:
        return
    if data.startswith(b"HTTP/1") and data[9:10] == b"1":
        return  # llhttp gives most of 1xx a body; RFC 9112 section 6.3 does not
    if told > len(data):  # a body that has not come
        parsed = parsed or told
    assert told == parsed


@pytest.mark.parametrize("data", MESSAGES)
def test_both_take_the_whole_of_a_good_message(framing_length: Length, data: bytes) -> None:
    assert framing_length(data) == llhttp_length(data) == len(data)

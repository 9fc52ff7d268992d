# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from qstack import units


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("200ms", 200_000_000),
        ("1.5s", 1_500_000_000),
        ("0.001us", 1),
        ("2 min", 120_000_000_000),
        ("9007199254740993ns", 9007199254740993),  # does not fit a double
        ("0s", 0),
    ],
)
def test_duration(text: str, ns: int) -> None:
    assert units.parse_duration_ns(text) == ns


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("200", "has no unit"),
        ("200 parsecs", "unknown unit 'parsecs'"),
        ("-1s", "is not a duration"),
        ("", "is not a duration"),
        ("1.5ns", "not a whole number of ns"),
        ("1e3ms", "is not a duration"),
        ("٣s", "is not a duration"),
    ],
)
def test_bad_duration_says_what_is_wrong(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        units.parse_duration_ns(text)


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("64KiB", 65_536), ("1.5MB", 1_500_000), ("7B", 7)]
)
def test_size(text: str, size_bytes: int) -> None:
    assert units.parse_size_bytes(text) == size_bytes


@pytest.mark.parametrize(
    ("ns", "text"), [(12.0, "12 ns"), (1_500.0, "1.5 us"), (2.5e6, "2.5 ms"), (3e9, "3 s")]
)
def test_format(ns: float, text: str) -> None:
    assert units.format_duration(ns) == text

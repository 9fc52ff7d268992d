# SPDX-License-Identifier: Apache-2.0
"""Durations and sizes as people write them: ``"200ms"``, ``"64KiB"``. A bare number is an error."""

from __future__ import annotations

import re

_DURATION_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "min": 60_000_000_000}
_SIZE_BYTES = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
}
_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", re.ASCII)


def _parse(text: str, units: dict[str, int], kind: str, example: str) -> int:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f'{text!r} is not a {kind}: write it like "{example}"')
    number, unit = match.groups()
    if unit not in units:
        fault = f"has the unknown unit {unit!r}" if unit else "has no unit"
        raise ValueError(f'{kind} {text!r} {fault}: write it like "{example}" ({", ".join(units)})')
    whole, _, fraction = number.partition(".")
    # In integers: a float would round what does not fit into 53 bits.
    scaled = int(whole + fraction) * units[unit]
    value, rest = divmod(scaled, int("1" + "0" * len(fraction)))
    if rest:
        raise ValueError(f"{kind} {text!r} is not a whole number of {next(iter(units))}")
    return value


def parse_duration_ns(text: str) -> int:
    """Return nanoseconds for ``"250us"``, ``"1.5s"``, ``"2min"``.

    Raises:
        ValueError: No number, no unit, an unknown unit, or a fraction of a nanosecond.
    """
    return _parse(text, _DURATION_NS, "duration", "200ms")


def parse_size_bytes(text: str) -> int:
    """Return bytes for ``"1500B"``, ``"64KiB"``, ``"1.5MB"``.

    Raises:
        ValueError: No number, no unit, an unknown unit, or a fraction of a byte.
    """
    return _parse(text, _SIZE_BYTES, "size", "64KiB")


def format_duration(ns: float) -> str:
    """Return a duration with three digits in a readable unit, such as ``"12.3 ms"``."""
    for unit in ("s", "ms", "us"):
        if ns >= _DURATION_NS[unit]:
            return f"{ns / _DURATION_NS[unit]:.3g} {unit}"
    return f"{ns:.0f} ns"

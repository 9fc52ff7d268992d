# SPDX-License-Identifier: Apache-2.0
"""Sets of CPUs as the kernel writes them: lists such as ``0-3,8``, masks such as ``ff,00000001``.

The forms are those of Documentation/admin-guide/kernel-parameters.rst ("cpu lists") and of
``bitmap_parse`` in the kernel's ``lib/bitmap-str.c``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

CPUS_MAX: Final = 8192
"""The largest NR_CPUS that the kernel can be built with on x86."""

_PART: Final = re.compile(r"(\d+)(?:-(\d+)(?::(\d+)/(\d+))?)?")
_WORD_BITS: Final = 32


def parse_list(text: str) -> frozenset[int]:
    """Reads ``0-3,8`` or ``0-15:2/4`` (the first 2 of each 4); an empty text is no CPU.

    Raises:
        ValueError: It is not that, a range is empty, or a number is :data:`CPUS_MAX` or more.
    """
    found: set[int] = set()
    for part in text.replace(",", " ").split():
        match = _PART.fullmatch(part)
        if not match:
            raise ValueError(f"{text!r} is not a list of CPUs such as '0-3,8'")
        first, last = int(match[1]), int(match[2] or match[1])
        used, group = int(match[3] or 1), int(match[4] or 1)
        if first > last or not 0 < used <= group:
            raise ValueError(f"{text!r}: {part} is an empty range")
        if last >= CPUS_MAX:
            raise ValueError(f"{text!r}: there is no CPU {last}, the kernel has {CPUS_MAX} at most")
        found.update(cpu for cpu in range(first, last + 1) if (cpu - first) % group < used)
    return frozenset(found)


def format_list(cpus: Iterable[int]) -> str:
    """The shortest list, in order; :func:`parse_list` reads it back."""
    ranges: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if ranges and ranges[-1][1] == cpu - 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)


def parse_mask(text: str) -> frozenset[int]:
    """Reads hexadecimal words of 32 bits with commas between, the highest first.

    Raises:
        ValueError: It is not that.
    """
    words = text.strip().split(",")
    if not all(re.fullmatch(r"[0-9a-fA-F]{1,8}", word) for word in words):
        raise ValueError(f"{text.strip()!r} is not a mask of CPUs such as 'ff,00000001'")
    value = 0
    for word in words:
        value = value << _WORD_BITS | int(word, 16)
    return frozenset(bit for bit in range(value.bit_length()) if value >> bit & 1)


def format_mask(cpus: Iterable[int]) -> str:
    """A mask; :func:`parse_mask` reads it back."""
    value = sum(1 << cpu for cpu in set(cpus))
    words = []
    while value >> _WORD_BITS:
        words.append(f"{value & 0xFFFF_FFFF:08x}")
        value >>= _WORD_BITS
    return ",".join([f"{value:x}", *reversed(words)])

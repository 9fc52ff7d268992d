# SPDX-License-Identifier: Apache-2.0
"""Flows as the software NIC tells them apart: 4-tuples and their Toeplitz hash."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from nicprog.drivers import MICROSOFT_KEY

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OCTETS: Final = 12  # IPv4 addresses and ports
_SERVER: Final = (10, 77, 0, 2)
_PORT: Final = 443


def _words() -> NDArray[np.uint32]:
    """uint32[_OCTETS, 256]: what an octet's value adds to the hash, as in softnic_layout.h."""
    stream, size = int.from_bytes(MICROSOFT_KEY, "big"), 8 * len(MICROSOFT_KEY)
    table = np.zeros((_OCTETS, 256), np.uint32)
    values = np.arange(256)
    for at in range(8 * _OCTETS):
        window = np.uint32(stream >> (size - 32 - at) & 0xFFFF_FFFF)
        table[at >> 3] ^= np.where(values & (0x80 >> (at & 7)), window, np.uint32(0))
    return table


_WORDS: Final = _words()


def hashes(tuples: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Toeplitz hash of IPv4 4-tuples.

    Args:
        tuples: uint8[n, 12]; source and destination address, source and destination port, in
            network order.
    """
    result = np.zeros(len(tuples), np.uint32)
    for octet in range(_OCTETS):
        result ^= _WORDS[octet, tuples[:, octet]]
    return result


def random_tuples(random: np.random.Generator, n: int) -> NDArray[np.uint8]:
    """Draw 4-tuples of clients of one server: uint8[n, 12]."""
    tuples = np.empty((n, _OCTETS), np.uint8)
    tuples[:, 0:4] = random.integers(1, 224, (n, 4), np.uint8)
    tuples[:, 4:8] = _SERVER
    ports = random.integers(1024, 65536, n)
    tuples[:, 8], tuples[:, 9] = ports >> 8, ports & 0xFF
    tuples[:, 10], tuples[:, 11] = _PORT >> 8, _PORT & 0xFF
    return tuples


def random_hashes(random: np.random.Generator, n: int) -> NDArray[np.uint32]:
    """Draw clients of one server: uint32[n], the hashes of their flows."""
    return hashes(random_tuples(random, n))


def colliding_hashes(
    random: np.random.Generator, n: int, *, modulus: int, rest: int
) -> NDArray[np.uint32]:
    """Draw clients that chose their ports so that all flows land on one queue: uint32[n].

    Args:
        random: The source.
        n: How many.
        modulus: Queues of the table as it is at first.
        rest: The queue.
    """
    found = np.empty(0, np.uint32)
    while len(found) < n:
        drawn = random_hashes(random, 4 * modulus * n + 64)
        found = np.concatenate([found, drawn[drawn % modulus == rest]])
    return found[:n]

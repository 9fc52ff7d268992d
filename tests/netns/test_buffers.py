# SPDX-License-Identifier: Apache-2.0
"""Buffers that begin with 64 KiB grow to what a long path needs, whichever way the bytes go."""

from __future__ import annotations

from typing import Literal

import pytest

from qstack.matrix import Cell, run_cell

N_BYTES = 16 << 20
LIMIT_S = 60.0
INITIAL_BYTES = 64 << 10
DELAY_MS = 25  # each way


@pytest.mark.parametrize("sender", ["qstack", "linux"])
def test_a_long_path_carries_more_than_the_initial_size_a_round_trip(
    sender: Literal["qstack", "linux"],
) -> None:
    cell = Cell(
        client="linux",
        sender=sender,
        ip=4,
        mtu=1500,
        sack=True,
        timestamps=True,
        ecn=False,
        loss=0,
        reorder=False,
        duplicate=False,
        delay_ms=DELAY_MS,
    )
    side = run_cell(cell, seeds=[1], limit_s=LIMIT_S, n_bytes=N_BYTES)["qstack"]
    assert side["finished"], side["error"]
    assert side["hash_ok"] is True
    # No machine is fast enough for more than one window in a round trip: however slow this one is,
    # only grown buffers let three go.
    round_trips = side["seconds"] * 1000 / (2 * DELAY_MS)
    assert N_BYTES / round_trips > 3 * INITIAL_BYTES

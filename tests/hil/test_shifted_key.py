# SPDX-License-Identifier: Apache-2.0
"""A driver that gives its device another key than it shows: lane key612.

All other tests of the lane know of it (tools.hil.lanes.NicKind.shifts_key), and count it so.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.hil import inside
from tests.hil.nic import Nic

SEED = 20261128
FLOWS = 240


def test_the_key_reads_back_and_the_device_hashes_by_another(virtio: Nic) -> None:
    if not virtio.shifts_key:
        pytest.skip("this kernel gives the device the key that it shows")
    key = random.Random(SEED).randbytes(40).hex()
    spec = f'[rss]\nequal = "all"\nkey = "{key}"\n'
    virtio.call(inside.apply, spec)
    assert virtio.call(inside.differences, spec) == []
    assert virtio.call(inside.state)["key_hex"] == key
    frames = virtio.frames(FLOWS, SEED)
    got = virtio.counted(frames, FLOWS)
    told, shifted = (
        Counter(virtio.call(inside.places, [frame.hex() for frame in frames], is_shifted))
        for is_shifted in (False, True)
    )
    assert got == shifted
    assert got != told


def test_probe_tells_of_it(virtio: Nic) -> None:
    """On every kernel: which have it nothing says but counting."""
    report = virtio.caller.call(inside.command, "probe", virtio.name)
    (quirk,) = (quirk for quirk in report["quirks"] if quirk["name"] == "shifted-key")
    assert not quirk["always"]

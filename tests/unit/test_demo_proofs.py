# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from nicprog import Channels, NicState, RssTable
from qstack.demo.proofs import table_queue

MICROSOFT_KEY = bytes.fromhex(
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
)


@pytest.mark.parametrize(
    ("peer", "own", "toeplitz"),
    [  # the published vectors of RSS
        (("66.9.149.187", 2794), ("161.142.100.80", 1766), 0x51CCC178),
        (("199.92.111.2", 14230), ("65.69.140.83", 4739), 0xC626B0EA),
        (("3ffe:2501:200:1fff::7", 2794), ("3ffe:2501:200:3::1", 1766), 0x40207D3D),
    ],
)
def test_the_queue_of_a_connection(
    peer: tuple[str, int], own: tuple[str, int], toeplitz: int
) -> None:
    entries = tuple(i % 7 for i in range(256))
    state = NicState(
        channels=Channels(combined=7), table=RssTable(entries=entries), key=MICROSOFT_KEY
    )
    assert table_queue(state, peer, own) == entries[toeplitz % 256]
    assert entries[toeplitz % 256] != entries[(toeplitz + 1) % 256]

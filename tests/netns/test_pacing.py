# SPDX-License-Identifier: Apache-2.0
"""Paced connections to Linux, over TAP with segmentation offload and over AF_XDP."""

from __future__ import annotations

import hashlib
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from qstack import Server
from qstack.http import handler
from qstack.site import Site, blob_sha256
from tests.netns.rig import open_lab

if TYPE_CHECKING:
    from pathlib import Path

    from qstack.lab import Lab

SIZE = 2 << 20
RATE = 4_000_000
"""Bytes a second; both wires carry a hundred times as much."""
SLACK = 128 << 10
"""Bytes that may come at once: the first quanta, and what is made up for late wake-ups."""
LIMIT_S = 60


def settings(lab: Lab, kind: str) -> dict[str, Any]:
    if kind == "xsk":
        return {"nic": f"xsk:{lab.server_if}"}
    assert lab.host4 is not None
    return {
        "nic": f"tap:{lab.server_if}",
        "addresses": [str(lab.server4)],
        "host_addresses": [str(lab.host4)],
        "gateways": [str(lab.host4.ip)],
    }


@pytest.mark.parametrize("ceiling", [None, RATE])
@pytest.mark.parametrize("kind", ["tap", "xsk"])
def test_a_download_is_whole_and_not_above_the_ceiling(
    kind: str, ceiling: int | None, tmp_path: Path
) -> None:
    target = tmp_path / "download"
    with open_lab(kind) as lab:
        app = Server(**settings(lab, kind))
        app.listen(port=8080, pacing=True, pacing_rate_max=ceiling)(handler(Site()))
        with lab.server.entered():
            app.start()
        try:
            url = f"http://{lab.server4.ip}:8080/bytes/{SIZE}"
            what = ["-o", str(target), "-w", "%{time_total}", url]
            done = lab.client.run(
                ["curl", "-sS", "--fail", "-m", str(LIMIT_S), *what],
                stdout=subprocess.PIPE,
                check=True,
                text=True,
            )
        finally:
            app.stop()
    with target.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == blob_sha256(SIZE)
    if ceiling:  # slower is no fault of pacing, faster would be
        assert float(done.stdout) > (SIZE - SLACK) / ceiling

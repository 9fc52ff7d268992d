# SPDX-License-Identifier: Apache-2.0
"""A router of kernel TCP/IP between the stack and the client takes smaller packets than both."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from qstack.lab import Impairment
from qstack.site import blob_sha256
from tests.netns.rig import open_lab, serving

if TYPE_CHECKING:
    from pathlib import Path

    from qstack.lab import Lab

SIZE = 4 << 20
PATH_MTU = 1300


def narrow(lab: Lab) -> None:
    """Let the router pass on no packet above PATH_MTU to the client."""
    lab.server.run(["ip", "link", "set", "router", "mtu", str(PATH_MTU)], check=True)


def silence(lab: Lab) -> None:
    """Keep the router from telling anybody: it has no route for what it says by ICMP."""
    for family, protocol in (("-4", "icmp"), ("-6", "ipv6-icmp")):
        rule = ["rule", "add", "pref", "0", "ipproto", protocol, "blackhole"]
        lab.server.run(["ip", family, *rule], check=True)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("queues", [1, 4])
def test_download_through_a_narrow_path(
    queues: int, silent: bool, version: int, tmp_path: Path
) -> None:
    target = tmp_path / "download"
    with (
        open_lab("tap", bad_wire=Impairment(delay_us=100)) as lab,
        serving(lab, queues=queues) as rig,
    ):
        narrow(lab)
        if silent:
            silence(lab)
        rig.curl("-o", str(target), rig.url(version, f"/bytes/{SIZE}"), timeout_s=60)
        assert lab.wire is not None
        lab.wire.stop()
    with target.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == blob_sha256(SIZE)

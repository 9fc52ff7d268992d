# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import resource
import shutil

import pytest

from tests.netns.rig import open_lab, serving

CONNECTIONS = 1000


@pytest.mark.parametrize("kind", ["tap", "xsk"])
def test_1000_keep_alive_connections_without_an_error(kind: str) -> None:
    if shutil.which("wrk") is None:
        pytest.skip("wrk is missing: apt-get install wrk")
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < CONNECTIONS + 100:
        pytest.skip("too few file descriptors allowed: ulimit -n 2048")
    with open_lab(kind) as lab, serving(lab) as rig:
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", "-d4s", "--timeout", "10s", rig.url(4, "/")]
        done = lab.client.run(command, capture_output=True, text=True, timeout=60, check=True)
    found = re.search(r"(\d+) requests in", done.stdout)
    assert found is not None, done.stdout
    assert int(found[1]) > CONNECTIONS
    assert "Socket errors" not in done.stdout, done.stdout
    assert "Non-2xx" not in done.stdout, done.stdout

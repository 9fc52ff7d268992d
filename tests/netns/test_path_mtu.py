# SPDX-License-Identifier: Apache-2.0
"""A router of kernel TCP/IP between the stack and the client takes smaller packets than both."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from qstack.demo.process import running
from qstack.lab import Impairment
from qstack.site import blob_sha256
from tests.netns.rig import bracketed, open_lab, serving

if TYPE_CHECKING:
    from pathlib import Path

    from qstack.lab import Lab

SIZE = 4 << 20
PATH_MTU = 1300
CONNECTIONS = 8

# A server of four queues on two workers; its counters on request.
COUNTING_SERVER = """
import json, sys
from qstack import Server
from qstack.http import handler
from qstack.site import Site
server = Server(**json.loads(sys.argv[1]), queues=4, workers=2)
server.listen(port=8080)(handler(Site()))
with server:
    print("serves", flush=True)
    sys.stdin.readline()
    print(json.dumps(server.stats()["queues"]))
"""


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


@pytest.mark.parametrize("version", [4, 6])
def test_the_router_tells_whichever_queue_and_each_connection_knows(version: int) -> None:
    """A NIC hashes what the router says by the router's address: one queue gets it all."""
    with open_lab("tap", bad_wire=Impairment(delay_us=100)) as lab:
        assert lab.host4 is not None
        assert lab.host6 is not None
        settings = {
            "nic": f"tap:{lab.server_if}",
            "addresses": [str(lab.server4), str(lab.server6)],
            "host_addresses": [str(lab.host4), str(lab.host6)],
            "gateways": [str(lab.host4.ip), str(lab.host6.ip)],
        }
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", COUNTING_SERVER, json.dumps(settings)]
        server = lab.server.popen(command, stdin=pipe, stdout=pipe, text=True)
        with server, running(server):
            narrow(lab)
            address = bracketed((lab.server4 if version == 4 else lab.server6).ip)
            url = f"http://{address}:8080/bytes/{SIZE}"
            for _ in range(CONNECTIONS):
                curl = ["curl", "-sS", "--fail", "-m", "60", "-o", "/dev/null", url]
                lab.client.run(curl, check=True)
            counters = json.loads(server.communicate("\n", timeout=20)[0])
        assert lab.wire is not None
        lab.wire.stop()
    used = [queue["passive_opens"] for queue in counters]
    assert sum(used) == CONNECTIONS
    assert [queue["pmtu_lowered"] for queue in counters] == used
    assert sum(queue["pmtu_black_holes"] for queue in counters) == 0

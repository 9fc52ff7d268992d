# SPDX-License-Identifier: Apache-2.0
"""AF_XDP while the call that tells the kernel to send fails, as it may at any time."""

from __future__ import annotations

import re
import subprocess
import sys

from qstack.demo.process import running
from qstack.lab import veth_lab
from qstack.matrix.transfer import transfer
from tests.netns.driver_rig import ROOT, program

PORT = 8080
BYTES = 3_000_000
FAILED_LEAST = 50


def test_r06_bytes_arrive_though_calls_to_send_fail() -> None:
    faults = program("tests/libsendto_faults.so")
    with veth_lab() as lab:
        args = [sys.executable, "-m", "tools.soak.server", f"xsk:{lab.server_if}", str(PORT)]
        server = lab.server.popen(
            ["env", f"LD_PRELOAD={faults}", *args],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with server, running(server):
            with lab.client.entered():
                for host in (lab.server4, lab.server6):
                    for upload in (False, True):
                        done = transfer(str(host.ip), PORT, BYTES, upload=upload, limit_s=60)
                        assert done.finished, done
                        assert done.hash_ok is True, done
            server.terminate()
            _, said = server.communicate(timeout=10)
    assert server.returncode == 0, said
    # Programs that it started had nothing to send.
    assert sum(map(int, re.findall(r"^sendto_faults: (\d+)$", said, re.MULTILINE))) > FAILED_LEAST

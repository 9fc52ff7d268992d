# SPDX-License-Identifier: Apache-2.0
"""QStack and Linux over bad wires, every pair of settings. Speed is for `qstack bench tcp`."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from typing import Literal

import pytest

from qstack.lab import veth_lab
from qstack.matrix import Cell, all_pairs, every_cell, run_cell
from qstack.matrix.run import device_dropped, prepare
from tests.netns.rig import QSTACK

SMALL_SEGMENTS = 120
LIMIT_S = 60.0
OPTIONS_AT = 5  # of struct tcp_info
TIMESTAMPS, SACK, ECN = 1, 2, 8


def plain_cell(
    *,
    client: Literal["qstack", "linux"] = "linux",
    sender: Literal["qstack", "linux"] = "qstack",
    ip: Literal[4, 6] = 4,
    on: bool = True,
    loss: float = 0,
) -> Cell:
    return Cell(
        client=client,
        sender=sender,
        ip=ip,
        mtu=1500,
        sack=on,
        timestamps=on,
        ecn=on,
        loss=loss,
        reorder=False,
        duplicate=False,
        delay_ms=1,
    )


@pytest.mark.slow
@pytest.mark.parametrize("cell", all_pairs(every_cell()), ids=str)
def test_every_byte_arrives_and_nothing_gets_stuck(cell: Cell) -> None:
    small = SMALL_SEGMENTS * cell.segment_bytes()
    figures = run_cell(cell, seeds=[1], limit_s=LIMIT_S, n_bytes=small)
    for side in (figures["qstack"], figures["linux"]):
        assert not side["stuck"], side["error"]
        assert side["hash_ok"] is True, side["error"]
        assert side["finished"]


@pytest.mark.parametrize("on", [False, True])
@pytest.mark.parametrize("ip", [4, 6])
def test_kernels_negotiate_what_the_cell_says(ip: Literal[4, 6], on: bool) -> None:
    with veth_lab() as lab:
        prepare(lab, plain_cell(ip=ip, on=on))
        host = str((lab.server4 if ip == 4 else lab.server6).ip)
        family = socket.AF_INET if ip == 4 else socket.AF_INET6
        with lab.server.entered():
            listener = socket.create_server((host, 80), family=family)
        with listener, lab.client.entered(), socket.create_connection((host, 80)) as client:
            served, _ = listener.accept()
            with served:
                for end in (client, served):
                    options = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[OPTIONS_AT]
                    all_three = TIMESTAMPS | SACK | ECN
                    assert options & all_three == (all_three if on else 0)
                    name = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
                    assert name.rstrip(b"\0") == b"cubic"


@pytest.mark.parametrize("client", ["qstack", "linux"])
@pytest.mark.parametrize("sender", ["qstack", "linux"])
def test_what_a_wire_took_is_counted_and_was_sent_again(
    client: Literal["qstack", "linux"], sender: Literal["qstack", "linux"]
) -> None:
    cell = plain_cell(client=client, sender=sender, loss=10)
    figures = run_cell(cell, seeds=[1], limit_s=LIMIT_S, n_bytes=300_000)
    for side in (figures["qstack"], figures["linux"]):
        assert side["destroyed"] >= 5
        assert side["retransmits"] >= side["destroyed"] // 2  # acknowledgements are lost, too


def test_what_a_device_does_not_pass_on_is_counted() -> None:
    nobody_takes = b"\xff" * 6 + b"\x02" + b"\0" * 5 + b"\x88\xb5" + b"\0" * 46  # IEEE 802, local
    with veth_lab() as lab:
        before = device_dropped(lab.server, lab.server_if)
        with lab.client.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
            s.bind((lab.client_if, 0))
            for _ in range(3):
                s.send(nobody_takes)
        end_s = time.monotonic() + 5
        while (dropped := device_dropped(lab.server, lab.server_if) - before) < 3:
            assert time.monotonic() < end_s, dropped
        assert dropped == 3


@pytest.mark.slow
def test_the_command_gives_a_table_as_json() -> None:
    command = [*QSTACK, "bench", "tcp", "--json", "--cells", "2", "--bytes", "20000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["complete"]
    assert document["summary"]["cells"] == len(document["rows"]) == 2
    for figures in document["rows"]:
        assert figures["qstack"]["moved_bytes"] == figures["linux"]["moved_bytes"] == 20_000
        assert figures["ratio"] > 0

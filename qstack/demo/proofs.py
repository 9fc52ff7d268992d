# SPDX-License-Identifier: Apache-2.0
"""What the demonstration proves before it measures: the rule, the RSS table, moving flows."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import nicprog

from ..lab import Namespace
from ..site import HELLO
from .load import HIGH_CLASS, HIGH_PORT, LOW_PORT, Load, Popen, flood, flood_result

QUEUES = 4
HIGH_QUEUE = QUEUES - 1
_LOW_CONNECTIONS, _HIGH_CONNECTIONS = 24, 12


@dataclass(kw_only=True, slots=True)
class Proof:
    """Whether something holds, and the figures that say so."""

    holds: bool
    figures: dict[str, Any] = field(default_factory=dict)


def packets(nic: nicprog.Backend) -> list[int]:
    """Packets that each queue received so far."""
    return [queue.packets for queue in nic.counters().queues]


def _delta(before: list[int], after: list[int]) -> list[int]:
    return [b - a for a, b in zip(before, after, strict=True)]


def program(nic: nicprog.Backend, **rss: object) -> None:
    """Reserve the last queue for the high port; spread the rest as told (default: equally)."""
    text = f'device = "{nic.device}"\n'
    if rss:
        text += "[rss]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in rss.items())
    text += f"[[reserve]]\nqueue = {HIGH_QUEUE}\nport = {HIGH_PORT}\n"
    nicprog.apply(nic, nicprog.plan(nic, nicprog.parse(text, "demo")))


def curl(client: Namespace, url: str) -> bytes:
    """Return what an unmodified curl got, or nothing."""
    done = client.run(["curl", "-sS", "-g", "-m", "10", url], capture_output=True)
    return bytes(done.stdout)


def curl_answered(client: Namespace, hosts: list[str]) -> Proof:
    """Both ports answer curl with the right body, over both IP versions."""
    bodies = {
        url: curl(client, url) == HELLO
        for host in hosts
        for url in (f"http://{host}:{LOW_PORT}/", f"http://{host}:{HIGH_PORT}/")
    }
    return Proof(holds=all(bodies.values()), figures={"urls": bodies})


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    """What the server saw of a connection, and where the NIC's key and table should have put it."""

    queue: int
    priority: int
    table_queue: int


def _toeplitz(key: bytes, data: bytes) -> int:
    bits, top = int.from_bytes(key, "big"), 8 * len(key) - 32
    value = 0
    for i in range(8 * len(data)):
        if data[i // 8] >> (7 - i % 8) & 1:
            value ^= bits >> (top - i) & 0xFFFF_FFFF
    return value


def table_queue(state: nicprog.NicState, peer: tuple[str, int], own: tuple[str, int]) -> int:
    """Queue that RSS gives to frames from ``peer``: Toeplitz over addresses and ports, table."""
    (peer_ip, peer_port), (own_ip, own_port) = peer, own
    data = ip_address(peer_ip).packed + ip_address(own_ip).packed
    data += peer_port.to_bytes(2, "big") + own_port.to_bytes(2, "big")
    return state.table.entries[_toeplitz(state.key, data) % len(state.table.entries)]


def _where(nic: nicprog.Backend, client: Namespace, own: tuple[str, int], n: int) -> list[_Seen]:
    """Open ``n`` connections and ask the server about each."""
    state = nic.read()
    seen = []
    for _ in range(n):
        body = curl(client, f"http://{own[0]}:{own[1]}/where")
        if not body:
            return []
        document = json.loads(body)
        address, port = document["peer"]
        seen.append(
            _Seen(
                queue=document["queue"],
                priority=document["priority"],
                table_queue=table_queue(state, (address, port), own),
            )
        )
    return seen


def rule_holds(nic: nicprog.Backend, client: Namespace, host: str) -> Proof:
    """The high port comes to its queue and only there; all else where the table says."""
    before = packets(nic)
    high = _where(nic, client, (host, HIGH_PORT), _HIGH_CONNECTIONS)
    during_high = _delta(before, packets(nic))
    low = _where(nic, client, (host, LOW_PORT), _LOW_CONNECTIONS)
    during_low = _delta(before, packets(nic))[HIGH_QUEUE] - during_high[HIGH_QUEUE]
    holds = (
        {(seen.queue, seen.priority) for seen in high} == {(HIGH_QUEUE, HIGH_CLASS)}
        and bool(low)
        and all(seen.queue == seen.table_queue != HIGH_QUEUE for seen in low)
        and during_high[HIGH_QUEUE] >= 4 * _HIGH_CONNECTIONS
        and during_low == 0
    )
    return Proof(
        holds=holds,
        figures={
            "packets_by_queue_during_high": during_high,
            "low_queues_seen": [seen.queue for seen in low],
            "low_queues_by_table": [seen.table_queue for seen in low],
        },
    )


def table_moves_flows(nic: nicprog.Backend, popen: Popen, host: str) -> Proof:
    """Under load the table spreads the flood; pointing it at queue 0 moves all of it there."""
    wrk = flood(popen, host, Load(connections=48, seconds=3))
    try:
        time.sleep(0.6)
        start = packets(nic)
        time.sleep(0.6)
        spread = _delta(start, packets(nic))
        program(nic, equal=[0])
        time.sleep(0.2)
        start = packets(nic)
        time.sleep(0.6)
        moved = _delta(start, packets(nic))
        flood_result(wrk)
    except subprocess.TimeoutExpired:
        return Proof(holds=False)
    finally:
        wrk.kill()
        program(nic)
    shared = spread[:HIGH_QUEUE]
    holds = (
        min(shared) > 0
        and max(shared) < 3 * min(shared)
        and moved[0] > 0
        and not any(moved[1:HIGH_QUEUE])
    )
    return Proof(
        holds=holds,
        figures={"packets_by_queue_before": spread, "packets_by_queue_after": moved},
    )

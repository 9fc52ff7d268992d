# SPDX-License-Identifier: Apache-2.0
"""Packets as events in virtual time: rings, cores that serve them in turn, flows that move.

Compiled by numba. A core is brought up to a time when somebody needs to know its state: when a ring
is full, when packets of what moved are held, and at the end of a period. That is exact, as a core
takes only what had arrived when it looked. What always holds: arrived = served + lost + in rings +
held.
"""

from __future__ import annotations

import math
from typing import Any

import numba as nb
import numpy as np

BURST = 32
"""Packets that a core takes from a queue before it looks at its next one."""

STEPS = 64
"""Parts of each doubling in a histogram: bounds are at most 1.6 % apart."""

HISTOGRAM_SIZE = STEPS * 40
NO_QUEUE = -1

# Indexes of `count`.
ARRIVED, SERVED, LOST, REORDERED, HELD, HELD_NOW, COUNTS = range(7)

_jit = nb.njit(cache=True, error_model="numpy", nogil=True)

# Fields of the state; the arrays are documented by qstack.sim.state.State.
STATE = (
    "ring_ns", "ring_flow", "head", "length", "queue_core", "queue_ready", "core_ns", "core_turn",
    "core_left", "core_cost", "table", "key_wait", "key_queue", "key_ready", "held_ns",
    "held_flow", "flow_key", "flow_last_ns", "flow_last_start", "key_packets", "queue_packets",
    "core_busy", "core_served", "histogram", "count", "random",
)  # fmt: skip


@_jit
def bin_of(ns: int) -> int:
    """Return the part of a histogram that a duration belongs to."""
    if ns < STEPS:
        return int(ns)
    exponent = math.frexp(float(ns))[1] - 7  # ns >> exponent is 64 to 127
    return min(HISTOGRAM_SIZE - 1, exponent * STEPS + (ns >> exponent))


@_jit
def _ready_ns(s: Any, queue: int, size: int) -> int:
    return max(s.ring_ns[queue, s.head[queue] & (size - 1)], s.queue_ready[queue])


@_jit
def _pick(s: Any, core: int, before_ns: int) -> int:
    """Return the queue that the core serves next, or -1; its clock goes on if it was idle."""
    n_queues = len(s.head)
    size = s.ring_ns.shape[1]
    q = s.core_turn[core]
    if s.core_left[core] > 0 and s.queue_core[q] == core and s.length[q] > 0:
        if _ready_ns(s, q, size) <= s.core_ns[core]:
            s.core_left[core] -= 1
            return q
    earliest, found = before_ns, -1
    for i in range(1, n_queues + 1):
        other = q + i
        if other >= n_queues:
            other -= n_queues
        if s.queue_core[other] != core or s.length[other] == 0:
            continue
        ns = _ready_ns(s, other, size)
        if ns <= s.core_ns[core]:
            found = other
            break
        if ns < earliest:
            earliest, found = ns, other
    if found >= 0:
        s.core_turn[core] = found
        s.core_left[core] = BURST - 1
    return found


@_jit
def _served(s: Any, flow: int, queue: int, arrived_ns: int, start_ns: int, end_ns: int) -> None:
    """Note order, and that a packet which others are held for is done."""
    last = s.flow_last_ns[flow]
    if arrived_ns >= last:
        if start_ns < s.flow_last_start[flow]:
            s.count[REORDERED] += 1
        s.flow_last_ns[flow] = arrived_ns
        s.flow_last_start[flow] = start_ns
    elif start_ns > s.flow_last_start[flow]:
        s.count[REORDERED] += 1
    key = s.flow_key[flow]
    if s.key_wait[key] > 0 and s.key_queue[key] == queue:
        s.key_wait[key] -= 1
        if s.key_wait[key] == 0:
            s.key_ready[key] = end_ns


@_jit
def advance(s: Any, core: int, to_ns: int, moving: int, exponential: bool) -> None:
    """Let a core serve what it begins before ``to_ns``."""
    mask = s.ring_ns.shape[1] - 1
    while s.core_ns[core] < to_ns:
        q = _pick(s, core, to_ns)
        if q < 0:
            return
        at = s.head[q] & mask
        arrived_ns, flow = s.ring_ns[q, at], s.ring_flow[q, at]
        start_ns = max(s.core_ns[core], max(arrived_ns, s.queue_ready[q]))
        cost = s.core_cost[core, q]
        if exponential:
            cost = _exponential(s.random, cost)
        s.head[q] += 1
        s.length[q] -= 1
        s.core_ns[core] = start_ns + cost
        s.core_busy[core] += cost
        s.core_served[core] += 1
        s.count[SERVED] += 1
        s.histogram[moving, bin_of(start_ns - arrived_ns)] += 1
        _served(s, flow, q, arrived_ns, start_ns, start_ns + cost)


@_jit
def _exponential(random: Any, mean: int) -> int:
    """Return a draw; xorshift64*, so that it does not depend on the version of a library."""
    x = random[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    random[0] = x
    part = float((x * np.uint64(0x2545F4914F6CDD1D)) >> np.uint64(11)) / 9007199254740992.0
    return int(-mean * math.log(1.0 - part) + 0.5)


@_jit
def _push(s: Any, ns: int, flow: int, queue: int) -> bool:
    size = s.ring_ns.shape[1]
    if s.length[queue] >= size:
        return False
    at = (s.head[queue] + s.length[queue]) & (size - 1)
    s.ring_ns[queue, at] = ns
    s.ring_flow[queue, at] = flow
    s.length[queue] += 1
    return True


@_jit
def _arrive(s: Any, ns: int, flow: int, moving: int, exponential: bool) -> None:
    """Put a packet into its ring; a full one is served first as far as it can be by now."""
    queue = s.table[s.flow_key[flow]]
    if _push(s, ns, flow, queue):
        return
    advance(s, s.queue_core[queue], ns, moving, exponential)
    if not _push(s, ns, flow, queue):
        s.count[LOST] += 1


@_jit
def _release(
    s: Any, keys: Any, now_ns: int, handover_ns: int, moving: int, exponential: bool
) -> None:
    """Let go of held packets whose older ones are done, in the order of their arrival."""
    for key in keys:
        _is_open(s, key, now_ns, handover_ns, moving, exponential)
    kept = 0
    for i in range(s.count[HELD_NOW]):
        ns, flow = s.held_ns[i], s.held_flow[i]
        key = s.flow_key[flow]
        if s.key_wait[key] == 0 and s.key_ready[key] + handover_ns <= now_ns:
            # Its core has served what came before now, and cannot have begun with this one.
            core = s.queue_core[s.table[key]]
            advance(s, core, now_ns, moving, exponential)
            s.core_ns[core] = max(s.core_ns[core], now_ns)
            _arrive(s, ns, flow, moving, exponential)
        else:
            s.held_ns[kept], s.held_flow[kept] = ns, flow
            kept += 1
    s.count[HELD_NOW] = kept


@_jit
def _is_open(s: Any, key: int, ns: int, handover_ns: int, moving: int, exponential: bool) -> bool:
    """Say whether a packet of the key may go to its queue now, and not be held."""
    if s.key_wait[key] > 0:
        advance(s, s.queue_core[s.key_queue[key]], ns, moving, exponential)
    return bool(s.key_wait[key] == 0 and s.key_ready[key] + handover_ns <= ns)


@_jit
def _moved_keys(s: Any, now_ns: int, handover_ns: int) -> Any:
    keys = np.empty(len(s.key_wait), np.int64)
    n = 0
    for key in range(len(keys)):
        if s.key_wait[key] > 0 or s.key_ready[key] + handover_ns > now_ns:
            keys[n] = key
            n += 1
    return keys[:n]


@_jit
def run(
    s: Any, times_ns: Any, flows: Any, from_ns: int, until_ns: int, handover_ns: int, moving: int,
    exponential: bool,
) -> None:  # fmt: skip
    """Let packets arrive, in order of time, and serve until ``until_ns``.

    Args:
        s: The state.
        times_ns: int64[n], ascending, from ``from_ns`` to below ``until_ns``.
        flows: int32[n]; whose packet each is.
        from_ns: Begin of the period.
        until_ns: Its end.
        handover_ns: From the last packet at the old queue to the first at the new one.
        moving: 1: what is served counts as served while something moves.
        exponential: Service times are exponential, not constant.
    """
    keys = _moved_keys(s, from_ns, handover_ns)
    for i in range(len(times_ns)):
        ns, flow = times_ns[i], flows[i]
        key = s.flow_key[flow]
        s.count[ARRIVED] += 1
        s.key_packets[key] += 1
        s.queue_packets[s.table[key]] += 1
        if s.count[HELD_NOW] > 0:
            _release(s, keys, ns, handover_ns, moving, exponential)
        if len(keys) == 0 or _is_open(s, key, ns, handover_ns, moving, exponential):
            _arrive(s, ns, flow, moving, exponential)
        elif s.count[HELD_NOW] == len(s.held_ns):
            s.count[LOST] += 1
        else:
            s.held_ns[s.count[HELD_NOW]], s.held_flow[s.count[HELD_NOW]] = ns, flow
            s.count[HELD_NOW] += 1
            s.count[HELD] += 1
    if s.count[HELD_NOW] > 0:
        _release(s, keys, until_ns, handover_ns, moving, exponential)
    for core in range(len(s.core_ns)):
        advance(s, core, until_ns, moving, exponential)


@_jit
def count_in_ring(s: Any, queue: int, key: int) -> int:
    """Return how many packets of a key wait in a queue."""
    mask = s.ring_ns.shape[1] - 1
    n = 0
    for i in range(s.length[queue]):
        n += s.flow_key[s.ring_flow[queue, (s.head[queue] + i) & mask]] == key
    return n


@_jit
def toeplitz(tuples: Any, table: Any, out: Any) -> None:
    """Write the hash of each row of octets: the XOR of one word for each of them."""
    for i in range(len(tuples)):
        h = np.uint32(0)
        for j in range(tuples.shape[1]):
            h ^= table[j, tuples[i, j]]
        out[i] = h

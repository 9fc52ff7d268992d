# SPDX-License-Identifier: Apache-2.0
"""Packets as events in virtual time: rings, cores that serve them in turn, flows that move.

Compiled by numba. A core is brought up to a time when somebody needs to know its state: when a ring
is full, when packets of what moved are held, and at the end of a period. That is exact, as a core
takes only what had arrived when it looked. What always holds: arrived = served + lost + in rings +
held.

Functions take the state as eleven arrays, in one order (``State.arrays``), because a tuple of them
would be counted in and out at each call. ``qstack sim`` shows packets per second.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numba as nb
import numpy as np

BURST: Final = 32
"""Packets that a core takes from a queue before it looks at its next one."""

STEPS: Final = 64
"""Parts of each doubling in a histogram: bounds are at most 1.6 % apart."""

HISTOGRAM_SIZE: Final = STEPS * 40

# Indexes of `counts`.
ARRIVED, SERVED, LOST, REORDERED, HELD, HELD_NOW, COUNTS = range(7)

PACKET: Final = np.dtype([("ns", "i8"), ("flow", "i8")])
"""What waits: when it arrived, and whose it is."""

QUEUE: Final = np.dtype(
    [
        ("core", "i8"),
        ("head", "i8"),  # of its ring, not wrapped
        ("length", "i8"),
        ("ready_ns", "i8"),  # not served before
        ("packets", "i8"),  # arrived, since cleared
    ]
)
CORE: Final = np.dtype(
    [
        ("ns", "i8"),  # when it is free
        ("n_queues", "i8"),
        ("turn", "i8"),  # index into its queues
        ("left", "i8"),  # of the burst
        ("busy_ns", "i8"),  # since cleared
        ("served", "i8"),  # likewise
    ]
)
KEY: Final = np.dtype(
    [
        ("queue", "i8"),
        ("wait", "i8"),  # packets at the old queue that others are held for
        ("old_queue", "i8"),
        ("ready_ns", "i8"),  # when the last of them was done
        ("packets", "i8"),  # arrived, since cleared
    ]
)
FLOW: Final = np.dtype(
    [
        ("key", "i8"),
        ("last_ns", "i8"),  # arrival of the newest packet that was served
        ("last_start_ns", "i8"),  # and when that was
    ]
)

_jit = nb.njit(cache=True, error_model="numpy", nogil=True)


@_jit
def bin_of(ns: int) -> int:
    """Return the part of a histogram that a duration belongs to."""
    if ns < STEPS:
        return int(ns)
    exponent = math.frexp(float(ns))[1] - 7  # ns >> exponent is 64 to 127
    return min(HISTOGRAM_SIZE - 1, exponent * STEPS + (ns >> exponent))


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
def _ready_ns(ring: Any, queues: Any, q: int) -> int:
    at = queues[q].head & (ring.shape[1] - 1)
    return int(max(ring[q, at].ns, queues[q].ready_ns))


@_jit
def _pick(ring: Any, queues: Any, cores: Any, turns: Any, core: int, before_ns: int) -> int:
    """Return the queue that the core serves next, or -1 when none has a packet before a time."""
    n = cores[core].n_queues
    turn = cores[core].turn
    now_ns = cores[core].ns
    if cores[core].left > 0 and turn < n:
        q = turns[core, turn]
        if queues[q].length > 0 and _ready_ns(ring, queues, q) <= now_ns:
            cores[core].left -= 1
            return int(q)
    earliest_ns, found = before_ns, -1
    for _ in range(n):
        turn = turn + 1 if turn + 1 < n else 0
        q = turns[core, turn]
        if queues[q].length == 0:
            continue
        ns = _ready_ns(ring, queues, q)
        if ns < earliest_ns:
            earliest_ns, found = ns, turn
            if ns <= now_ns:
                break
    if found < 0:
        return -1
    cores[core].turn = found
    cores[core].left = BURST - 1
    return int(turns[core, found])


@_jit
def _note(
    keys: Any, flows: Any, counts: Any, flow: int, q: int, ns: int, start: int, end: int
) -> None:
    """Note the order of a packet that is served, and that others need not be held for it."""
    f = flows[flow]
    if ns >= f.last_ns:
        if start < f.last_start_ns:
            counts[REORDERED] += 1
        f.last_ns = ns
        f.last_start_ns = start
    elif start > f.last_start_ns:
        counts[REORDERED] += 1
    key = keys[f.key]
    if key.wait > 0 and key.old_queue == q:
        key.wait -= 1
        if key.wait == 0:
            key.ready_ns = end


@_jit
def advance(
    ring: Any, queues: Any, cores: Any, turns: Any, costs: Any, keys: Any, held: Any, flows: Any,
    histogram: Any, counts: Any, random: Any, core: int, to_ns: int, moving: int, exponential: bool,
) -> None:  # fmt: skip
    """Let a core serve what it begins before ``to_ns``."""
    while cores[core].ns < to_ns:
        q = _pick(ring, queues, cores, turns, core, to_ns)
        if q < 0:
            return
        at = queues[q].head & (ring.shape[1] - 1)
        ns, flow = ring[q, at].ns, ring[q, at].flow
        start_ns = max(cores[core].ns, max(ns, queues[q].ready_ns))
        cost = costs[core, q]
        if exponential:
            cost = _exponential(random, cost)
        queues[q].head += 1
        queues[q].length -= 1
        cores[core].ns = start_ns + cost
        cores[core].busy_ns += cost
        cores[core].served += 1
        counts[SERVED] += 1
        histogram[moving, bin_of(start_ns - ns)] += 1
        _note(keys, flows, counts, flow, q, ns, start_ns, start_ns + cost)


@_jit
def _push(ring: Any, queues: Any, q: int, ns: int, flow: int) -> bool:
    size = ring.shape[1]
    if queues[q].length >= size:
        return False
    at = (queues[q].head + queues[q].length) & (size - 1)
    ring[q, at].ns = ns
    ring[q, at].flow = flow
    queues[q].length += 1
    return True


@_jit
def _arrive(
    ring: Any, queues: Any, cores: Any, turns: Any, costs: Any, keys: Any, held: Any, flows: Any,
    histogram: Any, counts: Any, random: Any, ns: int, now_ns: int, flow: int, moving: int,
    exponential: bool,
) -> None:  # fmt: skip
    """Put a packet into its ring; a full one is served first as far as it can be by now."""
    q = keys[flows[flow].key].queue
    if _push(ring, queues, q, ns, flow):
        return
    advance(
        ring, queues, cores, turns, costs, keys, held, flows, histogram, counts, random,
        queues[q].core, now_ns, moving, exponential,
    )  # fmt: skip
    if not _push(ring, queues, q, ns, flow):
        counts[LOST] += 1


@_jit
def _is_open(
    ring: Any, queues: Any, cores: Any, turns: Any, costs: Any, keys: Any, held: Any, flows: Any,
    histogram: Any, counts: Any, random: Any, key: int, ns: int, handover_ns: int, moving: int,
    exponential: bool,
) -> bool:  # fmt: skip
    """Say whether a packet of the key may go to its queue now, and not be held."""
    if keys[key].wait > 0:
        advance(
            ring, queues, cores, turns, costs, keys, held, flows, histogram, counts, random,
            queues[keys[key].old_queue].core, ns, moving, exponential,
        )  # fmt: skip
    return bool(keys[key].wait == 0 and keys[key].ready_ns + handover_ns <= ns)


@_jit
def _release(
    ring: Any, queues: Any, cores: Any, turns: Any, costs: Any, keys: Any, held: Any, flows: Any,
    histogram: Any, counts: Any, random: Any, moved: Any, now_ns: int, handover_ns: int,
    moving: int, exponential: bool,
) -> None:  # fmt: skip
    """Let go of held packets whose older ones are done, in the order of their arrival."""
    n_open = 0
    for key in moved:
        n_open += _is_open(
            ring, queues, cores, turns, costs, keys, held, flows, histogram, counts, random, key,
            now_ns, handover_ns, moving, exponential,
        )  # fmt: skip
    if n_open == 0:
        return
    kept = 0
    for i in range(counts[HELD_NOW]):
        ns, flow = held[i].ns, held[i].flow
        key = flows[flow].key
        ready_ns = keys[key].ready_ns + handover_ns
        if keys[key].wait == 0 and ready_ns <= now_ns:
            # Its core has served what came before now, and cannot have begun before it was ready.
            core = queues[keys[key].queue].core
            advance(
                ring, queues, cores, turns, costs, keys, held, flows, histogram, counts, random,
                core, now_ns, moving, exponential,
            )  # fmt: skip
            cores[core].ns = max(cores[core].ns, ready_ns)
            _arrive(
                ring, queues, cores, turns, costs, keys, held, flows, histogram, counts, random, ns,
                now_ns, flow, moving, exponential,
            )  # fmt: skip
        else:
            held[kept].ns, held[kept].flow = ns, flow
            kept += 1
    counts[HELD_NOW] = kept


@_jit
def _moved_keys(keys: Any, now_ns: int, handover_ns: int) -> Any:
    moved = np.empty(len(keys), np.int64)
    n = 0
    for key in range(len(keys)):
        if keys[key].wait > 0 or keys[key].ready_ns + handover_ns > now_ns:
            moved[n] = key
            n += 1
    return moved[:n]


@_jit
def run(
    ring: Any, queues: Any, cores: Any, turns: Any, costs: Any, keys: Any, held: Any, flows: Any,
    histogram: Any, counts: Any, random: Any, times_ns: Any, whose: Any, from_ns: int,
    until_ns: int, handover_ns: int, moving: int, exponential: bool,
) -> None:  # fmt: skip
    """Let packets arrive, in order of time, and serve until ``until_ns``.

    After the state come ``times_ns``, int64[n], ascending, from ``from_ns`` to below ``until_ns``;
    ``whose``, int32[n], the flow of each packet; begin and end of the period; ``handover_ns`` from
    the last packet at the old queue to the first at the new one; ``moving``, 1 when what is served
    counts as served while something moves; and whether service times are exponential.
    """
    moved = _moved_keys(keys, from_ns, handover_ns)
    for i in range(len(times_ns)):
        ns, flow = times_ns[i], whose[i]
        key = flows[flow].key
        counts[ARRIVED] += 1
        keys[key].packets += 1
        q = keys[key].queue
        queues[q].packets += 1
        if len(moved) == 0 and _push(ring, queues, q, ns, flow):
            continue  # nearly all; calls with the whole state cost more than that
        if counts[HELD_NOW] > 0:
            _release(
                ring, queues, cores, turns, costs, keys, held, flows, histogram, counts, random,
                moved, ns, handover_ns, moving, exponential,
            )  # fmt: skip
        if len(moved) > 0 and _is_open(
            ring, queues, cores, turns, costs, keys, held, flows, histogram, counts, random,
            moved[-1], ns, handover_ns, moving, exponential,
        ):  # fmt: skip
            moved = moved[:-1]  # what was held for it has just been let go of
        if len(moved) == 0 or _is_open(
            ring, queues, cores, turns, costs, keys, held, flows, histogram, counts, random, key,
            ns, handover_ns, moving, exponential,
        ):  # fmt: skip
            _arrive(
                ring, queues, cores, turns, costs, keys, held, flows, histogram, counts, random, ns,
                ns, flow, moving, exponential,
            )  # fmt: skip
        elif counts[HELD_NOW] == len(held):
            counts[LOST] += 1
        else:
            held[counts[HELD_NOW]].ns, held[counts[HELD_NOW]].flow = ns, flow
            counts[HELD_NOW] += 1
            counts[HELD] += 1
    if counts[HELD_NOW] > 0:
        _release(
            ring, queues, cores, turns, costs, keys, held, flows, histogram, counts, random, moved,
            until_ns, handover_ns, moving, exponential,
        )  # fmt: skip
    for core in range(len(cores)):
        advance(
            ring, queues, cores, turns, costs, keys, held, flows, histogram, counts, random, core,
            until_ns, moving, exponential,
        )  # fmt: skip


@_jit
def count_in_ring(ring: Any, queues: Any, flows: Any, q: int, key: int) -> int:
    """Return how many packets of a key wait in a queue."""
    n = 0
    for i in range(queues[q].length):
        at = (queues[q].head + i) & (ring.shape[1] - 1)
        n += flows[ring[q, at].flow].key == key
    return n

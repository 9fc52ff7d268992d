# SPDX-License-Identifier: Apache-2.0
"""The simulated machine: queueing against closed forms, order, loss, what moves, what it costs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstack.errors import ConfigError
from qstack.policies.contract import BUCKET_TO_QUEUE, CORE_OFF, QUEUE_TO_CORE
from qstack.sim import Machine, engine
from qstack.sim.figures import bin_middle_ns, quantile_us
from qstack.sim.state import State

US, MS = 1000, 1_000_000
ONE = Machine(cores=1, queues=1, buckets=1, rules=0, ring=1 << 16, engine_ns=1)
TWO = Machine(cores=2, queues=2, buckets=2, rules=1, ring=64, engine_ns=1, handover_ns=0)


def state_of(machine: Machine, cost_ns: float, hashes: list[int]) -> State:
    state = State(machine, cost_ns, seed=1)
    state.add_flows(np.array(hashes, np.uint32))
    return state


def run(state: State, packets: list[tuple[int, int]], from_ns: int, until_ns: int) -> None:
    """Let (time, flow) arrive."""
    times = np.array([ns for ns, _ in packets], np.int64)
    flows = np.array([flow for _, flow in packets], np.int32)
    state.run(times, flows, from_ns, until_ns, moving=False)


def waits_us(state: State) -> float:
    """Mean time in the ring, from the histogram."""
    counts = state.arrays.histogram.sum(axis=0)
    middles = np.array([bin_middle_ns(i) for i in range(len(counts))])
    return float((counts * middles).sum() / counts.sum() / US)


def counts(state: State) -> dict[str, int]:
    names = ("arrived", "served", "lost", "reordered", "held")
    return dict(zip(names, state.arrays.counts.tolist(), strict=False))


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
@pytest.mark.parametrize(("service", "variance"), [("constant", 0.0), ("exponential", 1.0)])
@pytest.mark.parametrize("queues", [1, 4])
def test_the_mean_wait_is_that_of_pollaczek_and_khinchine(
    load: float, service: str, variance: float, queues: int
) -> None:
    # M/D/1 and M/M/1. Whose turn it is does not change the mean: packets cost the same.
    machine = replace(ONE, service=service, queues=queues, buckets=queues)
    cost_ns = 2000
    state = state_of(machine, cost_ns, list(range(queues)))
    random = np.random.default_rng(7)
    gaps = random.exponential(cost_ns / load, 1_000_000)
    times = np.cumsum(gaps).astype(np.int64)
    flows = random.integers(0, queues, len(times)).astype(np.int32)
    until_ns = int(times[-1]) + MS
    state.run(times, flows, 0, until_ns, moving=False)
    expected_us = load / (1 - load) * cost_ns / US * (1 + variance) / 2
    assert waits_us(state) == pytest.approx(expected_us, rel=0.04)
    assert counts(state)["served"] == len(times)
    assert state.arrays.cores["busy_ns"][0] / until_ns == pytest.approx(load, rel=0.01)


def test_the_99th_percentile_of_an_exponential_queue() -> None:
    state = state_of(replace(ONE, service="exponential"), 1000, [0])
    times = np.cumsum(np.random.default_rng(8).exponential(2000, 1_000_000)).astype(np.int64)
    state.run(times, np.zeros(len(times), np.int32), 0, int(times[-1]) + MS, moving=False)
    # M/M/1: P(wait > t) = load exp(-(1 - load) t / cost).
    expected_us = np.log(0.5 / 0.01) / 0.5
    assert quantile_us(state.arrays.histogram[0], 0.99) == pytest.approx(expected_us, rel=0.04)


def test_periods_of_any_length_give_the_same() -> None:
    times = np.cumsum(np.random.default_rng(9).exponential(700, 20_000)).astype(np.int64)
    flows = np.arange(len(times), dtype=np.int32) % 8
    histograms = []
    for period_ns in (10 * US, MS, 100 * MS):
        state = state_of(replace(TWO, queues=4, buckets=8), 1000, list(range(8)))
        for from_ns in range(0, 100 * MS, period_ns):
            part = slice(*np.searchsorted(times, (from_ns, from_ns + period_ns)))
            state.run(times[part], flows[part], from_ns, from_ns + period_ns, moving=False)
        histograms.append(state.arrays.histogram.copy())
        assert counts(state)["served"] == len(times)
    assert all(np.array_equal(histograms[0], h) for h in histograms)


def test_a_full_ring_loses_what_comes_then() -> None:
    state = state_of(replace(ONE, ring=4), 1000 * US, [0])
    run(state, [(i, 0) for i in range(10)], 0, MS)
    # One is being served, four wait.
    assert counts(state) == {"arrived": 10, "served": 1, "lost": 5, "reordered": 0, "held": 0}
    assert state.waiting == 4


def overload_then_move(machine: Machine) -> State:
    """Ten packets of a flow at once, its bucket moves to the idle core, and ten more."""
    state = state_of(machine, 10 * US, [0])
    run(state, [(i, 0) for i in range(10)], 0, 10 * US)
    state.move(BUCKET_TO_QUEUE, 0, 1, 10 * US)
    run(state, [(10 * US + i, 0) for i in range(10)], 10 * US, MS)
    return state


def test_packets_of_a_bucket_that_moves_wait_for_the_older_ones() -> None:
    state = overload_then_move(TWO)
    assert counts(state) == {"arrived": 20, "served": 20, "lost": 0, "reordered": 0, "held": 10}
    assert state.arrays.cores["served"].tolist() == [10, 10]
    # The old core is done with them at 100 us; the new one had nothing to do before.
    assert state.arrays.cores["ns"][0] == 100 * US
    assert state.arrays.cores["ns"][1] >= 200 * US


def test_without_holding_they_overtake() -> None:
    state = overload_then_move(replace(TWO, hold=False))
    assert counts(state)["held"] == 0
    assert counts(state)["reordered"] > 0
    assert state.arrays.cores["ns"][1] < 200 * US


def test_a_handover_takes_its_time() -> None:
    state = state_of(replace(TWO, handover_ns=50 * US), 10 * US, [0])
    run(state, [(0, 0)], 0, 10 * US)
    state.move(BUCKET_TO_QUEUE, 0, 1, 10 * US)
    run(state, [(20 * US, 0), (70 * US, 0)], 10 * US, MS)
    assert counts(state)["held"] == 1
    assert quantile_us(state.arrays.histogram[0], 1.0) == pytest.approx(40, rel=0.02)


def test_a_packet_that_is_being_served_counts_as_an_older_one() -> None:
    state = state_of(TWO, 10 * US, [0])
    run(state, [(0, 0)], 0, 5 * US)
    state.move(BUCKET_TO_QUEUE, 0, 1, 5 * US)
    run(state, [(6 * US, 0)], 5 * US, MS)
    assert counts(state)["held"] == 1
    assert state.arrays.flows["last_start_ns"][0] == 10 * US


def test_a_core_takes_a_burst_of_a_queue_and_then_it_is_the_next_ones_turn() -> None:
    machine = replace(ONE, queues=2, buckets=2)
    state = state_of(machine, US, [0, 1])
    run(state, [(i, 0) for i in range(engine.BURST + 8)] + [(100, 1)], 0, MS)
    assert state.arrays.flows["last_start_ns"][1] == engine.BURST * US
    assert state.arrays.flows["last_start_ns"][0] == (engine.BURST + 8) * US


def test_a_queue_that_moves_takes_its_packets_with_it() -> None:
    state = state_of(TWO, 10 * US, [0])
    run(state, [(i, 0) for i in range(10)], 0, 10 * US)
    state.move(QUEUE_TO_CORE, 0, 1, 10 * US)
    state.clear_period()
    run(state, [], 10 * US, MS)
    assert state.arrays.cores["served"].tolist() == [0, 9]
    assert counts(state)["reordered"] == 0


def test_a_flow_with_a_rule_has_a_queue_of_its_own_and_gets_back() -> None:
    state = state_of(TWO, 10 * US, [0, 0])
    run(state, [(0, 0), (1, 1), (2, 0), (3, 1)], 0, 10 * US)
    assert state.move_flow(0, 0, 1, 10 * US)
    assert state.bucket_of(0) == 0
    run(state, [(11 * US, 0), (12 * US, 1)], 10 * US, 15 * US)
    # Packets of the flow are held now: it cannot move again without losing its order.
    assert not state.move_flow(0, 0, -1, 15 * US)
    run(state, [], 15 * US, MS)
    assert state.arrays.cores["served"].tolist() == [5, 1]
    assert state.move_flow(0, 0, -1, MS)
    run(state, [(MS + 1, 0)], MS, 2 * MS)
    assert state.arrays.cores["served"].tolist() == [6, 1]
    assert counts(state)["reordered"] == 0
    assert counts(state)["held"] == 1


def test_far_memory_and_a_sibling_cost() -> None:
    machine = Machine(
        cores=4, queues=4, buckets=4, nodes=2, smt=2, smt_slowdown=1.5, numa_slowdown=2.0
    )
    state = State(machine, 1000, seed=1)
    assert state.arrays.costs[0].tolist() == [1500, 1500, 3000, 3000]
    state.move(CORE_OFF, 1, 0, 0)
    assert state.arrays.costs[0].tolist() == [1000, 1000, 2000, 2000]
    assert state.arrays.costs[2].tolist() == [3000, 3000, 1500, 1500]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    hold=st.booleans(),
    ring=st.sampled_from([2, 16, 1024]),
    handover_us=st.integers(0, 500),
)
def test_every_packet_is_counted_once_whatever_moves(
    seed: int, hold: bool, ring: int, handover_us: int
) -> None:
    random = np.random.default_rng(seed)
    machine = Machine(
        cores=3, queues=5, buckets=16, ring=ring, rules=2, handover_ns=handover_us * US, hold=hold
    )
    state = state_of(machine, 3 * US, random.integers(0, 16, 50).tolist())
    for from_ns in range(0, 20 * MS, MS):
        n = random.poisson(700)  # of the 1000 that the cores can do
        times = np.sort(random.integers(from_ns, from_ns + MS, n))
        state.run(times, random.integers(0, 50, n, np.int32), from_ns, from_ns + MS, moving=False)
        now_ns = from_ns + MS
        for _ in range(random.integers(0, 6)):
            move_at_random(state, random, now_ns)
        c = counts(state)
        assert c["arrived"] == c["served"] + c["lost"] + state.waiting
        assert not (hold and c["reordered"])
    state.run(np.empty(0, np.int64), np.empty(0, np.int32), 20 * MS, 500 * MS, moving=False)
    assert state.waiting == 0
    assert state.arrays.histogram.sum() == counts(state)["served"]


def move_at_random(state: State, random: np.random.Generator, now_ns: int) -> None:
    what: Any = random.integers(0, 3)
    if what == 0:
        state.move(BUCKET_TO_QUEUE, int(random.integers(16)), int(random.integers(5)), now_ns)
    elif what == 1:
        state.move(QUEUE_TO_CORE, int(random.integers(5)), int(random.integers(3)), now_ns)
    else:  # flow 0 has slot 0 and flow 1 has slot 1
        flow = int(random.integers(2))
        state.move_flow(flow, flow, int(random.integers(-1, 5)), now_ns)


@pytest.mark.parametrize("ns", [0, 1, 63, 64, 127, 128, 1000, 123_456, 10**9, 10**12])
def test_a_histogram_is_exact_to_two_percent(ns: int) -> None:
    assert bin_middle_ns(engine.bin_of(ns)) == pytest.approx(min(ns, 3 * 10**13), rel=0.016)


def test_quantiles_of_nothing_and_of_one() -> None:
    histogram = np.zeros(engine.HISTOGRAM_SIZE, np.int64)
    assert quantile_us(histogram, 0.5) is None
    histogram[engine.bin_of(50_000)] = 1
    for part in (0.0, 0.5, 1.0):
        assert quantile_us(histogram, part) == pytest.approx(50, rel=0.016)


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"cores": 0}, "cores must be 1..64, got 0"),
        ({"cores": 65}, "cores must be 1..64, got 65"),
        ({"queues": 7}, "queues must be 8..256, got 7"),
        ({"buckets": 16}, "buckets must be 32..4096, got 16"),
        ({"buckets": 100}, "buckets must be a power of two, got 100"),
        ({"ring": 3}, "ring must be a power of two, got 3"),
        ({"smt": 3}, "smt must be 1..2, got 3"),
        ({"nodes": 9}, "nodes must be 1..8, got 9"),
        ({"smt_slowdown": 0.5}, "smt_slowdown must be 1..100, got 0.5"),
        ({"service": "fast"}, "service must be constant or exponential, got 'fast'"),
    ],
)
def test_a_machine_that_cannot_be_is_refused(wrong: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        Machine(**wrong)

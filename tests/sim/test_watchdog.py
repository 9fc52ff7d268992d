# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from qstack.policies import Policy, policy
from qstack.policies.contract import (
    BUCKET_TO_QUEUE,
    CORE_OFF,
    CORE_ON,
    FLOW_TO_QUEUE,
    MOVE,
    QUEUE_TO_CORE,
    View,
)
from qstack.policies.watchdog import Watchdog, nonsense

MS = 1_000_000


def view_of_four() -> View:
    """Cores 0 to 2 are on, queue q on core q, bucket b on queue b mod 3, flow 0 without a rule."""
    view = View.of_size(n_cores=4, n_queues=4, n_buckets=8, n_flows=2, budget=4)
    view.figures["now_ns"], view.figures["cooldown_ns"] = 1000 * MS, 50 * MS
    view.figures["cores_min"], view.figures["cores_max"] = 2, 4
    view.figures["rules_free"] = 1
    view.cores["on"] = [1, 1, 1, 0]
    view.queues["core"] = np.arange(4)
    view.buckets["queue"] = np.arange(8) % 3
    view.flows["id"], view.flows["queue"] = [5, -1], -1
    view.buckets["moved_ns"][7] = 960 * MS
    return view


@pytest.mark.parametrize(
    ("moves", "what"),
    [
        ([], ""),
        ([(BUCKET_TO_QUEUE, 0, 1)], ""),
        ([(CORE_ON, 3, 0), (BUCKET_TO_QUEUE, 0, 3)], ""),
        ([(BUCKET_TO_QUEUE, 0, 3), (CORE_ON, 3, 0)], ""),
        ([(QUEUE_TO_CORE, 2, 1), (CORE_OFF, 2, 0)], ""),
        ([(FLOW_TO_QUEUE, 0, 1)], ""),
        ([(0, 0, 0)], "kind 0 does not exist"),
        ([(6, 0, 0)], "kind 6 does not exist"),
        ([(BUCKET_TO_QUEUE, 8, 0)], "bucket 8 does not exist"),
        ([(BUCKET_TO_QUEUE, -1, 0)], "bucket -1 does not exist"),
        ([(BUCKET_TO_QUEUE, 0, 4)], "bucket 0 to queue 4, which does not exist"),
        ([(BUCKET_TO_QUEUE, 0, -1)], "bucket 0 to queue -1, which does not exist"),
        ([(BUCKET_TO_QUEUE, 0, 3)], "left queue 3 in use on core 3, which is off"),
        ([(BUCKET_TO_QUEUE, 7, 0)], "bucket 7 moves again before its cool-down is over"),
        ([(QUEUE_TO_CORE, 4, 0)], "queue 4 does not exist"),
        ([(QUEUE_TO_CORE, 0, 4)], "queue 0 to core 4, which does not exist"),
        ([(QUEUE_TO_CORE, 0, 3)], "left queue 0 in use on core 3, which is off"),
        ([(CORE_ON, 0, 0)], "core 0 on: it does not exist or is on"),
        ([(CORE_OFF, 3, 0)], "core 3 off: it does not exist or is off"),
        ([(CORE_OFF, 0, 0)], "left queue 0 in use on core 0, which is off"),
        (
            [(QUEUE_TO_CORE, 2, 0), (QUEUE_TO_CORE, 1, 0), (CORE_OFF, 1, 0), (CORE_OFF, 2, 0)],
            "left 1 cores on, 2..4 are allowed",
        ),
        ([(FLOW_TO_QUEUE, 1, 0)], "flow 1 does not exist"),
        ([(FLOW_TO_QUEUE, 0, 4)], "flow 0 to queue 4, which does not exist"),
        ([(FLOW_TO_QUEUE, 0, 3)], "left queue 3 in use on core 3, which is off"),
    ],
)
def test_nonsense_has_a_name(moves: list[tuple[int, int, int]], what: str) -> None:
    view = view_of_four()
    answer = np.zeros(4, MOVE)
    answer[: len(moves)] = moves
    told = nonsense(view, answer, len(moves), free=False)
    assert what in told
    assert bool(told) == bool(what)


def test_more_moves_than_the_budget_and_rules_than_there_are() -> None:
    view = view_of_four()
    for n in (-2, 5):
        assert f"answered {n} moves, 0..4" in nonsense(view, view.moves, n, free=False)
    view.figures["rules_free"] = 0
    view.moves[0] = (FLOW_TO_QUEUE, 0, 1)
    assert "no rule is free" in nonsense(view, view.moves, 1, free=False)


def test_without_limits_there_is_no_cool_down() -> None:
    view = view_of_four()
    view.moves[0] = (BUCKET_TO_QUEUE, 7, 0)
    assert nonsense(view, view.moves, 1, free=True) == ""


@policy
def good(
    figures: Any, cores: Any, queues: Any, buckets: Any, flows: Any, memory: Any, moves: Any
) -> int:
    memory[0] += 1
    buckets[0].own += 1
    buckets[1].queue = 99  # not its own: lost
    moves[0].kind = 1
    moves[0].what = memory[0]
    moves[0].to = 1 if buckets[0].own == memory[0] and buckets[1].queue == 99 else 77
    return 1


@policy
def silly(
    figures: Any, cores: Any, queues: Any, buckets: Any, flows: Any, memory: Any, moves: Any
) -> int:
    moves[0].kind = 1
    moves[0].to = 64
    return 1


@policy
def out_of_bounds(
    figures: Any, cores: Any, queues: Any, buckets: Any, flows: Any, memory: Any, moves: Any
) -> int:
    buckets[len(buckets)].own = 1
    return 0


@policy
def slow(
    figures: Any, cores: Any, queues: Any, buckets: Any, flows: Any, memory: Any, moves: Any
) -> int:
    x = 88172645463325252
    for _ in range(100_000_000):
        x ^= x << 13
        x ^= x >> 7
        x ^= x << 17
    memory[0] = x
    return 0


Watch = Callable[..., Watchdog]


@pytest.fixture
def watch() -> Iterator[Watch]:
    dogs: list[Watchdog] = []

    def make(what: Policy, **options: Any) -> Watchdog:
        dogs.append(Watchdog(what, **{"limit_s": 60.0, **options}))
        return dogs[-1]

    yield make
    for dog in dogs:
        dog.close()


def test_a_good_policy_keeps_what_is_its_own_and_nothing_else(watch: Watch) -> None:
    dog, view = watch(good), view_of_four()
    before = view.copy()
    for i in (1, 2, 3):
        assert dog.decide(view).tolist() == [(1, i, 1)]
    assert dog.counters.decisions == 3
    assert not dog.counters.set_aside
    assert np.array_equal(view.buckets, before.buckets)


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (silly, "answered as move 0 of 1: bucket 0 to queue 64, which does not exist"),
        (out_of_bounds, "raised an exception, or used an index out of bounds"),
    ],
)
def test_a_bad_policy_is_set_aside_for_good(
    watch: Watch, what: Policy, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    dog, view = watch(what), view_of_four()
    with caplog.at_level(logging.WARNING, "qstack.policies"):
        for _ in range(3):
            assert len(dog.decide(view)) == 0
    assert dog.counters.set_aside == 1
    assert why in dog.counters.why
    assert dog.counters.decisions == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"policy {what.name} is set aside, nothing moves any more: it {dog.counters.why}"
    ]


def test_an_answer_that_comes_late_by_the_clock_is_an_overrun(watch: Watch) -> None:
    times = iter([0, 5 * MS, 10 * MS, 10 * MS + 70_000 * MS])
    dog, view = watch(good, clock=lambda: next(times)), view_of_four()
    assert len(dog.decide(view)) == 1
    assert len(dog.decide(view)) == 0
    assert "took 70 s, at most 60 s" in dog.counters.why


def test_a_policy_that_does_not_come_back_is_not_waited_for(watch: Watch) -> None:
    dog, view = watch(slow, limit_s=0.001), view_of_four()
    assert len(dog.decide(view)) == 0
    assert "took longer than 0.001 s" in dog.counters.why
    assert dog.counters.decisions == 0

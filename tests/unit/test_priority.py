# SPDX-License-Identifier: Apache-2.0
"""What is made of the measured figures of several rounds."""

from __future__ import annotations

from typing import Any

from qstack.priority import Options
from qstack.priority.adversaries import summarize as summarize_adversary
from qstack.priority.run import summarize

LOADS = ("unloaded", "0.7", "1.0", "1.5")


def one_round(capacity: float, p999_us: tuple[float, ...], **figures: Any) -> dict[str, Any]:
    """Return a round with these p99.9 of the urgent class, and other figures the same for all."""
    rest = {
        **{f"{kind}_{q}_us": 1.0 for kind in ("urgent", "default") for q in ("p50", "p99", "p999")},
        "urgent_lost": 0,
        "default_answered_per_second": 5.0,
        "shed": 0,
        **figures,
    }
    points = {
        load: {**rest, "urgent_p999_us": value} for load, value in zip(LOADS, p999_us, strict=True)
    }
    return {"capacity_per_second": capacity, "points": points}


def test_medians_of_the_rounds_and_of_their_ratios() -> None:
    rounds = [
        one_round(100, (10, 11, 12, 30)),
        one_round(300, (20, 22, 24, 20)),
        one_round(200, (40, 33, 36, 80)),
    ]
    figures = summarize(rounds)
    assert figures["capacity_per_second"] == 200
    assert figures["urgent_p999_us"] == {"unloaded": 20, "0.7": 22, "1.0": 24, "1.5": 30}
    assert figures["ratio_overload_to_unloaded"] == 2
    assert figures["rounds"] == rounds


def test_what_was_lost_or_shed_in_any_round_counts() -> None:
    rounds = [
        one_round(1, (1, 1, 1, 1), urgent_lost=1, shed=2),
        one_round(1, (1, 1, 1, 1)),
    ]
    figures = summarize(rounds)
    assert figures["urgent_lost"] == len(LOADS)
    assert figures["shed"] == 2 * len(LOADS)


def test_a_server_without_counters_has_no_count_of_what_it_shed() -> None:
    assert summarize([one_round(1, (1, 1, 1, 1), shed=None)])["shed"] is None


def test_there_is_always_a_connection_of_each_class() -> None:
    assert [
        (options.default_connections, options.urgent_connections)
        for options in (Options(connections=n) for n in (2, 20, 1000))
    ] == [(1, 1), (19, 1), (950, 50)]


def beside(p999_us: dict[str, float], **figures: Any) -> dict[str, Any]:
    """Return a round of an adversary with these p99.9, and other figures the same for all."""
    rest = {
        **{f"urgent_{q}_us": 1.0 for q in ("p50", "p99")},
        "urgent_lost": 0,
        "adversary": {"sent": 10},
        **figures,
    }
    points = {name: {**rest, "urgent_p999_us": value} for name, value in p999_us.items()}
    return {"capacity_per_second": 100, "points": points, "counters": {"capped": 4}}


def test_beside_an_adversary_medians_are_of_ratios_and_counters_are_summed() -> None:
    rounds = [
        beside({"alone": 10, "beside": 20, "without_limit": 100}),
        beside({"alone": 20, "beside": 20, "without_limit": 400}, urgent_lost=1),
        beside({"alone": 10, "beside": 50, "without_limit": 300}),
    ]
    figures = summarize_adversary(rounds)
    assert figures["urgent_p999_us"] == {"alone": 10, "beside": 20, "without_limit": 300}
    assert figures["ratio_p999"] == {"beside": 2, "without_limit": 20}
    assert figures["urgent_lost"] == 3
    assert figures["adversary_sent"] == 30
    assert figures["counters"] == {"capped": 12}

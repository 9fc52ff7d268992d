# SPDX-License-Identifier: Apache-2.0
"""Figures of a histogram of the C library."""

from __future__ import annotations

import random

import pytest

from qstack import residency
from qstack._native import lib


def histogram(values_ns: list[int]) -> list[int]:
    """Count values as the C library does."""
    bounds = [lib.qs_residency_bound_ns(i) for i in range(residency.BUCKETS)]
    counts = [0] * residency.BUCKETS
    for value in values_ns:
        counts[max(i for i, bound in enumerate(bounds) if bound <= value)] += 1
    return counts


def test_nothing_counted() -> None:
    assert residency.figures([0] * residency.BUCKETS) == {"count": 0}


def test_figures_are_an_eighth_above_the_true_ones_at_most() -> None:
    chance = random.Random(7)
    values = sorted(int(chance.lognormvariate(10, 2)) + 100 for _ in range(3000))
    figures = residency.figures(histogram(values))
    assert figures["count"] == len(values)
    true = {"p50_us": values[1499], "p99_us": values[2969], "p999_us": values[2996]}
    for name, value_ns in {**true, "max_us": values[-1]}.items():
        assert value_ns < figures[name] * 1e3 <= value_ns * 1.125 + 1, name


def test_the_stages_have_texts() -> None:
    assert list(residency.STAGES) == ["event", "ring", "handler", "transmit", "all"]
    assert all(residency.STAGES.values())


def test_one_value() -> None:
    figures = residency.figures(histogram([1000]))
    assert figures["p50_us"] == figures["max_us"] == pytest.approx(1.024)

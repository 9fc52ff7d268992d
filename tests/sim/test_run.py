# SPDX-License-Identifier: Apache-2.0
"""Runs of loads under policies, what is reported of them, and the trials without packets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qstack.errors import ConfigError
from qstack.loads import LOADS, find
from qstack.policies import policy
from qstack.policies.catalogue import POLICIES
from qstack.sim import Figures, Machine, Options, run, trials
from qstack.sim.compare import run_loads
from qstack.sim.run import packet_cost_ns
from qstack.sim.show import plot, tables

MACHINE = Machine(cores=4, queues=8, buckets=128)
OPTIONS = Options(seconds=1.6, warm_up_s=0.5)


def figures(load: str, *names: str, options: Options = OPTIONS) -> dict[str, Figures]:
    chosen = [POLICIES[name] for name in names]
    return run(MACHINE, find(load), chosen, options, lambda part: None)


def test_all_policies_see_the_same_packets_and_each_is_counted_once() -> None:
    # From the begin: what waits at the end of a warm-up is another number for each policy.
    done = figures("elephant", *POLICIES, options=replace(OPTIONS, warm_up_s=0.0))
    assert set(done) == set(POLICIES)
    assert len({f.arrived for f in done.values()}) == 1
    for name, f in done.items():
        assert f.arrived == f.served + f.lost + f.waiting > 0, name
        assert f.set_aside == "", name
        assert f.reordered == 0, name
    assert done["static"].moves == done["static"].steps == 0


def test_figures_are_repeated_by_the_seed() -> None:
    one, again = (figures("campus", "balance", "rsspp") for _ in range(2))
    assert one == again
    other = figures("campus", "balance", options=replace(OPTIONS, seed=2))
    assert other["balance"] != one["balance"]


def test_moving_buckets_is_worth_it() -> None:
    done = figures("zipf", "static", "balance")
    uneven = {name: f.imbalance_percent or 0.0 for name, f in done.items()}
    assert uneven["balance"] < 5 < uneven["static"]
    assert (done["balance"].p999_us or 0) < (done["static"].p999_us or 0)
    whole = figures("zipf", "balance", options=replace(OPTIONS, warm_up_s=0.0))["balance"]
    assert 0 < whole.moves_per_step <= OPTIONS.control.budget


def test_cores_follow_a_load_that_changes_and_not_one_that_does_not() -> None:
    options = Options(seconds=3.0, warm_up_s=0.0)
    elastic = figures("step", "static", "balance", options=options)
    assert elastic["static"].core_seconds == pytest.approx(4 * 3.0)
    assert elastic["balance"].core_seconds < 0.85 * elastic["static"].core_seconds
    assert elastic["balance"].lost == 0
    assert figures("zipf", "balance")["balance"].core_seconds == pytest.approx(4 * 1.1)


def test_a_policy_that_is_set_aside_leaves_the_machine_as_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @policy
    def wild(
        figures: Any, cores: Any, queues: Any, buckets: Any, flows: Any, memory: Any, moves: Any
    ) -> int:
        moves[0].kind = 1
        moves[0].to = len(queues)
        return 1

    static = POLICIES["static"]
    done = run(MACHINE, find("zipf"), [wild, static], OPTIONS, lambda part: None)
    assert "which does not exist" in done["wild"].set_aside
    assert replace(done["wild"], set_aside="", decisions=0) == replace(
        done["static"], set_aside="", decisions=0
    )
    assert len(caplog.records) == 1


def test_the_cost_of_a_packet_makes_the_machine_as_busy_as_asked_for() -> None:
    assert packet_cost_ns(MACHINE, LOADS["zipf"], 0.5) == pytest.approx(2000)
    with pytest.raises(ConfigError, match=r"campus4: at a utilisation of 0\.01 4 cores have 22 ns"):
        packet_cost_ns(MACHINE, LOADS["campus4"], 0.01)
    state_busy = figures("zipf", "oracle")["oracle"]
    served_s = state_busy.served * packet_cost_ns(MACHINE, LOADS["zipf"], 0.6) / 1e9
    assert served_s / state_busy.core_seconds == pytest.approx(0.6, rel=0.02)


@pytest.mark.parametrize("wrong", [{"warm_up_s": 2.0}, {"utilisation": 0.0}, {"warm_up_s": -1.0}])
def test_options_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        replace(OPTIONS, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "most"), [("balance", 1.03), ("rsspp", 1.09)])
def test_a_core_that_goes_leaves_the_others_even(name: str, most: float) -> None:
    gone = trials.scale_down(POLICIES[name], [1, 2])
    assert gone is not None
    at_once, settled = gone
    assert settled <= at_once <= most


def test_a_policy_that_deals_by_number_is_uneven_and_static_keeps_its_core() -> None:
    gone = trials.scale_down(POLICIES["tas"], [1, 2])
    assert gone is not None
    assert gone[0] > 1.1
    assert trials.scale_down(POLICIES["static"], [1]) is None


def test_loads_of_buckets_are_those_of_the_flows() -> None:
    loads = trials.bucket_loads(1, 0.9, 128, 4.8)
    assert loads.sum() == pytest.approx(4.8)
    assert np.array_equal(loads, trials.bucket_loads(1, 0.9, 128, 4.8))
    assert loads.max() > 0.045 * 4.8  # the largest flow has 4.5 %


def test_the_document_is_plain_data_that_can_be_shown(tmp_path: Path) -> None:
    told: list[float] = []
    chosen = [POLICIES["static"], POLICIES["balance"]]
    document = run_loads(
        MACHINE, [find("zipf"), find("step")], chosen, OPTIONS, lambda what, part: told.append(part)
    )
    assert json.loads(json.dumps(document)) == document
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)
    assert [table.row_count for table in tables(document)] == [2, 2]
    plot(document, tmp_path / "sim.png")
    assert (tmp_path / "sim.png").read_bytes().startswith(b"\x89PNG")

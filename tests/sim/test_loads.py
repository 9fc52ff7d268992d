# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nicprog.drivers import MICROSOFT_KEY
from nicprog.packet import toeplitz
from qstack.errors import ConfigError
from qstack.loads import LOADS, TABLES, Block, Settings, Sizes, find
from qstack.loads.catalogue import zipf_weights
from qstack.loads.steering import colliding_hashes, hashes, random_tuples

SETTINGS = Settings(seconds=2.0, queues=32, seed=3)
EVERY = pytest.mark.parametrize("name", list(LOADS))


def all_of(name: str, settings: Settings = SETTINGS) -> Block:
    blocks = list(find(name).blocks(settings))
    return Block(
        until_ns=blocks[-1].until_ns,
        hashes=np.concatenate([b.hashes for b in blocks]),
        times_ns=np.concatenate([b.times_ns for b in blocks]),
        flows=np.concatenate([b.flows for b in blocks]),
    )


def test_the_hash_is_that_of_the_software_nic() -> None:
    tuples = random_tuples(np.random.default_rng(1), 200)
    assert hashes(tuples).tolist() == [toeplitz(MICROSOFT_KEY, bytes(t)) for t in tuples]
    # Microsoft's verification suite: 66.9.149.187:2794 to 161.142.100.80:1766.
    known = bytes([66, 9, 149, 187, 161, 142, 100, 80]) + (2794).to_bytes(2, "big")
    known += (1766).to_bytes(2, "big")
    assert hashes(np.frombuffer(known, np.uint8)[None, :])[0] == 0x51CCC178


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda t: t.name)
def test_draws_have_the_published_distribution(table: Sizes) -> None:
    drawn = table.draw(np.random.default_rng(2), 200_000)
    assert drawn.min() >= 1
    for size, percent in table.table:
        part = 100 * (drawn <= np.ceil(size)).mean()
        # A table is of whole packets: where it is coarse, a size between two points is rounded up.
        assert part == pytest.approx(percent, abs=0.5 if percent else 1.0), size


@pytest.mark.parametrize(
    ("name", "mean", "large", "of_packets_percent"),
    [
        ("campus", (28_360_000 - 4_425_709) / 808_320, 4854, None),
        ("campus4", (104_500_000 - 4_415_866) / 3_280_000, 4702, None),
        ("agh", 0.478 / 0.0061, 10_000, 69.6),
    ],
)
def test_means_are_the_published_ones(
    name: str, mean: float, large: int, of_packets_percent: float | None
) -> None:
    table = TABLES[name]
    assert table.mean == pytest.approx(mean, rel=0.02)
    if of_packets_percent is not None:
        drawn = table.draw(np.random.default_rng(3), 1_000_000)
        part = drawn[drawn > large].sum() / drawn.sum()
        assert 100 * part == pytest.approx(of_packets_percent, abs=2)


@EVERY
def test_packets_are_in_order_and_of_flows_that_are_known(name: str) -> None:
    n_flows, last_ns = 0, 0
    for block in find(name).blocks(replace(SETTINGS, seconds=1.0)):
        n_flows += len(block.hashes)
        assert np.all(np.diff(block.times_ns) >= 0)
        assert block.times_ns[0] >= last_ns
        assert block.times_ns[-1] < block.until_ns
        assert block.flows.min() >= 0
        assert block.flows.max() < n_flows
        last_ns = block.until_ns
    assert last_ns == 1_000_000_000


@EVERY
def test_a_load_is_repeated_by_its_seed(name: str) -> None:
    short = replace(SETTINGS, seconds=0.6)
    one, again = all_of(name, short), all_of(name, short)
    other = all_of(name, replace(short, seed=4))
    assert np.array_equal(one.times_ns, again.times_ns)
    assert np.array_equal(one.flows, again.flows)
    assert np.array_equal(one.hashes, again.hashes)
    assert not np.array_equal(one.times_ns[:50], other.times_ns[:50])


@pytest.mark.parametrize(
    ("name", "part"),
    [("zipf", 1.0), ("ramp", 0.7), ("diurnal", 0.7), ("step", 0.4 + 0.8 / 3), ("campus4", 1.0)],
)
def test_a_load_has_its_rate(name: str, part: float) -> None:
    n = len(all_of(name).times_ns)
    # Of a trace flows come and go, and the largest of them make the rate change.
    tolerance = 0.15 if name == "campus4" else 0.01
    assert n / SETTINGS.seconds == pytest.approx(part * LOADS[name].pps, rel=tolerance)


@pytest.mark.parametrize(("name", "percent"), [("campus", 15.6), ("campus4", 4.2)])
def test_a_trace_has_its_largest_flow(name: str, percent: float) -> None:
    block = all_of(name)
    largest = np.bincount(block.flows).max()
    assert 100 * largest / len(block.flows) == pytest.approx(percent, abs=0.1)


def test_an_elephant_comes_after_a_third_of_the_time() -> None:
    block = all_of("elephant")
    elephant = np.bincount(block.flows).argmax()
    times = block.times_ns[block.flows == elephant]
    assert times.min() / 1e9 == pytest.approx(SETTINGS.seconds / 3, abs=0.001)
    after = (block.times_ns >= times.min()).sum()
    assert len(times) / after == pytest.approx(0.2, abs=0.01)


def test_an_attack_is_on_one_queue() -> None:
    block = all_of("adversarial")
    late = block.times_ns > 1e9
    queues = np.bincount(block.hashes[block.flows[late]] % SETTINGS.queues, minlength=32)
    assert queues[0] / queues.sum() == pytest.approx(0.3 + 0.7 / 32, abs=0.05)
    chosen = colliding_hashes(np.random.default_rng(1), 100, modulus=32, rest=5)
    assert len(chosen) == 100
    assert set(chosen % 32) == {5}


def test_parts_of_zipf_follow_the_rank() -> None:
    weights = zipf_weights(1000, 0.9)
    assert weights.sum() == pytest.approx(1)
    assert weights[9] / weights[0] == pytest.approx(10**-0.9)


def test_an_unknown_load_is_told_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no load is called 'lunch'; there are campus4, campus"):
        find("lunch")

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import qstack
from qstack.errors import ConfigError, NotSupportedError, QStackError
from qstack.policies import contract
from qstack.policies.catalogue import POLICIES, find
from qstack.policies.contract import View
from qstack.policies.watchdog import call, nonsense

from .policy_views import Shape, carry_out, draw_view, shapes

EVERY = pytest.mark.parametrize("name", list(POLICIES))
STEPS = 4


def same(one: View, other: View) -> bool:
    """Compare all that a policy may have written."""
    return all(
        np.array_equal(a, b, equal_nan=True)
        for x, y in zip(one.arguments(), other.arguments(), strict=True)
        for a, b in ([(x, y)] if x.dtype.names is None else [(x[f], y[f]) for f in x.dtype.names])
    )


@EVERY
@settings(max_examples=25, deadline=None)
@given(shape=shapes())
def test_the_compiled_policy_answers_as_the_plain_one(name: str, shape: Shape) -> None:
    policy = POLICIES[name]
    plain = draw_view(shape, free=policy.limits == "none")
    compiled = plain.copy()
    for _ in range(STEPS):
        n = policy.plain(*plain.plain_arguments())
        assert policy(compiled) == n
        assert same(plain, compiled)
        carry_out(plain, plain.moves[:n])
        carry_out(compiled, compiled.moves[:n])
        plain.figures["now_ns"] += 110 * 1_000_000
        compiled.figures["now_ns"] += 110 * 1_000_000


@EVERY
@settings(max_examples=150, deadline=None)
@given(shape=shapes())
def test_no_policy_answers_nonsense(name: str, shape: Shape) -> None:
    policy = POLICIES[name]
    free = policy.limits == "none"
    view = draw_view(shape, free=free)
    for _ in range(STEPS):
        before = view.copy()
        n = policy(view)
        assert nonsense(before, view.moves, n, free=free) == ""
        carry_out(view, view.moves[:n])
        view.figures["now_ns"] += 60 * 1_000_000


@settings(max_examples=100, deadline=None)
@given(shape=shapes())
def test_balance_makes_no_core_fuller_than_the_fullest_was(shape: Shape) -> None:
    view = draw_view(shape, free=False)
    view.figures["cores_min"] = view.figures["cores_max"] = view.cores["on"].sum()
    view.figures["smt_slowdown"] = 1.0
    view.flows["id"] = -1
    carry_out(view, view.moves[:0])
    for _ in range(STEPS):
        before = view.cores["load"].max()
        n = POLICIES["balance"](view)
        carry_out(view, view.moves[:n])
        assert view.cores["load"].max() <= before + 1e-9
        view.figures["now_ns"] += 60 * 1_000_000


def test_c_calls_a_policy_by_pointers() -> None:
    shape = Shape(n_cores=4, n_queues=8, n_buckets=32, budget=8, seed=5)
    one, other = draw_view(shape, free=False), draw_view(shape, free=False)
    entry = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * 8)
    n = call(entry(POLICIES["balance"].entry.address), one)
    assert n == POLICIES["balance"](other) > 0
    assert same(one, other)


def test_records_are_c_structures_without_padding() -> None:
    for name in ("FIGURES", "CORE", "QUEUE", "BUCKET", "FLOW", "MOVE"):
        dtype = getattr(contract, name)
        assert dtype.itemsize == 8 * len(dtype.names), name
        assert [dtype.fields[f][1] for f in dtype.names] == list(range(0, dtype.itemsize, 8))


def write_policy(tmp_path: Path, body: str, *, head: str = "import qstack\n\n\n") -> str:
    path = tmp_path / "my.py"
    arguments = "figures, cores, queues, buckets, flows, memory, moves"
    path.write_text(f"{head}@qstack.policy\ndef mine({arguments}):\n    {body}\n")
    return f"{path}:mine"


def test_a_policy_of_a_user_is_found_and_compiled(tmp_path: Path) -> None:
    policy = find(write_policy(tmp_path, "memory[3] = len(buckets)\n    return 0"))
    view = View.of_size(n_cores=1, n_queues=1, n_buckets=5, n_flows=1, budget=1)
    assert isinstance(policy, qstack.Policy)
    assert policy.name == "mine"
    assert policy(view) == 0
    assert view.memory[3] == 5


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("fastest", "no policy is called 'fastest'; there are static, rsspp"),
        ("/no/such.py:mine", "is not a Python file"),
        ("{dir}/my.py:other", "has no 'other'"),
        ("{dir}/my.py:qstack", "is not a policy: mark the function with @qstack.policy"),
    ],
)
def test_what_is_no_policy_is_refused(tmp_path: Path, name: str, what: str) -> None:
    write_policy(tmp_path, "return 0")
    with pytest.raises(ConfigError, match=what):
        find(name.format(dir=tmp_path))


def test_a_file_that_fails_says_how(tmp_path: Path) -> None:
    name = write_policy(tmp_path, "return 0", head="import qstack\n1 / 0\n")
    with pytest.raises(ConfigError, match="cannot be run: ZeroDivisionError"):
        find(name)


def test_what_numba_cannot_compile_is_an_error_with_its_text(tmp_path: Path) -> None:
    policy = find(write_policy(tmp_path, "return len(open(moves))"))
    with pytest.raises(QStackError, match=r"(?s)policy mine cannot be compiled: .*'open'"):
        _ = policy.compiled


def test_without_numba_the_plain_policy_works_and_compiling_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    policy = find(write_policy(tmp_path, "return 0"))
    view = View.of_size(n_cores=1, n_queues=1, n_buckets=1, n_flows=1, budget=1)
    assert policy.plain(*view.plain_arguments()) == 0
    with pytest.raises(NotSupportedError, match=r"pip install 'qstack-net\[compiled\]'"):
        policy(view)


def test_a_change_of_a_helper_is_compiled_anew(tmp_path: Path) -> None:
    from qstack.policies import decorator

    def named() -> str:
        return decorator._named_by_helpers(POLICIES["static"].plain).__qualname__

    path = tmp_path / "more.py"
    before, kept = named(), list(decorator._helpers)
    scope: dict[str, Any] = {"helper": decorator.helper}
    try:
        names = set()
        for body in ("1", "2"):
            path.write_text(f"@helper\ndef more():\n    return {body}\n")
            exec(compile(path.read_text(), str(path), "exec"), scope)
            names.add(named())
        assert len(names | {before}) == 3
    finally:
        decorator._helpers[:] = kept


def test_the_policy_of_the_guide_moves_the_heaviest_bucket(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs/guide/policies.md").read_text()
    section = guide.partition("## Writing one\n")[2]
    code = section.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "my.py").write_text(code)
    policy = find(f"{tmp_path}/my.py:mine")
    view = View.of_size(n_cores=2, n_queues=2, n_buckets=8, n_flows=1, budget=1)
    view.cores["on"] = 1
    view.queues["core"] = [0, 1]
    view.buckets["load"] = [0.1, 0.3, 0.2, 0, 0, 0, 0, 0]
    view.cores["load"] = [0.6, 0]
    assert policy(view) == policy.plain(*view.plain_arguments()) == 1
    assert view.moves[0].tolist() == (contract.BUCKET_TO_QUEUE, 1, 1)

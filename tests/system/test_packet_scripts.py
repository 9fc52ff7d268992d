# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from typing import Any

import pytest

from tools.tree import ROOT

_PAGE = ROOT / "docs/guide/packet-scripts.md"


def _run_example(change: tuple[str, str] = ("", "")) -> dict[str, Any]:
    (code,) = re.findall(r"^```python\n(.*?)^```", _PAGE.read_text(), re.M | re.S)
    names: dict[str, Any] = {}
    exec(compile(code.replace(*change), str(_PAGE), "exec"), names)
    return names


def test_the_example_of_the_page_runs() -> None:
    counters = _run_example()["engine"].counters()
    assert (counters["passive_opens"], counters["resets_sent"]) == (1, 0)
    assert counters["retransmits"] > 0


@pytest.mark.parametrize(
    "change",
    [('(0, ">", "SA", 0, 1, b"")', '(0, ">", "SA", 0, 2, b"")'), ('b"pong"),  #', 'b""),  #')],
)
def test_the_example_sees_a_frame_that_differs(change: tuple[str, str]) -> None:
    with pytest.raises(AssertionError):
        _run_example(change)

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.check_cites import problems
from tools.tree import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def _tree_with(root: Path, comment: str) -> Path:
    (root / "native").mkdir()
    (root / "native/a.c").write_text(f"int a;\n/* {comment} */\n")
    return root


def test_the_project_cites_as_agreed() -> None:
    assert problems(ROOT) == []


@pytest.mark.parametrize(
    "comment",
    [
        "RFC 9293 section 3.10.7.4 second",
        "RFC 6298 rule 2.4",
        "RFC 6298 rules 5.4 to 5.6",
        "RFC 9293\n * section 3.4.2 says",
        "RFC 6056 algorithm 3, and RFC 5961 appendix A",
        "the ISN of RFC 6528, and others",
        "RFC 5961.",
        "RFC 6298, rule by rule",
    ],
)
def test_the_agreed_forms_pass(tmp_path: Path, comment: str) -> None:
    assert problems(_tree_with(tmp_path, comment)) == []


@pytest.mark.parametrize(
    "comment",
    [
        "RFC 793",
        "RFC 2581 section 3",
        "RFC 1323 section 4",
        "RFC9293 section 3.4",
        "rfc 9293 section 3.4",
        "RFC-9293",
        "RFC 9293, section 3.4",
        "RFC 9293 Section 3.4",
        "RFC 9293 sec. 3.4",
        "RFC 9293 §3.4",
        "RFC 9293 (page 12)",
        "RFC 9293 p. 12",
        "RFC 9293 section four",
        "RFC 9293\n * Section 3.4.2",
    ],
)
def test_other_forms_and_obsolete_ones_are_found(tmp_path: Path, comment: str) -> None:
    found = problems(_tree_with(tmp_path, comment))
    assert len(found) == 1
    assert found[0].startswith("native/a.c:2: ")

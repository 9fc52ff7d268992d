# SPDX-License-Identifier: Apache-2.0
"""Keeps citations of RFCs in the one form that is searched for, and away from obsolete ones.

``RFC 9293 section 3.10.7.4``, ``RFC 6298 rule 2.4``, ``RFC 6056 algorithm 3``,
``RFC 5961 appendix A``, ``RFC 9293 figure 5``, or the bare ``RFC 6528``.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from tools.tree import run_check, sources

if TYPE_CHECKING:
    from pathlib import Path

# Number -> where it stands today. RFC 6528 is in RFC 9293 too, but is what readers search for.
OBSOLETE = {
    "793": "9293",
    "879": "9293",
    "1323": "7323",
    "1948": "6528",
    "2001": "5681",
    "2414": "6928",
    "2460": "8200",
    "2581": "5681",
    "2988": "6298",
    "3390": "6928",
    "3517": "6675",
    "3782": "6582",
    "6093": "9293",
    "6691": "9293",
    "6937": "9937",
}

_FOLDERS = ("native", "qstack", "nicprog", "tests", "tools")
_OWN_EXAMPLES = {"tools/check_cites.py", "tests/unit/test_check_cites.py"}
_WRAP = re.compile(r"\n[ \t]*(?:\*|#|//)?[ \t]*")  # a comment that goes on in the next line
_ANY = re.compile(r"\bRFC[ -]?(\d+)\b", re.IGNORECASE)
_PLACE = re.compile(
    r"[\s,;:(]*(§|sec(tion)?s?\b|sect\b|pages?\b|pp?\.|rules?\b(?!\s+by\s)|appendix\b|figure\b|algorithm\b)",
    re.IGNORECASE,
)
_GOOD = re.compile(
    r"RFC \d+ (sections? \d+(\.\d+)*|rules? \d+(\.\d+)*|algorithm \d+|figure \d+"
    r"|appendix [A-Z](\.\d+)*)\b"
)


def _problem(text: str, match: re.Match[str]) -> str | None:
    number = match[1]
    if number in OBSOLETE:
        return f"RFC {number} is obsolete, cite RFC {OBSOLETE[number]}"
    flat = _WRAP.sub(" ", text[match.start() : match.end() + 80])
    head = _ANY.match(flat)
    if head is None or head[0] != f"RFC {number}":
        return f"write 'RFC {number}', not '{match[0]}'"
    if _PLACE.match(flat, head.end()) and not _GOOD.match(flat):
        return f"'{flat[: head.end() + 16].strip()}' is not of the form 'RFC {number} section 1.2'"
    return None


def problems(root: Path) -> list[str]:
    """Return one line for each citation below ``root`` that is not as agreed."""
    found = []
    for path in sources(root, _FOLDERS, (".c", ".h", ".py", ".pkt")):
        where, text = path.relative_to(root).as_posix(), path.read_text()
        if where in _OWN_EXAMPLES:
            continue
        for match in _ANY.finditer(text):
            problem = _problem(text, match)
            if problem:
                line = text.count("\n", 0, match.start()) + 1
                found.append(f"{where}:{line}: {problem}")
    return found


if __name__ == "__main__":
    sys.exit(run_check(problems))

# SPDX-License-Identifier: Apache-2.0
"""QStack against Linux's TCP over one bad wire, beside Linux against Linux."""

from .cells import Cell, all_pairs, every_cell, sample
from .figures import Side, Wire, beyond_limits, judge, summary
from .journal import Journal, identity
from .run import run_cell

__all__ = [
    "Cell",
    "Journal",
    "Side",
    "Wire",
    "all_pairs",
    "beyond_limits",
    "every_cell",
    "identity",
    "judge",
    "run_cell",
    "sample",
    "summary",
]

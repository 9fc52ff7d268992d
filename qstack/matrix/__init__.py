# SPDX-License-Identifier: Apache-2.0
"""QStack against Linux's TCP over one bad wire, beside Linux against Linux."""

from .cells import Cell, all_pairs, every_cell, sample
from .run import Side, judge, run_cell, summary

__all__ = ["Cell", "Side", "all_pairs", "every_cell", "judge", "run_cell", "sample", "summary"]

# SPDX-License-Identifier: Apache-2.0
"""The demonstration: an urgent port beside a flooded one, on QStack and on kernel TCP."""

from .options import DemoOptions
from .run import run

__all__ = ["DemoOptions", "run"]

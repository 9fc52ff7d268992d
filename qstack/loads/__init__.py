# SPDX-License-Identifier: Apache-2.0
"""Loads for the simulator: packets of flows, generated from distributions, by seed."""

from .catalogue import LOADS, Load, Settings, find
from .sizes import TABLES, Sizes
from .sources import Block

__all__ = ["LOADS", "TABLES", "Block", "Load", "Settings", "Sizes", "find"]

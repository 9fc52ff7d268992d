# SPDX-License-Identifier: Apache-2.0
"""How long an urgent class waits while others overload the server."""

from .adversaries import ADVERSARIES, run_adversaries
from .options import MODES, Options
from .run import run

__all__ = ["ADVERSARIES", "MODES", "Options", "run", "run_adversaries"]

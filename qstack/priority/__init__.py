# SPDX-License-Identifier: Apache-2.0
"""How long an urgent class waits while others overload the server."""

from .options import MODES, Options
from .run import run

__all__ = ["MODES", "Options", "run"]

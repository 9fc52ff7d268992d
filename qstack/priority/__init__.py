# SPDX-License-Identifier: Apache-2.0
"""How long an urgent class waits while others overload the server."""

from .options import Options
from .run import run

__all__ = ["Options", "run"]

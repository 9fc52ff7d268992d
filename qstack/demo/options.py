# SPDX-License-Identifier: Apache-2.0
"""What the demonstration can be told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .load import Load

Progress = Callable[[str, float], None]
"""Called with what is going on and the part of it that is done, 0 to 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoOptions:
    """What to show.

    Attributes:
        driver: "tap", "xsk" or "pair".
        load: How much each server is asked.
    """

    driver: str = "tap"
    load: Load = field(default_factory=Load)

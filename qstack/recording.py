# SPDX-License-Identifier: Apache-2.0
"""How many frames of each bucket came to a server: what ``qstack record`` writes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from .errors import ConfigError

FORMAT: Final = "qstack bucket frames 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What came to a server.

    Attributes:
        device: Its network device, or wire.
        ends_s: When each period ended, in seconds since the recording began.
        frames: Of each period, those of each bucket.
        format: `FORMAT`.
    """

    device: str
    ends_s: list[float]
    frames: list[list[int]]
    format: str = FORMAT

    def __post_init__(self) -> None:
        widths = {len(row) for row in self.frames}
        if len(self.ends_s) != len(self.frames) or len(widths) != 1 or 0 in widths:
            raise ValueError("there must be a row of frames for each period, all of one length")
        if any(not isinstance(n, int) or n < 0 for row in self.frames for n in row):
            raise ValueError("frames must be whole numbers, none below 0")
        if any(
            end <= before for before, end in zip([0.0, *self.ends_s], self.ends_s, strict=False)
        ):
            raise ValueError("each period must end after the one before")

    @property
    def pps(self) -> float:
        """Frames a second."""
        return sum(map(sum, self.frames)) / self.ends_s[-1]

    def write(self, path: Path) -> None:
        """Write it as JSON.

        Raises:
            OSError: The file cannot be written.
        """
        path.write_text(json.dumps(asdict(self)))


def read(path: Path) -> Recording:
    """Return what `Recording.write` has written.

    Raises:
        ConfigError: The file cannot be read, is another one, or says what cannot be.
    """
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as e:
        raise ConfigError(f"{path} is no recording of 'qstack record': {e}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ConfigError(f"{path} is no recording of 'qstack record': its format is another one")
    try:
        return Recording(**document)
    except (TypeError, ValueError) as e:
        raise ConfigError(f"{path}: {e}") from None

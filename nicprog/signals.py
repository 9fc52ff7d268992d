# SPDX-License-Identifier: Apache-2.0
"""Signals that would end the process wait until a change is done or undone."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Pending:
    """What arrived while signals were held.

    Attributes:
        signal: The first that arrived, or None.
        heeded: Set by whoever acts on it; else it acts as usual afterwards.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.heeded = False

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Handler: keeps the first signal."""
        self.signal = self.signal or signal.Signals(number)


@contextmanager
def held() -> Iterator[Pending]:
    """Notes ending signals instead of acting on them; does nothing outside the main thread."""
    pending = Pending()
    if threading.current_thread() is not threading.main_thread():
        yield pending
        return
    before = {number: signal.getsignal(number) for number in _ENDING}
    try:
        for number in _ENDING:
            if before[number] is not signal.SIG_IGN:
                signal.signal(number, pending.note)
        yield pending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        if pending.signal is not None and not pending.heeded:
            signal.raise_signal(pending.signal)

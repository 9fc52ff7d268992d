# SPDX-License-Identifier: Apache-2.0
"""Taking the words of a command one by one, with errors that point at them."""

from __future__ import annotations

from nicprog.shell import flows
from nicprog.shell.words import Word


class Arguments:
    """The words of a command, from the left to the right.

    Attributes:
        last: The word that was taken last.
    """

    def __init__(self, words: tuple[Word, ...]) -> None:
        self._words, self._at = words, 0
        self.last = words[0]

    def __bool__(self) -> bool:
        return self._at < len(self._words)

    def peek(self) -> str:
        """The next word, which stays; empty at the end."""
        return self._words[self._at].text if self else ""

    def word(self, what: str) -> Word:
        """Takes a word; ``what`` is for the error when there is none."""
        if not self:
            self.last.fail(f"{what} is missing after {self.last.text!r}")
        self.last = self._words[self._at]
        self._at += 1
        return self.last

    def number(self, what: str, width: int = 32) -> int:
        """Takes a number of at most ``width`` bits."""
        word = self.word(what)
        try:
            return flows.integer(word.text, width)
        except ValueError:
            word.fail(f"{what} must be a number of at most {width} bits, got {word.text!r}")

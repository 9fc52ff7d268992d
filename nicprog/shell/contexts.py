# SPDX-License-Identifier: Apache-2.0
"""Contexts of command lines, which have numbers there and names in a spec.

``context new`` prints the number that the kernel gave. What follows in a script is written for that
number, so it is taken to be the lowest that is free, as on a NIC without contexts of others.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nicprog.errors import FieldError
from nicprog.settings import Value, Values
from nicprog.shell import flows
from nicprog.shell.rss import RssLine
from nicprog.shell.values import Take
from nicprog.shell.words import Word
from nicprog.spec import ContextSpec, RssSpec


@dataclass(slots=True)
class _Context:
    """What the lines so far make of one context; ``word`` is where it was made."""

    name: str
    word: Word
    shares: RssSpec
    key: str | None = None
    hashing: dict[str, Value] = field(default_factory=dict)


class Contexts:
    """The contexts of a script by their numbers."""

    def __init__(self) -> None:
        self._made: dict[int, _Context] = {}
        self._gone: dict[str, Word] = {}
        self._is_used = False

    def take(self, line: RssLine, word: Word, comment: str) -> None:
        """Takes a line of ``-X``; ``word`` is the one behind ``context``."""
        if word.text == "new":
            self._make(line, word, comment)
            return
        context = self._of(word)
        if line.deletes is not None:
            self._gone[context.name] = word
            del self._made[self._number(word)]
            return
        if line.shares is not None:
            context.shares = _own(line.shares, word)
        context.key = context.key if line.key is None else line.key
        context.hashing |= line.hashing

    def hash_of(self, word: Word) -> Take:
        """What takes the hashed fields of the context whose number ``word`` is."""
        context = self._of(word)

        def take(_: str, given: Values) -> None:
            context.hashing |= given

        return take

    def name(self, word: Word) -> str:
        """What a spec calls the context of this number: one of others where no line makes it."""
        self._is_used = True
        number = self._number(word)
        return self._made[number].name if number in self._made else f"#{number}"

    def specs(self) -> tuple[ContextSpec, ...]:
        """The contexts that are left, in the order of their numbers."""
        return tuple(_spec(context) for _, context in sorted(self._made.items()))

    def warnings(self) -> list[str]:
        """What the author should know."""
        if not self._made or not self._is_used:
            return []
        told = ", ".join(f"{n} is {one.name!r}" for n, one in sorted(self._made.items()))
        return [f"numbers of contexts are taken to be those of a NIC without others: {told}"]

    def check_named(self, name: str | None) -> None:
        """Refuses that a rule names a context which a line deletes; the kernel would, too."""
        if name in self._gone and name not in {one.name for one in self._made.values()}:
            self._gone[name].fail(f"a rule names context {name!r}, so it cannot be deleted")

    @staticmethod
    def _number(word: Word) -> int:
        return flows.integer(word.text, 32)

    def _make(self, line: RssLine, word: Word, comment: str) -> None:
        if line.deletes is not None:
            line.deletes.fail("a new context cannot be deleted")
        if line.shares is None:
            word.fail("a new context needs equal or weight here: a spec says its queues")
        number = next(n for n in range(1, len(self._made) + 2) if n not in self._made)
        names = {context.name for context in self._made.values()}
        is_name = comment.isascii() and comment.isprintable() and not comment.startswith("#")
        name = comment if comment and is_name else f"context {number}"
        while name in names:
            name += "'"
        self._made[number] = _Context(
            name, word, _own(line.shares, word), line.key, dict(line.hashing)
        )
        _spec(self._made[number])

    def _of(self, word: Word) -> _Context:
        try:
            return self._made[self._number(word)]
        except (ValueError, KeyError):
            made = ", ".join(map(str, sorted(self._made))) or "none"
            word.fail(f"no line before makes context {word.text}; they make {made}")


def _own(shares: RssSpec, word: Word) -> RssSpec:
    if shares.table is not None:
        word.fail("a context has no default table; give equal or weight")
    return shares


def _spec(context: _Context) -> ContextSpec:
    try:
        return ContextSpec(
            name=context.name,
            equal=context.shares.equal,
            weights=context.shares.weights,
            key=context.key,
            hash=context.hashing,
        )
    except FieldError as error:
        context.word.fail(str(error))

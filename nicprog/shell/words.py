# SPDX-License-Identifier: Apache-2.0
"""A shell file as commands and words with their places; what only a shell can do is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, NoReturn

from nicprog.errors import SpecError

_TOKENS: Final = re.compile(
    r"""(?P<skip>[ \t]+|\\\n)
      | (?P<comment>\#[^\n]*)
      | (?P<end>\n|;|&&)
      | (?P<word>(?:[^\s\\'"$`|&;<>(){}*?\[\]!\#]|(?<=\S)\#|\\.|'[^']*'|"(?:[^"\\$`]|\\.)*")+)""",
    re.VERBOSE | re.DOTALL,
)
_PIECES: Final = re.compile(r"""'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)|([^'"\\]+)""", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Word:
    """One word without its quotes.

    Attributes:
        text: What the shell would pass on.
        source: Name of the file.
        line: Counted from 1.
        column: Counted from 1.
    """

    text: str
    source: str
    line: int
    column: int

    def fail(self, message: str) -> NoReturn:
        """Raises SpecError that points here."""
        raise SpecError(f"{self.source}:{self.line}:{self.column}: {message}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command, and the comment in the line before it, which names what it makes."""

    words: tuple[Word, ...]
    comment: str


def commands(text: str, source: str) -> Iterator[Command]:
    """Commands in order.

    Raises:
        SpecError: A variable, pipe, redirection, pattern, or an open quote; with line and column.
    """
    text = text.replace("\r\n", "\n")
    at, line, line_start = 0, 1, 0
    words, comment = list[Word](), ""
    while at < len(text):
        found = _TOKENS.match(text, at)
        here = Word("", source, line, at - line_start + 1)
        if found is None:
            here.fail(_why_not(text[at:]))
        kind, token = found.lastgroup, found[0]
        if kind == "word":
            words.append(replace(here, text=_unquoted(token)))
        elif kind == "comment" and not words:
            comment = token.lstrip("#").strip()
        elif kind == "end" and words:
            yield Command(words=tuple(words), comment=comment)
            words, comment = [], ""
        elif kind == "end" and at == line_start:
            comment = ""  # an empty line: the comment is about something else
        at = found.end()
        if "\n" in token:
            line += token.count("\n")
            line_start = text.rindex("\n", 0, at) + 1
    if words:
        yield Command(words=tuple(words), comment=comment)


def _unquoted(token: str) -> str:
    def piece(found: re.Match[str]) -> str:
        if found[2] is not None:
            return re.sub(r'\\(["\\$`])', r"\1", found[2].replace("\\\n", ""))
        return found[1] or (found[3] or "").strip("\n") or found[4] or ""

    return _PIECES.sub(piece, token)


def _why_not(rest: str) -> str:
    char = rest[0]
    if (inside := re.match(r'"(?:[^"\\$`]|\\.)*([$`])', rest)) is not None:
        char = inside[1]
    if char == "$":
        name = re.match(r"\$\{?(\w*)", rest[rest.index("$") :])
        shown = f"${name[1]}" if name and name[1] else "$"
        return f"{shown}: variables are not expanded; write the value itself"
    if char == "`":
        return "output of commands is not substituted; write the value itself"
    if char in "'\"":
        return f"the quote {char} is not closed"
    return (
        f"{char!r} is not understood; only plain ethtool commands, one a line or between ; and &&"
    )

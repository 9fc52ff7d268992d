# SPDX-License-Identifier: Apache-2.0
"""The options of ``ethtool -X``: table, key, function and transform, of the NIC or of a context."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from nicprog.errors import FieldError, Refused
from nicprog.settings import Value, Values
from nicprog.shell import values
from nicprog.shell.arguments import Arguments
from nicprog.shell.words import Word
from nicprog.spec import RssSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class RssLine:
    """What one command says.

    Attributes:
        shares: Equal, weights or table alone; None when they stay.
        key: Hash key as in a spec, or None.
        hashing: Function and transform, as in the group ``hash``.
        context: The word behind ``context``, or None for the NIC's own.
        deletes: The context is deleted.
    """

    shares: RssSpec | None
    key: str | None
    hashing: Values
    context: Word | None
    deletes: Word | None


def read(arguments: Arguments) -> RssLine:
    """Takes all words of a command behind the NIC's name.

    Raises:
        SpecError: One of them is not understood.
    """
    shares: list[tuple[Word, RssSpec]] = []
    start: tuple[Word, int] | None = None
    key: str | None = None
    hashing: dict[str, Value] = {}
    context = deletes = None

    def take(_: str, given: Values) -> None:
        hashing.update(given)

    while arguments:
        word = arguments.word("an option of -X")
        match word.text:
            case "hkey":
                key = _key(arguments.word("the key"))
            case "start":
                start = word, arguments.number("the first queue")
            case "equal":
                shares.append((word, _equal(word, arguments)))
            case "weight":
                shares.append((word, _weights(word, arguments)))
            case "hfunc":
                values.read_hash("function", arguments, take)
            case "xfrm":
                values.read_hash("transform", arguments, take)
            case "default":
                shares.append((word, RssSpec(table="default")))
            case "context":
                context = arguments.word("the number of a context, or new,")
            case "delete":
                deletes = word
            case _:
                word.fail(
                    f"a spec cannot say {word.text!r}; it can say hkey, start, equal, weight, "
                    "default, hfunc, xfrm, context and delete"
                )
    if len(shares) > 1:
        shares[1][0].fail(f"{shares[1][0].text} and {shares[0][0].text} exclude each other")
    wanted = shares[0][1] if shares else None
    if start is not None:
        if wanted is None or wanted.table is not None:
            start[0].fail("start needs equal or weight")
        wanted = _from(start[1], wanted)
    return RssLine(shares=wanted, key=key, hashing=hashing, context=context, deletes=deletes)


def _key(word: Word) -> str:
    try:
        return bytes.fromhex(word.text.replace(":", "")).hex()
    except ValueError:
        word.fail(f"the key must be hexadecimal octets with colons between, got {word.text!r}")


def _equal(word: Word, arguments: Arguments) -> RssSpec:
    count = arguments.number("the number of queues")
    if not 1 <= count <= 1 << 16:
        word.fail(f"equal must be 1 to 65536 queues, got {count}")
    return RssSpec(equal=tuple(range(count)))


def _weights(word: Word, arguments: Arguments) -> RssSpec:
    weights = []
    while arguments.peek()[:1].isdigit():
        weights.append(arguments.number("a weight"))
    if not weights:
        word.fail("weight needs at least one weight")
    try:
        return RssSpec(weights=tuple(weights))
    except FieldError as error:
        word.fail(str(error))


def _from(start: int, wanted: RssSpec) -> RssSpec:
    if isinstance(wanted.equal, tuple):
        return replace(wanted, equal=tuple(queue + start for queue in wanted.equal))
    return RssSpec(weights=(0,) * start + (wanted.weights or ()))


def equal(queues: Sequence[int]) -> list[str]:
    """Words of equal shares: by a run where the queues are one, else by weights.

    Raises:
        Refused: There is no queue.
    """
    if not queues:
        raise Refused("every active queue is reserved; leave one")
    if list(queues) == list(range(queues[0], queues[-1] + 1)):
        start = ["start", str(queues[0])] if queues[0] else []
        return [*start, "equal", str(len(queues))]
    named = set(queues)
    return ["weight", *(str(int(queue in named)) for queue in range(queues[-1] + 1))]


def as_run(entries: tuple[int, ...]) -> list[str] | None:
    """``start M equal N`` when that gives exactly these entries, over and over."""
    first, most = entries[0], max(entries)
    if entries == tuple(first + i % (most - first + 1) for i in range(len(entries))):
        return equal(range(first, most + 1))
    return None


def hash_words(hashing: Mapping[str, Value]) -> Iterator[str]:
    """Words for function and transform, where ``hashing`` has them."""
    for name, option in (("function", "hfunc"), ("transform", "xfrm")):
        if name in hashing:
            yield from (option, str(hashing[name]))

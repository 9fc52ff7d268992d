# SPDX-License-Identifier: Apache-2.0
"""Options of ethtool that set values under names, to and from the groups of a spec's settings."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from nicprog import settings
from nicprog.errors import FieldError
from nicprog.settings import QUEUE, Value, Values
from nicprog.shell.arguments import Arguments
from nicprog.shell.words import Word

Take = Callable[[str, Values], None]
"""Gets a group and values of it."""
TakeOf = Callable[[Word], Take]
"""What takes those of the context whose number a word is."""

_QUEUES_MAX: Final = 4096  # MAX_NUM_QUEUE of linux/ethtool.h
_LONG_NAMES: Final = {
    "rx-checksumming": "rx",
    "tx-checksumming": "tx",
    "scatter-gather": "sg",
    "tcp-segmentation-offload": "tso",
    "udp-fragmentation-offload": "ufo",
    "generic-segmentation-offload": "gso",
    "generic-receive-offload": "gro",
    "large-receive-offload": "lro",
    "rx-vlan-offload": "rxvlan",
    "tx-vlan-offload": "txvlan",
    "ntuple-filters": "ntuple",
    "receive-hashing": "rxhash",
}
"""Long names of ethtool(8) to its short ones."""
_SEVERAL: Final = {
    "tx": "tx-checksum-ipv4, tx-checksum-ip-generic, tx-checksum-ipv6, ...",
    "sg": "tx-scatter-gather, tx-scatter-gather-fraglist",
    "tso": "tx-tcp-segmentation, tx-tcp6-segmentation, ...",
    "ufo": "tx-udp-fragmentation",
}
"""Short names that stand for several features, or for one that kernels do not have any more."""


def read_rings(arguments: Arguments, take: Take) -> None:
    """``-G``: sizes of rings."""
    _take(arguments, take, "rings", settings.RINGS)


def read_coalesce(arguments: Arguments, take: Take) -> None:
    """``-C``: interrupt coalescing."""
    _take(arguments, take, "coalesce", settings.COALESCE)


def read_queues(arguments: Arguments, take: Take) -> None:
    """``-Q queue_mask MASK --coalesce``: the same of single queues."""
    word = arguments.word("queue_mask")
    if word.text != "queue_mask":
        word.fail("which queues, is missing: give queue_mask, a spec cannot say 'all'")
    queues = _queues(arguments.word("the mask of queues"))
    command = arguments.word("--coalesce")
    if command.text not in ("-C", "--coalesce"):
        command.fail(f"a spec cannot say {command.text!r} of single queues; it can say --coalesce")

    def of_each(_: str, values: Values) -> None:
        for queue in queues:
            take(f"{QUEUE}{queue}", values)

    _take(arguments, of_each, "coalesce", settings.COALESCE)


def read_features(arguments: Arguments, take: Take) -> None:
    """``-K``: features, by the kernel's names or by ethtool's for one feature each."""
    given: dict[str, Value] = {}
    words: dict[str, Word] = {}
    while arguments:
        word = arguments.word("a feature")
        name = _LONG_NAMES.get(word.text, word.text)
        if name in _SEVERAL:
            word.fail(f"{word.text!r} is several features; name them one by one: {_SEVERAL[name]}")
        given[name], words[name] = _switch(arguments, word), word
    _checked("features", given, words, take)


def read_private_flags(arguments: Arguments, take: Take) -> None:
    """``--set-priv-flags``: flags by the driver's own names."""
    while arguments:
        word = arguments.word("a flag")
        take("private_flags", {word.text: _switch(arguments, word)})


def read_hash_fields(arguments: Arguments, take: Take, take_of: TakeOf) -> None:
    """``-N rx-flow-hash FLOW FIELDS``, of a context where its number follows."""
    flow = arguments.word("a flow type")
    if flow.text not in settings.HASHED_FLOWS:
        flow.fail(f"a spec cannot say what {flow.text!r} hashes; it can say "
                  f"{', '.join(settings.HASHED_FLOWS)}")  # fmt: skip
    fields = arguments.word("the fields, such as sdfn,")
    if arguments.peek() == "context":
        arguments.word("")
        arguments.number("the context")
        take = take_of(arguments.last)
    _checked("hash", {flow.text: fields.text}, {flow.text: fields}, take)


def read_hash(name: str, arguments: Arguments, take: Take) -> None:
    """``function`` or ``transform`` of ``-X hfunc`` and ``xfrm``."""
    word = arguments.word(f"the {name}")
    _checked("hash", {name: word.text}, {name: word}, take)


def _take(arguments: Arguments, take: Take, group: str, known: object) -> None:
    """Pairs of names and values, whose names have hyphens here and underscores in a spec."""
    given: dict[str, Value] = {}
    words: dict[str, Word] = {}
    if not arguments:
        arguments.last.fail("sets nothing here")
    while arguments:
        word = arguments.word("a name")
        name = word.text.replace("-", "_")
        if name not in known:  # type: ignore[operator]  # a tuple or a mapping of names
            told = ", ".join(one.replace("_", "-") for one in known)  # type: ignore[attr-defined]
            word.fail(f"a spec cannot say {word.text!r} of {group}; it can say {told}")
        switches = arguments.peek() in ("on", "off")
        given[name] = _switch(arguments, word) if switches else arguments.number(word.text)
        words[name] = arguments.last
    _checked(group, given, words, take)


def _checked(group: str, given: Values, words: Mapping[str, Word], take: Take) -> None:
    try:
        take(group, settings.checked(group, given))
    except FieldError as error:
        words[error.field].fail(str(error))


def _switch(arguments: Arguments, name: Word) -> bool:
    word = arguments.word(f"on or off for {name.text}")
    if word.text not in ("on", "off"):
        word.fail(f"{name.text} must be on or off, got {word.text!r}")
    return word.text == "on"


def _queues(word: Word) -> list[int]:
    try:
        mask = int(word.text, 16)
    except ValueError:
        mask = 0
    if not 0 < mask < 1 << _QUEUES_MAX:
        word.fail(f"the mask of queues must be hexadecimal and above 0, got {word.text!r}")
    return [queue for queue in range(mask.bit_length()) if mask >> queue & 1]


def commands(device: str, group: str, values: Values) -> Iterator[str]:
    """Command lines that set values of a group; ``device`` is quoted already."""
    told = " ".join(f"{name.replace('_', '-')} {_text(value)}" for name, value in values.items())
    queue = settings.queue_of(group)
    if queue is not None:
        yield f"ethtool -Q {device} queue_mask 0x{1 << queue:x} --coalesce {told}"
    elif group == "rings":
        yield f"ethtool -G {device} {told}"
    elif group == "coalesce":
        yield f"ethtool -C {device} {told}"
    elif group == "hash":
        yield from _hash_commands(device, values)
    else:
        option = "-K" if group == "features" else "--set-priv-flags"
        words = [f"{shlex.quote(name)} {_text(value)}" for name, value in values.items()]
        yield f"ethtool {option} {device} {' '.join(words)}"


def _hash_commands(device: str, values: Values) -> Iterator[str]:
    """Fields first: a transform needs them symmetric."""
    yield from field_commands(device, values)
    for name, option in (("function", "hfunc"), ("transform", "xfrm")):
        if name in values:
            yield f"ethtool -X {device} {option} {values[name]}"


def field_commands(device: str, values: Values, context: int | None = None) -> Iterator[str]:
    """Command lines that set the hashed fields among ``values``, those of a context by number."""
    of_context = "" if context is None else f" context {context}"
    for name, value in values.items():
        if name in settings.HASHED_FLOWS:
            yield f"ethtool -N {device} rx-flow-hash {name} {value}{of_context}"


def _text(value: Value) -> str:
    return ("off", "on")[value] if isinstance(value, bool) else str(value)

# SPDX-License-Identifier: Apache-2.0
"""Command lines of ethtool to the spec that leads to the same state."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, NoReturn

from nicprog.errors import SpecError
from nicprog.model import Channels, Flow, FlowRule, Masked, Match
from nicprog.settings import Values
from nicprog.shell import flows, rss, values
from nicprog.shell.arguments import Arguments
from nicprog.shell.contexts import Contexts
from nicprog.shell.words import Command, Word, commands
from nicprog.spec import RssSpec, RuleSpec, Spec
from nicprog.text import spec_fields, target_fields

_ETHTOOL: Final = re.compile(r"(/\S*/)?ethtool")
_SHELL_OPTIONS: Final = ("-e", "-u", "-x", "-eu", "-ex", "-eux")
_DROP: Final = "-1"
_UNKNOWN_TO_SPECS: Final = (
    "dst-mac", "user-def", "vlan-etype", "spi", "vf", "proto", "src", "dst"
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What command lines come to.

    Attributes:
        spec: The spec.
        warnings: Where it says more or less than they do.
    """

    spec: Spec
    warnings: tuple[str, ...]


def read(text: str, source: str = "script", device: str | None = None) -> Imported:
    """Reads a shell file of ethtool commands.

    Which of two rules without ``loc`` wins depends on the NIC: where its driver does not choose,
    ethtool takes the last free location. So those that a packet can tell apart need one.

    Args:
        text: The file.
        source: What messages call it.
        device: Which NIC, where the commands are for several; their others are left out.

    Raises:
        SpecError: A line is not understood, or says what a spec cannot; with line and column.
    """
    script = _Script(source, device)
    for command in commands(text, source):
        script.add(command)
    return script.result()


@dataclass(frozen=True, slots=True)
class _Rule:
    spec: RuleSpec
    match: Match
    word: Word

    def contradicts(self, other: _Rule) -> bool:
        """Some packet is taken by both, and they do different things with it."""
        return self.spec.target() != other.spec.target() and self.match.meets(other.match)


class _Script:
    """What the lines so far come to."""

    def __init__(self, source: str, device: str | None) -> None:
        self._source, self._device, self._picks = source, device, device is not None
        self._channels: dict[str, int] = {}
        self._rss = RssSpec()
        self._settings: dict[str, Values] = {}
        self._contexts = Contexts()
        self._rules: list[_Rule] = []
        self._names: set[str] = set()
        self._warnings: list[str] = []
        self._removes = False
        self._last: Word | None = None

    def add(self, command: Command) -> None:
        """Takes one command."""
        arguments = Arguments(command.words)
        program = arguments.word("a command")
        if program.text == "sudo":
            program = arguments.word("a command")
        if program.text == "set" and all(w.text in _SHELL_OPTIONS for w in command.words[1:]):
            return
        if not _ETHTOOL.fullmatch(program.text):
            if re.match(r"\w+=", program.text):
                program.fail("variables are not kept; write the values where they are used")
            program.fail(f"{program.text!r} is not ethtool; take other commands out")
        option = arguments.word("an option, such as -L,")
        take = self._options().get(option.text)
        if take is None:
            option.fail(
                f"{option.text} is not among the options that a spec can say: "
                f"{', '.join(self._options())}"
            )
        device = arguments.word("the name of a NIC")
        if not arguments:
            device.fail(f"{option.text} sets nothing here")
        if self._is_for_us(device):
            take(arguments, command.comment)

    def _options(self) -> dict[str, Callable[[Arguments, str], None]]:
        return {
            **dict.fromkeys(("-L", "--set-channels"), self._set_channels),
            **dict.fromkeys(("-X", "--set-rxfh-indir", "--rxfh"), self._set_rss),
            **dict.fromkeys(("-N", "-U", "--config-nfc", "--config-ntuple"), self._set_rules),
            **dict.fromkeys(("-G", "--set-ring"), self._values(values.read_rings)),
            **dict.fromkeys(("-C", "--coalesce"), self._values(values.read_coalesce)),
            **dict.fromkeys(("-Q", "--per-queue"), self._values(values.read_queues)),
            **dict.fromkeys(("-K", "--features", "--offload"), self._values(values.read_features)),
            "--set-priv-flags": self._values(values.read_private_flags),
        }

    def _values(
        self, read: Callable[[Arguments, values.Take], None]
    ) -> Callable[[Arguments, str], None]:
        return lambda arguments, _: read(arguments, self._take)

    def _take(self, group: str, given: Values) -> None:
        self._settings[group] = {**self._settings.get(group, {}), **given}

    def _is_for_us(self, word: Word) -> bool:
        if self._device is None:
            self._device = word.text
        if word.text != self._device and not self._picks:
            word.fail(
                f"this is for {word.text}, lines before are for {self._device}; a spec is for one "
                "NIC, choose it with --device"
            )
        self._last = word
        return word.text == self._device

    def result(self) -> Imported:
        """The spec of all lines."""
        if self._device is None or self._last is None:
            raise SpecError(f"{self._source}: holds no ethtool command")
        channels = None
        if self._channels:
            try:
                channels = Channels(**self._channels)
            except ValueError as error:
                self._last.fail(f"the channels of all lines together: {error}; give rx and tx")
        rules = self._in_order()
        for rule in rules:
            self._contexts.check_named(rule.spec.context)
        if rules and not self._removes:
            other_rules: str | None = "keep"
        else:
            other_rules = "remove" if self._removes else None
        spec = Spec(
            device=self._device,
            channels=channels,
            rss=None if self._rss == RssSpec() else self._rss,
            contexts=self._contexts.specs(),
            rules=tuple(rule.spec for rule in rules),
            settings=self._settings,
            other_rules=other_rules,
        )
        return Imported(spec=spec, warnings=(*self._warnings, *self._contexts.warnings()))

    def _set_channels(self, arguments: Arguments, _comment: str) -> None:
        while arguments:
            kind = arguments.word("a kind of channels")
            if kind.text == "other":
                kind.fail("a spec cannot say 'other' channels; take it out")
            if kind.text not in ("combined", "rx", "tx"):
                kind.fail(f"{kind.text!r} is not one of combined, rx, tx")
            self._channels[kind.text] = arguments.number(f"the number of {kind.text} channels")

    def _set_rss(self, arguments: Arguments, comment: str) -> None:
        line = rss.read(arguments)
        if line.context is not None:
            self._contexts.take(line, line.context, comment)
            return
        if line.deletes is not None:
            line.deletes.fail("delete needs context, and its number")
        if line.hashing:
            self._take("hash", line.hashing)
        shares = self._rss if line.shares is None else line.shares
        self._rss = replace(shares, key=self._rss.key if line.key is None else line.key)

    def _set_rules(self, arguments: Arguments, comment: str) -> None:
        word = arguments.word("flow-type or delete")
        if word.text == "delete":
            self._delete(arguments.number("the location"))
        elif word.text == "flow-type":
            self._insert(word, arguments, comment)
        elif word.text == "rx-flow-hash":
            values.read_hash_fields(arguments, self._take, self._contexts.hash_of)
        else:
            word.fail(
                f"a spec cannot say {word.text!r}; it can say flow-type, delete and rx-flow-hash"
            )
        if arguments:
            extra = arguments.word("")
            extra.fail(f"{extra.text!r} is too much here")

    def _delete(self, location: int) -> None:
        left = [rule for rule in self._rules if rule.spec.location != location]
        if len(left) == len(self._rules):
            self._removes = True
            self._warnings.append(
                f"the rule at location {location} is deleted and not made by these commands: "
                'other_rules = "remove" takes away all rules that they do not make'
            )
        self._rules = left

    def _insert(self, word: Word, arguments: Arguments, comment: str) -> None:
        name = self._name(comment or f"line {word.line}", word)
        spec, match = _flow_rule(arguments, name, self._contexts)
        if spec.location is not None:
            self._rules = [one for one in self._rules if one.spec.location != spec.location]
        self._rules.append(_Rule(spec, match, word))

    def _name(self, wanted: str, word: Word) -> str:
        name = wanted if wanted not in self._names else f"{wanted}, line {word.line}"
        while name in self._names:
            name += "'"
        self._names.add(name)
        return name

    def _in_order(self) -> list[_Rule]:
        placed = [rule for rule in self._rules if rule.spec.location is not None]
        free = [rule for rule in self._rules if rule.spec.location is None]
        for index, rule in enumerate(free):
            for other in placed + free[:index]:
                if rule.contradicts(other):
                    rule.word.fail(
                        f"this rule and that of line {other.word.line} can take the same packet, "
                        "and which of them wins depends on the NIC; give both a loc"
                    )
        return sorted(placed, key=lambda rule: rule.spec.location or 0) + free


def _flow_rule(arguments: Arguments, name: str, contexts: Contexts) -> tuple[RuleSpec, Match]:
    flow_word = arguments.word("a flow type")
    flow = flows.FLOW_WORDS.get(flow_word.text)
    if flow is None:
        flow_word.fail(
            f"a spec cannot say flow type {flow_word.text!r}; it can say "
            f"{', '.join(flows.FLOW_WORDS)}"
        )
    masks: dict[str, Masked] = {}
    queue: int | None = 0  # what ethtool takes when there is no action
    context: str | None = None
    location: int | None = None
    while arguments:
        word = arguments.word("an option of flow-type")
        if flows.has_option(flow, word.text):
            field = flows.FIELDS[word.text]
            masks[field] = _masked(arguments, flow, word, field)
        elif word.text == "l4data" and flow.protocol == "any":
            both = _masked_number(arguments, word, 32)
            masks["src_port"] = Masked(value=both.value >> 16, mask=both.mask >> 16)
            masks["dst_port"] = Masked(value=both.value & 0xFFFF, mask=both.mask & 0xFFFF)
        elif word.text == "action":
            queue = _action(arguments)
        elif word.text == "queue":
            queue = arguments.number("the queue")
        elif word.text == "context":
            arguments.number("the context")
            context = contexts.name(arguments.last)
        elif word.text == "loc":
            location = arguments.number("the location")
        else:
            _unknown_option(word, flow)
    try:
        match = Match(flow=flow, **masks)
        target = target_fields(FlowRule(location=0, match=match, queue=queue, context=context))
        spec = RuleSpec(name=name, location=location, **spec_fields(match), **target)  # type: ignore[arg-type]  # their own names
        return spec, match
    except ValueError as error:
        flow_word.fail(str(error))


def _unknown_option(word: Word, flow: Flow) -> NoReturn:
    known = [one for one in flows.FIELDS if flows.has_option(flow, one)]
    why = "a spec cannot say" if word.text in _UNKNOWN_TO_SPECS else "unknown option"
    word.fail(
        f"{why} {word.text!r} for {flow.name.lower()}; known are {', '.join(known)}, action, "
        "context, loc"
    )


def _action(arguments: Arguments) -> int | None:
    if arguments.peek() == _DROP:
        arguments.word("")
        return None
    if arguments.peek() == "-2":
        arguments.word("").fail("a spec cannot say that a packet wakes the machine")
    return arguments.number("the action, a queue or -1 to drop,")


def _masked(arguments: Arguments, flow: Flow, option: Word, field: str) -> Masked:
    width = flows.bits(flow, field)
    return _value_and_mask(
        arguments, option, width, lambda text: flows.number(flow, field, text), f"ipv{flow.version}"
    )


def _masked_number(arguments: Arguments, option: Word, width: int) -> Masked:
    return _value_and_mask(
        arguments, option, width, lambda text: flows.integer(text, width), f"{width} bits"
    )


def _value_and_mask(
    arguments: Arguments, option: Word, width: int, number: Callable[[str], int], kind: str
) -> Masked:
    """The value after an option, and the mask when one follows."""

    def read_one(what: str) -> int:
        word = arguments.word(what)
        try:
            return number(word.text)
        except ValueError:
            word.fail(f"{what} of {option.text} must be one of {kind}, got {word.text!r}")

    value, full = read_one("the value"), (1 << width) - 1
    mask = full
    if arguments.peek() == "m":
        arguments.word("")
        mask = full & ~read_one("the mask")
    return Masked(value=value & mask, mask=mask)

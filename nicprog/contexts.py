# SPDX-License-Identifier: Apache-2.0
"""What the contexts of a spec mean on one NIC: from shares to tables, and whose contexts stay.

The order of the steps that make and change them is the planner's, see docs/design/016-contexts.md.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from typing import NoReturn

from nicprog import settings
from nicprog.errors import Refused
from nicprog.model import (
    OWN_CONTEXT,
    Capabilities,
    FlowRule,
    NicState,
    RssContext,
    RssTable,
    symmetric_key,
)
from nicprog.settings import HASHED_FLOWS, Value, Values
from nicprog.spec import ContextSpec, Spec
from nicprog.toml_source import Path as ValuePath


def resolve_contexts(
    spec: Spec,
    now: NicState,
    queues: int,
    rules: Sequence[FlowRule],
    key: bytes,
    can: Capabilities,
) -> tuple[RssContext, ...]:
    """The contexts that the NIC should hold: those of ``spec``, and those of ``now`` that stay.

    Args:
        spec: What is wanted.
        now: What the NIC holds.
        queues: RX queues that are active by then.
        rules: All rules that it should hold.
        key: Its own key by then, which new contexts get, too.
        can: What it can do.

    Raises:
        Refused: The NIC would refuse it; the text says which part and the limit.
    """
    there = {context.name: context for context in now.contexts}
    asked = {}
    for index, one in enumerate(spec.contexts):
        if can.contexts == 0:
            _refuse(spec, (index, "name"), f"driver {can.driver} has no RSS contexts")
        if (highest := max(one.queues())) >= queues:
            text = (
                f"context {one.name!r} names queue {highest}, but {queues} queues are active "
                f"(0 to {queues - 1}); choose a lower queue or raise [channels] combined"
            )
            _refuse(spec, (index, "name"), text)
        asked[one.name] = _resolved(spec, index, there.get(one.name), key, can)
    named = {rule.context: rule for rule in rules if rule.context is not None}
    staying = [context for context in now.contexts if context.name not in asked]
    stay = {context.name: context for context in staying if _stays(spec, context, named)}
    found = asked | stay
    _check_named(spec, found, can)
    for context in staying:
        if context.name not in stay and context.name in named:
            raise Refused(
                f"{spec.device}: {named[context.name].label} names context {context.name!r}, which "
                'other_contexts = "remove" takes away; name it in the spec, or remove the rule'
            )
    return tuple(found[name] for name in sorted(found))


def _stays(spec: Spec, context: RssContext, named: Collection[str]) -> bool:
    if spec.other_contexts is not None:
        return spec.other_contexts == "keep"
    kept = not spec.contexts and spec.keeps_other_rules()
    return kept or not context.is_ours or context.name in named


def warnings(spec: Spec, contexts: Sequence[RssContext]) -> list[str]:
    """Tells of contexts that other programs made, which a spec with contexts leaves alone."""
    if not spec.contexts or spec.other_contexts is not None:
        return []
    asked = {context.name for context in spec.contexts}
    return [
        f"context {context.name!r} (queues {_queues(context)}) was made by another program and "
        'stays; other_contexts = "remove" takes it away, "keep" keeps it without this warning'
        for context in contexts
        if not context.is_ours and context.name not in asked
    ]


def _queues(context: RssContext) -> str:
    return ", ".join(map(str, sorted(set(context.table.entries))))


def _resolved(
    spec: Spec, index: int, there: RssContext | None, key: bytes, can: Capabilities
) -> RssContext:
    context = spec.contexts[index]
    return RssContext(
        name=context.name,
        table=_table(spec, index, there, can),
        key=_key(spec, index, key if there is None else there.key, can),
        hashing=_hashing(spec, index, {} if there is None else there.hashing, can),
    )


def _table(spec: Spec, index: int, there: RssContext | None, can: Capabilities) -> RssTable:
    """As few entries as possible move; those of a new context take turns."""
    context, size = spec.contexts[index], can.table_size
    if isinstance(context.table, tuple):
        if size % len(context.table):
            text = (
                f"table of context {context.name!r} has {len(context.table)} entries, the NIC's "
                f"have {size}; give {size}, or a number that divides it"
            )
            _refuse(spec, (index, "table"), text)
        return RssTable(entries=context.table * (size // len(context.table)))
    shares = _shares(context)
    nobody = max(shares) + 1
    base = RssTable(entries=(nobody,) * size)
    if there is not None and len(there.table.entries) == size:
        base = there.table
    return base.with_shares(shares)


def _shares(context: ContextSpec) -> dict[int, int]:
    if context.weights is not None:
        return {queue: weight for queue, weight in enumerate(context.weights) if weight}
    return dict.fromkeys(sorted(context.queues()), 1)


def _key(spec: Spec, index: int, present: bytes, can: Capabilities) -> bytes:
    context = spec.contexts[index]
    if not can.context_keys:
        if context.key is not None:
            text = f"driver {can.driver} has one hash key for all contexts; say it in [rss]"
            _refuse(spec, (index, "key"), text)
        return b""
    if context.key is None:
        return present
    if context.key == "symmetric":
        return symmetric_key(can.key_bytes)
    if context.key == "default":
        if can.default_key is None:
            text = f"the default key of driver {can.driver} is not known; give it"
            _refuse(spec, (index, "key"), text)
        return can.default_key
    key = context.key_bytes()
    if len(key) != can.key_bytes:
        text = f"key has {len(key)} bytes, the NIC takes exactly {can.key_bytes}"
        _refuse(spec, (index, "key"), text)
    return key


def _hashing(spec: Spec, index: int, present: Values, can: Capabilities) -> dict[str, Value]:
    asked = settings.checked("hash", spec.contexts[index].hash)
    for name in asked:
        own = can.context_fields if name in HASHED_FLOWS else can.context_keys
        if not own:
            text = f"driver {can.driver} has one {name} for all contexts; say it in [hash]"
            _refuse(spec, (index, name), text)
    wanted = {**present, **asked}
    if wanted.get("transform", "none") != "none":
        for flow in HASHED_FLOWS:
            if not settings.is_symmetric(str(wanted.get(flow, ""))):
                text = (
                    f"transform {wanted['transform']} of context {spec.contexts[index].name!r} "
                    f"needs both directions' fields, but its {flow} hashes {wanted[flow]!r}"
                )
                _refuse(spec, (index, "transform"), text)
    return wanted


def _check_named(spec: Spec, contexts: Collection[str], can: Capabilities) -> None:
    """A rule may name a context of the spec or the NIC, or the NIC's own table."""
    for index, rule in enumerate(spec.all_rules()):
        if rule.context is None:
            continue
        where = spec.path_of_rule(index, "context")
        if can.contexts == 0:
            text = f"{spec.device}: driver {can.driver} has no RSS contexts"
            raise Refused(spec.error(where, text))
        if rule.context == OWN_CONTEXT or rule.context in contexts:
            continue
        close = difflib.get_close_matches(rule.context, contexts, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "add it as [[context]]"
        text = (
            f"{spec.device}: rule {rule.name!r} names context {rule.context!r}, which neither the "
            f"spec nor the NIC has; {hint}"
        )
        raise Refused(spec.error(where, text))


def _refuse(spec: Spec, path: tuple[int, str], text: str) -> NoReturn:
    where: ValuePath = ("context", *path)
    raise Refused(spec.error(where, f"{spec.device}: {text}"))

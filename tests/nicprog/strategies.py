# SPDX-License-Identifier: Apache-2.0
"""States of a small NIC, for hypothesis: few values, so that rules overlap, collide and shadow."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from nicprog.model import (
    ANY,
    Capabilities,
    Channels,
    Flow,
    FlowRule,
    Masked,
    Match,
    NicState,
    RssContext,
    RssTable,
)
from nicprog.spec import ContextSpec, Reserve, RssSpec, RuleSpec, Spec


def capabilities(
    *, table_size: int = 8, masks_max: int | None = None, contexts: int | None = None
) -> Capabilities:
    return Capabilities(
        driver="qs_soft",
        bus="memory",
        queues_max=6,
        table_size=table_size,
        key_bytes=40,
        locations=12,
        masks_max=masks_max,
        contexts=contexts,
        context_keys=True,
        context_fields=True,
    )


_PORTS = st.sampled_from(
    [
        ANY,
        Masked(value=80, mask=0xFFFF),
        Masked(value=81, mask=0xFFFF),
        Masked(value=80, mask=0xFFF0),
        Masked(value=80, mask=0xF0F0),
    ]
)


@st.composite
def matches(draw: st.DrawFn) -> Match:
    flow = draw(st.sampled_from(list(Flow)))
    top = flow.address_bits - 8
    address = st.sampled_from([ANY, Masked(value=10 << top, mask=255 << top)])
    is_any = flow.protocol == "any"
    return Match(
        flow=flow,
        src=draw(address),
        dst_port=ANY if is_any else draw(_PORTS),
        tos=draw(st.sampled_from([ANY, Masked(value=0xB8, mask=0xFC)])),
        vlan_tci=draw(st.sampled_from([ANY, Masked(value=5, mask=0xFFF)])),
        l4_proto=draw(st.sampled_from([ANY, Masked(value=47, mask=0xFF)])) if is_any else ANY,
    )


@st.composite
def states(draw: st.DrawFn, table_size: int = 8, *, contexts: bool = False) -> NicState:
    """With ``contexts``: up to two of three names, and rules that name them."""
    queues = draw(st.integers(1, 6))
    queue = st.integers(0, queues - 1)
    some = draw(st.lists(queue, min_size=8, max_size=8))
    default = [i % queues for i in range(8)]
    entries = draw(st.sampled_from([some, default]))
    locations = sorted(draw(st.sets(st.integers(0, 11), max_size=6)))
    some_contexts = draw(_contexts(queues, table_size)) if contexts else ()
    names = st.sampled_from([None, *(context.name for context in some_contexts)])
    return NicState(
        channels=Channels(combined=queues),
        table=RssTable(entries=_spread(entries, default, queues, table_size)),
        key=bytes([draw(st.integers(0, 3))]) * 40,
        rules=tuple(_rule(draw, at, draw(names), queue) for at in locations),
        contexts=some_contexts,
    )


def _rule(draw: st.DrawFn, at: int, context: str | None, queue: st.SearchStrategy[int]) -> FlowRule:
    to = draw(st.none() | queue) if context is None else 0
    return FlowRule(location=at, match=draw(matches()), queue=to, context=context)


@st.composite
def _contexts(draw: st.DrawFn, queues: int, table_size: int) -> tuple[RssContext, ...]:
    """Of a few names, so that states share some; fields are there in all, as a NIC reads them."""
    return tuple(
        RssContext(
            name=name,
            table=RssTable(entries=(draw(st.integers(0, queues - 1)),) * table_size),
            key=bytes([draw(st.integers(0, 1))]) * 40,
            hashing={
                "transform": draw(st.sampled_from(["none", "symmetric-xor"])),
                "udp4": draw(st.sampled_from(["sd", "sdfn"])),
            },
        )
        for name in sorted(draw(st.sets(st.sampled_from(["#1", "a", "b"]), max_size=2)))
    )


def _spread(entries: list[int], default: list[int], queues: int, size: int) -> tuple[int, ...]:
    if entries == default:
        return RssTable.default(queues, size).entries
    return tuple(entries) * (size // 8)


_QUEUE = st.integers(0, 9)


@st.composite
def rule_specs(draw: st.DrawFn, name: str, contexts: tuple[str, ...] = ()) -> RuleSpec:
    """To a queue, to one of ``contexts`` as often, or dropped."""
    context = draw(st.sampled_from([None, *contexts]))
    protocol = draw(st.sampled_from(["tcp", "tcp", "udp", "any"]))
    is_any = protocol == "any"
    drops = context is None and draw(st.sampled_from([False, False, False, True]))
    return RuleSpec(
        name=name,
        protocol=protocol,
        family=draw(st.sampled_from(["ipv4", "ipv4", "ipv6"])),
        dst_port=None if is_any else draw(st.sampled_from([None, 80, 443, "8000-8003"])),
        dscp=draw(st.sampled_from([None, None, None, 46])),
        vlan=draw(st.sampled_from([None, None, None, 5])),
        queue=None if drops or context else draw(_QUEUE),
        drop=drops,
        context=context,
        location=draw(st.none() | st.integers(0, 20)),
    )


def rss_specs() -> st.SearchStrategy[RssSpec]:
    return st.one_of(
        st.builds(RssSpec, key=st.sampled_from([None, "symmetric"])),
        st.builds(RssSpec, equal=st.sampled_from(["all", (0,), (1, 2)])),
        st.builds(RssSpec, weights=st.sampled_from([(1,), (3, 1), (1, 1, 1, 1)])),
        st.builds(RssSpec, table=st.sampled_from(["default", (0, 1), (0, 1, 2, 3)])),
    )


@st.composite
def context_specs(draw: st.DrawFn, name: str) -> ContextSpec:
    hashed: dict[str, Any] = draw(st.sampled_from([{}, {}, {"udp4": "sd"}]))
    return ContextSpec(
        name=name,
        equal=draw(st.sampled_from([(0,), (0, 1), (2, 3)])),
        key=draw(st.sampled_from([None, None, "symmetric"])),
        hash=hashed,
    )


@st.composite
def specs(draw: st.DrawFn, device: str, apart: bool = False) -> Spec:
    """Specs that about half of all NICs can hold.

    Args:
        draw: Of hypothesis.
        device: Name of the NIC.
        apart: It counts RX and TX channels apart.
    """
    count = draw(st.integers(1, 10))
    channels = Channels(rx=count, tx=count) if apart else Channels(combined=count)
    names = tuple(draw(st.sampled_from([(), (), ("a",), ("a", "b")])))
    rules = [draw(rule_specs(f"r{index}", names)) for index in range(draw(st.integers(0, 4)))]
    reserve = (Reserve(queue=draw(_QUEUE), port=8443),)
    return Spec(
        device=device,
        channels=draw(st.none() | st.just(channels)),
        rss=draw(st.none() | rss_specs()),
        contexts=tuple(draw(context_specs(name)) for name in names),
        rules=tuple(rules),
        reserve=draw(st.sampled_from([(), (), reserve])),
        settings=draw(st.just({}) | settings()),
        other_rules=draw(st.sampled_from([None, "keep", "remove"])),
        other_contexts=draw(st.sampled_from([None, "keep", "remove"])),
    )


def settings() -> st.SearchStrategy[dict[str, dict[str, Any]]]:
    """Groups of settings, most of which most NICs have."""
    coalesce = st.fixed_dictionaries(
        {}, optional={"rx_usecs": st.integers(0, 99), "tx_usecs": st.integers(0, 99)}
    )
    hashed = st.sampled_from(["sd", "sdfn", "fn"])
    groups: dict[str, st.SearchStrategy[dict[str, Any]]] = {
        "rings": st.fixed_dictionaries({"rx": st.sampled_from([256, 4096, 8192, 1 << 20])}),
        "coalesce": coalesce,
        "coalesce.queue.1": coalesce,
        "features": st.fixed_dictionaries(
            {}, optional={"rx-gro": st.booleans(), "rx-hashing": st.booleans()}
        ),
        "hash": st.fixed_dictionaries({}, optional={"udp4": hashed, "tcp6": hashed}),
    }
    return st.fixed_dictionaries({}, optional=groups).map(
        lambda found: {group: values for group, values in found.items() if values}
    )

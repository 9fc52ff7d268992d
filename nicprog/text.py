# SPDX-License-Identifier: Apache-2.0
"""Rules and states as text: for people, as JSON values, and as a spec."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import Any, Final

from nicprog.fields import address_text
from nicprog.model import (
    ANY,
    FLOWS,
    Channels,
    FlowRule,
    Masked,
    Match,
    NicState,
    RssContext,
    RssTable,
)
from nicprog.settings import HOST_GROUPS, Settings, Values


def rule_text(rule: FlowRule) -> str:
    """One line, for example ``tcp ipv4 dst_port 8443 -> queue 3``."""
    return f"{match_text(rule.match)} -> {_target_text(rule)}"


def match_text(match: Match) -> str:
    """What ``match`` takes, for example ``tcp ipv4 dst_port 8443``."""
    fields = spec_fields(match)
    words = [str(fields.pop("protocol")), str(fields.pop("family"))]
    return " ".join([*words, *(f"{key} {value}" for key, value in fields.items())])


def _target_text(rule: FlowRule) -> str:
    if rule.context is None:
        return "drop" if rule.queue is None else f"queue {rule.queue}"
    return f"context {rule.context}" + (f" + queue {rule.queue}" if rule.queue else "")


def spec_fields(match: Match) -> dict[str, int | str]:
    """What ``match`` compares, with the keys and values of a rule in a spec."""
    found: dict[str, int | str] = {
        "protocol": match.flow.protocol,
        "family": f"ipv{match.flow.version}",
    }
    if match.l4_proto.mask == 0xFF:
        found["protocol"] = match.l4_proto.value
    elif match.l4_proto != ANY:
        found["l4_proto"] = _masked(match.l4_proto)
    for key in ("src", "dst"):
        item: Masked = getattr(match, key)
        if item != ANY:
            found[key] = address_text(match.flow.version, item)
    for key in ("src_port", "dst_port"):
        item = getattr(match, key)
        if item != ANY:
            found[key] = _masked(item) if match.flow.protocol == "any" else _ports(item)
    if match.tos.mask == 0xFC:
        found["dscp"] = match.tos.value >> 2
    elif match.tos != ANY:
        found["tos"] = _masked(match.tos)
    if match.vlan_tci.mask == 0x0FFF:
        found["vlan"] = match.vlan_tci.value
    elif match.vlan_tci != ANY:
        found["vlan_tci"] = _masked(match.vlan_tci)
    return found


def _ports(item: Masked) -> int | str:
    """A port, a range where the mask is that of an aligned block, else value and mask."""
    open_bits = 0xFFFF & ~item.mask
    if item.mask == 0xFFFF:
        return item.value
    if not open_bits & (open_bits + 1):  # only low bits are open
        return f"{item.value}-{item.value | open_bits}"
    return _masked(item)


def _masked(item: Masked) -> str:
    return f"0x{item.value:x}/0x{item.mask:x}"


def rule_to_json(rule: FlowRule) -> dict[str, Any]:
    """JSON value of a rule: location, protocol, family, what it compares, queue, context or drop.

    Values and masks are hexadecimal strings, since IPv6 addresses do not fit into a JSON number.
    """
    return {
        "location": rule.location,
        "protocol": rule.match.flow.protocol,
        "family": f"ipv{rule.match.flow.version}",
        "match": {
            key: {"value": hex(item.value), "mask": hex(item.mask)}
            for key in ("src", "dst", "src_port", "dst_port", "tos", "vlan_tci", "l4_proto")
            if (item := getattr(rule.match, key)) != ANY
        },
        "text": rule_text(rule),
        "queue": rule.queue,
        "context": rule.context,
        "drop": rule.queue is None,
    }


def context_to_json(context: RssContext) -> dict[str, Any]:
    """JSON value of a context."""
    return {
        "name": context.name,
        "table": list(context.table.entries),
        "key_hex": context.key.hex(),
        "hash": dict(context.hashing),
    }


def state_to_json(state: NicState) -> dict[str, Any]:
    """JSON value of a state; :func:`state_from_json` reads it back to an equal one."""
    return {
        "channels": asdict(state.channels),
        "table": list(state.table.entries),
        "key_hex": state.key.hex(),
        "rules": [rule_to_json(rule) for rule in state.rules],
        "contexts": [context_to_json(context) for context in state.contexts],
        "settings": {group: dict(values) for group, values in state.settings.items()},
    }


def state_from_json(value: Any) -> NicState:
    """The state that :func:`state_to_json` wrote.

    Raises:
        ValueError, KeyError, TypeError: It did not write this.
    """
    return NicState(
        channels=Channels(**value["channels"]),
        table=RssTable(entries=tuple(value["table"])),
        key=bytes.fromhex(value["key_hex"]),
        rules=tuple(_rule_from_json(rule) for rule in value["rules"]),
        contexts=tuple(
            RssContext(
                name=item["name"],
                table=RssTable(entries=tuple(item["table"])),
                key=bytes.fromhex(item["key_hex"]),
                hashing=item["hash"],
            )
            for item in value.get("contexts", ())  # not there in snapshots of earlier versions
        ),
        settings=value["settings"],
    )


def _rule_from_json(value: Any) -> FlowRule:
    version = int(value["family"].removeprefix("ipv"))
    flow = FLOWS[value["protocol"], version]
    masks = {
        key: Masked(value=int(item["value"], 16), mask=int(item["mask"], 16))
        for key, item in value["match"].items()
    }
    return FlowRule(
        location=value["location"],
        match=Match(flow=flow, **masks),
        queue=value["queue"],
        context=value.get("context"),
    )


def state_to_toml(device: str, state: NicState) -> str:
    """A spec that describes all of ``state``."""
    is_default = state.table.is_default(state.channels.rx_queues)
    parts = [f"device = {_toml(device)}", 'other_rules = "remove"']
    parts += ['other_contexts = "remove"'] if state.contexts else []
    parts.append("\n[channels]")
    parts += [f"{kind} = {count}" for kind, count in asdict(state.channels).items() if count]
    if state.table.entries or state.key:
        parts.append("\n[rss]")
    if state.table.entries:
        parts.append(f"table = {_toml('default') if is_default else _table(state.table)}")
    if state.key:
        parts.append(f"key = {_toml(state.key.hex())}")
    parts += [
        settings_to_toml(group, values)
        for group, values in state.settings.items()
        if values and group not in HOST_GROUPS
    ]
    parts += _host(state.settings)
    for context in state.contexts:
        parts += ["\n[[context]]", f"name = {_toml(context.name)}"]
        parts.append(f"table = {_table(context.table)}")
        parts += [f"key = {_toml(context.key.hex())}"] if context.key else []
        parts += [settings_to_toml("context.hash", context.hashing)] if context.hashing else []
    for rule in state.rules:
        values: dict[str, Any] = {
            "name": f"location {rule.location}",
            **spec_fields(rule.match),
            **target_fields(rule),
            "location": rule.location,
        }
        parts.append("\n[[rule]]")
        parts += [f"{key} = {_toml(value)}" for key, value in values.items()]
    return "\n".join(parts) + "\n"


def target_fields(rule: FlowRule) -> dict[str, Any]:
    """Where ``rule`` sends packets, with the keys of a rule in a spec."""
    if rule.queue is None:
        return {"drop": True}
    if rule.context is None:
        return {"queue": rule.queue}
    return {"context": rule.context} | ({"queue": rule.queue} if rule.queue else {})


def settings_to_toml(group: str, values: Values) -> str:
    """The section of a spec for one group."""
    lines = [f"{_toml_key(name)} = {_toml(value)}" for name, value in values.items()]
    return "\n".join([f"\n[{group}]", *lines])


_KEPT_AWAY: Final = {"all": "keep-away", "none": "allow"}


def _host(settings: Settings) -> list[str]:
    """The section ``[host]`` of a spec; values that NAPI instances have apart are told only."""
    parts = []
    for group in HOST_GROUPS:
        values, lines = settings.get(group, {}), []
        for name, value in values.items():
            if group == "host.irqbalance":
                parts.append(f"\n[host]\nirqbalance = {_toml(_KEPT_AWAY.get(str(value), value))}")
            elif group == "host.napi" and isinstance(value, str):
                lines.append(f"# {name} differs, of the interface / of each instance: {value}")
            elif name.endswith("_ns"):
                lines.append(f"{name.removesuffix('_ns')}_us = {_microseconds(int(value))}")
            else:
                lines.append(f"{name} = {_toml(value)}")
        if lines:
            parts += [f"\n[{group}]", *lines]
    return parts


def _microseconds(ns: int) -> str:
    return str(ns // 1000) if ns % 1000 == 0 else repr(ns / 1000)


def _toml_key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: str | int) -> str:
    """A TOML value; strings here are printable ASCII, for which JSON and TOML agree."""
    return json.dumps(value)


def _table(table: RssTable, in_line: int = 32) -> str:
    rows = [table.entries[i : i + in_line] for i in range(0, len(table.entries), in_line)]
    return "[\n" + "".join(f"    {', '.join(map(str, row))},\n" for row in rows) + "]"

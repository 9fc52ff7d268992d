# SPDX-License-Identifier: Apache-2.0
"""What of classification a NIC can do, by its flow rules, and what the engine does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import nicprog
from nicprog.rules import expand

from .classes import Match
from .listener import Listener

_VLAN_MASK, _PCP_MASK, _PCP_SHIFT = 0xFFF, 0xE000, 13


def decisions(listeners: Iterable[Listener]) -> list[dict[str, Any]]:
    """Return who gets which class, in the order in which it is looked at.

    Returns:
        For each: ``port``; ``class``; ``by``, "port", "header", "octets" or "function"; ``what`` in
        words; and ``rule``, fields of nicprog's ``[[rule]]`` that takes the same packets, or None
        where headers do not tell.
    """
    return [decision for listener in listeners for decision in _of_listener(listener)]


def _of_listener(listener: Listener) -> Iterable[dict[str, Any]]:
    port, classify = listener.port, listener.config.classify
    for match in classify.matches if classify else ():
        yield {"port": port, "class": match.priority, **_of_match(port, match)}
    if classify and classify.function is not None:
        yield {
            "port": port,
            "class": None,
            "by": "function",
            "what": f"what {classify.function.python.__name__}() answers",
            "rule": None,
        }
        return
    yield {
        "port": port,
        "class": listener.priority,
        "by": "port",
        "what": "everything else" if classify else "everything",
        "rule": _rule(port),
    }


def _rule(port: int, **fields: object) -> dict[str, Any]:
    return {"protocol": "tcp", "dst_port": port, **fields}


def _tells_tag(match: Match) -> bool:
    """Whether a rule can tell: it looks into a tag, and not whether there is one."""
    return match.vlan != 0 and match.pcp != 0


def _tag_fields(match: Match) -> dict[str, object]:
    if match.pcp is None:
        return {} if match.vlan is None else {"vlan": match.vlan}
    vlan, mask = (0, 0) if match.vlan is None else (match.vlan, _VLAN_MASK)
    return {"vlan_tci": f"0x{match.pcp << _PCP_SHIFT | vlan:x}/0x{_PCP_MASK | mask:x}"}


def _of_match(port: int, match: Match) -> dict[str, Any]:
    fields: dict[str, object] = {}
    words = []
    if match.remote is not None:
        fields["src"] = str(match.remote)
        words.append(f"from {match.remote}")
    if match.remote_port is not None:
        first, last = match.remote_port
        fields["src_port"] = first if first == last else f"{first}-{last}"
        words.append(f"from port {fields['src_port']}")
    if match.vlan is not None:
        words.append(f"on VLAN {match.vlan}" if match.vlan else "on no VLAN")
    if match.pcp is not None:
        words.append(f"with priority {match.pcp} in the tag")
    fields |= _tag_fields(match)
    if match.dscp is not None:
        fields["dscp"] = match.dscp
        words.append(f"with DSCP {match.dscp}")
    looks_inside = []
    if match.octets is not None:
        at, octets, mask = match.octets
        under = "" if mask == b"\xff" * len(mask) else f" under {mask.hex()}"
        looks_inside.append(f"octets {octets.hex()}{under} at {at}")
    if match.http_path is not None:
        looks_inside.append(f"path {match.http_path}...")
    if match.http_header is not None:
        looks_inside.append("{}: {}".format(*match.http_header))
    return {
        "by": "octets" if looks_inside else "header",
        "what": ", ".join(words + looks_inside) or "everything",
        "rule": None if looks_inside or not _tells_tag(match) else _rule(port, **fields),
    }


def rule_text(name: str, rule: Mapping[str, Any]) -> str:
    """Return nicprog's ``[[rule]]`` as TOML, but for its queue."""
    values = (f"{key} = {json.dumps(value)}" for key, value in rule.items())
    return "\n".join(["[[rule]]", f"name = {json.dumps(name)}", *values])


def nic_queues(rule: Mapping[str, Any], nic_rules: Sequence[nicprog.FlowRule]) -> list[int] | None:
    """Return the queues to which a NIC's rules send all that ``rule`` takes.

    Args:
        rule: As in `decisions`.
        nic_rules: What the NIC holds, by location.

    Returns:
        None when no rule takes a part of it, so that the hash decides.
    """
    spec = nicprog.RuleSpec(name="class", queue=0, **rule)
    queues = set()
    for match in expand(spec):
        found = next((one for one in nic_rules if one.match.covers(match)), None)
        if found is None or found.queue is None:
            return None
        queues.add(found.queue)
    return sorted(queues)

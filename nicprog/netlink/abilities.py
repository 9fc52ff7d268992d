# SPDX-License-Identifier: Apache-2.0
"""What the running kernel can do by its netlink families, whatever the driver does.

Asked by the policies that the kernel checks requests with, never concluded from its version:
distributions bring what is newer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from nicprog.errors import DeviceError
from nicprog.netlink import layouts
from nicprog.netlink.ethtool import CHANNELS_SET, RSS_CREATE, RSS_DELETE, RSS_GET, RSS_SET
from nicprog.netlink.family import Family
from nicprog.netlink.netdev import NAPI_GET, NAPI_SET, QUEUE_GET

_FLOW_HASH: Final = layouts.number_of(layouts.RSS, "flow-hash")
_INPUT_XFRM: Final = layouts.number_of(layouts.RSS, "input-xfrm")
_START_CONTEXT: Final = layouts.number_of(layouts.RSS, "start-context")
_TCP6: Final = layouts.number_of(layouts.RSS.flows, "tcp6")
_IRQ_SUSPEND: Final = layouts.number_of(layouts.NAPI, "irq-suspend-timeout")
_THREADED: Final = layouts.number_of(layouts.NAPI, "threaded")
_FLOW_LABEL: Final = 1 << 9  # RXH_IP6_FL
_SYMMETRIC_OR_XOR: Final = 2
_BUSY_POLL: Final = 2

_Policy = dict[int, dict[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ability:
    """How one ability shows.

    Attributes:
        family: Which one.
        command: Its number.
        shows: Whether the attributes that it takes show the ability.
        kind: ``do`` or ``dump``.
    """

    family: str
    command: int
    shows: Callable[[Family, _Policy], bool] = lambda _, accepted: bool(accepted)
    kind: str = "do"


def _has(attribute: int) -> Callable[[Family, _Policy], bool]:
    return lambda _, accepted: attribute in accepted


def _at_least(attribute: int, value: int) -> Callable[[Family, _Policy], bool]:
    return lambda _, accepted: accepted.get(attribute, {}).get("max", 0) >= value


def _hashes_flow_labels(family: Family, accepted: _Policy) -> bool:
    nest = accepted.get(_FLOW_HASH, {}).get("nest")
    fields = {} if nest is None else family.policy(nest)
    return bool(fields.get(_TCP6, {}).get("mask", 0) & _FLOW_LABEL)


_ABILITIES: Final = {
    "set channels": _Ability(family="ethtool", command=CHANNELS_SET),
    "set rss": _Ability(family="ethtool", command=RSS_SET),
    "make rss contexts": _Ability(family="ethtool", command=RSS_CREATE),
    "delete rss contexts": _Ability(family="ethtool", command=RSS_DELETE),
    "list rss contexts": _Ability(
        family="ethtool", command=RSS_GET, shows=_has(_START_CONTEXT), kind="dump"
    ),
    "set hashed fields": _Ability(family="ethtool", command=RSS_SET, shows=_has(_FLOW_HASH)),
    "hash ipv6 flow labels": _Ability(
        family="ethtool", command=RSS_SET, shows=_hashes_flow_labels
    ),
    "hash by symmetric-or-xor": _Ability(
        family="ethtool", command=RSS_SET, shows=_at_least(_INPUT_XFRM, _SYMMETRIC_OR_XOR)
    ),
    "list queues": _Ability(family="netdev", command=QUEUE_GET),
    "list napis": _Ability(family="netdev", command=NAPI_GET),
    "set napis": _Ability(family="netdev", command=NAPI_SET),
    "suspend interrupts": _Ability(family="netdev", command=NAPI_SET, shows=_has(_IRQ_SUSPEND)),
    "napi threads": _Ability(family="netdev", command=NAPI_SET, shows=_has(_THREADED)),
    "napi threads that poll": _Ability(
        family="netdev", command=NAPI_SET, shows=_at_least(_THREADED, _BUSY_POLL)
    ),
}  # fmt: skip


def abilities() -> dict[str, bool]:
    """Each ability by name, and whether the kernel has it.

    A family that the kernel does not have has none of its abilities.
    """
    found = dict.fromkeys(_ABILITIES, False)
    for name in ("ethtool", "netdev"):
        try:
            with Family(name, {}) as family:
                for ability, how in _ABILITIES.items():
                    if how.family == name:
                        accepted = family.accepts(how.command, how.kind)
                        found[ability] = how.shows(family, accepted)
        except DeviceError:
            continue
    return found

# SPDX-License-Identifier: Apache-2.0
"""Why NICs refuse or forget settings, as data: what shows a cause, its remedy, who says so.

An entry with ``shows`` is about something that can be seen in what the NIC holds: it applies when
that finds it, and its text has the numbers. The others can only be suspected. More special ones
come first.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from nicprog import settings
from nicprog.actions import (
    Action,
    CreateContext,
    DeleteContext,
    DeleteRule,
    InsertRule,
    SetChannels,
    SetKey,
    SetTable,
    SetValues,
)
from nicprog.host import HostFacts, by_queue, format_list, parse_list
from nicprog.model import OWN_CONTEXT, Capabilities, Channels, NicState
from nicprog.settings import Limits

EINVAL, EOPNOTSUPP, EBUSY = errno.EINVAL, errno.EOPNOTSUPP, errno.EBUSY
ENOSPC, ENOENT, EPERM = errno.ENOSPC, errno.ENOENT, errno.EPERM
ENODEV, ENETDOWN = errno.ENODEV, errno.ENETDOWN

FORGOTTEN: Final = 0
"""In place of an errno: the change was taken, but does not read back or has no effect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known where something was refused.

    Attributes:
        action: The change.
        can: What the NIC can do.
        state: What it held.
        limits: What values of its settings can be, by group.
        modules: Kernel modules that are loaded.
        host: What the host is like around the NIC, when the change is one of the host.
    """

    action: Action
    can: Capabilities
    state: NicState
    limits: Mapping[str, Limits] = field(default_factory=dict)
    modules: frozenset[str] = frozenset()
    host: HostFacts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One cause of a refusal.

    Attributes:
        name: Stable, for tests and scripts.
        calls: Names of the actions (``set_channels``, ...); empty: all.
        errors: Errnos, or :data:`FORGOTTEN`.
        text: What is wrong.
        remedy: What to do.
        source: Who says so.
        drivers: Whose it is alone; empty: all.
        shows: The text with its numbers when the facts show the cause, None when they exclude it.
    """

    name: str
    calls: tuple[str, ...]
    errors: tuple[int, ...]
    text: str
    remedy: str
    source: str
    drivers: tuple[str, ...] = ()
    shows: Callable[[Facts], str | None] | None = None


def _above_maximum(facts: Facts) -> str | None:
    excess = facts.can.excess(_asked(facts)) if isinstance(facts.action, SetChannels) else None
    return excess and f"{excess[1]} {excess[0]} channels asked, at most {excess[2]} can be"


def _asked(facts: Facts) -> Channels:
    assert isinstance(facts.action, SetChannels)
    return Channels(combined=facts.action.combined, rx=facts.action.rx, tx=facts.action.tx)


def _table_in_the_way(facts: Facts) -> str | None:
    if not isinstance(facts.action, SetChannels) or not facts.state.table.entries:
        return None
    queues, highest = _asked(facts).rx_queues, max(facts.state.table.entries)
    if highest < queues or facts.state.table.is_default(facts.state.channels.rx_queues):
        return None
    count = sum(queue >= queues for queue in facts.state.table.entries)
    return (
        f"{count} of {len(facts.state.table.entries)} table entries name queues from {queues} to "
        f"{highest}, which would go"
    )


def _rules_in_the_way(facts: Facts) -> str | None:
    if not isinstance(facts.action, SetChannels):
        return None
    queues = _asked(facts).rx_queues
    found = [rule for rule in facts.state.rules if (rule.queue or 0) >= queues]
    if not found:
        return None
    return (
        f"{len(found)} flow rules name queues that would go, the first is at location "
        f"{found[0].location} (queue {found[0].queue})"
    )


def _table_would_grow(facts: Facts) -> str | None:
    growth = facts.can.table_growth
    if not isinstance(facts.action, SetChannels) or growth is None:
        return None
    new, now = growth.size(_asked(facts).rx_queues), len(facts.state.table.entries)
    return f"the table would have {new} entries instead of {now}" if new != now else None


def _fixed(facts: Facts) -> str | None:
    return f"driver {facts.can.driver} has a fixed number" if facts.can.fixed_channels else None


def _irdma(facts: Facts) -> str | None:
    return "the kernel module irdma is loaded" if "irdma" in facts.modules else None


def _entry_beyond(facts: Facts) -> str | None:
    if not isinstance(facts.action, SetTable):
        return None
    active = facts.state.channels.rx_queues
    for index, queue in enumerate(facts.action.entries):
        if queue >= active:
            return f"entry {index} is queue {queue}, but {active} queues are active"
    return None


def _entry_unreachable(facts: Facts) -> str | None:
    reach = facts.can.table_queues_max
    if not isinstance(facts.action, SetTable) or reach is None:
        return None
    highest = max(facts.action.entries)
    return (
        f"the table names queue {highest}, and reaches {reach} queues" if highest >= reach else None
    )


def _table_size(facts: Facts) -> str | None:
    if not isinstance(facts.action, SetTable):
        return None
    given, size = len(facts.action.entries), len(facts.state.table.entries)
    return f"{given} entries given, the NIC has {size}" if given != size else None


def _key_length(facts: Facts) -> str | None:
    if not isinstance(facts.action, SetKey) or not facts.can.key_bytes:
        return None
    given, size = len(facts.action.key), facts.can.key_bytes
    return f"{given} bytes given, the NIC takes {size}" if given != size else None


def _no_rss(facts: Facts) -> str | None:
    if facts.can.table_size or facts.can.key_bytes:
        return None
    return f"driver {facts.can.driver} shows neither table nor key here"


def _rule_queue(facts: Facts) -> str | None:
    if not isinstance(facts.action, InsertRule):
        return None
    queue, active = facts.action.rule.queue, facts.state.channels.rx_queues
    if queue is None or queue < active:
        return None
    return f"the rule names queue {queue}, but {active} queues are active (0 to {active - 1})"


def _rule_location(facts: Facts) -> str | None:
    if not isinstance(facts.action, InsertRule):
        return None
    at, locations = facts.action.rule.location, facts.can.locations
    return f"location {at} asked, the NIC has 0 to {locations - 1}" if 0 < locations <= at else None


def _no_locations(facts: Facts) -> str | None:
    if facts.can.locations:
        return None
    return f"driver {facts.can.driver} tells of no location for rules"


def _objection(facts: Facts) -> str | None:
    if not isinstance(facts.action, InsertRule):
        return None
    why = facts.can.rule_limits.objection(facts.action.rule)
    return f"the rule {why}" if why else None


def _masks(facts: Facts) -> str | None:
    if not isinstance(facts.action, InsertRule):
        return None
    rules = (*facts.state.rules, facts.action.rule)
    if facts.can.has_room_for_masks(rules):
        return None
    kinds = len({rule.match.mask_key() for rule in rules})
    most = facts.can.masks_max or facts.can.masks_max_per_flow
    per = "" if facts.can.masks_max else " for one kind of packets"
    return f"with this rule there are {kinds} different masks, the NIC holds {most}{per}"


def _full(facts: Facts) -> str | None:
    used, locations = len(facts.state.rules), facts.can.locations
    return f"{used} of {locations} locations are taken" if 0 < locations <= used else None


def _picks(facts: Facts) -> str | None:
    if not facts.can.picks_locations:
        return None
    return f"driver {facts.can.driver} chooses the location of a rule itself"


def _taken(facts: Facts) -> str | None:
    if not isinstance(facts.action, InsertRule):
        return None
    at = facts.action.rule.location
    taken = any(rule.location == at for rule in facts.state.rules)
    return f"location {at} holds another rule" if taken else None


def _nothing_there(facts: Facts) -> str | None:
    if not isinstance(facts.action, DeleteRule):
        return None
    at = facts.action.location
    there = [rule.location for rule in facts.state.rules]
    return None if at in there else f"location {at} is empty; {len(there)} rules are there"


def _value_above(facts: Facts) -> str | None:
    if not isinstance(facts.action, SetValues):
        return None
    most = facts.limits[facts.action.group].most if facts.action.group in facts.limits else {}
    for name, value in facts.action.values.items():
        if name in most and int(value) > most[name]:
            return f"{name} {value} asked, at most {most[name]} can be"
    return None


def _value_fixed(facts: Facts) -> str | None:
    if not isinstance(facts.action, SetValues):
        return None
    fixed = facts.limits[facts.action.group].fixed if facts.action.group in facts.limits else {}
    for name, value in facts.action.values.items():
        if name in fixed and fixed[name] != value:
            return f"{name} is fixed {settings.text(fixed[name])} by driver {facts.can.driver}"
    return None


def _no_power_of_two(facts: Facts) -> str | None:
    if not isinstance(facts.action, SetValues) or facts.action.group != "rings":
        return None
    for name, value in facts.action.values.items():
        if int(value) & (int(value) - 1):
            return f"{name} {value} is no power of two, which many drivers want"
    return None


def _not_symmetric(facts: Facts) -> str | None:
    if not isinstance(facts.action, SetValues) or facts.action.group != "hash":
        return None
    hashing = {**facts.state.settings.get("hash", {}), **facts.action.values}
    if hashing.get("transform", "none") == "none":
        return None
    for flow in settings.HASHED_FLOWS:
        letters = str(hashing.get(flow, ""))
        if not settings.is_symmetric(letters):
            return f"{flow} hashes {letters!r}, which is not the same in both directions"
    return None


def _contexts_in_the_way(facts: Facts) -> str | None:
    if not isinstance(facts.action, SetChannels):
        return None
    queues = _asked(facts).rx_queues
    found = [context for context in facts.state.contexts if context.queue_max >= queues]
    if not found:
        return None
    return (
        f"{len(found)} RSS contexts name queues that would go, the first is {found[0].name!r} "
        f"(queue {found[0].queue_max})"
    )


def _contexts_full(facts: Facts) -> str | None:
    count, most = len(facts.state.contexts), facts.can.contexts
    if not isinstance(facts.action, CreateContext) or most is None or count < most:
        return None
    return f"{count} of {most} RSS contexts are taken"


def _context_in_use(facts: Facts) -> str | None:
    if not isinstance(facts.action, DeleteContext):
        return None
    named = [rule for rule in facts.state.rules if rule.context == facts.action.context]
    if not named:
        return None
    return f"{len(named)} flow rules name the context, the first is at location {named[0].location}"


def _context_lost(facts: Facts) -> str | None:
    if not isinstance(facts.action, InsertRule) or facts.action.rule.context is None:
        return None
    name = facts.action.rule.context
    if name == OWN_CONTEXT or name in {context.name for context in facts.state.contexts}:
        return None
    return f"the rule names context {name!r}, which is not there"


def _of_host(facts: Facts, *groups: str) -> tuple[HostFacts, str, str] | None:
    """What is around the NIC, name and value, when a value of one of these groups was written."""
    action = facts.action
    if facts.host is None or not isinstance(action, SetValues) or action.group not in groups:
        return None
    name, value = next(iter(action.values.items()))
    return facts.host, name, str(value)


def _cpus_offline(facts: Facts) -> str | None:
    found = _of_host(facts, "host.interrupts", "host.xps", "host.rps")
    if found is None:
        return None
    host, name, value = found
    offline = parse_list(value) - host.topology.online
    online = format_list(host.topology.online)
    if not offline:
        return None
    return f"{name} is to have CPU {format_list(offline)}, which is offline (online: {online})"


def _managed(facts: Facts) -> str | None:
    found = _of_host(facts, "host.interrupts")
    one = by_queue(found[0].interrupts).get(found[1]) if found else None
    if one is None:
        return None
    return f"interrupt {one.number} ({one.name}) is managed by the kernel"


def _one_tx_queue(facts: Facts) -> str | None:
    found = _of_host(facts, "host.xps", "host.xps_rxqs")
    return None if not found or found[0].has_xps else "the device has one TX queue alone"


def _rps_isolated(facts: Facts) -> str | None:
    found = _of_host(facts, "host.rps")
    apart = parse_list(found[2]) & found[0].topology.isolated if found else None
    return f"CPU {format_list(apart)} is isolated by isolcpus=" if apart else None


def _cpu_beyond(facts: Facts) -> str | None:
    found = _of_host(facts, "host.interrupts", "host.xps", "host.rps")
    if found is None:
        return None
    beyond = parse_list(found[2]) - found[0].topology.possible
    most = format_list(found[0].topology.possible)
    return f"there is no CPU {format_list(beyond)}, the host has {most}" if beyond else None


def _no_napi(facts: Facts) -> str | None:
    found = _of_host(facts, "host.napi")
    if found is None or found[0].napis:
        return None
    return "the kernel tells of no NAPI instance of the device"


def _rebalanced(facts: Facts) -> str | None:
    found = _of_host(facts, "host.interrupts")
    return "irqbalance runs and moves interrupts" if found and found[0].balanced else None


_KERNEL: Final = "Linux, net/ethtool/channels.c"
_PROC: Final = "Linux, kernel/irq/proc.c"
_SYSFS: Final = "Linux, net/core/net-sysfs.c"
_CHANNELS, _TABLE, _KEY, _INSERT = ("set_channels",), ("set_table",), ("set_key",), ("insert_rule",)
_VALUES: Final = ("set_values",)
_RSS: Final = ("set_table", "reset_table", "set_key")

CAUSES: Final = (
    Cause(
        name="above-maximum", calls=_CHANNELS, errors=(EINVAL,), shows=_above_maximum,
        text="more channels asked than the NIC has",
        remedy="ask for fewer; 'nicprog dump' shows the most",
        source=_KERNEL,
    ),
    Cause(
        name="table-names-the-queues", calls=_CHANNELS, errors=(EINVAL,), shows=_table_in_the_way,
        text="the indirection table names queues that would go",
        remedy="shrink the table first (ethtool -X DEVICE equal N), or let nicprog plan both",
        source=_KERNEL,
    ),
    Cause(
        name="rules-name-the-queues", calls=_CHANNELS, errors=(EINVAL,), shows=_rules_in_the_way,
        text="flow rules, perhaps forgotten ones, name queues that would go",
        remedy="delete or change those rules first, or let nicprog plan both",
        source=f"{_KERNEL}; Mellanox/ngc_multinode_perf issue 107",
    ),
    Cause(
        name="contexts-name-the-queues", calls=_CHANNELS, errors=(EINVAL,),
        shows=_contexts_in_the_way,
        text="RSS contexts, perhaps of another program, name queues that would go",
        remedy="delete or change them first (ethtool -X DEVICE context N), or let nicprog plan it",
        source="Linux, net/ethtool/channels.c, common.c",
    ),
    Cause(
        name="table-would-change-its-size", calls=_CHANNELS, errors=(EINVAL,),
        shows=_table_would_grow,
        text="the table grows with the number of channels, and what was set does not fit",
        remedy="reset the table first (ethtool -X DEVICE default)",
        source="Linux, net/ethtool, ethtool_rxfh_indir_can_resize; mlx5, bnxt",
    ),
    Cause(
        name="channels-are-fixed", calls=_CHANNELS, errors=(EOPNOTSUPP,), shows=_fixed,
        text="the driver does not change its channels",
        remedy="leave [channels] out of the spec",
        source="Linux, vmxnet3 (from memory)",
    ),
    Cause(
        name="irdma-holds-the-channels", calls=_CHANNELS, errors=(EBUSY,), drivers=("ice",),
        shows=_irdma,
        text="the module irdma holds the channels",
        remedy="unload it for the change (modprobe -r irdma) where RDMA is not needed",
        source="intel/ethernet-linux-ice issue 45; Firedancer",
    ),
    Cause(
        name="queues-are-in-use", calls=_CHANNELS, errors=(EINVAL, EBUSY),
        text="an AF_XDP socket, device memory or a leased queue is bound to a queue that would go",
        remedy="end the program that uses it (ss --xdp shows AF_XDP sockets)",
        source=_KERNEL,
    ),
    Cause(
        name="entry-beyond-the-queues", calls=_TABLE, errors=(EINVAL,), shows=_entry_beyond,
        text="the table names a queue that is not active",
        remedy="name active queues, or raise [channels] first",
        source="Linux, net/ethtool/ioctl.c",
    ),
    Cause(
        name="entry-beyond-the-reach", calls=_TABLE, errors=(EINVAL,), shows=_entry_unreachable,
        text="the table reaches fewer queues than there are channels",
        remedy="name lower queues; the others can be reached by flow rules",
        source="Linux, ixgbe_ethtool.c, ixgbe_rss_indir_tbl_max",
    ),
    Cause(
        name="another-table-size", calls=_TABLE, errors=(EINVAL,), shows=_table_size,
        text="the table has another size, perhaps since the channels changed",
        remedy="plan again: nicprog reads the size anew",
        source="Linux, net/ethtool/ioctl.c",
    ),
    Cause(
        name="another-key-length", calls=_KEY, errors=(EINVAL,), shows=_key_length,
        text="the key has another length",
        remedy="give as many bytes, or key = \"symmetric\"",
        source="Linux, net/ethtool/ioctl.c",
    ),
    Cause(
        name="no-rss-on-this-instance", calls=_RSS, errors=(EOPNOTSUPP,), drivers=("gve",),
        shows=_no_rss,
        text="some types of instances have neither table nor key",
        remedy="choose a type of the newer generations, or leave [rss] out",
        source="GoogleCloudPlatform/compute-virtual-ethernet-linux issues 55, 69",
    ),
    Cause(
        name="firmware-keeps-the-key", calls=_KEY, errors=(EOPNOTSUPP,), drivers=("ena",),
        text="older generations of instances show the key and do not set it",
        remedy="leave key out, or choose an instance of a newer generation",
        source="amzn/amzn-drivers issues 24, 80, 239",
    ),
    Cause(
        name="key-cannot-be-set", calls=_KEY, errors=(EOPNOTSUPP,), drivers=("igb",),
        text="the driver has no way to set the key",
        remedy="leave key out; balance by the table alone",
        source="Linux 7.2, igb_ethtool.c",
    ),
    Cause(
        name="rule-names-no-queue", calls=_INSERT, errors=(EINVAL,), shows=_rule_queue,
        text="the rule names a queue that is not active",
        remedy="name an active queue, or raise [channels] first",
        source="Linux, net/ethtool/ioctl.c",
    ),
    Cause(
        name="no-such-location", calls=_INSERT, errors=(EINVAL,), shows=_rule_location,
        text="the NIC has no such location",
        remedy="leave location out, nicprog chooses one",
        source="the driver's table of rules",
    ),
    Cause(
        name="driver-chooses-locations", calls=_INSERT, errors=(EINVAL,), shows=_picks,
        text="the driver takes no location",
        remedy="insert the rule without 'loc' by ethtool -N; nicprog does not plan such rules",
        source="Linux, bnxt_ethtool.c; fbnic, sfc",
    ),
    Cause(
        name="driver-has-no-such-rules", calls=_INSERT, errors=(EINVAL, EOPNOTSUPP),
        shows=_objection,
        text="the driver does not take this kind of rule, also where it shows ntuple as on",
        remedy="leave out what it does not compare, or use another NIC",
        source="nicprog/drivers.py; Xilinx-CNS/onload issue 19 (igb)",
    ),
    Cause(
        name="too-many-masks", calls=_INSERT, errors=(EINVAL, ENOSPC), shows=_masks,
        text="rules on this NIC must compare the same fields by the same masks",
        remedy="use one set of fields and masks in all rules (of one protocol), or delete the old "
        "rules first",
        source="Linux, ice_ethtool_fdir.c, i40e_ethtool.c, ixgbe_ethtool.c",
    ),
    Cause(
        name="no-free-location", calls=_INSERT, errors=(ENOSPC, EBUSY, EINVAL), shows=_full,
        text="all locations are taken",
        remedy="delete rules; ranges and rules for both IP versions need several each",
        source="the driver's table of rules",
    ),
    Cause(
        name="location-is-taken", calls=_INSERT, errors=(EBUSY,), shows=_taken,
        text="the driver does not replace a rule, as most do",
        remedy="delete the old rule first",
        source="measured on macb (Cadence GEM), Linux 6.1",
    ),
    Cause(
        name="locations-of-the-whole-host", calls=_INSERT, errors=(EINVAL, EBUSY, ENOSPC),
        drivers=("ena",),
        text="all interfaces of a host share one table of rules",
        remedy="choose locations that no other interface uses",
        source="amzn/amzn-drivers issue 206",
    ),
    Cause(
        name="xsk-blocks-rules", calls=_INSERT, errors=(EINVAL,), drivers=("i40e",),
        text="with an AF_XDP socket bound the driver takes rules only after ntuple was off and on",
        remedy="ethtool -K DEVICE ntuple off && ethtool -K DEVICE ntuple on (that loses the rules)",
        source="intel/ethernet-linux-i40e issue 16",
    ),
    Cause(
        name="arfs-blocks-rules", calls=_INSERT, errors=(EINVAL, EBUSY), drivers=("ice",),
        text="accelerated RFS has rules of its own that do not go with these",
        remedy="turn it off: echo 0 > /proc/sys/net/core/rps_sock_flow_entries",
        source="Linux, ice_ethtool_fdir.c",
    ),
    Cause(
        name="rules-are-off", calls=_INSERT, errors=(EOPNOTSUPP, EINVAL), shows=_no_locations,
        text="the driver has no rules, or they are off",
        remedy="ethtool -K DEVICE ntuple on, where it can be changed ('nicprog probe' tells)",
        source="Linux, net/ethtool/ioctl.c",
    ),
    Cause(
        name="ntuple-is-off", calls=_INSERT, errors=(EOPNOTSUPP,),
        text="flow rules are turned off, though there are locations for them",
        remedy="ethtool -K DEVICE ntuple on",
        source="Linux, drivers' set_rxnfc",
    ),
    Cause(
        name="context-is-not-there", calls=_INSERT, errors=(EINVAL,), shows=_context_lost,
        text="the rule names an RSS context that is not there",
        remedy="plan again: something else deleted it, or the driver lost it",
        source="Linux, net/ethtool/ioctl.c",
    ),
    Cause(
        name="contexts-are-all-taken", calls=("create_context",), errors=(ENOSPC, EBUSY, EINVAL),
        shows=_contexts_full,
        text="the driver has no more RSS contexts",
        remedy="delete those that nobody needs, other_contexts = \"remove\" does it",
        source="drivers, rxfh_max_num_contexts",
    ),
    Cause(
        name="context-is-named", calls=("delete_context",), errors=(EBUSY,), shows=_context_in_use,
        text="flow rules name the RSS context",
        remedy="delete those rules first, or plan again: somebody made them meanwhile",
        source="Linux, net/ethtool/rss.c",
    ),
    Cause(
        name="nothing-to-delete", calls=("delete_rule",), errors=(ENOENT, EINVAL),
        shows=_nothing_there,
        text="there is no rule at that location",
        remedy="plan again: something else deleted it",
        source="the driver's table of rules",
    ),
    Cause(
        name="value-above-maximum", calls=_VALUES, errors=(EINVAL,), shows=_value_above,
        text="a value is above its maximum",
        remedy="ask for less; 'nicprog probe' shows the most",
        source="Linux, net/ethtool/rings.c",
    ),
    Cause(
        name="value-is-fixed", calls=_VALUES, errors=(EINVAL, EOPNOTSUPP, FORGOTTEN),
        shows=_value_fixed,
        text="the driver does not let it change",
        remedy="leave it out of the spec",
        source="Linux, net/ethtool/features.c",
    ),
    Cause(
        name="hash-is-not-symmetric", calls=_VALUES, errors=(EINVAL,), shows=_not_symmetric,
        text="a symmetric transform needs the fields of both directions in every flow type",
        remedy="hash sd or sdfn everywhere, or set transform = \"none\" first",
        source="Linux, net/ethtool/rss.c",
    ),
    Cause(
        name="ring-is-no-power-of-two", calls=_VALUES, errors=(EINVAL,), shows=_no_power_of_two,
        text="the driver takes some sizes of rings only",
        remedy="take a power of two",
        source="drivers' set_ringparam",
    ),
    Cause(
        name="coalescing-is-not-there", calls=_VALUES, errors=(EOPNOTSUPP,),
        text="the driver has not all of these parameters, or not for single queues",
        remedy="leave out what 'nicprog probe' does not show or shows as 0",
        source="Linux, net/ethtool/coalesce.c",
    ),
    Cause(
        name="adaptive-is-ignored", calls=_VALUES, errors=(FORGOTTEN,), drivers=("virtio_net",),
        text="adaptive coalescing is taken and stays off",
        remedy="leave adaptive_rx out, set rx_usecs and rx_frames",
        source="measured on virtio_net, Linux 6.12 and later, in QEMU",
    ),
    Cause(
        name="fields-need-rx-hashing", calls=_VALUES, errors=(FORGOTTEN,),
        drivers=("virtio_net",),
        text="hashed fields are taken and have no effect while rx-hashing is off",
        remedy="set rx-hashing = true in [features]",
        source="measured on virtio_net, Linux 6.1 to 7.3, in QEMU",
    ),
    Cause(
        name="key-is-shifted", calls=("set_key",), errors=(FORGOTTEN,), drivers=("virtio_net",),
        text="some kernels give the device a zero octet and the key without its last one",
        remedy="another kernel; compare 'nicprog where' with 'nicprog counters' to find out",
        source="measured on virtio_net, Linux 6.12.95 of Debian, in QEMU; not 6.1, not 7.3",
    ),
    Cause(
        name="reset-under-way", calls=(), errors=(EBUSY,),
        drivers=("ice", "i40e", "iavf", "bnxt_en"),
        text="the NIC is being reset, after an error or a change of its settings",
        remedy="try again in some seconds; dmesg tells why",
        source="Linux, drivers' ethtool operations (from memory)",
    ),
    Cause(
        name="no-right", calls=(), errors=(EPERM, errno.EACCES),
        text="changing a NIC needs CAP_NET_ADMIN in the user namespace of its network namespace",
        remedy="run as root; in a container, with --cap-add NET_ADMIN",
        source="Linux, net/ethtool/ioctl.c",
    ),
    Cause(
        name="nic-is-gone", calls=(), errors=(ENODEV,),
        text="the interface is not there any more, was renamed, or went to another namespace",
        remedy="look for it with ip link; 'nicprog watch' waits until it is back",
        source="Linux, net/ethtool/ioctl.c",
    ),
    Cause(
        name="interface-is-down", calls=(), errors=(ENETDOWN,),
        text="the driver changes this only while the interface is up",
        remedy="ip link set DEVICE up",
        source="drivers",
    ),
    Cause(
        name="channels-lose-rss", calls=("set_channels", *_RSS), errors=(FORGOTTEN,),
        drivers=("i40e", "virtio_net"),
        text="other channels make table and key the default ones, or put them out of effect",
        remedy="set both once more after the channels",
        source="Linux, i40e_main.c (from memory); measured on virtio_net, Linux 6.1 to 7.3",
    ),
    Cause(
        name="channels-lose-contexts", calls=("set_channels", "create_context", "set_context"),
        errors=(FORGOTTEN,), drivers=("bnxt_en",),
        text="the driver loses RSS contexts when it cannot set them up again after a change",
        remedy="set the channels alone first, then the contexts",
        source="Linux, bnxt, ethtool_rxfh_context_lost",
    ),
    Cause(
        name="table-does-not-follow", calls=("set_channels", *_RSS), errors=(FORGOTTEN,),
        drivers=("sfc",),
        text="the default table does not follow the number of channels",
        remedy="reset the table after the channels (ethtool -X DEVICE default)",
        source="Firedancer, ethtool-channels.c; Xilinx-CNS/onload issue 208",
    ),
    Cause(
        name="ntuple-resets-the-table", calls=_RSS, errors=(FORGOTTEN,), drivers=("ixgbe",),
        text="turning ntuple on sets the default table",
        remedy="turn it on first, then set the table",
        source="Firedancer, ethtool-channels.c",
    ),
    Cause(
        name="rule-loses-fields", calls=_INSERT, errors=(FORGOTTEN,), drivers=("gve",),
        text="the driver takes rules with TOS or VLAN and does not look at them",
        remedy="leave tos and vlan out",
        source="Linux, google/gve/gve_flow_rule.c",
    ),
    Cause(
        name="cpu-is-isolated", calls=_VALUES, errors=(EINVAL,), shows=_rps_isolated,
        text="RPS gives no packets to CPUs that isolcpus= isolates",
        remedy="choose other CPUs; 'nicprog host' shows them",
        source=_SYSFS,
    ),
    Cause(
        name="cpu-is-offline", calls=_VALUES, errors=(EINVAL, FORGOTTEN), shows=_cpus_offline,
        text="CPUs are offline: an interrupt needs one that is online, XPS and RPS leave them out",
        remedy="bring them up (/sys/devices/system/cpu/cpuN/online), or choose others",
        source=f"{_PROC}; net/core/dev.c",
    ),
    Cause(
        name="cpu-cannot-be", calls=_VALUES, errors=(errno.EOVERFLOW, errno.ERANGE),
        shows=_cpu_beyond,
        text="a set of CPUs has one that the host cannot have",
        remedy="'nicprog host' shows those that it has",
        source="Linux, lib/bitmap-str.c",
    ),
    Cause(
        name="interrupt-is-managed", calls=_VALUES, errors=(errno.EIO, EPERM), shows=_managed,
        text="the kernel manages the interrupt, and lets nobody else say where it goes",
        remedy="leave interrupts out; some drivers have a parameter that ends it",
        source=_PROC,
    ),
    Cause(
        name="no-vector-left", calls=_VALUES, errors=(ENOSPC,),
        text="the CPU has no interrupt vector left: of x86 each has about 200",
        remedy="spread interrupts over more CPUs, or use fewer channels",
        source="Linux, arch/x86/kernel/apic/vector.c; Irqbalance/irqbalance issues 303 and 340",
    ),
    Cause(
        name="one-tx-queue", calls=_VALUES, errors=(ENOENT,), shows=_one_tx_queue,
        text="XPS chooses among TX queues, and the device has one alone",
        remedy="leave xps out, or ask for more channels",
        source=_SYSFS,
    ),
    Cause(
        name="no-napi-instance", calls=_VALUES, errors=(EOPNOTSUPP,), shows=_no_napi,
        text="the device has no NAPI instance now that could be polled by a thread",
        remedy="bring it up; veth has some while GRO is on (ethtool -K DEVICE gro on)",
        source="Linux, net/core/net-sysfs.c and drivers/net/veth.c",
    ),
    Cause(
        name="irqbalance-took-a-part", calls=_VALUES, errors=(errno.EMSGSIZE,),
        text="irqbalance takes a list of interrupts of some length only",
        remedy="name them in its options (--banirq), or stop it",
        source="irqbalance.c, sock_handle",
    ),
    Cause(
        name="irqbalance-moved-it", calls=_VALUES, errors=(FORGOTTEN,), shows=_rebalanced,
        text="irqbalance moves interrupts every few seconds",
        remedy='add irqbalance = "keep-away" to [host]',
        source="irqbalance(1)",
    ),
)  # fmt: skip

# SPDX-License-Identifier: Apache-2.0
"""Rules by the classifier flower of traffic control, for NICs that steer by it in hardware.

Some NICs (SmartNICs, Intel's E810) send packets to a queue, or to a group of queues, by filters of
``tc`` instead of ethtool's rules, or beside them. A filter here is the rule of a spec with a
priority in place of a location: the lowest wins, and each priority has one filter.

A queue is chosen by the action skbedit, which the kernel takes on the receive side for hardware
alone (Documentation/networking/tc-queue-filters.rst); a group of queues by ``hw_tc``, the number of
a traffic class that the qdisc mqprio has made.
"""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from pyroute2 import IPRoute
from pyroute2.netlink import (
    NLA_F_NESTED,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    nla,
    nlmsg,
)
from pyroute2.netlink.exceptions import NetlinkError

from nicprog.errors import DeviceError, RequestError
from nicprog.model import ANY, FLOWS, Masked, Match
from nicprog.netlink.family import Closing

_NEW_QDISC, _NEW_FILTER, _DELETE_FILTER, _GET_FILTER = 36, 44, 45, 46  # RTM_*
_CLSACT: Final = 0xFFFF_FFF1
_CLSACT_HANDLE: Final = 0xFFFF_0000
_INGRESS: Final = 0xFFFF_FFF2
_CLASSES: Final = 0xFFFF_FFE0  # TC_H_MIN_PRIORITY: the first traffic class at ingress
_CLASSES_MAX: Final = 16
_PRIORITY_MAX: Final = 0xFFFF
_ETHER: Final = {4: socket.htons(0x0800), 6: socket.htons(0x86DD)}
_VLAN: Final = socket.htons(0x8100)
_PROTOCOLS: Final = {"tcp": 6, "udp": 17}
_IN_HARDWARE: Final = 4  # TCA_CLS_FLAGS_IN_HW
_DROP: Final = 2  # TC_ACT_SHOT
_PIPE: Final = 3  # TC_ACT_PIPE
_ACTION_SKIP_SW: Final = 4  # TCA_ACT_FLAGS_SKIP_SW
_VLAN_ID, _VLAN_PRIORITY = 0x0FFF, 0xE000


class Where(Enum):
    """Who runs a filter: flags of ``linux/pkt_cls.h``."""

    EITHER = 0
    SOFTWARE = 1
    HARDWARE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """One filter on packets that an interface receives.

    Attributes:
        priority: 1 to 65535, the lowest that matches wins.
        match: Packets that it takes.
        queue: RX queue that they go to; in hardware only.
        traffic_class: Group of queues that they go to, 0 to 15. Neither: they are dropped.
        where: ``HARDWARE`` is refused where the NIC cannot; ``EITHER`` may end in software alone.
        in_hardware: As read: the NIC has it.
    """

    priority: int
    match: Match
    queue: int | None = None
    traffic_class: int | None = None
    where: Where = Where.HARDWARE
    in_hardware: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.priority <= _PRIORITY_MAX:
            raise ValueError(f"priority must be 1 to {_PRIORITY_MAX}, got {self.priority}")
        if self.queue is not None and self.traffic_class is not None:
            raise ValueError("queue and traffic_class exclude each other")
        if self.queue is not None and not 0 <= self.queue <= 0xFFFF:
            raise ValueError(f"queue must be 0 to 65535, got {self.queue}")
        if self.queue is not None and self.where is not Where.HARDWARE:
            raise ValueError("a queue can be chosen in hardware only; where must be HARDWARE")
        if self.traffic_class is not None and not 0 <= self.traffic_class < _CLASSES_MAX:
            raise ValueError(
                f"traffic_class must be 0 to {_CLASSES_MAX - 1}, got {self.traffic_class}"
            )
        _check_match(self.match)


def _check_match(match: Match) -> None:
    if match.flow.protocol == "any" and (match.src_port.mask or match.dst_port.mask):
        raise ValueError("flower compares ports of TCP and UDP only")
    if match.l4_proto.mask not in (0, 0xFF):
        raise ValueError(f"flower compares whole protocol numbers, got {match.l4_proto}")
    if match.vlan_tci.mask & ~(_VLAN_ID | _VLAN_PRIORITY) or any(
        match.vlan_tci.mask & part not in (0, part) for part in (_VLAN_ID, _VLAN_PRIORITY)
    ):
        raise ValueError(
            f"flower compares VLAN number and priority as wholes, got mask "
            f"0x{match.vlan_tci.mask:x}"
        )


class Flower(Closing):
    """Filters of one interface of the network namespace of the thread that makes this."""

    def __init__(self, device: str) -> None:
        """Finds the interface.

        Raises:
            DeviceError: There is none of that name.
        """
        self.device = device
        try:
            self._index = socket.if_nametoindex(device)
        except (OSError, ValueError):
            raise DeviceError(f"{device}: no such interface in this network namespace") from None
        self._socket = IPRoute(ext_ack=True, groups=0)
        self._socket.status["nlm_generator"] = False  # asked for, and set by other classes only

    def prepare(self) -> None:
        """Makes the place for filters, the qdisc clsact, where there is none.

        Raises:
            RequestError: The kernel refused.
            DeviceError: No right to it, or the interface has gone.
        """
        message = self._message(handle=_CLSACT_HANDLE, parent=_CLSACT, kind="clsact")
        try:
            self._ask(_NEW_QDISC, message, "make the qdisc clsact", NLM_F_CREATE | NLM_F_EXCL)
        except RequestError as error:
            if error.errno != errno.EEXIST:
                raise

    def add(self, wanted: Filter) -> None:
        """Adds a filter; its priority must be free.

        Raises:
            RequestError: The kernel or the driver refused; the text is theirs.
            DeviceError: No right to it, or the interface has gone.
        """
        message = self._message(parent=_INGRESS, info=_info(wanted), kind="flower")
        message["attrs"].append(("TCA_OPTIONS", {"attrs": encode(wanted)}))
        what = f"add the filter of priority {wanted.priority}"
        self._ask(_NEW_FILTER, message, what, NLM_F_CREATE | NLM_F_EXCL)

    def delete(self, priority: int) -> None:
        """Deletes the filter of a priority.

        Raises:
            RequestError: There is none.
            DeviceError: No right to it, or the interface has gone.
        """
        message = self._message(parent=_INGRESS, info=priority << 16)
        self._ask(_DELETE_FILTER, message, f"delete the filter of priority {priority}")

    def filters(self) -> tuple[Filter, ...]:
        """Filters of flower that say what :class:`Filter` can, in order; others are left out.

        Raises:
            RequestError, DeviceError: As for :meth:`add`.
        """
        message = self._message(parent=_INGRESS)
        answers = self._ask(_GET_FILTER, message, "list the filters", NLM_F_DUMP)
        found = [
            one
            for answer in answers
            if answer.get_attr("TCA_KIND") == "flower" and (one := _decoded(answer)) is not None
        ]
        return tuple(sorted(found, key=lambda one: one.priority))

    def close(self) -> None:
        """Ends the connection; filters stay."""
        self._socket.close()

    def _message(self, *, parent: int, handle: int = 0, info: int = 0, kind: str = "") -> Any:
        message = Message()
        message["family"], message["index"] = socket.AF_UNSPEC, self._index
        message["handle"], message["parent"], message["info"] = handle, parent, info
        message["attrs"] = [("TCA_KIND", kind)] if kind else []
        return message

    def _ask(self, command: int, message: Any, what: str, flags: int = 0) -> list[Any]:
        flags |= NLM_F_REQUEST | (0 if flags & NLM_F_DUMP == NLM_F_DUMP else NLM_F_ACK)
        try:
            return list(self._socket.nlm_request(message, msg_type=command, msg_flags=flags))
        except NetlinkError as error:
            raise self._refusal(error, what) from None

    def _refusal(self, error: NetlinkError, what: str) -> RequestError | DeviceError:
        said = str(error.args[1]) if len(error.args) > 1 else os.strerror(error.code)
        name = errno.errorcode.get(error.code, str(error.code))
        text = f"{self.device}: cannot {what}: {said} ({name})"
        if "classifier not found" in said:
            text += "; the kernel has no classifier flower (module cls_flower)"
        if error.code in (errno.ENODEV, errno.EPERM, errno.EACCES):
            return DeviceError(text)
        return RequestError(text, error.code)


class _Numbered(nla):  # type: ignore[misc]
    """A nest of numbers and values that are octets."""

    nla_flags = NLA_F_NESTED


class _ActionOptions(_Numbered):
    # TCA_GACT_PARMS and TCA_SKBEDIT_PARMS are the same: struct tc_gen.
    nla_map = ((2, "GENERIC", "gen"), (4, "QUEUE", "uint16"))

    class gen(nla):  # type: ignore[misc]  # pyroute2 finds it by this name
        fields = (("index", "I"), ("capab", "I"), ("action", "i"), ("refcnt", "i"), ("bind", "i"))


class _Action(_Numbered):
    nla_map = (
        (1, "TCA_ACT_KIND", "asciiz"), (2, "TCA_ACT_OPTIONS", "options"),
        (7, "TCA_ACT_FLAGS", "bits"),
    )  # fmt: skip
    options = _ActionOptions

    class bits(nla):  # type: ignore[misc]
        fields = (("bits", "I"), ("selector", "I"))


class _Actions(_Numbered):
    nla_map = ((1, "FIRST", "action"),)
    action = _Action


class _Options(_Numbered):
    """Numbers of ``linux/pkt_cls.h``, TCA_FLOWER_*; values in network order."""

    nla_map = (
        (1, "CLASSID", "uint32"), (3, "ACT", "actions"), (8, "KEY_ETH_TYPE", "uint16"),
        (9, "KEY_IP_PROTO", "uint8"),
        (10, "KEY_IPV4_SRC", "cdata"), (11, "KEY_IPV4_SRC_MASK", "cdata"),
        (12, "KEY_IPV4_DST", "cdata"), (13, "KEY_IPV4_DST_MASK", "cdata"),
        (14, "KEY_IPV6_SRC", "cdata"), (15, "KEY_IPV6_SRC_MASK", "cdata"),
        (16, "KEY_IPV6_DST", "cdata"), (17, "KEY_IPV6_DST_MASK", "cdata"),
        (18, "KEY_TCP_SRC", "cdata"), (19, "KEY_TCP_DST", "cdata"),
        (20, "KEY_UDP_SRC", "cdata"), (21, "KEY_UDP_DST", "cdata"),
        (22, "FLAGS", "uint32"), (23, "KEY_VLAN_ID", "uint16"), (24, "KEY_VLAN_PRIO", "uint8"),
        (25, "KEY_VLAN_ETH_TYPE", "uint16"),
        (35, "KEY_TCP_SRC_MASK", "cdata"), (36, "KEY_TCP_DST_MASK", "cdata"),
        (37, "KEY_UDP_SRC_MASK", "cdata"), (38, "KEY_UDP_DST_MASK", "cdata"),
        (73, "KEY_IP_TOS", "uint8"), (74, "KEY_IP_TOS_MASK", "uint8"),
        (86, "IN_HW_COUNT", "uint32"),
    )  # fmt: skip
    actions = _Actions


class Message(nlmsg):  # type: ignore[misc]
    """``struct tcmsg`` with the attributes that filters of flower have."""

    fields = (
        ("family", "B"), ("pad1", "B"), ("pad2", "H"), ("index", "i"), ("handle", "I"),
        ("parent", "I"), ("info", "I"),
    )  # fmt: skip
    nla_map = ((1, "TCA_KIND", "asciiz"), (2, "TCA_OPTIONS", "options"))
    options = _Options


def _info(wanted: Filter) -> int:
    """Priority and EtherType, as ``tcm_info`` has them."""
    tagged = wanted.match.vlan_tci.mask
    return wanted.priority << 16 | (_VLAN if tagged else _ETHER[wanted.match.flow.version])


def encode(wanted: Filter) -> list[tuple[str, Any]]:
    """Attributes of TCA_OPTIONS, in the order of their numbers."""
    match, ether = wanted.match, _ETHER[wanted.match.flow.version]
    found: list[tuple[str, Any]] = [("FLAGS", wanted.where.value)]
    found += _encoded_target(wanted)
    tag = match.vlan_tci
    if tag.mask & _VLAN_ID:
        found.append(("KEY_VLAN_ID", tag.value & _VLAN_ID))
    if tag.mask & _VLAN_PRIORITY:
        found.append(("KEY_VLAN_PRIO", tag.value >> 13))
    if tag.mask:
        found += [("KEY_VLAN_ETH_TYPE", ether), ("KEY_ETH_TYPE", _VLAN)]
    else:
        found.append(("KEY_ETH_TYPE", ether))
    protocol = _PROTOCOLS.get(match.flow.protocol)
    if protocol is None and match.l4_proto.mask:
        protocol = match.l4_proto.value
    if protocol is not None:
        found.append(("KEY_IP_PROTO", protocol))
    for name, item, size in _wide_fields(match):
        if item != ANY:
            found.append((name, item.value.to_bytes(size, "big")))
            found.append((f"{name}_MASK", item.mask.to_bytes(size, "big")))
    if match.tos != ANY:
        found += [("KEY_IP_TOS", match.tos.value), ("KEY_IP_TOS_MASK", match.tos.mask)]
    order = {name: number for number, name, _ in _Options.nla_map}
    return sorted(found, key=lambda item: order[item[0]])


def _wide_fields(match: Match) -> list[tuple[str, Masked, int]]:
    """Name, value and mask, and octets of addresses and ports."""
    version, protocol = match.flow.version, match.flow.protocol.upper()
    size = match.flow.address_bits // 8
    fields = [
        (f"KEY_IPV{version}_SRC", match.src, size),
        (f"KEY_IPV{version}_DST", match.dst, size),
    ]
    if protocol != "ANY":
        fields += [
            (f"KEY_{protocol}_SRC", match.src_port, 2),
            (f"KEY_{protocol}_DST", match.dst_port, 2),
        ]
    return fields


def _encoded_target(wanted: Filter) -> list[tuple[str, Any]]:
    if wanted.traffic_class is not None:
        return [("CLASSID", _CLASSES + wanted.traffic_class)]
    if wanted.queue is None:
        return [("ACT", _action("gact", [("GENERIC", {"action": _DROP})], []))]
    # The kernel asks for the flag at the action, too, and that both are the same.
    flags = [("TCA_ACT_FLAGS", {"bits": _ACTION_SKIP_SW, "selector": _ACTION_SKIP_SW})]
    options = [("GENERIC", {"action": _PIPE}), ("QUEUE", wanted.queue)]
    return [("ACT", _action("skbedit", options, flags))]


def _action(kind: str, options: list[Any], more: list[Any]) -> dict[str, Any]:
    attributes = [("TCA_ACT_KIND", kind), ("TCA_ACT_OPTIONS", {"attrs": options}), *more]
    return {"attrs": [("FIRST", {"attrs": attributes})]}


def _decoded(answer: Any) -> Filter | None:
    """The filter in an answer of the kernel; None when it says what a Filter cannot."""
    start = answer.offset
    message = Message(bytes(answer.data[start : start + answer["header"]["length"]]))
    message.decode()
    return decode(message)


def decode(message: Message) -> Filter | None:
    """The filter in a decoded message; None when it says what a Filter cannot."""
    options = message.get_attr("TCA_OPTIONS")
    if options is None:
        return None  # the head of a priority, without a filter
    told = dict(options["attrs"])
    target = _decoded_target(told)
    if target is None or "UNKNOWN" in told:  # it compares more
        return None
    flags = told.get("FLAGS", 0)
    try:
        return Filter(
            priority=message["info"] >> 16,
            match=_decoded_match(told),
            where=Where(flags & 3),
            in_hardware=bool(flags & _IN_HARDWARE),
            **target,
        )
    except (ValueError, KeyError):
        return None


def _decoded_match(told: dict[str, Any]) -> Match:
    ether = told.get("KEY_VLAN_ETH_TYPE", told["KEY_ETH_TYPE"])
    version = {value: key for key, value in _ETHER.items()}[ether]
    number = told.get("KEY_IP_PROTO")
    protocol = {value: key for key, value in _PROTOCOLS.items()}.get(number or 0, "any")
    match = Match(flow=FLOWS[protocol, version])
    wide = {}
    for field, (name, _, _) in zip(
        ("src", "dst", "src_port", "dst_port"), _wide_fields(match), strict=False
    ):
        if name in told:
            mask = int.from_bytes(told[f"{name}_MASK"], "big")
            wide[field] = Masked(value=int.from_bytes(told[name], "big") & mask, mask=mask)
    tag = Masked(
        value=told.get("KEY_VLAN_ID", 0) | told.get("KEY_VLAN_PRIO", 0) << 13,
        mask=_VLAN_ID * ("KEY_VLAN_ID" in told) | _VLAN_PRIORITY * ("KEY_VLAN_PRIO" in told),
    )
    tos_mask = told.get("KEY_IP_TOS_MASK", 0)
    return Match(
        flow=match.flow,
        vlan_tci=tag,
        tos=Masked(value=told.get("KEY_IP_TOS", 0) & tos_mask, mask=tos_mask),
        l4_proto=ANY if number is None or protocol != "any" else Masked(value=number, mask=0xFF),
        **wide,
    )


def _decoded_target(told: dict[str, Any]) -> dict[str, int] | None:
    """What happens to packets; None when it is something else than a Filter can say."""
    if "ACT" not in told:
        number = told.get("CLASSID", 0) - _CLASSES
        return {"traffic_class": number} if 0 <= number < _CLASSES_MAX else None
    if len(told["ACT"]["attrs"]) > 1:
        return None
    action = told["ACT"].get_attr("FIRST")
    options = action.get_attr("TCA_ACT_OPTIONS")
    if action.get_attr("TCA_ACT_KIND") == "gact":
        return {} if options.get_attr("GENERIC")["action"] == _DROP else None
    if action.get_attr("TCA_ACT_KIND") != "skbedit":
        return None
    queue = options.get_attr("QUEUE")
    return None if queue is None else {"queue": queue}

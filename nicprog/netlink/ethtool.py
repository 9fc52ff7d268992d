# SPDX-License-Identifier: Apache-2.0
"""The family ``ethtool``: what the ioctls do, with texts for refusals, and notifications."""

from __future__ import annotations

import errno
import select
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pyroute2.netlink import NETLINK_ADD_MEMBERSHIP, NETLINK_GENERIC, SOL_NETLINK

from nicprog.errors import DeviceError, RequestError
from nicprog.ethtool.rules import HashField
from nicprog.ethtool.values import Channels, Feature, HashFunction, InputTransform, Rings, Rss
from nicprog.netlink import layouts
from nicprog.netlink.family import Calls, Closing, Family, Values, decoded, number, unsigned

FEATURES_GET: Final = 11
FEATURES_SET: Final = 12
RINGS_GET: Final = 15
RINGS_SET: Final = 16
CHANNELS_GET: Final = 17
CHANNELS_SET: Final = 18
COALESCE_GET: Final = 19
COALESCE_SET: Final = 20
RSS_GET: Final = 38
RSS_SET: Final = 48
RSS_CREATE: Final = 49
RSS_DELETE: Final = 50

_NO_CONTEXT: Final = 0xFFFF_FFFE

# Commands of answers and notifications are numbered apart from those of requests.
_ANSWERS: Final = {
    11: layouts.FEATURES,
    12: layouts.FEATURES,
    16: layouts.RINGS,
    18: layouts.CHANNELS,
    20: layouts.COALESCE,
    38: layouts.RSS,
    51: layouts.RSS,
}
_NOTIFICATIONS: Final = {
    13: ("features", layouts.FEATURES),
    17: ("rings", layouts.RINGS),
    19: ("channels", layouts.CHANNELS),
    21: ("coalesce", layouts.COALESCE),
    50: ("rss", layouts.RSS),
    52: ("rss-context-created", layouts.RSS),
    53: ("rss-context-deleted", layouts.RSS),
}
_CHANNELS: Final = {
    "max_rx": "rx-max", "max_tx": "tx-max", "max_other": "other-max",
    "max_combined": "combined-max", "rx_count": "rx-count", "tx_count": "tx-count",
    "other_count": "other-count", "combined_count": "combined-count",
}  # fmt: skip
_RINGS: Final = {
    "rx_max_pending": "rx-max", "rx_mini_max_pending": "rx-mini-max",
    "rx_jumbo_max_pending": "rx-jumbo-max", "tx_max_pending": "tx-max", "rx_pending": "rx",
    "rx_mini_pending": "rx-mini", "rx_jumbo_pending": "rx-jumbo", "tx_pending": "tx",
}  # fmt: skip


class EthtoolNetlink(Calls):
    """Calls about one interface of the caller's network namespace.

    Only what is given is changed. A refusal is :class:`nicprog.errors.RequestError` with the text
    that the kernel gives and the attribute that it is about; :class:`nicprog.errors.DeviceError`
    when the interface is not there or there is no right to it.
    """

    def __init__(self, device: str) -> None:
        """Opens the family; the interface is looked up by each call.

        Raises:
            DeviceError: The kernel has no such family (before 5.6).
        """
        self.device = device
        self._family = Family("ethtool", _ANSWERS)

    def channels(self) -> Channels:
        """Active queues and the most of them."""
        told = self._get(CHANNELS_GET, layouts.CHANNELS, "read the channels")
        return Channels(**{ours: told.get(name, 0) for ours, name in _CHANNELS.items()})

    def set_channels(self, **counts: int) -> None:
        """Sets ``rx_count``, ``tx_count``, ``other_count`` or ``combined_count``."""
        _check_names(counts, [name for name in _CHANNELS if name.endswith("_count")])
        values = {_CHANNELS[name]: count for name, count in counts.items()}
        self._ask(CHANNELS_SET, layouts.CHANNELS, values, "set the channels")

    def rings(self) -> Rings:
        """Descriptors in each ring and the most of them."""
        told = self._get(RINGS_GET, layouts.RINGS, "read the ring sizes")
        return Rings(**{ours: told.get(name, 0) for ours, name in _RINGS.items()})

    def set_rings(self, **sizes: int) -> None:
        """Sets ``rx_pending``, ``rx_mini_pending``, ``rx_jumbo_pending`` or ``tx_pending``."""
        _check_names(sizes, [name for name in _RINGS if "max" not in name])
        values = {_RINGS[name]: size for name, size in sizes.items()}
        self._ask(RINGS_SET, layouts.RINGS, values, "set the ring sizes")

    def coalesce(self) -> dict[str, int]:
        """What the driver has of interrupt coalescing, with the kernel's names (``rx-usecs``)."""
        told = self._get(COALESCE_GET, layouts.COALESCE, "read the interrupt coalescing")
        return {name: value for name, value in told.items() if isinstance(value, int)}

    def set_coalesce(self, values: Mapping[str, int]) -> None:
        """Sets some of what :meth:`coalesce` gives."""
        known = {name for name, _ in layouts.COALESCE.nla_map[2:]}
        _check_names(values, known)
        self._ask(COALESCE_SET, layouts.COALESCE, dict(values), "set the interrupt coalescing")

    def features(self) -> dict[str, Feature]:
        """Offloads and other features by name."""
        told = self._get(FEATURES_GET, layouts.FEATURES, "read the features")
        hw, wanted, active = (_names(told.get(part, {})) for part in ("hw", "wanted", "active"))
        fixed = _names(told.get("nochange", {}))
        return {
            name: Feature(
                active=name in active,
                requested=name in wanted,
                changeable=name in hw and name not in fixed,
            )
            for name in sorted(hw | wanted | active | fixed)
        }

    def set_features(self, wanted: Mapping[str, bool]) -> None:
        """Turns features on or off; read :meth:`features` to see which of them the driver took."""
        bits = [{"name": name} | ({"value": True} if on else {}) for name, on in wanted.items()]
        values = {"wanted": {"bits": {"bit": bits}}}
        self._ask(FEATURES_SET, layouts.FEATURES, values, "set the features")

    def rss(self, context: int = 0) -> Rss:
        """Table, key, function and transform of a context; 0 is that of all other packets."""
        values = {"context": context} if context else {}
        return _rss(self._ask(RSS_GET, layouts.RSS, values, "read the RSS table and key")[0])

    def hash_fields(self, context: int = 0) -> dict[str, HashField]:
        """Which fields are hashed, by the kernel's name of the flow type (``tcp4``, ``udp6``).

        Empty before Linux 6.17, which told by the ioctl only.
        """
        values = {"context": context} if context else {}
        told = self._ask(RSS_GET, layouts.RSS, values, "read the hashed fields")[0]
        fields = told.get("flow-hash", {})
        return {flow: HashField(number(bits)) for flow, bits in fields.items()}

    def rss_contexts(self) -> dict[int, Rss]:
        """All contexts by number, 0 among them; kernels before 6.12 refuse."""
        answers = self._ask(RSS_GET, layouts.RSS, {}, "list the RSS contexts", many=True)
        return {told.get("context", 0): _rss(told) for told in answers}

    def context_fields(self) -> dict[int, dict[str, HashField]]:
        """Hashed fields of all contexts, as of :meth:`hash_fields`, by the context's number."""
        answers = self._ask(RSS_GET, layouts.RSS, {}, "list the hashed fields", many=True)
        return {
            told.get("context", 0): {
                flow: HashField(number(bits)) for flow, bits in told.get("flow-hash", {}).items()
            }
            for told in answers
        }

    def set_rss(
        self,
        context: int = 0,
        *,
        table: Sequence[int] | None = None,
        key: bytes | None = None,
        function: HashFunction | None = None,
        transform: InputTransform | None = None,
        fields: Mapping[str, HashField] | None = None,
    ) -> None:
        """Sets parts of a context in one request; an empty table is the default one, of context 0.

        A table that is shorter than the NIC's is repeated when its length divides that. Of a
        request that is refused ``fields`` of some flow types may be set already.
        """
        values = _rss_values(table, key, function, transform)
        if fields is not None:
            values["flow-hash"] = {flow: unsigned(int(bits)) for flow, bits in fields.items()}
        if context:
            values["context"] = context
        self._ask(RSS_SET, layouts.RSS, values, "set the RSS table, key or context")

    def new_rss_context(
        self,
        number: int | None = None,
        *,
        table: Sequence[int] | None = None,
        key: bytes | None = None,
        function: HashFunction | None = None,
        transform: InputTransform | None = None,
    ) -> int:
        """Makes a context of this number, or of one that the kernel chooses, and returns it."""
        values = _rss_values(table, key, function, transform)
        if number is not None:
            values["context"] = number
        told = self._ask(RSS_CREATE, layouts.RSS, values, "make an RSS context")
        return int(told[0]["context"])

    def delete_rss_context(self, context: int) -> None:
        """Deletes a context that no rule refers to."""
        self._ask(RSS_DELETE, layouts.RSS, {"context": context}, "delete an RSS context")

    def makes_rss_contexts(self) -> bool:
        """Whether the driver makes contexts, asked by deleting one that there cannot be.

        The kernel looks for the context after it has seen that the driver makes some, and before
        the driver learns of it (net/ethtool/rss.c, ethnl_rss_delete_doit). Where the driver makes
        none, kernels from 6.17 on first gave no error, then EOPNOTSUPP.

        Raises:
            RequestError: The kernel does not delete contexts, or the answer is another one.
            DeviceError: There is no such device, or no right to it.
        """
        try:
            self.delete_rss_context(_NO_CONTEXT)
        except RequestError as error:
            if error.errno == errno.ENOENT:
                return True
            if error.errno != errno.EOPNOTSUPP or not self.has(RSS_DELETE):
                raise
        return False

    def _get(self, command: int, layout: Any, what: str) -> Values:
        return self._ask(command, layout, {}, what)[0]

    def _ask(
        self, command: int, layout: Any, values: Values, what: str, *, many: bool = False
    ) -> list[Values]:
        about = f"{self.device}: cannot {what}"
        values = {"header": {"dev-name": self.device}} | values
        return self._family.ask(command, layout, values, about=about, many=many)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """Something was changed, by whichever program and way.

    Attributes:
        kind: ``features``, ``rings``, ``channels``, ``coalesce``, ``rss``, ``rss-context-created``
            or ``rss-context-deleted``.
        device: Name of the interface.
        values: Attributes of the message, with the kernel's names.
    """

    kind: str
    device: str
    values: Values


class Monitor(Closing):
    """Notifications about all interfaces of the network namespace of the thread that makes it."""

    def __init__(self) -> None:
        """Joins the group ``monitor``.

        Raises:
            DeviceError: The kernel has no such family or group.
        """
        answers = {command: layout for command, (_, layout) in _NOTIFICATIONS.items()}
        with Family("ethtool", answers) as family:
            self._type, group = family.number, family.group("monitor")
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_GENERIC
        )
        self._socket.bind((0, 0))
        self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def fileno(self) -> int:
        """For ``select``, ``poll`` and event loops: readable when there are notifications."""
        return self._socket.fileno()

    def read(self, timeout_s: float | None = None) -> list[Notification]:
        """Waits for notifications; none came in ``timeout_s`` seconds when it is empty.

        Raises:
            DeviceError: More came than were read, and some were lost: read everything anew.
        """
        if not select.select([self], [], [], timeout_s)[0]:
            return []
        try:
            data = self._socket.recv(1 << 16)
        except OSError as error:
            raise DeviceError(f"notifications were lost: {error.strerror}") from None
        return list(self._parse(data))

    def close(self) -> None:
        """Leaves the group."""
        self._socket.close()

    def _parse(self, data: bytes) -> Any:
        at = 0
        while at + 20 <= len(data):
            length, kind = struct.unpack_from("=IH", data, at)
            known = _NOTIFICATIONS.get(data[at + 16])
            if kind == self._type and known:
                message = known[1](data[at : at + length])
                message.decode()
                values = decoded(message)
                device = values.pop("header", {}).get("dev-name", "")
                yield Notification(kind=known[0], device=device, values=values)
            at += max((length + 3) & ~3, 16)


def _check_names(given: Mapping[str, int], known: Sequence[str] | set[str]) -> None:
    for name in given:
        if name not in known:
            raise ValueError(f"{name!r} cannot be set; these can: {', '.join(sorted(known))}")


def _names(bitset: Values) -> set[str]:
    """Names of the bits that are set; without a mask those that are there."""
    bits = bitset.get("bits", {}).get("bit", [])
    return {bit["name"] for bit in bits if "nomask" in bitset or "value" in bit}


def _rss(told: Values) -> Rss:
    indir = told.get("indir", b"")
    return Rss(
        table=struct.unpack(f"={len(indir) // 4}I", indir),
        key=bytes(told.get("hkey", b"")),
        function=HashFunction(told.get("hfunc", 0)),
        transform=InputTransform(told.get("input-xfrm", 0)),
    )


def _rss_values(
    table: Sequence[int] | None,
    key: bytes | None,
    function: HashFunction | None,
    transform: InputTransform | None,
) -> Values:
    values: Values = {}
    if table is not None:
        values["indir"] = struct.pack(f"={len(table)}I", *table)
    if key is not None:
        values["hkey"] = key
    if function is not None:
        values["hfunc"] = int(function)
    if transform is not None:
        values["input-xfrm"] = int(transform)
    return values

# SPDX-License-Identifier: Apache-2.0
"""One generic netlink family: requests by name, refusals in the kernel's own words."""

from __future__ import annotations

import errno
import os
import struct
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final, Self

from pyroute2.netlink import (
    NLM_F_ACK,
    NLM_F_ACK_TLVS,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    genlmsg,
    nla,
    nlmsgerr,
)
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic import AsyncGenericNetlinkSocket, GenericNetlinkSocket
from pyroute2.netlink.marshal import Marshal

from nicprog.errors import DeviceError, RequestError

Values = dict[str, Any]
"""Attributes by name; nests are such dictionaries, and what may come several times is a list."""

_SEVERAL: Final = {"bit"}
_NLMSG_AND_GENL_BYTES: Final = 20
_ATTRIBUTE: Final = struct.Struct("=HH")
_TYPE_MASK: Final = 0x3FFF
_ERRNO_NAMES: Final = {**errno.errorcode, errno.EOPNOTSUPP: "EOPNOTSUPP"}


class _Marshal(Marshal):  # type: ignore[misc]
    """Parses by command, and keeps where in a request the kernel found fault.

    The base class loses that, and fails at the refusal of a list: that has no copy of the request.
    """

    family_id = -1
    layouts: Mapping[int, type[genlmsg]] = {}

    def parse_one_message(
        self, key: int, flags: int, sequence: int, data: bytes, offset: int, length: int
    ) -> Any:
        """As the base class."""
        if key == NLMSG_ERROR or (key == NLMSG_DONE and flags & NLM_F_ACK_TLVS):
            return _outcome(data, offset)
        if key == self.family_id:
            self.msg_map[key] = self.layouts.get(data[offset + 16], genlmsg)
        return super().parse_one_message(key, flags, sequence, data, offset, length)


def _outcome(data: bytes, offset: int) -> Any:
    message = nlmsgerr(data, offset=offset)
    message.decode()
    error = None
    if message["error"]:
        error = NetlinkError(abs(message["error"]), message.get_attr("NLMSGERR_ATTR_MSG"))
        error.attribute_at = message.get_attr("NLMSGERR_ATTR_OFFS")
    message["header"]["error"] = error
    return message


class _AsyncSocket(AsyncGenericNetlinkSocket):  # type: ignore[misc]
    marshal_class = _Marshal


class _Socket(GenericNetlinkSocket):  # type: ignore[misc]
    async_class = _AsyncSocket


class Closing:
    """Something that is closed at the end of a ``with`` statement."""

    def close(self) -> None:
        """Ends it; may be called again."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Family(Closing):
    """A socket to one family in the network namespace of the thread that makes it.

    Not for a thread that runs an event loop of asyncio: pyroute2 runs its own meanwhile.
    """

    def __init__(self, name: str, layouts: Mapping[int, type[genlmsg]]) -> None:
        """Finds the family; ``layouts`` says how answers to each command are read.

        Raises:
            DeviceError: The kernel does not have it.
        """
        self.name = name
        self._socket = _Socket(ext_ack=True)
        self._socket.module_err_level = "debug"
        try:
            self._socket.bind(name, genlmsg)
        except NetlinkError as error:
            self._socket.close()
            raise DeviceError(
                f"the kernel has no generic netlink family {name!r} ({os.strerror(error.code)})"
            ) from None
        marshal = self._socket.marshal
        marshal.family_id, marshal.layouts = self._socket.prid, layouts
        self._policies: dict[int, dict[str, int]] | None = None

    @property
    def number(self) -> int:
        """Type of its messages."""
        return int(self._socket.prid)

    def group(self, name: str) -> int:
        """Number of one of its multicast groups.

        Raises:
            DeviceError: It has no such group.
        """
        try:
            return int(self._socket.mcast_groups[name])
        except KeyError:
            raise DeviceError(f"family {self.name!r} has no group {name!r}") from None

    def ask(
        self,
        command: int,
        layout: type[genlmsg],
        values: Values,
        *,
        about: str,
        many: bool = False,
    ) -> list[Values]:
        """Sends one request; ``about`` is what a refusal begins with, ``DEVICE: cannot DO``.

        Args:
            command: Number in the family.
            layout: Attributes of the request.
            values: Those to send.
            about: For errors.
            many: Ask for a list (``NLM_F_DUMP``).

        Raises:
            RequestError: The kernel refused; its text and the attribute are in the message.
            DeviceError: There is no such device, or no right to it.
        """
        request = layout()
        request["cmd"], request["version"] = command, 1
        request["attrs"] = _encoded(values)
        flags = NLM_F_REQUEST | (NLM_F_DUMP if many else NLM_F_ACK)
        try:
            answers = self._socket.nlm_request(request, msg_type=self.number, msg_flags=flags)
            return [decoded(one) for one in answers if not isinstance(one, nlmsgerr)]
        except NetlinkError as error:
            raise _refusal(error, request, about) from None

    def commands(self) -> dict[int, dict[str, int]]:
        """What the kernel has: commands, each with its policies (``do``, ``dump``) by number.

        That is how to find out what a kernel can do: distributions change the number of a version
        and what it means.
        """
        if self._policies is None:
            self._policies = {}
            for answer in self._socket.policy(self.name):
                for number, policy in _pairs(answer, "CTRL_ATTR_OP_POLICY", "OP"):
                    kinds = {"CTRL_ATTR_POLICY_DO": "do", "CTRL_ATTR_POLICY_DUMP": "dump"}
                    self._policies[number] = {kinds[name]: index for name, index in policy["attrs"]}
        return self._policies

    def accepts(self, command: int, kind: str = "do") -> dict[int, dict[str, int]]:
        """Attributes that a command takes, by number.

        Each with ``type``, ``max``, ``mask``, or ``nest``: the number for :meth:`policy`.
        """
        wanted = self.commands().get(command, {}).get(kind)
        return {} if wanted is None else self.policy(wanted)

    def policy(self, wanted: int) -> dict[int, dict[str, int]]:
        """Attributes of one policy, as :meth:`accepts` tells them."""
        result: dict[int, dict[str, int]] = {}
        for answer in self._socket.policy(self.name):
            for number, policy in _pairs(answer, "CTRL_ATTR_POLICY", "POLICY"):
                if number == wanted:
                    for attribute, told in _pairs(policy, None, "ATTR"):
                        result[attribute] = {
                            _POLICY_NAMES[name]: value
                            for name, value in told["attrs"]
                            if name in _POLICY_NAMES
                        }
        return result

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()


_POLICY_NAMES: Final = {
    "NL_POLICY_TYPE_ATTR_TYPE": "type",
    "NL_POLICY_TYPE_ATTR_MAX_VALUE_U": "max",
    "NL_POLICY_TYPE_ATTR_MASK": "mask",
    "NL_POLICY_TYPE_ATTR_POLICY_IDX": "nest",
}


def _pairs(answer: Any, attribute: str | None, word: str) -> Iterable[tuple[int, Any]]:
    """Numbers and contents of nests that pyroute2 names ``WORD(number)``."""
    nest = answer if attribute is None else answer.get_attr(attribute)
    for name, value, *_ in nest["attrs"] if nest is not None else ():
        yield int(name.removeprefix(f"{word}(").removesuffix(")")), value


class Calls(Closing):
    """Calls about one interface, by one family."""

    _family: Family

    def close(self) -> None:
        """Ends the connection."""
        self._family.close()

    def has(self, command: int) -> bool:
        """Whether the kernel has this command of the family, such as RSS_SET or NAPI_SET.

        The driver may refuse it all the same.
        """
        return command in self._family.commands()


def unsigned(value: int) -> bytes:
    """A number of the netlink type uint: four octets, or eight when it needs them."""
    return value.to_bytes(4 if value < 1 << 32 else 8, sys.byteorder)


def number(data: bytes) -> int:
    """Reads such a number."""
    return int.from_bytes(data, sys.byteorder)


def decoded(nest: Any) -> Values:
    """Attributes of an answer or a notification."""
    values: Values = {}
    for name, value, *_ in nest["attrs"]:
        if name.startswith("UNKNOWN"):  # of a kernel that is newer than the layouts
            continue
        plain = decoded(value) if isinstance(value, dict | nla) else value
        if name in _SEVERAL:
            values.setdefault(name, []).append(plain)
        else:
            values[name] = plain
    return values


def _encoded(values: Values) -> list[tuple[str, Any]]:
    return [
        (name, {"attrs": _encoded(one)} if isinstance(one, dict) else one)
        for name, value in values.items()
        for one in (value if isinstance(value, list) else [value])
    ]


def _refusal(error: NetlinkError, request: Any, about: str) -> RequestError | DeviceError:
    name = _ERRNO_NAMES.get(error.code, str(error.code))
    text = f"{about}: {error.args[1]} ({name}"
    at = getattr(error, "attribute_at", None)
    where = at and _attribute_at(bytes(request.data), type(request), _NLMSG_AND_GENL_BYTES, at)
    text += f", attribute {where})" if where else ")"
    if error.code in (errno.ENODEV, errno.EPERM, errno.EACCES):
        return DeviceError(text)
    return RequestError(text, error.code)


def _attribute_at(data: bytes, layout: Any, start: int, at: int) -> str | None:
    """Name of the attribute that begins at octet ``at`` of a request, with the nests around it."""
    while start + _ATTRIBUTE.size <= min(at + _ATTRIBUTE.size, len(data)):
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if (number := kind & _TYPE_MASK) >= len(layout.nla_map) or length < _ATTRIBUTE.size:
            return None
        name, nest = layout.nla_map[number]
        if start == at:
            return str(name)
        if at < start + length:
            inner = getattr(layout, nest, None)
            found = inner and _attribute_at(data, inner, start + _ATTRIBUTE.size, at)
            return f"{name}.{found}" if found else str(name)
        start += (length + 3) & ~3
    return None

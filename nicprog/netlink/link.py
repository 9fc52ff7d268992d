# SPDX-License-Identifier: Apache-2.0
"""State of an interface as rtnetlink tells it."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from typing import Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from nicprog.errors import DeviceError, RequestError

_UP: Final = 1  # IFF_UP


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An interface.

    Attributes:
        index: Number in its network namespace; another when it was made anew.
        is_up: Set up by the administrator.
        has_carrier: There is a link partner, as far as the driver tells.
        mtu: Octets of a packet at most.
        kind: Of virtual interfaces, such as ``veth``; None of a card and of ``lo``.
    """

    index: int
    is_up: bool
    has_carrier: bool
    mtu: int
    kind: str | None


def link(device: str) -> Link:
    """Reads an interface of the network namespace of the calling thread.

    Raises:
        DeviceError: There is none of that name.
        RequestError: The kernel refused.
    """
    not_there = DeviceError(f"{device}: no such interface in this network namespace")
    try:
        index = socket.if_nametoindex(device)
        with IPRoute() as route:
            told = route.link("get", index=index)[0]
    except (OSError, ValueError):
        raise not_there from None
    except NetlinkError as error:
        if error.code == errno.ENODEV:
            raise not_there from None
        raise RequestError(f"{device}: cannot read the link: {error}", error.code) from None
    info = told.get_attr("IFLA_LINKINFO")
    return Link(
        index=told["index"],
        is_up=bool(told["flags"] & _UP),
        has_carrier=bool(told.get_attr("IFLA_CARRIER")),
        mtu=told.get_attr("IFLA_MTU"),
        kind=info.get_attr("IFLA_INFO_KIND") if info else None,
    )

# SPDX-License-Identifier: Apache-2.0
"""What the kernel says about XDP of each network device (generic netlink family ``netdev``)."""

from __future__ import annotations

from typing import Any, ClassVar

from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST, genlmsg
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic import GenericNetlinkSocket

_DEV_GET = 1


class _DevMessage(genlmsg):  # type: ignore[misc]  # pyroute2 has no types
    nla_map: ClassVar[Any] = (
        ("NETDEV_A_DEV_UNSPEC", "none"),
        ("NETDEV_A_DEV_IFINDEX", "uint32"),
        ("NETDEV_A_DEV_PAD", "none"),
        ("NETDEV_A_DEV_XDP_FEATURES", "uint64"),
    )


def xdp_features() -> dict[int, int]:
    """Return ``enum netdev_xdp_act`` bits by interface index: 1 XDP at all, 8 zero-copy AF_XDP.

    Raises:
        OSError: The kernel has no such family.
    """
    try:
        with GenericNetlinkSocket() as socket:
            socket.bind("netdev", _DevMessage)
            request = _DevMessage()
            request["cmd"] = _DEV_GET
            request["version"] = 1
            answers = socket.nlm_request(
                request, msg_type=socket.prid, msg_flags=NLM_F_REQUEST | NLM_F_DUMP
            )
            return {
                answer.get_attr("NETDEV_A_DEV_IFINDEX"): answer.get_attr(
                    "NETDEV_A_DEV_XDP_FEATURES"
                )
                for answer in answers
            }
    except NetlinkError as e:
        raise OSError(e.code, str(e)) from None

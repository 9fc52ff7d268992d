# SPDX-License-Identifier: Apache-2.0
"""The kernel's netlink families for NICs, typed; for any program, with or without the rest.

    from nicprog.netlink import EthtoolNetlink, Monitor, Netdev

    with EthtoolNetlink("eth0") as eth, Netdev("eth0") as dev:
        eth.set_channels(combined_count=4)
        print([(queue.number, queue.napi) for queue in dev.queues()])

Beside the ioctls of :mod:`nicprog.ethtool`, netlink sets only what is given, says in words why
something is refused, has RSS contexts since Linux 6.17, and tells of changes that others make
(:class:`Monitor`). Flow rules it does not have. What a kernel can do is asked (``has``), never
concluded from its version.
"""

from nicprog.netlink.ethtool import EthtoolNetlink, Monitor, Notification
from nicprog.netlink.family import Family
from nicprog.netlink.netdev import Napi, Netdev, Queue, Xdp, XdpFeature

__all__ = [
    "EthtoolNetlink",
    "Family",
    "Monitor",
    "Napi",
    "Netdev",
    "Notification",
    "Queue",
    "Xdp",
    "XdpFeature",
]

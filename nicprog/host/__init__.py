# SPDX-License-Identifier: Apache-2.0
"""The host's side of network devices: CPUs, interrupts, XPS, RPS, NAPI, irqbalance.

For any program, without a spec::

    from nicprog import host

    files = host.RealFiles()
    local = host.read_topology(files).node(0)
    for one in host.interrupts(files, "eth0"):
        host.set_cpus(files, one.number, local, "eth0")

Functions read and write single files under a root folder; :class:`HostDevice` has all of one device
as groups of settings, which is what specs go through.
"""

from nicprog.host.cpus import format_list, format_mask, parse_list, parse_mask
from nicprog.host.device import HostDevice, HostFacts, by_queue
from nicprog.host.files import Files, RealFiles
from nicprog.host.interrupts import Interrupt, interrupts, queues_of_name, set_cpus
from nicprog.host.irqbalance import Balancer, Irqbalance, find
from nicprog.host.topology import Cpu, Topology, read_topology

__all__ = [
    "Balancer",
    "Cpu",
    "Files",
    "HostDevice",
    "HostFacts",
    "Interrupt",
    "Irqbalance",
    "RealFiles",
    "Topology",
    "by_queue",
    "find",
    "format_list",
    "format_mask",
    "interrupts",
    "parse_list",
    "parse_mask",
    "queues_of_name",
    "read_topology",
    "set_cpus",
]

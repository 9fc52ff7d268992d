# SPDX-License-Identifier: Apache-2.0
"""``nicprog host``: CPUs of the host, and who takes care of the queues of a NIC."""

from __future__ import annotations

import argparse
from typing import Any

from nicprog import api, show
from nicprog.commands import Outcome, add_verb
from nicprog.errors import DeviceError
from nicprog.host import HostFacts, RealFiles, Topology, format_list, read_topology
from nicprog.settings import HOST_GROUPS


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the verb."""
    verb = add_verb(
        verbs, "host", _host, "show CPUs, and the interrupts, XPS, RPS and NAPI of a NIC"
    )
    verb.add_argument("device", metavar="DEVICE", nargs="?", help="nothing: the CPUs alone")


def _host(options: argparse.Namespace) -> Outcome:
    if options.device is None:
        topology = read_topology(RealFiles())
        document: dict[str, Any] = {"topology": _topology(topology)}
        return 0, document, lambda: show.topology(document["topology"])
    with api.open(options.device) as nic:
        facts = nic.host_facts()
        if facts is None:
            raise DeviceError(f"{options.device}: is no device of this host")
        settings = {
            group.removeprefix("host."): nic.read([group]).settings[group] for group in HOST_GROUPS
        }
    document = {
        "topology": _topology(facts.topology),
        "device": options.device,
        "node": facts.node,
        "interrupts": _interrupts(facts),
        "xps": settings["xps"],
        "xps_rxqs": settings["xps_rxqs"],
        "rps": settings["rps"],
        "rfs": settings["rfs"],
        "rfs_socket_entries": facts.sock_flow_entries,
        "napi": settings["napi"],
        "napi_instances": facts.napis,
        "irqbalance": settings["irqbalance"].get("banned") if facts.balanced else None,
        "irqbalance_runs": facts.balanced,
    }
    return 0, document, lambda: show.host(document)


def _topology(item: Topology) -> dict[str, Any]:
    return {
        "online": format_list(item.online),
        "possible": format_list(item.possible),
        "isolated": format_list(item.isolated),
        "partitioned": format_list(item.partitioned),
        "nohz_full": format_list(item.nohz_full),
        "nodes": [{"node": node, "cpus": format_list(item.node(node))} for node in item.nodes],
        "cpus": [
            {
                "cpu": cpu.number,
                "package": cpu.package,
                "core": cpu.core,
                "node": cpu.node,
                "siblings": format_list(cpu.siblings),
            }
            for cpu in item.cpus
        ],
    }


def _interrupts(facts: HostFacts) -> list[dict[str, Any]]:
    return [
        {
            "irq": one.number,
            "name": one.name,
            "queues": list(one.queues),
            "cpus": format_list(one.cpus),
            "effective": format_list(one.effective),
            "settable": one.is_settable,
            "counts": {str(cpu): count for cpu, count in one.counts.items() if count},
        }
        for one in facts.interrupts
    ]

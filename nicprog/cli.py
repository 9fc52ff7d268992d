# SPDX-License-Identifier: Apache-2.0
"""The command ``nicprog``. Exit status: 0 done, 1 it is not so or failed, 2 usage or bad spec."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import nicprog
from nicprog import show
from nicprog.commands import (
    Outcome,
    explain,
    host,
    metrics,
    plan_json,
    reserve,
    seconds,
    shell,
    steps_json,
    watch,
)
from nicprog.errors import NicprogError, UsageError
from nicprog.packet import Packet
from nicprog.settings import GROUPS
from nicprog.text import state_to_json, state_to_toml
from nicprog.where import Server, Steering, server_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the console script's entry."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except KeyboardInterrupt:
        print("nicprog: interrupted", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace) -> int:
    try:
        status, document, print_text = options.command(options)
    except NicprogError as error:
        print(f"nicprog: {error}", file=sys.stderr)
        if options.json:
            _print_json({"error": {"kind": error.kind, "message": str(error)}})
        return error.exit_status
    try:
        if not options.json:
            print_text()
        elif document is not None:
            _print_json(document)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough; the work is done
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return int(status)


def _print_json(document: dict[str, Any]) -> None:
    json.dump(document, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nicprog",
        description="Program NICs from a spec: plan, apply, verify, roll back. "
        "Software NICs, and interfaces through their kernel drivers.",
        epilog="Exit status: 0 done, 1 it is not so or failed, 2 usage or bad spec.",
    )
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, operand, summary in (
        ("plan", _plan, "SPEC", "show the steps that apply would take; changes nothing"),
        ("apply", _apply, "SPEC", "bring the NIC to what the spec says, all of it or nothing"),
        ("verify", _verify, "SPEC", "compare the NIC with the spec; exit status 1 if it differs"),
        ("rollback", _rollback, "DEVICE", "restore what the NIC held before the latest apply"),
        ("confirm", _confirm, "DEVICE", "keep what 'apply --confirm' did"),
        (
            "probe",
            _probe,
            "DEVICE",
            "show what the NIC can do, and by which way that was found out",
        ),
        ("where", _where, "DEVICE", "tell which queue a flow lands on, and why"),
        ("dump", _dump, "DEVICE", "show all that the NIC holds"),
        ("counters", _counters, "DEVICE", "show packets and bytes of each queue and rule"),
        ("list", _list, None, "list the live software NICs"),
    ):
        verb = verbs.add_parser(name, help=summary, description=f"{summary.capitalize()}.")
        verb.set_defaults(command=command)
        if operand == "SPEC":
            verb.add_argument("spec", metavar="SPEC", help="TOML file, for example nic.toml")
            verb.add_argument(
                "--nic",
                metavar="DEVICE",
                type=_device,
                help="program this NIC instead of the one that SPEC names",
            )
        elif operand == "DEVICE":
            verb.add_argument("device", metavar="DEVICE", help="name of a NIC, see 'nicprog list'")
        verb.add_argument("--json", action="store_true", help="print one JSON document")
        if name in ("apply", "rollback", "confirm"):
            verb.add_argument(
                "--state-dir", metavar="DIR", type=Path, help="folder of the snapshots, instead of "
                "that of the control sockets"
            )  # fmt: skip
        if name == "apply":
            verb.add_argument("--dry-run", action="store_true", help="as plan")
            verb.add_argument(
                "--confirm", metavar="TIME", type=seconds, help="restore what was before unless "
                "'nicprog confirm DEVICE' comes within TIME, such as 60s or 5m"
            )  # fmt: skip
        if name == "where":
            _add_flow(verb)
        if name == "dump":
            verb.add_argument("--toml", action="store_true", help="print a spec that apply takes")
    for more in (reserve, watch, explain, metrics, shell, host):
        more.add(verbs)
    return parser


def _add_flow(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("protocol", metavar="PROTOCOL", help="tcp, udp or a number")
    verb.add_argument("src", metavar="SOURCE", help="ADDRESS:PORT or [ADDRESS]:PORT")
    verb.add_argument("dst", metavar="DESTINATION", help="likewise; where the NIC is")
    verb.add_argument("--tos", type=int, default=0, metavar="N", help="TOS or traffic class")
    verb.add_argument(
        "--queue", type=int, metavar="N", help="instead, list source ports that land on this queue"
    )
    verb.add_argument(
        "--count", type=int, default=10, metavar="N", help="how many of them (default: 10)"
    )


def _device(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("the name of a NIC is not empty")
    return text


def _spec(options: argparse.Namespace) -> nicprog.Spec:
    """The spec, for the NIC that it names or that ``--nic`` does."""
    spec = nicprog.load(options.spec)
    return spec if options.nic is None else replace(spec, device=options.nic)


def _plan(options: argparse.Namespace) -> Outcome:
    spec = _spec(options)
    with nicprog.open(spec.device) as nic:
        plan = nicprog.plan(nic, spec)
    return 0, plan_json(plan), lambda: show.plan(plan)


def _apply(options: argparse.Namespace) -> Outcome:
    if options.dry_run:
        return _plan(options)
    spec = _spec(options)
    with nicprog.open(spec.device) as nic:
        recovered = nicprog.recover(nic, state_dir=options.state_dir)
        if recovered:
            print(f"nicprog: {show.recovered(recovered)}", file=sys.stderr)
        plan = nicprog.plan(nic, spec)
        result = nicprog.apply(
            nic, plan, state_dir=options.state_dir, confirm_within_s=options.confirm
        )
    document = plan_json(plan) | {
        "applied": True,
        "verified": True,
        "snapshot": str(result.snapshot) if result.snapshot else None,
        "recovered": recovered is not None,
        "confirm_within_s": result.confirm_within_s,
    }
    return 0, document, lambda: show.applied(plan, result)


def _verify(options: argparse.Namespace) -> Outcome:
    spec = _spec(options)
    with nicprog.open(spec.device) as nic:
        found = nicprog.verify(nic, spec)
    document = {
        "device": spec.device,
        "ok": not found,
        "differences": [{"what": d.what, "wanted": d.wanted, "found": d.found} for d in found],
    }
    return 1 if found else 0, document, lambda: show.differences(spec.device, found)


def _rollback(options: argparse.Namespace) -> Outcome:
    with nicprog.open(options.device) as nic:
        result = nicprog.rollback(nic, state_dir=options.state_dir)
    document = {"device": options.device, "rolled_back": True, "steps": steps_json(result.steps)}
    return 0, document, lambda: show.rolled_back(result)


def _confirm(options: argparse.Namespace) -> Outcome:
    with nicprog.open(options.device) as nic:
        result = nicprog.confirm(nic, state_dir=options.state_dir)
    document = {
        "device": options.device,
        "confirmed": True,
        "snapshot": str(result.snapshot),
    }
    return 0, document, lambda: show.confirmed(result)


def _probe(options: argparse.Namespace) -> Outcome:
    report = nicprog.probe(options.device)
    document = {
        "device": report.device,
        "driver": report.driver,
        "bus": report.bus,
        "firmware": report.firmware,
        "parts": {
            part.name: {
                "found": part.way is not None,
                "way": part.way,
                "value": part.value,
                "refusals": [{"way": way, "why": why} for way, why in part.refusals],
            }
            for part in report.parts
        },
        "quirks": [
            {"name": one.name, "always": one.always, "text": one.text, "source": one.source}
            for one in report.quirks
        ],
    }
    return 0, document, lambda: show.report(report)


def _where(options: argparse.Namespace) -> Outcome:
    try:
        packet = Packet.of_text(options.protocol, options.src, options.dst, options.tos)
    except ValueError as error:
        raise UsageError(str(error)) from None
    with nicprog.open(options.device) as nic:
        steering = Steering(nic)
        if options.queue is not None:
            ports = list(islice(steering.source_ports(packet, options.queue), options.count))
            document = {"device": options.device, "queue": options.queue, "source_ports": ports}
            return 0 if ports else 1, document, lambda: show.source_ports(document)
        place = steering.place(packet)
    server = server_of(options.device, place.queue) if place.queue is not None else Server()
    document = {
        "device": options.device,
        "queue": place.queue,
        "rule": place.rule.location if place.rule else None,
        "context": place.context,
        "hash": f"0x{place.hash:08x}" if place.hash is not None else None,
        "entry": place.entry,
        "fields_assumed": steering.assumed,
        "napi": server.napi,
        "irq": server.irq,
        "cpus": server.cpus,
    }
    return 0, document, lambda: show.place(document, place)


def _dump(options: argparse.Namespace) -> Outcome:
    with nicprog.open(options.device) as nic:
        can, state = nic.capabilities(), nic.read((*GROUPS, *nic.host_groups))
        numbers = nic.context_numbers()
    document: dict[str, Any] = {
        "device": options.device,
        "driver": can.driver,
        "bus": can.bus,
        "limits": {
            "channels": can.queues_max,
            "rx_channels": can.rx_max,
            "tx_channels": can.tx_max,
            "table_entries": can.table_size,
            "key_bytes": can.key_bytes,
            "locations": can.locations,
            "masks": can.masks_max,
            "contexts": can.contexts,
        },
        "contexts_by": can.contexts_by or None,
    } | state_to_json(state)
    for context in document["contexts"]:
        context["number"] = numbers[context["name"]]
    if not options.toml:
        return 0, document, lambda: show.state(options.device, can, state, numbers)
    text = state_to_toml(options.device, state)
    return 0, document | {"toml": text}, lambda: print(text, end="")


def _counters(options: argparse.Namespace) -> Outcome:
    with nicprog.open(options.device) as nic:
        found = nic.counters()
    document = {
        "device": options.device,
        "queues": [
            {"queue": q.queue, "packets": q.packets, "bytes": q.bytes} for q in found.queues
        ],
        "rules": [{"location": at, "packets": hits} for at, hits in found.rule_hits.items()],
        "totals": found.totals,
    }
    return 0, document, lambda: show.counters(options.device, found)


def _list(options: argparse.Namespace) -> Outcome:
    rows = []
    for device in nicprog.live_softnics():
        try:
            with nicprog.open(device) as nic:
                can, state = nic.capabilities(), nic.read()
        except NicprogError as error:  # it may end between the two calls
            print(f"nicprog: {error}", file=sys.stderr)
            continue
        rows.append(
            {
                "device": device,
                "driver": can.driver,
                "bus": can.bus,
                "channels": state.channels.rx_queues,
                "rules": len(state.rules),
            }
        )
    return 0, {"devices": rows}, lambda: show.devices(rows)


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""``nicprog metrics``: what Prometheus reads, printed once or served."""

from __future__ import annotations

import argparse
import re
import select
from typing import TYPE_CHECKING

import nicprog
from nicprog.commands import Outcome, add_verb
from nicprog.errors import DeviceError, NicprogError, UsageError
from nicprog.notices import ending_signals

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the verb."""
    verb = add_verb(verbs, "metrics", _metrics, "print or serve what Prometheus reads of NICs")
    verb.add_argument(
        "device", metavar="DEVICE", nargs="*", help="names of NICs (default: the software NICs)"
    )
    verb.add_argument(
        "--spec", metavar="SPEC", action="append", default=[],
        help="also tell how the NIC of this spec differs from it; again for more",
    )  # fmt: skip
    verb.add_argument(
        "--listen", metavar="ADDRESS:PORT", type=_address,
        help="serve by HTTP until SIGTERM or SIGINT; port 0 is any, ':PORT' this machine alone",
    )  # fmt: skip


def _address(text: str) -> tuple[str, int]:
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:]+)\]|([^:\[\]]*)):(\d{1,5})", text)
    if not found or int(found[3]) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not ADDRESS:PORT, such as 127.0.0.1:9100")
    return found[1] or found[2] or "127.0.0.1", int(found[3])


def _metrics(options: argparse.Namespace) -> Outcome:
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ModuleNotFoundError:
        raise NicprogError(
            "the package prometheus-client is not installed; pip install 'qstack-net[metrics]'"
        ) from None
    from nicprog.metrics import NicCollector

    specs = [nicprog.load(file) for file in options.spec]
    devices = options.device or ([] if specs else nicprog.live_softnics())
    if not devices and not specs:
        raise UsageError("no NIC is named, and no software NIC is live")
    registry = CollectorRegistry()
    collector = NicCollector(devices, specs)
    registry.register(collector)
    if options.listen:
        _serve(registry, *options.listen)
        return 0, None, lambda: None
    rows = (
        [
            {"name": sample.name, "labels": sample.labels, "value": sample.value}
            for family in collector.collect()
            for sample in family.samples
        ]
        if options.json
        else []
    )  # a read tells of the time since the one before
    return 0, {"samples": rows}, lambda: print(generate_latest(registry).decode(), end="")


def _serve(registry: CollectorRegistry, address: str, port: int) -> None:
    from prometheus_client import start_http_server

    with ending_signals() as stop:
        try:
            server, thread = start_http_server(port, address, registry)
        except OSError as error:
            raise DeviceError(f"cannot listen on {address}:{port}: {error.strerror}") from None
        shown = f"[{address}]" if ":" in address else address
        print(f"http://{shown}:{server.server_port}/metrics", flush=True)
        select.select([stop], [], [])
        server.shutdown()
        server.server_close()
        thread.join()

# SPDX-License-Identifier: Apache-2.0
"""``nicprog watch``: keeps a NIC as a spec says until it is told to stop; a line for each event."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import nicprog
from nicprog.backends.softnic import has_socket
from nicprog.commands import Outcome, add_verb, seconds
from nicprog.notices import InterfaceNotices, TimeNotices, ending_signals
from nicprog.sim import is_sim
from nicprog.watch import Event, Policy, Watcher, run


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the verb."""
    usual = Policy()
    verb = add_verb(verbs, "watch", _watch, "keep the NIC as the spec says, and tell what happens")
    verb.add_argument("spec", metavar="SPEC", help="TOML file, for example nic.toml")
    verb.add_argument("--nic", metavar="DEVICE", help="this NIC instead of the spec's")
    verb.add_argument(
        "--interval", type=seconds, default=usual.interval_s, metavar="TIME",
        help=f"between looks, when nothing tells of a change (default: {usual.interval_s:g}s)",
    )  # fmt: skip
    verb.add_argument(
        "--repairs", type=int, default=usual.repairs_max, metavar="N",
        help="give up at the next drift after that many repairs within a time; 0: only tell "
        f"(default: {usual.repairs_max})",
    )  # fmt: skip
    verb.add_argument(
        "--within", type=seconds, default=usual.window_s, metavar="TIME",
        help=f"that time (default: {usual.window_s:g}s)",
    )  # fmt: skip
    verb.add_argument("--state-dir", metavar="DIR", type=Path, help="folder of the snapshots")


def _watch(options: argparse.Namespace) -> Outcome:
    spec = nicprog.load(options.spec)
    if options.nic:
        spec = replace(spec, device=options.nic)
    try:
        policy = Policy(
            interval_s=options.interval, repairs_max=options.repairs, window_s=options.within
        )
    except ValueError as error:
        raise nicprog.UsageError(str(error)) from None
    watcher = Watcher(
        spec,
        log=_printer(spec.device, as_json=options.json),
        clock=time.monotonic,
        policy=policy,
        state_dir=options.state_dir,
    )
    with ending_signals() as stop:
        tells = not is_sim(spec.device) and not has_socket(spec.device)
        notices = InterfaceNotices(spec.device, stop) if tells else TimeNotices(stop)
        with closing(notices):
            status = run(watcher, notices, time.monotonic)
    return status, None, lambda: None


def _printer(device: str, *, as_json: bool) -> Callable[[Event], None]:
    def line(event: Event) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        head = {"time": now, "device": device, "event": event.name}
        if as_json:
            print(json.dumps(head | event.facts), flush=True)
            return
        words = [f"{key}={_word(value)}" for key, value in (head | event.facts).items()]
        print(" ".join(words), flush=True)

    return line


def _word(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if text and not set(text) & set(' "=\\') else json.dumps(text)

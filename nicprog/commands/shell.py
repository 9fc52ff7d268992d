# SPDX-License-Identifier: Apache-2.0
"""``nicprog import`` and ``nicprog export``: command lines of ethtool from and to specs."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import nicprog
from nicprog import shell
from nicprog.commands import Outcome, add_verb
from nicprog.errors import SpecError
from nicprog.spec_toml import spec_to_toml


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds both verbs."""
    verb = add_verb(verbs, "import", _import, "make a spec of a shell file of ethtool commands")
    verb.add_argument("file", metavar="FILE", help="shell file, or - for standard input")
    verb.add_argument("--device", metavar="DEVICE", help="only the commands for this NIC")
    verb = add_verb(verbs, "export", _export, "show the ethtool commands that do what a spec says")
    verb.add_argument("spec", metavar="SPEC", help="TOML file, for example nic.toml")
    verb.add_argument("--nic", metavar="DEVICE", help="for this NIC instead of the spec's")
    verb.add_argument(
        "--plan", action="store_true", help="the steps of a plan from what the NIC holds now"
    )


def _import(options: argparse.Namespace) -> Outcome:
    if options.file == "-":
        text, source = sys.stdin.read(), "standard input"
    else:
        text, source = _text(options.file), options.file
    found = shell.read(text, source, options.device)
    for warning in found.warnings:
        print(f"nicprog: warning: {warning}", file=sys.stderr)
    toml = spec_to_toml(found.spec)
    document = {"device": found.spec.device, "toml": toml, "warnings": list(found.warnings)}
    return 0, document, lambda: print(toml, end="")


def _text(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SpecError(f"{file}: is not UTF-8 (byte {error.start})") from None


def _export(options: argparse.Namespace) -> Outcome:
    spec = nicprog.load(options.spec)
    if options.nic:
        spec = replace(spec, device=options.nic)
    if options.plan:
        with nicprog.open(spec.device) as nic:
            text = shell.write_plan(nicprog.plan(nic, spec), nic.context_numbers())
    else:
        text = shell.write_spec(spec)
    return 0, {"device": spec.device, "shell": text}, lambda: print(text, end="")

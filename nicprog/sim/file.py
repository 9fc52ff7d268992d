# SPDX-License-Identifier: Apache-2.0
"""A model NIC in a file, so that several commands act on the same one."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from nicprog.errors import DeviceError, NicprogError
from nicprog.ethtool import Coalesce, HashField, HashFunction, InputTransform
from nicprog.ethtool.rules import FlowType
from nicprog.sim.nic import Context, SimNic

_FORMAT: Final = 2


def load(path: Path, nic: SimNic) -> str | None:
    """Brings a new ``nic`` to what the file holds.

    Returns:
        Which NIC it is, as :func:`save` wrote it; None when there is no file.

    Raises:
        DeviceError: The file cannot be read.
        NicprogError: It is damaged, or holds another kind of NIC.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DeviceError(f"{nic.device}: cannot read {path}: {error.strerror}") from None
    try:
        held = json.loads(text)
        if held["format"] != _FORMAT:
            raise ValueError(f"format {held['format']}")
        if held["driver"] != nic.profile.driver:
            raise NicprogError(f"{nic.device}: {path} holds a NIC of driver {held['driver']}")
        _restore(nic, held)
        return str(held["instance"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NicprogError(
            f"{nic.device}: {path} is damaged ({error!r}); remove it to begin with a new NIC"
        ) from None


def save(path: Path, nic: SimNic, instance: str) -> None:
    """Writes all that ``nic`` holds; the file is the old one or the new one at any time.

    Raises:
        DeviceError: It cannot be written.
    """
    document = {
        "format": _FORMAT,
        "driver": nic.profile.driver,
        "instance": instance,
        "channels": asdict(nic.channels),
        "rings": asdict(nic.rings),
        "coalesce": asdict(nic.coalesce),
        "contexts": {n: _context_to_json(context) for n, context in nic.contexts.items()},
        "hashed": {flow.name: int(fields) for flow, fields in nic.hashed.items()},
        "rules": [rule.data.hex() for rule in nic.in_order()],
        "coalesce_of": {queue: asdict(one) for queue, one in nic.coalesce_of.items()},
        "features": nic.features,
        "private_flags": nic.private_flags,
        "ntuple": nic.ntuple,
        "xsk_bound": nic.xsk_bound,
        "host": nic.host.to_json(),
    }
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        new.write_text(json.dumps(document), encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise DeviceError(f"{nic.device}: cannot write {path}: {error.strerror}") from None


def _restore(nic: SimNic, held: dict[str, Any]) -> None:
    nic.channels = replace(nic.channels, **held["channels"])
    nic.rings = replace(nic.rings, **held["rings"])
    nic.coalesce = Coalesce(**held["coalesce"])
    nic.coalesce_of = {int(q): Coalesce(**item) for q, item in held["coalesce_of"].items()}
    nic.features = dict(held["features"])
    nic.private_flags = dict(held["private_flags"])
    nic.contexts = {int(n): _context_from_json(item) for n, item in held["contexts"].items()}
    nic.hashed = {FlowType[name]: HashField(fields) for name, fields in held["hashed"].items()}
    nic.ntuple, nic.xsk_bound = bool(held["ntuple"]), bool(held["xsk_bound"])
    nic.host.from_json(held["host"])
    for text in held["rules"]:
        nic.restore_rule(bytes.fromhex(text))


def _context_to_json(context: Context) -> dict[str, Any]:
    return {
        "table": context.table,
        "key": context.key.hex(),
        "function": int(context.function),
        "transform": int(context.transform),
        "is_set": context.is_set,
        "hashed": context.hashed and {flow.name: int(it) for flow, it in context.hashed.items()},
    }


def _context_from_json(item: dict[str, Any]) -> Context:
    hashed = item.get("hashed")  # not there in files of earlier versions
    return Context(
        table=tuple(map(int, item["table"])),
        key=bytes.fromhex(item["key"]),
        function=HashFunction(item["function"]),
        transform=InputTransform(item["transform"]),
        is_set=bool(item["is_set"]),
        hashed=hashed and {FlowType[name]: HashField(bits) for name, bits in hashed.items()},
    )

# SPDX-License-Identifier: Apache-2.0
"""Opens models by name: ``sim:PROFILE[+QUIRK...][@FILE]``."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from nicprog.backends.ethtool import EthtoolNic
from nicprog.host import HostDevice
from nicprog.sim.file import load, save
from nicprog.sim.host import SimFiles
from nicprog.sim.netlink import SimNetlink
from nicprog.sim.nic import SimNic
from nicprog.sim.transport import Fault, SimTransport

_PREFIX: Final = "sim:"


def is_sim(device: str) -> bool:
    """True when the name is that of a model."""
    return device.startswith(_PREFIX)


def connect(nic: SimNic, faults: Sequence[Fault] = ()) -> EthtoolNic:
    """A backend that programs ``nic``, with ``faults`` at some of its requests."""
    return _backend(nic, SimTransport(nic, faults))


def _backend(nic: SimNic, transport: SimTransport) -> EthtoolNic:
    files = SimFiles(nic.host, transport.access)
    return EthtoolNic(
        nic.device,
        nic.instance,
        transport,
        lambda: SimNetlink(transport) if nic.has_netlink else None,
        HostDevice(nic.device, files, kernel=files.kernel, balancer=files.balancer),
    )


def open_sim(device: str) -> EthtoolNic:
    """Opens a model by its name.

    Without a file it is as new and ends when it is closed. With one it is as the file has it, and
    each change is written there at once; when there is no file, it begins as new.

    Raises:
        NicprogError: There is no such profile or quirk, or the file is damaged.
        DeviceError: The file cannot be read or written.
    """
    kind, at, name = device.removeprefix(_PREFIX).partition("@")
    profile, *quirks = kind.split("+")
    nic = SimNic(profile, quirks, device)
    instance = str(uuid.uuid4())
    if not at:
        nic.instance = f"sim-{instance}"
        return _backend(nic, SimTransport(nic))
    path = Path(name)
    instance = load(path, nic) or instance
    nic.instance = f"sim-{instance}"
    return _backend(nic, SimTransport(nic, save=lambda: save(path, nic, instance)))

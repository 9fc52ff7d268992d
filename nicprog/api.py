# SPDX-License-Identifier: Apache-2.0
"""The calls that programs start from; ``nicprog`` exports them."""

from __future__ import annotations

from nicprog.apply import Difference, differences
from nicprog.backends import Backend
from nicprog.backends.ethtool import EthtoolNic
from nicprog.backends.kernel import is_interface, open_kernel
from nicprog.backends.softnic import has_socket, open_softnic
from nicprog.errors import Refused, SpecError
from nicprog.model import Capabilities, NicState
from nicprog.plan import Plan, diff
from nicprog.resolve import Resolved, resolve
from nicprog.sim import is_sim, open_sim
from nicprog.spec import Spec


def open(device: str) -> EthtoolNic:
    """Opens a NIC by name; close it, or use it in a ``with`` statement.

    That is the software NIC of this name, also where an interface has the same (it is made for that
    interface then); without one, the interface of this name in the caller's network namespace.
    ``sim:PROFILE[+QUIRK...][@FILE]`` is a model, see :mod:`nicprog.sim`.

    Raises:
        DeviceError: No such NIC, its owner is dead, or no right to it.
    """
    if is_sim(device):
        return open_sim(device)
    if is_interface(device) and not has_socket(device):
        return open_kernel(device)
    return open_softnic(device)


def plan(nic: Backend, wanted: Spec | NicState) -> Plan:
    """Plans the steps from what ``nic`` holds now to ``wanted``; changes nothing.

    Raises:
        SpecError: The spec contradicts itself or is for another NIC.
        Refused: The NIC would refuse it; the text has the numbers.
        DeviceError: The NIC is gone.
    """
    can, now = nic.capabilities(), nic.read(_groups(nic, wanted))
    resolved = _resolve(nic, wanted, now, can)
    try:
        steps = diff(now, resolved.state, can)
    except Refused as error:
        raise Refused(f"{nic.device}: {error}") from None
    return Plan(
        device=nic.device,
        now=now,
        wanted=resolved.state,
        steps=steps,
        warnings=resolved.warnings,
    )


def verify(nic: Backend, wanted: Spec | NicState) -> tuple[Difference, ...]:
    """Reads ``nic`` and lists what is not as ``wanted``; empty when all is.

    Raises:
        SpecError, Refused, DeviceError: As for :func:`plan`.
    """
    now = nic.read(_groups(nic, wanted))
    return differences(_resolve(nic, wanted, now, nic.capabilities()).state, now)


def _groups(nic: Backend, wanted: Spec | NicState) -> tuple[str, ...]:
    """Groups of settings that are to be read: those named, and what their effect depends on."""
    named = tuple(wanted.settings)
    if isinstance(wanted, Spec) and wanted.host is not None:
        named += wanted.host.groups()
    if "hash" in named and "features" not in named and nic.capabilities().fields_need_rx_hashing:
        return (*named, "features")
    return named


def _resolve(nic: Backend, wanted: Spec | NicState, now: NicState, can: Capabilities) -> Resolved:
    if isinstance(wanted, NicState):
        return Resolved(state=wanted)
    if wanted.device != nic.device:
        text = f"the spec is for {wanted.device}, not for {nic.device}"
        raise SpecError(wanted.error(("device",), text))
    limits = nic.limits(wanted.settings) if wanted.settings else {}
    facts = nic.host_facts() if wanted.host is not None else None
    return resolve(wanted, now, can, limits, facts)

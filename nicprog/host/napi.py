# SPDX-License-Identifier: Apache-2.0
"""How a device is polled: threads, deferred interrupts, and how long packets wait for others.

An interface has a value of each in /sys, which new NAPI instances get and the ones that are there
take over (``netdev_set_gro_flush_timeout`` in ``net/core/dev.h``); from Linux 6.13 on an instance
can have another by netlink, see :class:`nicprog.netlink.Netdev`. ``irq_suspend_timeout`` is of
instances only. What they are for: Documentation/networking/napi.rst.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from nicprog.errors import NicprogError
from nicprog.host.files import Files, read_if_there, write
from nicprog.netlink import Napi
from nicprog.settings import Value

FILES: Final = {
    "threaded": "threaded",
    "defer_hard_irqs": "napi_defer_hard_irqs",
    "gro_flush_timeout_ns": "gro_flush_timeout",
}
"""Names here, and in ``/sys/class/net/DEVICE``."""

SUSPEND: Final = "irq_suspend_timeout_ns"
NAMES: Final = (*FILES, SUSPEND)
"""All, in the order in which they are set: the last one needs those before it."""


class Napis(Protocol):
    """NAPI instances of one device, as :class:`nicprog.netlink.Netdev` has them."""

    def napis(self) -> Sequence[Napi]:
        """All, in order of their numbers."""

    def set_napi(
        self,
        number: int,
        *,
        defer_hard_irqs: int | None = None,
        gro_flush_timeout_ns: int | None = None,
        irq_suspend_timeout_ns: int | None = None,
        threaded: bool | None = None,
    ) -> None:
        """Sets what is given of one."""


def read_values(files: Files, device: str, napis: Napis | None) -> dict[str, Value]:
    """The values of a device by :data:`NAMES`, of those that there are.

    Where instances differ from the interface or from each other it is a text: the interface's
    value, and behind a slash that of each instance in order, ``"0/0,5,0"``.

    Args:
        files: Where the kernel's files are.
        device: Name of the interface.
        napis: Its instances; None when the kernel does not tell.

    Raises:
        RequestError: Something cannot be read.
        NicprogError: A file has what cannot be understood.
    """
    instances = napis.napis() if napis else ()
    found: dict[str, Value] = {}
    for name in NAMES:
        whole = _of_device(files, device, name)
        each = [value for one in instances if (value := _of_instance(one, name)) is not None]
        if whole is not None or each:
            found[name] = _joined(name, whole, each)
    return found


def write_value(files: Files, device: str, name: str, value: Value, napis: Napis | None) -> None:
    """Sets one value, or several in the form in which :func:`read_values` has them.

    Raises:
        RequestError: EOPNOTSUPP: no NAPI instance, or the kernel cannot set theirs. ERANGE: too
            large. EIO and others: the kernel refused.
        DeviceError: No right to.
        NicprogError: The value has not that form.
    """
    whole, each = _split(name, value)
    if whole is not None and name in FILES:
        write(files, f"/sys/class/net/{device}/{FILES[name]}", str(whole), device)
    for index, one in enumerate(napis.napis() if napis else ()):
        wanted = each[index] if index < len(each) else None if each else whole
        if wanted is None or _of_instance(one, name) in (None, wanted):
            continue
        assert napis is not None
        if name == "threaded":
            napis.set_napi(one.number, threaded=bool(wanted))
        elif name == "defer_hard_irqs":
            napis.set_napi(one.number, defer_hard_irqs=wanted)
        elif name == "gro_flush_timeout_ns":
            napis.set_napi(one.number, gro_flush_timeout_ns=wanted)
        else:
            napis.set_napi(one.number, irq_suspend_timeout_ns=wanted)


def _of_device(files: Files, device: str, name: str) -> int | None:
    if name not in FILES:
        return None
    text = read_if_there(files, f"/sys/class/net/{device}/{FILES[name]}", device)
    try:
        return None if text is None else int(text)
    except ValueError:
        raise NicprogError(f"{device}: {FILES[name]}: {text!r} is not a number") from None


def _of_instance(one: Napi, name: str) -> int | None:
    value: int | None = getattr(one, name)
    return value


def _joined(name: str, whole: int | None, each: Sequence[int]) -> Value:
    values = {*each} if whole is None else {whole, *each}
    if len(values) > 1:
        return f"{'' if whole is None else whole}/{','.join(map(str, each))}"
    (value,) = values
    return bool(value) if name == "threaded" and value < 2 else value


def _split(name: str, value: Value) -> tuple[int | None, list[int]]:
    if not isinstance(value, str):
        return int(value), []
    whole, _, each = value.partition("/")
    try:
        return int(whole) if whole else None, [int(one) for one in each.split(",") if one]
    except ValueError:
        raise NicprogError(f"{name}: {value!r} is no value of NAPI instances") from None

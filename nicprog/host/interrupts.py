# SPDX-License-Identifier: Apache-2.0
"""Interrupts of a network device: which there are, whose queue each is, and who takes it.

Sources: ``msi_irqs`` of Documentation/ABI/testing/sysfs-bus-pci, ``/proc/irq`` of
Documentation/core-api/irq/irq-affinity.rst and ``kernel/irq/proc.c``. The files of an interrupt
that the kernel manages are read-only from Linux 6.12 on; before, a write to them is EIO.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from nicprog.errors import NicprogError
from nicprog.host.cpus import format_list, parse_list
from nicprog.host.files import Files, names, read, read_if_there, write

_NET: Final = "/sys/class/net"
_IRQ: Final = "/proc/irq"
_LEVELS: Final = 3
"""Interrupts belong to the device of the bus: of virtio it is one above, of parts of mlx5 two."""

_QUEUE: Final = re.compile(
    r"(?i)(?P<both>txrx|rxtx|tx-rx|rx-tx|combined|comp|fp|queue)[-_.]?(?P<n>\d+)|"
    r"(?P<rx>rx|input)[-_.]?(?P<r>\d+)|(?P<tx>tx|output)[-_.]?(?P<t>\d+)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupt:
    """One interrupt of a device.

    Attributes:
        number: As in ``/proc/irq``.
        name: As its driver calls it, ``eth0-TxRx-3``.
        queues: What it serves: ``rx-3``, ``tx-3``; empty when it is none or nobody tells.
        cpus: Those that may take it.
        effective: Those that do; empty where the kernel does not tell.
        is_settable: ``cpus`` can be set; else the kernel manages it.
        counts: How often each CPU took it.
    """

    number: int
    name: str
    queues: tuple[str, ...]
    cpus: frozenset[int]
    effective: frozenset[int] = frozenset()
    is_settable: bool = True
    counts: Mapping[int, int] = field(default_factory=dict, compare=False)


def queues_of_name(name: str) -> tuple[str, ...]:
    """Queues that the name of an interrupt tells, such as ``eth0-TxRx-3`` or ``virtio0-input.3``.

    Each driver has its own way; those of ``drivers/net`` in Linux are known: ``TxRx``, ``rx``,
    ``tx``, ``input``, ``output``, ``comp`` (mlx5), ``fp`` (bnx2x), ``Tx-Rx`` (ena).
    """
    found = _QUEUE.search(name)
    if not found:
        return ()
    if found["both"]:
        return f"rx-{int(found['n'])}", f"tx-{int(found['n'])}"
    return (f"rx-{int(found['r'])}",) if found["rx"] else (f"tx-{int(found['t'])}",)


def numbers(files: Files, device: str) -> tuple[int, ...]:
    """Interrupts of a device in order of number; none of a device without hardware.

    Raises:
        RequestError: A file cannot be read.
    """
    try:
        folder = files.real(f"{_NET}/{device}/device")
    except OSError:
        return ()
    for _ in range(_LEVELS):
        found = [int(name) for name in names(files, f"{folder}/msi_irqs", device) if name.isdigit()]
        if found:
            return tuple(sorted(found))
        folder = folder.rpartition("/")[0]
    line = read_if_there(files, f"{_NET}/{device}/device/irq", device)
    return (int(line),) if line and line.isdigit() and line != "0" else ()


def interrupts(
    files: Files, device: str, told: Mapping[int, Iterable[str]] | None = None
) -> tuple[Interrupt, ...]:
    """Interrupts of a device that somebody has requested, in order of number.

    Args:
        files: Where the kernel's files are.
        device: Name of the interface.
        told: Queues by interrupt, where the kernel tells; the others are told by their names.

    Raises:
        RequestError: A file cannot be read.
        NicprogError: One has what cannot be understood.
    """
    mine = numbers(files, device)
    if not mine:
        return ()
    lines = _lines(read(files, "/proc/interrupts", device))
    found = [
        _interrupt(files, device, number, lines[number], told or {})
        for number in mine
        if number in lines
    ]
    return tuple(found)


def set_cpus(files: Files, number: int, cpus: Iterable[int], about: str) -> None:
    """Says who may take an interrupt (``smp_affinity_list``).

    On x86 without interrupt remapping it moves when it comes the next time.

    Raises:
        RequestError: EINVAL: none of ``cpus`` is online. ERANGE: a CPU that cannot be. EIO or
            EPERM: the kernel manages it. ENOSPC: these CPUs have no vector left. ENOENT: there is
            no such interrupt any more.
        DeviceError: No right to.
    """
    write(files, f"{_IRQ}/{number}/smp_affinity_list", format_list(cpus), about)


def _interrupt(
    files: Files,
    device: str,
    number: int,
    line: tuple[str, dict[int, int]],
    told: Mapping[int, Iterable[str]],
) -> Interrupt:
    folder = f"{_IRQ}/{number}"
    name, counts = line
    effective = read_if_there(files, f"{folder}/effective_affinity_list", device)
    queues = tuple(told.get(number, ())) or queues_of_name(name)
    try:
        settable = files.is_writable(f"{folder}/smp_affinity_list")
        cpus = parse_list(read(files, f"{folder}/smp_affinity_list", device))
        return Interrupt(
            number=number,
            name=name,
            queues=queues,
            cpus=cpus,
            effective=parse_list(effective or ""),
            is_settable=settable,
            counts=counts,
        )
    except OSError as error:
        raise NicprogError(f"{device}: interrupt {number} has gone: {error.strerror}") from None
    except ValueError as error:
        raise NicprogError(f"{device}: interrupt {number}: {error}") from None


def _lines(text: str) -> dict[int, tuple[str, dict[int, int]]]:
    """Name and counts by number, of ``/proc/interrupts``: a column for each CPU that is online."""
    head, _, rest = text.partition("\n")
    columns = [int(word.removeprefix("CPU")) for word in head.split() if word.startswith("CPU")]
    found: dict[int, tuple[str, dict[int, int]]] = {}
    for line in rest.splitlines():
        label, colon, values = line.partition(":")
        words = values.split()
        if not colon or not label.strip().isdigit() or len(words) < len(columns):
            continue
        counts = {cpu: int(word) for cpu, word in zip(columns, words, strict=False)}
        described = words[len(columns) :]
        found[int(label)] = (described[-1] if described else "", counts)
    return found

# SPDX-License-Identifier: Apache-2.0
"""XPS, RPS and RFS: which CPUs send by a queue, and which take over what a queue received.

Source: Documentation/networking/scaling.rst and ``net/core/net-sysfs.c``. Without a word the kernel
leaves out CPUs that are offline, and of RPS those that ``isolcpus=`` isolates.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Literal

from nicprog.errors import NicprogError
from nicprog.host.cpus import format_mask, parse_mask
from nicprog.host.files import Files, names, read_if_there, write

Kind = Literal["rx", "tx"]
SOCK_FLOWS: Final = "/proc/sys/net/core/rps_sock_flow_entries"


def queues(files: Files, device: str, kind: Kind) -> tuple[int, ...]:
    """Numbers of the RX or TX queues that are active; none when there is no such interface.

    Raises:
        RequestError: They cannot be listed.
    """
    found = names(files, f"/sys/class/net/{device}/queues", device)
    matches = (re.fullmatch(rf"{kind}-(\d+)", name) for name in found)
    return tuple(sorted(int(match[1]) for match in matches if match))


def xps_cpus(files: Files, device: str, queue: int) -> frozenset[int] | None:
    """CPUs that send by a TX queue; None when the device cannot choose (it has one queue alone).

    Raises:
        RequestError: It cannot be read.
    """
    return _mask(files, device, f"tx-{queue}/xps_cpus")


def set_xps_cpus(files: Files, device: str, queue: int, cpus: Iterable[int]) -> None:
    """Says which CPUs send by a TX queue; none: the queue is chosen by hash.

    Raises:
        RequestError: ENOENT: one TX queue alone, or none of this number. EOVERFLOW: a CPU that
            cannot be.
        DeviceError: No right to.
    """
    _write_mask(files, device, f"tx-{queue}/xps_cpus", cpus)


def xps_rxqs(files: Files, device: str, queue: int) -> frozenset[int] | None:
    """RX queues whose connections send by a TX queue; None as for :func:`xps_cpus`.

    Raises:
        RequestError: It cannot be read.
    """
    return _mask(files, device, f"tx-{queue}/xps_rxqs")


def set_xps_rxqs(files: Files, device: str, queue: int, rx_queues: Iterable[int]) -> None:
    """Says whose connections send by a TX queue; that comes before CPUs.

    Raises:
        RequestError, DeviceError: As for :func:`set_xps_cpus`, of an RX queue that is not there.
    """
    _write_mask(files, device, f"tx-{queue}/xps_rxqs", rx_queues)


def rps_cpus(files: Files, device: str, queue: int) -> frozenset[int] | None:
    """CPUs that packets of an RX queue are handed to; None when the kernel has no RPS.

    Raises:
        RequestError: It cannot be read.
    """
    return _mask(files, device, f"rx-{queue}/rps_cpus")


def set_rps_cpus(files: Files, device: str, queue: int, cpus: Iterable[int]) -> None:
    """Hands packets of an RX queue to CPUs; none turns that off.

    Raises:
        RequestError: EINVAL: all of them are isolated. EOVERFLOW: a CPU that cannot be. ENOENT:
            no such queue.
        DeviceError: No right to.
    """
    _write_mask(files, device, f"rx-{queue}/rps_cpus", cpus)


def rfs_flows(files: Files, device: str, queue: int) -> int | None:
    """Flows of an RX queue that RFS remembers; None when the kernel has no RPS.

    Raises:
        RequestError: It cannot be read.
    """
    text = read_if_there(files, _path(device, f"rx-{queue}/rps_flow_cnt"), device)
    return None if text is None else _number(device, text)


def set_rfs_flows(files: Files, device: str, queue: int, flows: int) -> None:
    """Sets how many flows RFS remembers; 0 turns it off. The kernel rounds up to a power of two.

    Raises:
        RequestError: EINVAL: too many. ENOENT: no such queue.
        DeviceError: No right to.
    """
    write(files, _path(device, f"rx-{queue}/rps_flow_cnt"), str(flows), device)


def sock_flow_entries(files: Files) -> int | None:
    """Sockets that RFS of the whole host follows; with 0 no queue's RFS does anything.

    None where it cannot be seen: outside of the first network namespace.
    """
    text = read_if_there(files, SOCK_FLOWS, "RFS")
    return None if text is None else _number("RFS", text)


def _path(device: str, rest: str) -> str:
    return f"/sys/class/net/{device}/queues/{rest}"


def _mask(files: Files, device: str, rest: str) -> frozenset[int] | None:
    text = read_if_there(files, _path(device, rest), device)
    try:
        return None if text is None else parse_mask(text)
    except ValueError as error:
        raise NicprogError(f"{device}: {rest}: {error}") from None


def _write_mask(files: Files, device: str, rest: str, numbers: Iterable[int]) -> None:
    write(files, _path(device, rest), format_mask(numbers), device)


def _number(about: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise NicprogError(f"{about}: {text!r} is not a number") from None

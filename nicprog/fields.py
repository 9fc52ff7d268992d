# SPDX-License-Identifier: Apache-2.0
"""How a spec writes addresses, ports and masks. Every error names the field."""

from __future__ import annotations

import re
from functools import cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address, ip_network

from nicprog.errors import FieldError
from nicprog.model import Masked

_RANGE = re.compile(r"(\d+)\s*-\s*(\d+)")
_MASKED = re.compile(r"(0x[0-9a-fA-F]+|\d+)/(0x[0-9a-fA-F]+|\d+)")


@cache
def address(field: str, text: str) -> tuple[int, Masked]:
    """Reads ``10.1.2.3``, ``10.0.0.0/8``, ``2001:db8::/32`` or address/mask as two addresses.

    Returns:
        IP version (4 or 6), and value and mask of 32 or 128 bits.

    Raises:
        FieldError: It is none of these, or a prefix has bits set right of its length.
    """
    head, slash, tail = text.partition("/")
    try:
        if slash and not tail.isdecimal():
            value, mask = ip_address(head), ip_address(tail)
            if value.version != mask.version:
                raise FieldError(field, f"{field} {text!r}: address and mask differ in IP version")
            return value.version, _normal(field, text, int(value), int(mask))
        network = ip_network(text)
    except FieldError:
        raise
    except (AddressValueError, ValueError) as error:
        hint = ""
        if "host bits set" in str(error):
            hint = f"; did you mean {ip_network(text, strict=False)}?"
        raise FieldError(field, f"{field} {text!r} is not an address or prefix{hint}") from None
    return network.version, Masked(value=int(network.network_address), mask=int(network.netmask))


def address_text(version: int, item: Masked) -> str:
    """The text that :func:`address` reads back to the same version, value and mask."""
    make = IPv4Address if version == 4 else IPv6Address
    bits = 32 if version == 4 else 128
    length = item.mask.bit_count()
    full = (1 << bits) - 1
    if item.mask != full & ~(full >> length):
        return f"{make(item.value)}/{make(item.mask)}"
    return str(make(item.value)) if length == bits else f"{make(item.value)}/{length}"


@cache
def masked(field: str, text: str, bits: int) -> Masked:
    """Reads ``VALUE/MASK``, both in hexadecimal with 0x or in decimal."""
    found = _MASKED.fullmatch(text)
    if not found:
        raise FieldError(field, f'{field} {text!r} is not "VALUE/MASK", for example "0x10/0xfc"')
    item = _normal(field, text, int(found[1], 0), int(found[2], 0))
    if not item.fits(bits):
        raise FieldError(field, f"{field} {text!r} does not fit into {bits} bits")
    return item


def _normal(field: str, text: str, value: int, mask: int) -> Masked:
    try:
        return Masked(value=value, mask=mask)
    except ValueError as error:
        raise FieldError(field, f"{field} {text!r}: {error}") from None


@cache
def ports(field: str, value: int | str) -> tuple[Masked, ...]:
    """Reads a port, a range ``"8000-8015"`` or ``"VALUE/MASK"``.

    Returns:
        The fewest value and mask pairs that together take exactly these ports.
    """
    if isinstance(value, str) and "/" in value:
        return (masked(field, value, 16),)
    if isinstance(value, str) and (found := _RANGE.fullmatch(value.strip())):
        low, high = int(found[1]), int(found[2])
        if low > high:
            raise FieldError(field, f"{field} {value!r}: the range is empty, {low} is above {high}")
    elif isinstance(value, int) or value.strip().isdecimal():
        low = high = int(value)
    else:
        raise FieldError(field, f'{field} {value!r} is not a port or a range such as "8000-8015"')
    if not (low >= 0 and high <= 65_535):
        raise FieldError(field, f"{field} {value!r}: ports are 0 to 65535")
    return range_masks(low, high, 16)


def range_masks(low: int, high: int, bits: int) -> tuple[Masked, ...]:
    """Splits ``low..high`` into aligned blocks of a power of two, each one value and mask."""
    full = (1 << bits) - 1
    blocks = []
    while low <= high:
        size = low & -low or 1 << bits
        while size > high - low + 1:
            size >>= 1
        blocks.append(Masked(value=low, mask=full & ~(size - 1)))
        low += size
    return tuple(blocks)

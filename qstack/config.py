# SPDX-License-Identifier: Apache-2.0
"""Settings of a stack: values only, checked when they are made."""

from __future__ import annotations

import ipaddress
import os
import tomllib
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from . import units
from .errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from .classes import Classifier
    from .framing import Framing

QUEUES_MAX = 64
"""Most queue pairs of a stack."""
PRIORITIES = 8
"""Traffic classes: 0 (default, background) to 7 (most urgent)."""
CONGESTION = ("cubic", "newreno", "dctcp")
"""Congestion controls: CUBIC (RFC 9438, the default), NewReno (RFC 5681), DCTCP (RFC 8257)."""
KEEPALIVE_NS_MAX = 32_767 * 10**9
USER_TIMEOUT_NS_MAX = 86_400 * 10**9
PACING_RATE_MIN = 1000
PACING_RATE_MAX = 10**12
MSS_MIN, MSS_MAX = 88, 65_535
DSCP_MAX = 63
SOURCE_RATE_MIN, SOURCE_RATE_MAX = 1000, 10**12
VLAN_MAX = 4094
VLANS_MAX = 16
BUFFER_BYTES_MIN, BUFFER_BYTES_MAX = 2048, 1 << 30
DRIVERS = ("tap", "xsk", "pair")
_IFNAME_BYTES_MAX = 15
_HEADER_BYTES = 40
"""IPv4 and TCP: the rest of a packet is a segment."""


def split_nic(nic: str | None) -> tuple[str, str]:
    """Return (driver, device) of a NIC's name.

    Args:
        nic: ``None``: an in-memory wire of its own; ``"pair:WIRE"``, ``"tap:NAME"``,
            ``"xsk:NAME"``; any other text is a network device that exists, for AF_XDP.

    Raises:
        ConfigError: The name is empty or longer than the kernel allows.
    """
    if nic is None:
        return "pair", f"qs-{os.getpid()}"
    head, colon, tail = nic.partition(":")
    driver, name = (head, tail) if colon and head in DRIVERS else ("xsk", nic)
    if driver != "pair" and not 1 <= len(name.encode()) <= _IFNAME_BYTES_MAX:
        raise ConfigError(
            f"{nic!r} is not the name of a network device: "
            f"it must have 1 to {_IFNAME_BYTES_MAX} bytes"
        )
    if not name:
        raise ConfigError(f"{nic!r} lacks a name after the colon")
    return driver, name


def _is_int(value: object) -> bool:
    """Whether it is a number: TOML and JSON give other kinds, and True is an int to Python."""
    return isinstance(value, int) and not isinstance(value, bool)


def check_range(name: str, value: object, low: int, high: int) -> None:
    """Raise ConfigError unless a value is a whole number from ``low`` to ``high``."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"{name} must be {low}..{high}, got {value!r}")


def _split_versions(addresses: tuple[str, ...], what: str) -> dict[int, str]:
    """Return at most one address with prefix for each IP version."""
    found: dict[int, str] = {}
    for text in addresses:
        try:
            version = ipaddress.ip_interface(text).version
        except ValueError as e:
            raise ConfigError(f"{what} {text!r}: {e}") from None
        if "/" not in text:
            raise ConfigError(
                f"{what} {text!r} lacks the length of its prefix: write it like {text}/24"
            )
        if version in found:
            raise ConfigError(f"{what} {text!r}: there is an IPv{version} address already")
        found[version] = text
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class StackConfig:
    """A stack on one network device.

    Attributes:
        nic: As for `split_nic`.
        queues: Queue pairs, each with a TCP engine of its own, 1 to 64.
        workers: Threads that run the engines, 1 to ``queues``.
        workers_max: Most there may be, with those that are added while it runs, up to 64; None: no
            more than ``workers``.
        workers_min: The number of workers that run queues follows the load, from this one, at most
            ``workers``, to ``workers_max``; None: it stays.
        first_cpu: Worker w runs on CPU ``first_cpu + w``; None: the kernel chooses.
        addresses: The stack's own, such as ``("10.0.0.2/24", "fd00::2/64")``: one for each IP
            version. With AF_XDP
            none: those of the device.
        host_addresses: TAP only: addresses that the kernel's end of the link is given.
        gateways: Next hops for what is not on the link, one for each IP version.
        vlans: VLANs (IEEE 802.1Q), 1 to 4094, whose tagged frames are taken for the same addresses,
            beside frames without a tag, and answered there; at most 16, with tap and pair.
        mtu: Largest IP packet in bytes, or 0: 1500, with AF_XDP the device's.
        connections_max: Connections of each queue.
        chunks_max: Buffers of 2 KiB of each queue.
        receive_buffer_bytes: Most bytes received and not yet handled, for each connection: its
            buffer grows up to it.
        send_buffer_bytes: Likewise of bytes written and not yet acknowledged.
        receive_buffer_initial_bytes: What the receive buffer begins with, at least 2,048 and a
            segment; it doubles when half of it is read within a round trip. None: 64 KiB, or
            ``receive_buffer_bytes`` if that is less.
        send_buffer_initial_bytes: Likewise of the send buffer, which doubles when the congestion
            window is more than half of it.
        buffer_growth_bytes: For each class, 0 first, the bytes by which all buffers of its
            connections may be above their initial sizes together, in each queue; beyond it none
            grows, and the counter ``buffers_not_grown`` says so. None given: a quarter of the
            queue's chunks each.
        minimum_share_percent: For each class, 0 first, the least part that it has of what a queue
            sends and of the time of handlers, while it has something to do; the rest goes to the
            most urgent class. At most 100 together. None given: 1 each.
        reserved_percent: For each class, the part of every queue's buffers and connections that
            less urgent classes leave free, if a listener has the class and another one a less
            urgent one. At most 50 together. None given: 6.2 each.
        dscp: For each class, 0 first, the DSCP of the packets that it sends, 0 to 63 (RFC 2474).
            None given: 0.
        source_rate_bytes: For each class, 0 first, bytes a second, 1,000 to 10**12, for which one
            source is served in the class, both ways, in each queue; 0: without a limit, as class 0
            has to be. What goes beyond is served as class 0, in its order, and the counter
            ``capped`` of the class says so. None given: 0 each.
        source_prefix_ipv4: Bits of an address that make a source, 1 to 32.
        source_prefix_ipv6: Likewise, 1 to 128.
        poll_idle_ns: A worker or application thread without work polls this long at most before it
            sleeps; less where it has learned that work comes sooner, or hardly ever as soon.
        join: "pair" only: join the wire that another process made.
        offload: Use the device's checksums and segmentation.
    """

    nic: str | None = None
    queues: int = 1
    workers: int = 1
    workers_max: int | None = None
    workers_min: int | None = None
    first_cpu: int | None = None
    addresses: tuple[str, ...] = ()
    host_addresses: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    vlans: tuple[int, ...] = ()
    mtu: int = 0
    connections_max: int = 16_384
    chunks_max: int = 32_768
    receive_buffer_bytes: int = 4 << 20
    send_buffer_bytes: int = 4 << 20
    receive_buffer_initial_bytes: int | None = None
    send_buffer_initial_bytes: int | None = None
    buffer_growth_bytes: tuple[int, ...] = ()
    minimum_share_percent: tuple[float, ...] = ()
    reserved_percent: tuple[float, ...] = ()
    dscp: tuple[int, ...] = ()
    source_rate_bytes: tuple[int, ...] = ()
    source_prefix_ipv4: int = 32
    source_prefix_ipv6: int = 64
    poll_idle_ns: int = 50_000
    join: bool = False
    offload: bool = True

    def __post_init__(self) -> None:
        driver, _ = split_nic(self.nic)
        self._check_range("queues", 1, QUEUES_MAX)
        self._check_range("workers", 1, self.queues)
        if self.workers_max is not None:
            self._check_range("workers_max", self.workers, QUEUES_MAX)
        if self.workers_min is not None:
            self._check_range("workers_min", 1, self.workers)
        self._check_range("connections_max", 1, (1 << 24) - 1)
        self._check_range("chunks_max", 16, (1 << 24) - 1)
        self._check_range("receive_buffer_bytes", BUFFER_BYTES_MIN, BUFFER_BYTES_MAX)
        self._check_range("send_buffer_bytes", BUFFER_BYTES_MIN, BUFFER_BYTES_MAX)
        self._check_range("poll_idle_ns", 0, 10**9)
        if self.mtu:
            self._check_range("mtu", 576, 65_535)
        self._check_buffers()
        self._check_percents("minimum_share_percent", 100)
        self._check_percents("reserved_percent", 50)
        self._check_dscp()
        self._check_vlans(driver)
        self._check_sources()
        if self.first_cpu is not None:
            self._check_range("first_cpu", 0, 4095)
        _split_versions(self.addresses, "address")
        _split_versions(self.host_addresses, "host address")
        for gateway in self.gateways:
            try:
                ipaddress.ip_address(gateway)
            except ValueError as e:
                raise ConfigError(f"gateway {gateway!r}: {e}") from None
        if driver != "xsk" and not self.addresses:
            raise ConfigError(
                f"{driver}: the stack needs an address of its own, such as 10.0.0.2/24"
            )
        if self.host_addresses and driver != "tap":
            raise ConfigError(
                f"{driver}: host_addresses belong to a TAP, this device has none to set"
            )
        if self.join and driver != "pair":
            raise ConfigError(f"{driver}: only a wire (pair:NAME) can be joined")

    def _check_range(self, name: str, low: int, high: int) -> None:
        check_range(name, getattr(self, name), low, high)

    def _check_buffers(self) -> None:
        least = max(2048, (self.mtu or 1500) - _HEADER_BYTES)
        for way in ("receive", "send"):
            if getattr(self, f"{way}_buffer_initial_bytes") is not None:
                most = getattr(self, f"{way}_buffer_bytes")
                self._check_range(f"{way}_buffer_initial_bytes", least, most)
        growth = self.buffer_growth_bytes
        each_fine = isinstance(growth, tuple) and all(
            _is_int(one) and 0 <= one < 1 << 63 for one in growth
        )
        if not each_fine or len(growth) not in (0, PRIORITIES):
            raise ConfigError(
                f"buffer_growth_bytes must be {PRIORITIES} sizes, one for each class, "
                f"got {growth!r}"
            )

    def _check_percents(self, name: str, most: int) -> None:
        value = getattr(self, name)
        each_fine = isinstance(value, tuple) and all(
            isinstance(one, int | float) and not isinstance(one, bool) and 0 <= one <= most
            for one in value
        )
        if not each_fine or len(value) not in (0, PRIORITIES):
            raise ConfigError(
                f"{name} must be {PRIORITIES} numbers from 0 to {most}, one for each class, "
                f"got {value!r}"
            )
        if sum(round(10 * one) for one in value) > 10 * most:
            raise ConfigError(f"{name}: all classes together have {sum(value):g}, {most} at most")

    def _check_dscp(self) -> None:
        each_fine = isinstance(self.dscp, tuple) and all(
            _is_int(one) and 0 <= one <= DSCP_MAX for one in self.dscp
        )
        if not each_fine or len(self.dscp) not in (0, PRIORITIES):
            raise ConfigError(
                f"dscp must be {PRIORITIES} numbers from 0 to {DSCP_MAX}, one for each class, "
                f"got {self.dscp!r}"
            )

    def _check_sources(self) -> None:
        rates = self.source_rate_bytes
        each_fine = isinstance(rates, tuple) and all(
            _is_int(one) and (one == 0 or SOURCE_RATE_MIN <= one <= SOURCE_RATE_MAX)
            for one in rates
        )
        if not each_fine or len(rates) not in (0, PRIORITIES):
            raise ConfigError(
                f"source_rate_bytes must be {PRIORITIES} numbers, one for each class, each 0 or "
                f"{SOURCE_RATE_MIN} to {SOURCE_RATE_MAX}, got {rates!r}"
            )
        if rates and rates[0]:
            raise ConfigError(
                f"source_rate_bytes: class 0 has no limit, since others are served as it beyond "
                f"theirs, got {rates!r}"
            )
        self._check_range("source_prefix_ipv4", 1, 32)
        self._check_range("source_prefix_ipv6", 1, 128)

    def _check_vlans(self, driver: str) -> None:
        each_fine = isinstance(self.vlans, tuple) and all(
            _is_int(one) and 1 <= one <= VLAN_MAX for one in self.vlans
        )
        if not each_fine or len(self.vlans) > VLANS_MAX:
            raise ConfigError(
                f"vlans must be at most {VLANS_MAX} numbers from 1 to {VLAN_MAX}, got "
                f"{self.vlans!r}"
            )
        if self.vlans and driver == "xsk":
            raise ConfigError(
                "xsk: vlans are for tap and pair: the kernel knows the neighbours of its own "
                "device only, so a port of the switch has to take the tag off"
            )

    def address(self, version: int) -> str | None:
        """Return the stack's own address with prefix of an IP version, or None."""
        return _split_versions(self.addresses, "address").get(version)

    def host_address(self, version: int) -> str | None:
        """Return the address with prefix of the kernel's end of a TAP, or None."""
        return _split_versions(self.host_addresses, "host address").get(version)

    def gateway(self, version: int) -> str | None:
        """Return the next hop of an IP version, or None."""
        for text in self.gateways:
            if ipaddress.ip_address(text).version == version:
                return text
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenConfig:
    """A port that is served.

    Attributes:
        port: 1 to 65535.
        priority: Class of its connections, 0 to 7.
        congestion: Congestion control of its connections, one of `CONGESTION`.
        keepalive: Silence, such as "10min", after which a peer is probed, every 75 s then, until
            the ninth probe stays unanswered too; None: never.
        user_timeout: Bytes not acknowledged for so long, such as "30s", end a connection; None:
            5 minutes, and a peer that keeps its window shut is waited for.
        nodelay: Small segments leave at once; False: Nagle's algorithm.
        pacing: Bytes leave over the round trip, not as soon as the window opens.
        pacing_rate_max: With pacing, bytes of payload a second that a connection never exceeds, at
            least 1,000; None: no ceiling.
        receive_buffer: Size of its connections' receive buffers, such as "32KiB", rounded up to a
            size that the stack has and at most the stack's own; None: they grow.
        send_buffer: Of their send buffers, likewise.
        mss_max: Largest MSS that is announced and used, 88 to 65,535; None: what the MTU allows.
        shed_reset: An attempt to connect for which there is no place is answered with a reset;
            False: with nothing, and the peer tries again.
        thread: Name of the application thread on which its handlers run; any text.
        framing: Where messages end; None: connections are streams.
        classify: How urgent messages and connections are; None: as ``priority`` says.
    """

    port: int
    priority: int = 0
    congestion: str = CONGESTION[0]
    keepalive: str | None = None
    user_timeout: str | None = None
    nodelay: bool = True
    pacing: bool = False
    pacing_rate_max: int | None = None
    receive_buffer: str | None = None
    send_buffer: str | None = None
    mss_max: int | None = None
    shed_reset: bool = False
    thread: str = ""
    framing: Framing | None = None
    classify: Classifier | None = None

    def __post_init__(self) -> None:
        if not _is_int(self.port) or not 1 <= self.port <= 65_535:
            raise ConfigError(f"port must be 1..65535, got {self.port!r}")
        if not _is_int(self.priority) or not 0 <= self.priority < PRIORITIES:
            raise ConfigError(
                f"port {self.port}: priority must be 0..{PRIORITIES - 1}, got {self.priority!r}"
            )
        if self.congestion not in CONGESTION:
            known = " or ".join(f'"{name}"' for name in CONGESTION)
            raise ConfigError(
                f"port {self.port}: congestion must be {known}, got {self.congestion!r}"
            )
        self._duration_ns("keepalive", KEEPALIVE_NS_MAX)
        self._duration_ns("user_timeout", USER_TIMEOUT_NS_MAX)
        for name in ("nodelay", "pacing", "shed_reset"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise ConfigError(f"port {self.port}: {name} must be true or false, got {value!r}")
        if not isinstance(self.thread, str):
            raise ConfigError(f"port {self.port}: thread must be a name, got {self.thread!r}")
        self._check_messages()
        self._check_pacing_rate()
        self._size_bytes("receive_buffer")
        self._size_bytes("send_buffer")
        mss = self.mss_max
        if mss is not None and (not _is_int(mss) or not MSS_MIN <= mss <= MSS_MAX):
            raise ConfigError(
                f"port {self.port}: mss_max must be {MSS_MIN}..{MSS_MAX} bytes, got {mss!r}"
            )

    def _check_messages(self) -> None:
        from .classes import Classifier  # which are checked by what is here
        from .framing import Framing

        for name, value, kind in (
            ("framing", self.framing, Framing),
            ("classify", self.classify, Classifier),
        ):
            if value is not None and not isinstance(value, kind):
                raise ConfigError(
                    f"port {self.port}: {name} must be made by qstack.{name} in a program, "
                    f"got {value!r}"
                )

    def _check_pacing_rate(self) -> None:
        rate = self.pacing_rate_max
        if rate is None:
            return
        if not self.pacing:
            raise ConfigError(f"port {self.port}: pacing_rate_max needs pacing = true")
        if not _is_int(rate) or not PACING_RATE_MIN <= rate <= PACING_RATE_MAX:
            raise ConfigError(
                f"port {self.port}: pacing_rate_max must be {PACING_RATE_MIN}..{PACING_RATE_MAX} "
                f"bytes a second, got {rate!r}"
            )

    def _duration_ns(self, name: str, most: int) -> int:
        text = getattr(self, name)
        if text is None:
            return 0
        if not isinstance(text, str):
            raise ConfigError(f'port {self.port}: {name} = {text!r} needs a unit, such as "10min"')
        try:
            value = units.parse_duration_ns(text)
        except ValueError as e:
            raise ConfigError(f"port {self.port}: {name}: {e}") from None
        if not 1 <= value <= most:
            raise ConfigError(
                f"port {self.port}: {name} must be more than 0 and at most "
                f"{most // 10**9}s, got {text!r}"
            )
        return value

    def _size_bytes(self, name: str) -> int:
        text = getattr(self, name)
        if text is None:
            return 0
        if not isinstance(text, str):
            raise ConfigError(f'port {self.port}: {name} = {text!r} needs a unit, such as "32KiB"')
        try:
            value = units.parse_size_bytes(text)
        except ValueError as e:
            raise ConfigError(f"port {self.port}: {name}: {e}") from None
        if not 1 <= value <= BUFFER_BYTES_MAX:
            raise ConfigError(
                f"port {self.port}: {name} must be 1..{BUFFER_BYTES_MAX} bytes, got {text!r}"
            )
        return value

    @property
    def receive_buffer_bytes(self) -> int:
        """Size of receive buffers; 0: they grow."""
        return self._size_bytes("receive_buffer")

    @property
    def send_buffer_bytes(self) -> int:
        """Size of send buffers; 0: they grow."""
        return self._size_bytes("send_buffer")

    @property
    def keepalive_ns(self) -> int:
        """Silence before the first probe; 0: there are none."""
        return self._duration_ns("keepalive", KEEPALIVE_NS_MAX)

    @property
    def user_timeout_ns(self) -> int:
        """User timeout; 0: the stack's."""
        return self._duration_ns("user_timeout", USER_TIMEOUT_NS_MAX)


def check_ports(ports: tuple[ListenConfig, ...]) -> None:
    """Raise ConfigError when a port is named twice."""
    seen: set[int] = set()
    for listen in ports:
        if listen.port in seen:
            raise ConfigError(f"port {listen.port} is named twice: each port has one listener")
        seen.add(listen.port)


def check_vlans(stack: StackConfig, listen: ListenConfig) -> None:
    """Raise ConfigError when a match names a VLAN of which the stack takes no frames."""
    for match in listen.classify.matches if listen.classify else ():
        if match.vlan and match.vlan not in stack.vlans:
            raise ConfigError(
                f"port {listen.port}: a match names VLAN {match.vlan}, whose frames the stack does "
                f"not take: name it in vlans, which is {stack.vlans!r}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """What ``qstack serve`` reads from a TOML file: ``[stack]`` and ``[[listen]]``."""

    stack: Mapping[str, Any] = field(default_factory=dict)
    listen: tuple[ListenConfig, ...] = ()


_IN_UNITS = {
    "poll_idle": ("poll_idle_ns", units.parse_duration_ns),
    "receive_buffer": ("receive_buffer_bytes", units.parse_size_bytes),
    "send_buffer": ("send_buffer_bytes", units.parse_size_bytes),
    "receive_buffer_initial": ("receive_buffer_initial_bytes", units.parse_size_bytes),
    "send_buffer_initial": ("send_buffer_initial_bytes", units.parse_size_bytes),
    "buffer_growth": ("buffer_growth_bytes", units.parse_size_bytes),
    "source_rate": ("source_rate_bytes", units.parse_size_bytes),
}


def _in_units(value: object, parse: Callable[[str], int]) -> object:
    """Return what a value with its unit says, or each of a list of them.

    Raises:
        ValueError: It is malformed, or has no unit.
    """
    if isinstance(value, list):
        return tuple(_in_units(one, parse) for one in value)
    if not isinstance(value, str):
        raise ValueError(f'{value!r} needs a unit, such as "200us" or "64KiB"')
    return parse(value)


def _read_stack(table: object, path: Path) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: stack must be a table: write it as [stack]")
    known = {f.name for f in fields(StackConfig)} - {name for name, _ in _IN_UNITS.values()}
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key in _IN_UNITS:
            name, parse = _IN_UNITS[key]
            try:
                values[name] = _in_units(value, parse)
            except ValueError as e:
                raise ConfigError(f"{path}: stack.{key}: {e}") from None
        elif key in known:
            values[key] = tuple(value) if isinstance(value, list) else value
        else:
            names = ", ".join(sorted(known | set(_IN_UNITS)))
            raise ConfigError(f"{path}: stack.{key} is unknown; known: {names}")
    return values


def read_serve_config(path: Path) -> ServeConfig:
    """Read a TOML file.

    Raises:
        ConfigError: It cannot be read, is malformed (with the line), or has an unknown or bad
            setting.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as e:
        raise ConfigError(f"{path}: cannot read it: {e.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: malformed TOML: {e}") from None
    unknown = set(document) - {"stack", "listen"}
    if unknown:
        raise ConfigError(f"{path}: unknown table {min(unknown)!r}; known: [stack], [[listen]]")
    listen = document.get("listen", [])
    if not isinstance(listen, list) or not all(isinstance(entry, dict) for entry in listen):
        raise ConfigError(f"{path}: listen must be tables: write each as [[listen]]")
    try:
        ports = tuple(ListenConfig(**entry) for entry in listen)
        check_ports(ports)
    except TypeError:
        raise ConfigError(
            f"{path}: [[listen]] takes {', '.join(f.name for f in fields(ListenConfig))}, "
            "and port must be there"
        ) from None
    except ConfigError as e:
        raise ConfigError(f"{path}: [[listen]]: {e}") from None
    return ServeConfig(stack=_read_stack(document.get("stack", {}), path), listen=ports)

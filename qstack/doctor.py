# SPDX-License-Identifier: Apache-2.0
"""What works on this machine and why the rest does not, found out by trying.

What makes devices is tried in a child process with a network namespace of its own.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import resource
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import StackConfig
from .errors import QStackError

if TYPE_CHECKING:
    from collections.abc import Callable

_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_SYS_ADMIN": 21, "CAP_BPF": 39}
_CLONE_NEWNET = 0x4000_0000
_SYS_BPF = {"x86_64": 321, "aarch64": 280}
_BPF_PROG_LOAD = 5
_BPF_PROG_TYPES = {"steering of a TAP": 1, "XDP": 6}
_HUGE_PAGE_BYTES = 2 << 20
_MAP_HUGETLB = 0x4_0000
_PROBE_ADDRESS = "192.0.2.2/24"
_PROBE_IFNAME = "qsprobe0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was tried.

    Attributes:
        name: Stable, for JSON.
        ok: It works.
        detail: What was found.
        advice: What to do when it does not work, or "".
    """

    name: str
    ok: bool
    detail: str
    advice: str = ""


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _capabilities() -> Finding:
    status = Path("/proc/self/status").read_text()
    held = int(next(x for x in status.splitlines() if x.startswith("CapEff:")).split()[1], 16)
    missing = [name for name, bit in _CAPABILITIES.items() if not held >> bit & 1]
    return Finding(
        name="rights",
        ok=not missing,
        detail=f"lacks {', '.join(missing)}" if missing else "all capabilities that are needed",
        advice="run it as root; without rights the in-memory driver (pair) works"
        if missing
        else "",
    )


def _tun() -> Finding:
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
    except OSError as e:
        advice = {
            errno.ENOENT: "load the module: modprobe tun",
            errno.EACCES: "run it as root, or let your group open it: chmod 0666 /dev/net/tun",
        }.get(e.errno or 0, "the kernel must be built with CONFIG_TUN")
        return Finding(name="tun", ok=False, detail=f"/dev/net/tun: {e.strerror}", advice=advice)
    return Finding(name="tun", ok=True, detail="/dev/net/tun opens")


def _load_bpf(program_type: int) -> int:
    """Load ``r0 = 0; exit`` and return 0 or an errno."""
    number = _SYS_BPF.get(os.uname().machine)
    if number is None:
        return errno.ENOSYS
    code = ctypes.create_string_buffer(struct.pack("<QQ", 0xB7, 0x95))
    licence = ctypes.create_string_buffer(b"GPL")
    attributes = ctypes.create_string_buffer(
        struct.pack(
            "<IIQQ", program_type, 2, ctypes.addressof(code), ctypes.addressof(licence)
        ).ljust(120, b"\0")
    )
    fd = _libc().syscall(number, _BPF_PROG_LOAD, attributes, len(attributes) - 1)
    if fd < 0:
        return ctypes.get_errno()
    os.close(fd)
    return 0


def _bpf() -> Finding:
    failed = {
        name: os.strerror(error)
        for name, kind in _BPF_PROG_TYPES.items()
        if (error := _load_bpf(kind))
    }
    if not failed:
        return Finding(name="bpf", ok=True, detail="programs for TAP steering and XDP load")
    return Finding(
        name="bpf",
        ok=False,
        detail="; ".join(f"{name}: {text}" for name, text in failed.items()),
        advice="needs CAP_BPF and CAP_NET_ADMIN, and a kernel with CONFIG_BPF_SYSCALL",
    )


def _huge_pages() -> Finding:
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = lines.get("HugePages_Free", "0").strip()
    try:
        mmap.mmap(
            -1,
            _HUGE_PAGE_BYTES,
            flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_HUGETLB,
        ).close()
    except OSError as e:
        return Finding(
            name="huge_pages",
            ok=False,
            detail=f"{free} free: {e.strerror}; ordinary pages are used",
            advice="optional: sysctl vm.nr_hugepages=128",
        )
    return Finding(name="huge_pages", ok=True, detail=f"{free} free of 2 MiB")


def _memory_lock() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    unlimited = soft == resource.RLIM_INFINITY or os.geteuid() == 0
    return Finding(
        name="memory_lock",
        ok=unlimited or soft >= 64 << 20,
        detail="no limit" if unlimited else f"{soft >> 10} KiB may be locked",
        advice="" if unlimited else "AF_XDP buffers need more: ulimit -l unlimited",
    )


def _in_child(probe: Callable[[], dict[str, Any]], *, own_network: bool) -> dict[str, Any]:
    """Return what ``probe`` returns in a child, or ``{"why_not": text}``."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        result: dict[str, Any]
        try:
            if own_network and _libc().unshare(_CLONE_NEWNET):
                text = os.strerror(ctypes.get_errno())
                result = {"why_not": f"cannot make a network namespace to try it in: {text}"}
            else:
                result = probe()
        except QStackError as e:
            result = {"why_not": str(e)}
        except Exception as e:
            result = {"why_not": f"{type(e).__name__}: {e}"}
        os.write(writer, json.dumps(result).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    os.waitpid(pid, 0)
    if not text:
        return {"why_not": "the probe died"}
    found: dict[str, Any] = json.loads(text)
    return found


def _open_stack(config: StackConfig) -> dict[str, Any]:
    from .stack import Stack

    with Stack(config) as stack:
        info = stack.info
        return {
            "mode": info.mode,
            "offloads": list(info.offloads),
            "rx_checksum": info.rx_checksum,
            "software_nic": info.software_nic,
        }


def _try_pair() -> dict[str, Any]:
    name = f"pair:qs-doctor-{os.getpid()}"
    return _open_stack(StackConfig(nic=name, queues=2, addresses=(_PROBE_ADDRESS,)))


def _try_tap() -> dict[str, Any]:
    return _open_stack(
        StackConfig(nic=f"tap:{_PROBE_IFNAME}", queues=2, addresses=(_PROBE_ADDRESS,))
    )


def _try_xsk() -> dict[str, Any]:
    from pyroute2 import IPRoute

    with IPRoute() as ipr:
        ipr.link("add", ifname=_PROBE_IFNAME, kind="veth", peer="qsprobe1")
        for name in (_PROBE_IFNAME, "qsprobe1"):
            ipr.link("set", index=ipr.link_lookup(ifname=name)[0], state="up")
        index = ipr.link_lookup(ifname=_PROBE_IFNAME)[0]
        ipr.addr("add", index=index, address="192.0.2.2", prefixlen=24)
    return {**_open_stack(StackConfig(nic=f"xsk:{_PROBE_IFNAME}", queues=2)), "tried_on": "veth"}


def _drivers() -> dict[str, dict[str, Any]]:
    found = {
        "pair": _in_child(_try_pair, own_network=False),
        "tap": _in_child(_try_tap, own_network=True),
        "xsk": _in_child(_try_xsk, own_network=True),
    }
    return {name: {"ok": "why_not" not in result, **result} for name, result in found.items()}


def _device(name: str, xdp: dict[int, int]) -> dict[str, Any]:
    path = Path("/sys/class/net", name)
    driver = path / "device" / "driver"
    features = xdp.get(int((path / "ifindex").read_text()))
    return {
        "driver": driver.resolve().name if driver.exists() else "virtual",
        "mtu": int((path / "mtu").read_text()),
        "rx_queues": len(list((path / "queues").glob("rx-*"))),
        "tx_queues": len(list((path / "queues").glob("tx-*"))),
        "xdp": None if features is None else bool(features & 1),
        "af_xdp": None if features is None else ("zero-copy" if features & 8 else "copy"),
    }


def _devices(only: str | None) -> dict[str, Any]:
    from .netdev import xdp_features

    try:
        xdp = xdp_features()
    except OSError:
        xdp = {}  # a kernel without the netdev family: nothing is known
    names = sorted(p.name for p in Path("/sys/class/net").iterdir() if p.is_dir())
    return {n: _device(n, xdp) for n in names if n == only or (only is None and n != "lo")}


def examine(device: str | None = None) -> dict[str, Any]:
    """Try everything.

    Args:
        device: Report on this network device only; None: on all.

    Returns:
        ``system`` facts, ``findings``, ``drivers`` (each with ``ok``, and
        ``mode`` or ``why_not``) and ``devices``.
    """
    system = os.uname()
    findings = [_capabilities(), _tun(), _bpf(), _memory_lock(), _huge_pages()]
    return {
        "system": {
            "kernel": system.release,
            "machine": system.machine,
            "python": sys.version.split()[0],
            "cpus": len(os.sched_getaffinity(0)),
        },
        "findings": [
            {"name": f.name, "ok": f.ok, "detail": f.detail, "advice": f.advice} for f in findings
        ],
        "drivers": _drivers(),
        "devices": _devices(device),
    }

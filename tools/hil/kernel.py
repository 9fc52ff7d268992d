# SPDX-License-Identifier: Apache-2.0
"""A kernel as QEMU boots it fastest, its modules, and the module of the fake NIC."""

from __future__ import annotations

import lzma
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Final

from .packages import Packages, UnavailableError

FNIC: Final = Path(__file__).parent / "fnic"
_SETUP_SECTORS_AT, _PAYLOAD_AT = 0x1F1, 0x248  # Documentation/arch/x86/boot.rst


def vmlinux(bzimage: bytes) -> bytes:
    """The ELF file inside of a bzImage: PVH boots it without unpacking, 3 s faster.

    Raises:
        UnavailableError: It is packed in a way that is not known here.
    """
    start = ((bzimage[_SETUP_SECTORS_AT] or 4) + 1) * 512
    offset, size = struct.unpack_from("<II", bzimage, _PAYLOAD_AT)
    payload = bzimage[start + offset : start + offset + size]
    if payload.startswith(b"\xfd7zXZ\0"):
        found = lzma.LZMADecompressor().decompress(payload)
    elif payload.startswith(b"\x1f\x8b"):
        found = zlib.decompressobj(31).decompress(payload)
    else:
        raise UnavailableError(f"the kernel is packed as {payload[:6].hex()}, which is not known")
    if not found.startswith(b"\x7fELF"):
        raise UnavailableError("no ELF file is in the kernel")
    return found


def modules(packages: Packages, names: list[str]) -> list[Path]:
    """Files of modules and of all that they need, in the order in which they load."""
    release = packages.root / "lib/modules" / packages.release
    if not (release / "modules.dep").exists():
        subprocess.run(
            ["depmod", "-b", str(packages.root), packages.release],
            executable=packages.root
            / "bin/kmod",  # depmod is a link to where it would be installed
            env=packages.environment(),
            check=True,
        )
    needs = {}
    for line in (release / "modules.dep").read_text().splitlines():
        file, _, before = line.partition(":")
        files = [release / one for one in (file, *before.split())]
        needs[Path(file).stem.replace("-", "_")] = files
    order: dict[Path, None] = {}
    for name in names:
        if name not in needs:
            raise UnavailableError(f"kernel {packages.release} has no module {name}")
        order |= dict.fromkeys(reversed(needs[name]))
    return list(order)


def build_fnic(packages: Packages, folder: Path) -> Path:
    """Compiles the fake NIC for the kernel when its source is newer; returns the module.

    Raises:
        UnavailableError: With the compiler's last words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    module = folder / "fnic.ko"
    sources = sorted(FNIC.iterdir())
    if module.exists() and all(s.stat().st_mtime < module.stat().st_mtime for s in sources):
        return module
    for source in sources:
        (folder / source.name).write_bytes(source.read_bytes())
    command = ["make", "-s", "-C", str(packages.headers), f"M={folder}", "modules"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnavailableError(f"fnic does not compile: {done.stderr.strip()[-2000:]}")
    return module

# SPDX-License-Identifier: Apache-2.0
"""A kernel as QEMU boots it fastest, its modules, and the module of the fake NIC."""

from __future__ import annotations

import lzma
import struct
import subprocess
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from .packages import Packages, UnavailableError

FNIC: Final = Path(__file__).parent / "fnic"
_SETUP_SECTORS_AT, _PAYLOAD_AT = 0x1F1, 0x248  # Documentation/arch/x86/boot.rst


def bootable(packages: Packages, folder: Path) -> Path:
    """The kernel as QEMU takes it; made when it is not there.

    Raises:
        UnavailableError: It is packed in a way that is not known here.
    """
    if packages.machine.arch != "amd64":
        return packages.image
    found = folder / f"vmlinux-{packages.release}"
    if not found.exists():
        found.write_bytes(_vmlinux(packages))
    return found


def _vmlinux(packages: Packages) -> bytes:
    """The ELF file inside of a bzImage: PVH boots it without unpacking, 3 s faster."""
    bzimage = packages.image.read_bytes()
    start = ((bzimage[_SETUP_SECTORS_AT] or 4) + 1) * 512
    offset, size = struct.unpack_from("<II", bzimage, _PAYLOAD_AT)
    payload = bzimage[start + offset : start + offset + size]
    if payload.startswith(b"\xfd7zXZ\0"):
        found = lzma.LZMADecompressor().decompress(payload)
    elif payload.startswith(b"\x1f\x8b"):
        found = zlib.decompressobj(31).decompress(payload)
    elif payload.startswith(b"\x28\xb5\x2f\xfd"):
        frame = payload[:-4]  # the size stands behind it
        command, environment = ["zstd", "-dcq"], packages.environment()
        done = subprocess.run(command, input=frame, stdout=subprocess.PIPE, env=environment)
        found = done.stdout
    else:
        raise UnavailableError(f"the kernel is packed as {payload[:6].hex()}, which is not known")
    if not found.startswith(b"\x7fELF"):
        raise UnavailableError("no ELF file is in the kernel")
    return found


def modules(packages: Packages, names: Sequence[str]) -> list[Path]:
    """Files of modules and of all that they need, in the order in which they load.

    Those that are part of the kernel have none.
    """
    folder = packages.modules
    if not (folder / "modules.dep").exists():
        subprocess.run(
            ["depmod", "-b", str(folder.parents[2]), packages.release],
            # depmod is a link to where it would be installed
            executable=packages.tools / "bin/kmod",
            env=packages.environment(),
            check=True,
        )
    needs = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        file, _, before = line.partition(":")
        needs[_module_name(file)] = [folder / one for one in (file, *before.split())]
    inside = {_module_name(one) for one in (folder / "modules.builtin").read_text().split()}
    order: dict[Path, None] = {}
    for name in names:
        if name not in needs and name not in inside:
            raise UnavailableError(f"kernel {packages.release} has no module {name}")
        order |= dict.fromkeys(reversed(needs.get(name, [])))
    return list(order)


def _module_name(file: str) -> str:
    return Path(file).name.partition(".")[0].replace("-", "_")


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

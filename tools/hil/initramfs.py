# SPDX-License-Identifier: Apache-2.0
"""What a guest begins with: modules, and a script that puts files of this machine under a guest."""

from __future__ import annotations

import lzma
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .packages import Packages

AGENT_PORT: Final = "qstack.agent"
_FOLDERS: Final = ("bin", "dev", "proc", "sys", "run", "host", "root", "modules", "tree")
_INIT: Final = """\
#!/bin/busybox sh
# The first process: the files of the share `host`, read-only by 9p, below a layer in memory.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
{registers}
while read -r module; do insmod "/modules/$module" || echo "no module $module"; done </modules/order
mount -t tmpfs tmpfs /run
mkdir /run/upper /run/work
mount -t 9p -o {share} host /host
mount -t overlay -o lowerdir=/host,upperdir=/run/upper,workdir=/run/work overlay /root
mkdir -p /root/proc /root/sys /root/dev /root/run
for folder in proc sys dev; do mount --bind "/$folder" "/root/$folder"; done
{tree_mounts}
mount -t tmpfs tmpfs /root/run
mkdir -p /root/dev/shm
mount -t tmpfs tmpfs /root/dev/shm
mount -t debugfs debugfs /root/sys/kernel/debug
mount -t bpf bpf /root/sys/fs/bpf
ip link set lo up
ulimit -l unlimited
exec chroot /root /usr/bin/env -i -C {tree} HOME=/root LANG=C.UTF-8 \\
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \\
    PYTHONDONTWRITEBYTECODE=1 {python_path} \\
    {python} -m tools.hil.agent
"""
_SHARE: Final = "ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose"
_TREE_MOUNTS: Final = """\
mount -t 9p -o {share} tree /tree
mkdir -p /root{tree}
mount -t overlay -o lowerdir=/extra:/tree overlay /root{tree}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What goes into an initramfs.

    Attributes:
        modules: To load, in order.
        registers: What is written before, by address.
        tree: Working tree that the guest works in.
        extra: Files that lie above those of the tree, by their names in it, where the guest is of
            another kind than this machine.
    """

    modules: Sequence[Path]
    registers: Mapping[int, int]
    tree: Path
    extra: Mapping[str, Path] = field(default_factory=dict)


def write(packages: Packages, contents: Contents, target: Path) -> None:
    """Writes an initramfs into the file ``target``."""
    stage = target.with_suffix(".stage")
    shutil.rmtree(stage, ignore_errors=True)
    for folder in _FOLDERS:
        (stage / folder).mkdir(parents=True)
    shutil.copy(packages.programs / "bin/busybox", stage / "bin/busybox")
    names = [_unpacked_copy(module, stage / "modules") for module in contents.modules]
    (stage / "modules/order").write_text("".join(f"{name}\n" for name in names))
    for name, path in contents.extra.items():
        (stage / "extra" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, stage / "extra" / name)
    init = stage / "init"
    init.write_text(_init(packages, contents))
    init.chmod(0o755)
    _pack(packages, stage, target)
    shutil.rmtree(stage)


def _init(packages: Packages, contents: Contents) -> str:
    is_foreign = bool(packages.machine.programs)
    registers = [f"devmem {at:#x} 32 {value:#x}" for at, value in contents.registers.items()]
    mounts = _TREE_MOUNTS.format(share=_SHARE, tree=contents.tree)
    return _INIT.format(
        registers="\n".join(registers),
        share=_SHARE,
        tree=contents.tree,
        tree_mounts=mounts if is_foreign else "",
        # What is pure Python of this machine's .venv is good for all machines.
        python_path=f"PYTHONPATH={sysconfig.get_path('purelib')}" if is_foreign else "",
        python="/usr/bin/python3.11" if is_foreign else sys.executable,
    )


def _unpacked_copy(module: Path, folder: Path) -> str:
    """Copies a module as insmod takes it; returns its name."""
    if module.suffix != ".xz":
        shutil.copy(module, folder / module.name)
        return module.name
    (folder / module.stem).write_bytes(lzma.decompress(module.read_bytes()))
    return module.stem


def _pack(packages: Packages, stage: Path, target: Path) -> None:
    names = sorted(str(path.relative_to(stage)) for path in stage.rglob("*"))
    with target.open("wb") as file:
        subprocess.run(
            ["cpio", "-o", "-H", "newc", "--quiet"],
            input="\n".join(names).encode(),
            stdout=file,
            cwd=stage,
            env={**packages.environment(), "PWD": os.fspath(stage)},
            check=True,
        )

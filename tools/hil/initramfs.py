# SPDX-License-Identifier: Apache-2.0
"""What a guest begins with: modules, and a script that puts this machine's files under a guest."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from .packages import Packages

AGENT_PORT: Final = "qstack.agent"
_FOLDERS: Final = ("bin", "dev", "proc", "sys", "run", "host", "root", "modules")
_INIT: Final = """\
#!/bin/busybox sh
# The first process: all files of the host, read-only by 9p, below a layer in memory.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
while read -r module; do insmod "/modules/$module" || echo "no module $module"; done </modules/order
mount -t tmpfs tmpfs /run
mkdir /run/upper /run/work
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose host /host
mount -t overlay -o lowerdir=/host,upperdir=/run/upper,workdir=/run/work overlay /root
for folder in proc sys dev; do mount --bind "/$folder" "/root/$folder"; done
mount -t tmpfs tmpfs /root/run
mkdir -p /root/dev/shm
mount -t tmpfs tmpfs /root/dev/shm
mount -t debugfs debugfs /root/sys/kernel/debug
mount -t bpf bpf /root/sys/fs/bpf
ip link set lo up
ulimit -l unlimited
exec chroot /root /usr/bin/env -i -C {tree} HOME=/root LANG=C.UTF-8 \\
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \\
    PYTHONDONTWRITEBYTECODE=1 \\
    {python} -m tools.hil.agent
"""


def write(
    packages: Packages, modules: list[Path], target: Path, *, tree: Path, python: Path
) -> None:
    """Writes an initramfs.

    Args:
        packages: Where busybox and cpio are.
        modules: To load, in order.
        target: The file.
        tree: Working tree that the guest works in.
        python: Interpreter of the tree's .venv.
    """
    stage = target.with_suffix(".stage")
    shutil.rmtree(stage, ignore_errors=True)
    for folder in _FOLDERS:
        (stage / folder).mkdir(parents=True)
    shutil.copy(packages.root / "bin/busybox", stage / "bin/busybox")
    for module in modules:
        shutil.copy(module, stage / "modules" / module.name)
    (stage / "modules/order").write_text("".join(f"{one.name}\n" for one in modules))
    init = stage / "init"
    init.write_text(_INIT.format(python=python, tree=tree))
    init.chmod(0o755)
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
    shutil.rmtree(stage)

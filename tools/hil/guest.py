# SPDX-License-Identifier: Apache-2.0
"""One guest: started, called, and ended by the handle of its process."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Self

from qstack.lab import Namespace

from . import extension, initramfs, kernel
from .lanes import FNIC, Lane, Machine
from .packages import Packages, fetch

_BOOT_S: Final = 150.0  # of a busy machine; 15 s of an idle one
_CALL_S: Final = 60.0
_CPUS: Final = 4  # as many as the queues that are tested; virtio_net uses no more queues than CPUs
_APPEND: Final = "panic=-1 quiet net.ifnames=0"


class GuestError(Exception):
    """The guest did not start, died, or a call in it failed; the text has what it said."""


class Images:
    """What the guest of a lane boots, made when it is not there or out of date."""

    def __init__(self, folder: Path, tree: Path, lane: Lane) -> None:
        """Fetches, compiles and packs; raises UnavailableError where that cannot be."""
        self.tree = tree
        self.packages: Packages = fetch(folder, lane)
        own = folder / lane.name
        own.mkdir(exist_ok=True)
        self.kernel = kernel.bootable(self.packages, own)
        modules = kernel.modules(self.packages, lane.modules)
        if FNIC in lane.nics:
            modules.append(kernel.build_fnic(self.packages, own / "fnic"))
        extra = {}
        if self.packages.machine.programs:
            extra[extension.NAME] = extension.build(self.packages, tree, own / "extension")
        self.initramfs = own / "initramfs.cpio"
        contents = initramfs.Contents(
            modules=modules, registers=lane.registers, tree=tree, extra=extra
        )
        initramfs.write(self.packages, contents, self.initramfs)


class Guest:
    """A machine with the NICs that its arguments make.

    Attributes:
        folder: Its sockets and logs, removed at the end.
    """

    def __init__(
        self, images: Images, nics: Sequence[str], folder: Path, namespace: Namespace | None = None
    ) -> None:
        """Starts it and waits until it can be called.

        Args:
            images: What it boots.
            nics: QEMU's arguments for them.
            folder: For sockets and logs.
            namespace: Where its TAPs are; None is here.

        Raises:
            GuestError: It does not come up within 90 s.
        """
        self.folder = folder
        listener = socket.socket(socket.AF_UNIX)
        with listener:
            listener.bind(str(folder / "agent"))
            listener.listen(1)
            command = self._command(images, nics)
            if namespace is not None:
                command = namespace.command(command)
            with (folder / "qemu.log").open("w") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=images.packages.environment(),
                )
            try:
                listener.settimeout(_BOOT_S)
                self._channel, _ = listener.accept()
                self._channel.settimeout(_BOOT_S)
                self._lines = self._channel.makefile("rb")
                if not self._lines.readline():
                    raise EOFError
            except (OSError, EOFError):
                said = self.logs()
                self._process.kill()
                self._process.wait()
                raise GuestError(f"the guest did not start:\n{said}") from None

    def _command(self, images: Images, nics: Sequence[str]) -> list[str]:
        machine = images.packages.machine
        firmware = [part for path in images.packages.qemu_data for part in ("-L", str(path))]
        shares = {"host": "/"}
        if machine.programs:
            shares = {"host": str(images.packages.programs), "tree": str(images.tree)}
        # One thread for all CPUs: with more, kernels that patch themselves while they boot crashed
        # now and then, and it was not faster.
        return [
            str(images.packages.qemu), *firmware, "-nodefaults", "-display", "none", "-no-reboot",
            *machine.arguments, "-accel", "tcg,thread=single", "-smp", str(_CPUS), "-m", "1024",
            "-kernel", str(images.kernel), "-initrd", str(images.initramfs),
            "-append", f"{_APPEND} {machine.append}", "-serial", f"file:{self.folder / 'console'}",
            "-device", f"virtio-rng-{machine.virtio}", "-device", f"virtio-serial-{machine.virtio}",
            "-chardev", f"socket,id=agent,path={self.folder / 'agent'}",
            "-device", f"virtserialport,chardev=agent,name={initramfs.AGENT_PORT}",
            *(part for tag, path in shares.items() for part in _share(machine, tag, path)), *nics,
        ]  # fmt: skip

    def call(self, function: Callable[..., Any], *arguments: Any, limit_s: float = _CALL_S) -> Any:
        """Calls a function of the working tree in the guest, in a process of its own.

        Args:
            function: Of tests.hil.inside.
            arguments: Of JSON's types, as is what it returns.
            limit_s: How long it may take.

        Raises:
            GuestError: It raised, with the traceback, or took longer.
        """
        name = function.__name__
        request = {"function": name, "arguments": arguments}
        try:
            self._channel.settimeout(limit_s)
            self._channel.sendall(json.dumps(request).encode() + b"\n")
            line = self._lines.readline()
        except OSError as error:
            raise GuestError(f"{name}: {error}\n{self.logs()}") from None
        if not line:
            raise GuestError(f"{name}: the guest has ended\n{self.logs()}")
        answer = json.loads(line)
        if "error" in answer:
            raise GuestError(f"{name}: {answer['error']}{answer['printed']}")
        return answer["result"]

    def logs(self) -> str:
        """What QEMU said, and the end of what the console shows."""
        texts = []
        for name in ("qemu.log", "console"):
            path = self.folder / name
            if path.exists():
                texts.append(f"--- {name}\n{path.read_text(errors='replace')[-3000:]}")
        return "\n".join(texts)

    def close(self) -> None:
        """Turns it off."""
        self._lines.close()
        self._channel.close()
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _share(machine: Machine, tag: str, path: str) -> list[str]:
    """A folder of this machine that the guest can read."""
    folder = f"local,id={tag},path={path},security_model=none,readonly=on,multidevs=remap"
    return ["-fsdev", folder, "-device", f"virtio-9p-{machine.virtio},fsdev={tag},mount_tag={tag}"]


def new_folder() -> Path:
    """A folder for one guest: names of Unix sockets are short, so not below a test's."""
    return Path(tempfile.mkdtemp(prefix="qs-hil-"))


def remove_folder(folder: Path) -> None:
    """Removes it, unless QSTACK_HIL_KEEP is set."""
    if not os.environ.get("QSTACK_HIL_KEEP"):
        shutil.rmtree(folder, ignore_errors=True)

# SPDX-License-Identifier: Apache-2.0
"""QEMU, kernels and programs of guests out of Debian packages, unpacked and not installed."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .lanes import CODENAME, FNIC, Lane, Machine

_KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
_SOURCE: Final = """\
Types: deb
URIs: http://deb.debian.org/{archive}
Suites: {suite}
Components: main
Signed-By: {keyring}

"""
_PROGRAM_SUITES: Final = (
    CODENAME, f"{CODENAME}-updates", f"{CODENAME}-security", f"{CODENAME}-backports",
)  # fmt: skip
_HERE: Final = "amd64"
_TOOLS: Final = ("cpio", "kmod", "libkmod2", "zstd")
_TO_COMPILE: Final = ("libc6-dev", "linux-libc-dev", "libpython3.11-dev")
"""Headers of a machine of another kind, for the extension of nicprog."""
_OWN: Final = ("libc6",)  # of this machine: its programs are run, too
_FORMAT: Final = "2"
"""Another one makes what was unpacked before be done again."""


class UnavailableError(Exception):
    """A guest cannot be had on this machine; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packages:
    """What was unpacked, each folder as ``/`` of a machine where it is installed.

    Attributes:
        machine: That QEMU is to be.
        tools: QEMU and what packs, which run here.
        programs: What runs in the guest.
        kernel: The kernel, its modules, and headers where a module is built.
    """

    machine: Machine
    tools: Path
    programs: Path
    kernel: Path

    def environment(self) -> dict[str, str]:
        """For programs in ``tools``, which find their libraries there."""
        libraries = [f"{self.tools}/{part}lib/x86_64-linux-gnu" for part in ("usr/", "")]
        return {
            **os.environ,
            "PATH": f"{self.tools}/usr/bin:{self.tools}/bin:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": ":".join(libraries),
        }

    @property
    def modules(self) -> Path:
        """Folder of the kernel's modules."""
        places = (self.kernel / part / "modules" for part in ("lib", "usr/lib"))
        (found,) = (one for place in places if place.exists() for one in place.iterdir())
        return found

    @property
    def release(self) -> str:
        """Of the kernel, such as ``6.1.0-56-amd64``."""
        return self.modules.name

    @property
    def image(self) -> Path:
        """The kernel as it comes."""
        old = self.kernel / f"boot/vmlinuz-{self.release}"
        return old if old.exists() else self.modules / "vmlinuz"

    @property
    def qemu(self) -> Path:
        """The emulator."""
        return self.tools / "usr/bin" / self.machine.program

    @property
    def qemu_data(self) -> tuple[Path, ...]:
        """Folders of its firmware."""
        found = (self.tools / "usr/share" / name for name in ("qemu", "seabios"))
        return tuple(path for path in found if path.exists())

    @property
    def headers(self) -> Path:
        """What modules for it are built with."""
        return self.kernel / f"usr/src/linux-headers-{self.release}"


def fetch(folder: Path, lane: Lane) -> Packages:
    """Downloads and unpacks what is not there yet; minutes at the first time, at most.

    Raises:
        UnavailableError: Another machine than amd64, no apt, no network, or a package is gone.
    """
    if platform.machine() != "x86_64":
        raise UnavailableError(f"QEMU is taken for x86_64, this machine is {platform.machine()}")
    for program in ("apt-get", "dpkg", "make", "gcc"):
        if not shutil.which(program):
            raise UnavailableError(f"{program} is needed, and is not there")
    machine = lane.machine
    world = (*machine.programs, *_TO_COMPILE) if machine.programs else ()
    found = Packages(
        machine=machine,
        tools=_unpacked(
            folder / machine.package,
            _HERE,
            _PROGRAM_SUITES,
            lambda apt: [*apt.closure(machine.package, *machine.tools), *_TOOLS],
        ),
        programs=_unpacked(
            folder / f"programs-{machine.arch}",
            machine.arch,
            _PROGRAM_SUITES[:-1],
            lambda apt: [*(apt.closure(*world, without=()) if world else ()), "busybox-static"],
        ),
        kernel=_unpacked(
            folder / f"kernel-{lane.name}",
            machine.arch,
            lane.suites,
            lambda apt: apt.linux(*lane.packages),
        ),
    )
    if FNIC in lane.nics:
        _point_headers_to_themselves(found)
    return found


def _unpacked(
    folder: Path, arch: str, suites: tuple[str, ...], choose: Callable[[_Apt], list[str]]
) -> Path:
    """The folder where what ``choose`` names is unpacked."""
    done, root, form = folder / "unpacked", folder / "root", " ".join((_FORMAT, arch, *suites))
    if done.exists() and done.read_text() == form:
        return root
    shutil.rmtree(folder, ignore_errors=True)
    with_lists = folder / "apt"
    apt = _Apt(with_lists, arch, suites)
    for package in apt.download(choose(apt)):
        _run(["dpkg", "-x", str(package), str(root)], apt.environment)
    shutil.rmtree(with_lists)
    done.write_text(form)
    return root


class _Apt:
    """apt with lists and archives of its own: that of the machine is left alone."""

    def __init__(self, folder: Path, arch: str, suites: tuple[str, ...]) -> None:
        self._archives = folder / "archives"
        self._backports = [suite for suite in suites[1:] if suite.endswith("-backports")]
        for part in ("lists/partial", "archives/partial"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        sources = folder / "debian.sources"
        sources.write_text("".join(_source(suite) for suite in suites))
        (folder / "status").touch()  # nothing is installed: all that is needed is fetched
        config = folder / "apt.conf"
        config.write_text(
            f'Dir::Etc::sourcelist "{sources}";\n'
            'Dir::Etc::sourceparts "-";\n'
            f'Dir::State::Lists "{folder / "lists"}";\n'
            f'Dir::State::status "{folder / "status"}";\n'
            f'Dir::Cache "{folder}";\n'
            f'Dir::Cache::archives "{self._archives}";\n'
            f'APT::Architecture "{arch}";\n'
            f'APT::Architectures {{ "{arch}"; }};\n'
            'APT::Sandbox::User "root";\n'
        )
        self.environment = {**os.environ, "APT_CONFIG": str(config), "LC_ALL": "C"}
        _run(["apt-get", "update", "-q"], self.environment)

    def linux(self, *packages: str) -> list[str]:
        """What these bring of the kernel: names with the version that Debian has now."""
        said = _run(
            ["apt-cache", "depends", "--recurse", "--important", *packages], self.environment
        )
        return [line for line in said.splitlines() if line.startswith("linux-")]

    def closure(self, *packages: str, without: tuple[str, ...] = _OWN) -> list[str]:
        """Packages and what they need, with versions; this machine's C library stays."""
        args = ["install", "--print-uris", "-qq", "--no-install-recommends", *packages]
        later = [part for suite in self._backports for part in ("-t", suite)]
        said = _run(["apt-get", *later, *args], self.environment)
        files = re.findall(r"^'\S+' (\S+)_(\S+)_\w+\.deb ", said, re.MULTILINE)
        return [f"{name}={v.replace('%3a', ':')}" for name, v in files if name not in without]

    def download(self, packages: list[str]) -> list[Path]:
        """The files of packages."""
        _run(["apt-get", "download", "-q", *packages], self.environment, self._archives)
        return sorted(self._archives.glob("*.deb"))


def _source(suite: str) -> str:
    archive = "debian-security" if suite.endswith("-security") else "debian"
    return _SOURCE.format(archive=archive, suite=suite, keyring=_KEYRING)


def _run(command: list[str], environment: dict[str, str], folder: Path | None = None) -> str:
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        end = done.stderr.strip().split("\n")[-1]
        raise UnavailableError(f"{' '.join(command[:3])} failed: {end}")
    return done.stdout


def _point_headers_to_themselves(packages: Packages) -> None:
    """Their Makefile names /usr/src, where they would be installed."""
    makefile = packages.headers / "Makefile"
    named = "include /usr/src/"
    text = makefile.read_text()
    if named in text:
        makefile.write_text(text.replace(named, f"include {packages.kernel}/usr/src/"))

# SPDX-License-Identifier: Apache-2.0
"""QEMU and a kernel out of Debian packages, unpacked and not installed."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CODENAME: Final = "bookworm"
"""Its packages are taken, whatever Debian this machine has: they run on later ones, too."""
_KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
_SOURCES: Final = """\
Types: deb
URIs: http://deb.debian.org/debian
Suites: {0} {0}-updates {0}-backports
Components: main
Signed-By: {1}

Types: deb
URIs: http://deb.debian.org/debian-security
Suites: {0}-security
Components: main
Signed-By: {1}
"""
_QEMU: Final = "qemu-system-x86"
_PLAIN: Final = ("busybox-static", "cpio", "kmod", "libkmod2")
_OWN: Final = ("libc6",)  # of this machine: its programs are run, too
_FORMAT: Final = "1"
"""Another one makes what was unpacked before be done again."""


class UnavailableError(Exception):
    """A guest cannot be had on this machine; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packages:
    """What was unpacked.

    Attributes:
        root: As ``/`` of a machine where they are installed.
        release: Of the kernel, such as ``6.1.0-56-amd64``.
    """

    root: Path
    release: str

    def environment(self) -> dict[str, str]:
        """For programs in ``root``, which find their libraries there."""
        libraries = [f"{self.root}/{part}lib/x86_64-linux-gnu" for part in ("usr/", "")]
        return {
            **os.environ,
            "PATH": f"{self.root}/usr/bin:{self.root}/bin:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": ":".join(libraries),
        }

    @property
    def qemu(self) -> Path:
        """The emulator."""
        return self.root / "usr/bin/qemu-system-x86_64"

    @property
    def qemu_data(self) -> tuple[Path, Path]:
        """Folders of its firmware."""
        return self.root / "usr/share/qemu", self.root / "usr/share/seabios"

    @property
    def bzimage(self) -> Path:
        """The kernel as it comes."""
        return self.root / f"boot/vmlinuz-{self.release}"

    @property
    def headers(self) -> Path:
        """What modules for it are built with."""
        return self.root / f"usr/src/linux-headers-{self.release}"


def fetch(folder: Path) -> Packages:
    """Downloads and unpacks what is not there yet; minutes at the first time, at most.

    Raises:
        UnavailableError: Another machine than amd64, no apt, no network, or a package is gone.
    """
    if platform.machine() != "x86_64":
        raise UnavailableError(f"the guests are for x86_64, this machine is {platform.machine()}")
    for program in ("apt-get", "dpkg", "make", "gcc"):
        if not shutil.which(program):
            raise UnavailableError(f"{program} is needed, and is not there")
    done = folder / "unpacked"
    if done.exists():
        form, release = done.read_text().split()
        if form == _FORMAT:
            return Packages(root=folder / "root", release=release)
    shutil.rmtree(folder, ignore_errors=True)
    apt = _Apt(folder)
    release = apt.kernel()
    apt.download(release)
    found = Packages(root=folder / "root", release=release)
    for package in sorted(apt.archives.glob("*.deb")):
        _run(["dpkg", "-x", str(package), str(found.root)], apt.environment)
    _point_headers_to_themselves(found)
    done.write_text(f"{_FORMAT} {release}\n")
    return found


class _Apt:
    """apt with lists and archives of its own: that of the machine is left alone."""

    def __init__(self, folder: Path) -> None:
        self.archives = folder / "archives"
        for part in ("lists/partial", "archives/partial"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        sources = folder / "debian.sources"
        sources.write_text(_SOURCES.format(CODENAME, _KEYRING))
        (folder / "status").touch()  # nothing is installed: all that is needed is fetched
        config = folder / "apt.conf"
        config.write_text(
            f'Dir::Etc::sourcelist "{sources}";\n'
            'Dir::Etc::sourceparts "-";\n'
            f'Dir::State::Lists "{folder / "lists"}";\n'
            f'Dir::State::status "{folder / "status"}";\n'
            f'Dir::Cache "{folder}";\n'
            f'Dir::Cache::archives "{self.archives}";\n'
            'APT::Architecture "amd64";\n'
            'APT::Sandbox::User "root";\n'
        )
        self.environment = {**os.environ, "APT_CONFIG": str(config), "LC_ALL": "C"}
        _run(["apt-get", "update", "-q"], self.environment)

    def kernel(self) -> str:
        """Release of the kernel that Debian has now; its number moves."""
        said = _run(["apt-cache", "depends", "linux-image-amd64"], self.environment)
        found = re.search(r"Depends: linux-image-(\S+)", said)
        if found is None:
            raise UnavailableError(f"linux-image-amd64 names no kernel: {said.strip()}")
        return found[1]

    def download(self, release: str) -> None:
        common = release.removesuffix("-amd64") + "-common"
        series = ".".join(release.split(".")[:2])
        needed = self._closure(f"{_QEMU}/{CODENAME}-backports")
        single = [
            f"linux-image-{release}",
            f"linux-headers-{release}",
            f"linux-headers-{common}",
            f"linux-kbuild-{series}",
            *_PLAIN,
        ]
        _run(["apt-get", "download", "-q", *needed, *single], self.environment, self.archives)

    def _closure(self, package: str) -> list[str]:
        """The package and what it needs, with versions; this machine's C library stays."""
        args = ["install", "--print-uris", "-qq", "--no-install-recommends", package]
        args = ["-t", f"{CODENAME}-backports", *args]
        said = _run(["apt-get", *args], self.environment)
        files = re.findall(r"^'\S+' (\S+)_(\S+)_\w+\.deb ", said, re.MULTILINE)
        return [f"{name}={v.replace('%3a', ':')}" for name, v in files if name not in _OWN]


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
    text = makefile.read_text()
    makefile.write_text(text.replace("/usr/src/", f"{packages.root}/usr/src/"))

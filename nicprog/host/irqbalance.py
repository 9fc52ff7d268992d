# SPDX-License-Identifier: Apache-2.0
"""irqbalance's control socket: which interrupts it leaves alone.

The protocol is that of ``sock_handle`` in irqbalance.c and of irqbalance(1), section "API":

* A stream socket, ``/run/irqbalance/irqbalance<PID>.sock`` where that folder is, else the abstract
  name ``irqbalance<PID>.sock``. One command for each connection, without a line end.
* It answers root alone, known by ``SCM_CREDENTIALS`` with the command; else it closes.
* ``setup`` is answered ``SLEEP <s> IRQ <n> LOAD <l> DIFF <d> CLASS <c> ... BANNED <mask of CPUs>``
  with an ``IRQ`` for each banned interrupt, also those of ``--banirq``.
* ``settings ban irqs <n> <n> ...`` replaces the list, ``settings ban irqs NONE`` empties it. There
  is no answer. Some versions read the first 255 octets of the list only, so it is read back.
* Nothing of that outlives the process.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Protocol

from nicprog.errors import NicprogError, RequestError
from nicprog.host.files import Files, names, read_if_there, refusal

_FOLDER: Final = "/run/irqbalance"
_SOCKET: Final = re.compile(r"irqbalance\d*\.sock")
_ABSTRACT: Final = re.compile(r"@(irqbalance\d+\.sock)$", re.MULTILINE)
_TIMEOUT_S: Final = 5.0
_CREDENTIALS: Final = struct.Struct("=iII")
_BANNED: Final = re.compile(r"\bIRQ (\d+) ")


class Balancer(Protocol):
    """What moves interrupts by itself."""

    def banned(self) -> frozenset[int]:
        """Interrupts that it leaves alone."""

    def ban(self, irqs: Iterable[int]) -> None:
        """Makes that these."""


class Irqbalance:
    """One irqbalance that runs."""

    def __init__(self, address: str) -> None:
        """``address`` is a path, or an abstract name behind a NUL."""
        self.address = address

    def banned(self) -> frozenset[int]:
        """Interrupts that it leaves alone.

        Raises:
            RequestError: It cannot be reached, or has ended.
            NicprogError: It answers nothing, as to others than root, or what it should not.
        """
        answer = self._ask("setup")
        if not answer.startswith("SLEEP "):
            raise NicprogError(
                f"irqbalance: answers {answer[:40]!r} to 'setup'; it answers root alone"
            )
        return frozenset(int(number) for number in _BANNED.findall(answer))

    def ban(self, irqs: Iterable[int]) -> None:
        """Makes the interrupts that it leaves alone these, whatever they were.

        Raises:
            RequestError: As for :meth:`banned`; EMSGSIZE: it did not take all of them.
            NicprogError: As for :meth:`banned`.
        """
        wanted = frozenset(irqs)
        listed = " ".join(map(str, sorted(wanted)))
        self._ask(f"settings ban irqs {listed or 'NONE'}")
        held = self.banned()
        if held != wanted:
            raise RequestError(
                f"irqbalance: leaves {len(held & wanted)} of {len(wanted)} interrupts alone after "
                f"it was told all of them ({len(listed)} octets); ban them by --banirq, or stop it",
                errno.EMSGSIZE,
            )

    def _ask(self, command: str) -> str:
        me = _CREDENTIALS.pack(os.getpid(), os.geteuid(), os.getegid())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as ours:
                ours.settimeout(_TIMEOUT_S)
                ours.connect(self.address)
                ours.sendmsg([command.encode()], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, me)])
                return b"".join(iter(lambda: ours.recv(65536), b"")).decode("ascii", "replace")
        except TimeoutError:
            text = f"irqbalance: did not answer {command[:16]!r} within {_TIMEOUT_S:g} s"
            raise RequestError(text, errno.ETIMEDOUT) from None
        except OSError as error:
            shown = self.address.replace("\0", "@")
            raise refusal(f"irqbalance: cannot ask it at {shown}", error) from None


def find(files: Files, root: str | Path = "/") -> Irqbalance | None:
    """The irqbalance that runs, or None.

    Sockets that dead ones left are passed over.

    Raises:
        RequestError: The folder of the sockets cannot be listed.
    """
    addresses = [
        str(Path(root) / _FOLDER.lstrip("/") / name)
        for name in names(files, _FOLDER, "irqbalance")
        if _SOCKET.fullmatch(name)
    ]
    listed = read_if_there(files, "/proc/net/unix", "irqbalance") or ""
    addresses += ["\0" + name for name in _ABSTRACT.findall(listed)]
    return next((Irqbalance(one) for one in addresses if _listens(one)), None)


def _listens(address: str) -> bool:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as ours:
            ours.settimeout(_TIMEOUT_S)
            ours.connect(address)
    except OSError as error:
        return error.errno not in (errno.ECONNREFUSED, errno.ENOENT)
    return True

# SPDX-License-Identifier: Apache-2.0
"""irqbalance's control socket: which interrupts it leaves alone.

The protocol is that of ``sock_handle`` in irqbalance.c and of irqbalance(1), section "API":

* A stream socket, ``/run/irqbalance/irqbalance<PID>.sock`` where that folder is, else the abstract
  name ``irqbalance<PID>.sock``. One command for each connection, without a line end.
* It answers root alone, known by ``SCM_CREDENTIALS`` with the command; else it closes.
* ``setup`` is answered ``SLEEP <s> IRQ <n> LOAD <l> DIFF <d> CLASS <c> ... BANNED <mask of CPUs>``
  with an ``IRQ`` for each banned interrupt, also those of ``--banirq``.
* ``settings ban irqs <n> <n> ...`` replaces the list, ``settings ban irqs NONE`` empties it. There
  is no answer, so it is read back.
* A command is read into 500 octets, and what is behind them is lost in the middle of a number, so
  a longer one is not sent.
* After a new list it starts over within a period (10 s, or what ``-t`` said), and for another one
  it sleeps and answers nobody (seen with irqbalance 1.9.2), so an answer may take that long.
* One connection can wait (``listen(1)``), so a connection that asks nothing is not made: who lives
  is known by the number of the process in the name.
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
_SOCKET: Final = re.compile(r"irqbalance(\d+)\.sock")
_ABSTRACT: Final = re.compile(r"@(irqbalance\d+\.sock)$", re.MULTILINE)
_TIMEOUT_S: Final = 30
_COMMAND_MAX: Final = 499
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
            RequestError: As for :meth:`banned`; EMSGSIZE: these are more than it reads, or than it
                took; its list is as before.
            NicprogError: As for :meth:`banned`.
        """
        wanted, before = frozenset(irqs), self.banned()
        command = _ban(wanted)
        if len(command) > _COMMAND_MAX:
            raise RequestError(
                f"irqbalance: {len(wanted)} interrupts are {len(command)} octets, it reads "
                f"{_COMMAND_MAX}; ban them by --banirq, or stop it (EMSGSIZE)",
                errno.EMSGSIZE,
            )
        self._ask(command)
        held = self.banned()
        if held != wanted:
            self._ask(_ban(before))
            raise RequestError(
                f"irqbalance: leaves {len(held & wanted)} of {len(wanted)} interrupts alone after "
                f"it was told all of them ({len(command)} octets); ban them by --banirq, or stop "
                "it (EMSGSIZE)",
                errno.EMSGSIZE,
            )

    def _ask(self, command: str) -> str:
        me = _CREDENTIALS.pack(os.getpid(), os.geteuid(), os.getegid())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as ours:
                for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                    # In the kernel: with a timeout of Python's a full queue is a refusal at once.
                    ours.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", _TIMEOUT_S, 0))
                ours.connect(self.address)
                ours.sendmsg([command.encode()], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, me)])
                return _rest(ours).decode("ascii", "replace")
        except BlockingIOError:
            text = f"irqbalance: did not answer {command[:16]!r} within {_TIMEOUT_S} s (ETIMEDOUT)"
            raise RequestError(text, errno.ETIMEDOUT) from None
        except OSError as error:
            shown = self.address.replace("\0", "@")
            raise refusal(f"irqbalance: cannot ask it at {shown}", error) from None


def _rest(ours: socket.socket) -> bytes:
    """All until the other side closes, which is a reset when it did not read all of a command."""
    received = b""
    try:
        while part := ours.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received


def _ban(irqs: Iterable[int]) -> str:
    return f"settings ban irqs {' '.join(map(str, sorted(irqs))) or 'NONE'}"


def find(files: Files, root: str | Path = "/") -> Irqbalance | None:
    """The irqbalance that runs, or None.

    Sockets that dead ones left are passed over.

    Raises:
        RequestError: The folder of the sockets cannot be listed.
    """
    for name in names(files, _FOLDER, "irqbalance"):
        if _lives(files, name):
            return Irqbalance(str(Path(root) / _FOLDER.lstrip("/") / name))
    listed = read_if_there(files, "/proc/net/unix", "irqbalance") or ""
    for name in _ABSTRACT.findall(listed):
        if _lives(files, name):
            return Irqbalance("\0" + name)
    return None


def _lives(files: Files, name: str) -> bool:
    found = _SOCKET.fullmatch(name)
    if not found:
        return False
    return read_if_there(files, f"/proc/{found[1]}/comm", "irqbalance") == "irqbalance"

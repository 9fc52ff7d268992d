# SPDX-License-Identifier: Apache-2.0
"""Folders with made-up /sys and /proc, and an irqbalance that speaks its protocol."""

from __future__ import annotations

import re
import socket
import struct
import threading
from pathlib import Path
from typing import Self

CPUS = "sys/devices/system/cpu"
DEVICE = "sys/class/net/eth0"
PCI = "sys/devices/pci0000:00/0000:00:05.0"
TOPOLOGY = {
    f"{CPUS}/possible": "0-7",
    f"{CPUS}/online": "0-6",
    f"{CPUS}/isolated": "2",
    f"{CPUS}/nohz_full": "(null)",
    "sys/devices/system/node/node0/cpulist": "0-3",
    "sys/devices/system/node/node1/cpulist": "4-7",
    "sys/devices/system/node/possible": "0-1",
    **{f"{CPUS}/cpu{n}/topology/physical_package_id": str(n // 4) for n in range(7)},
    **{f"{CPUS}/cpu{n}/topology/core_id": str(n // 2 % 2) for n in range(7)},
    **{
        f"{CPUS}/cpu{n}/topology/thread_siblings_list": siblings
        for n, siblings in enumerate(("0-1", "0-1", "2-3", "2-3", "4-5", "4-5", "6"))
    },
}
INTERRUPTS = """\
           CPU0       CPU1       CPU2       CPU3       CPU4       CPU5       CPU6
 40:          5          0          0          0          0          0          0 PCI-MSIX-0000:00:05.0   0-edge      eth0
 41:          0          7          0          0          0          0          0 PCI-MSIX-0000:00:05.0   1-edge      eth0-TxRx-0
 42:          0          0          9          0          0          0          0 PCI-MSIX-0000:00:05.0   2-edge      eth0-TxRx-1
 50:          1          1          1          1          1          1          1 PCI-MSIX-0000:00:06.0   0-edge      eth1-TxRx-0
LOC:          1          1          1          1          1          1          1 Local timer interrupts
ERR:          0
"""  # noqa: E501
NIC = {
    f"{PCI}/numa_node": "1",
    **{f"{PCI}/msi_irqs/{number}": "msix" for number in (40, 41, 42, 43)},
    "proc/interrupts": INTERRUPTS,
    **{f"proc/irq/{n}/smp_affinity_list": "0-6" for n in (40, 41, 42)},
    **{f"proc/irq/{n}/effective_affinity_list": str(n - 40) for n in (40, 41, 42)},
    **{f"{DEVICE}/queues/tx-{n}/xps_cpus": "00" for n in range(2)},
    **{f"{DEVICE}/queues/tx-{n}/xps_rxqs": "0" for n in range(2)},
    **{f"{DEVICE}/queues/rx-{n}/rps_cpus": "00" for n in range(2)},
    **{f"{DEVICE}/queues/rx-{n}/rps_flow_cnt": "0" for n in range(2)},
    f"{DEVICE}/threaded": "0",
    f"{DEVICE}/napi_defer_hard_irqs": "0",
    f"{DEVICE}/gro_flush_timeout": "0",
    "proc/sys/net/core/rps_sock_flow_entries": "0",
}


def made_up(root: Path) -> Path:
    """A host of seven CPUs with the NIC eth0 at node 1, in files under ``root``."""
    for name, text in {**TOPOLOGY, **NIC}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    (root / DEVICE / "device").symlink_to(root / PCI)
    return root


class FakeIrqbalance:
    """Answers at ``ROOT/run/irqbalance/irqbalance1.sock`` as irqbalance does.

    Attributes:
        banned: Interrupts that it leaves alone.
        commands: What it was told.
        room: Octets of a command that it reads; what is behind them is lost.
        uid: The one that it answers.
    """

    def __init__(self, root: Path, banned: set[int], *, room: int = 500, uid: int = 0) -> None:
        self.banned, self.room, self.uid = banned, room, uid
        self.commands: list[str] = []
        folder = root / "run/irqbalance"
        folder.mkdir(parents=True, exist_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(folder / "irqbalance1.sock"))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.listen(1)
        self._thread = threading.Thread(target=self._serve)
        self._comm = root / "proc/1/comm"
        self._comm.parent.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        self._comm.write_text("irqbalance\n")
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        self._comm.unlink()

    def _serve(self) -> None:
        while True:
            try:
                theirs, _ = self._socket.accept()
            except OSError:
                return
            with theirs:
                data, ancillary, _, _ = theirs.recvmsg(self.room, socket.CMSG_SPACE(12))
                uids = [struct.unpack("=iII", one[2])[1] for one in ancillary]
                if data and uids == [self.uid]:
                    theirs.sendall(self._answer(data.decode()).encode())

    def _answer(self, command: str) -> str:
        self.commands.append(command)
        if command == "setup":
            irqs = "".join(f"IRQ {n} LOAD 0 DIFF 0 CLASS 4 " for n in sorted(self.banned))
            return f"SLEEP 10 {irqs}BANNED 00000000,00000004"
        found = re.fullmatch("settings ban irqs (.*)", command)
        if found:
            self.banned = {int(word) for word in found[1].split() if word != "NONE"}
        return ""

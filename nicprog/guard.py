# SPDX-License-Identifier: Apache-2.0
"""A process that takes back what nobody confirmed: ``python -m nicprog.guard DEVICE DIR TIME``.

It outlives the one that applied, and says ``ready`` on standard output once it watches. What it
does goes to the system log. DIR is the folder of the snapshots, TIME is as
:func:`nicprog.snapshot.now_s` counts.
"""

from __future__ import annotations

import os
import sys
import syslog
import time
from pathlib import Path
from typing import Final

import nicprog
from nicprog.snapshot import Store, now_s

_LOOK_S: Final = 0.5
_PATIENCE_S: Final = 60.0


def _is_open(store: Store, confirm_by: float) -> bool:
    found = store.under_way()
    return found is not None and found.confirm_by == confirm_by


def _wait(store: Store, confirm_by: float) -> None:
    while _is_open(store, confirm_by) and (left_s := confirm_by - now_s()) > 0:
        time.sleep(min(left_s, _LOOK_S))


def _take_back(device: str, store: Store, confirm_by: float) -> None:
    """Waits for another nicprog to be done with the NIC, should there be one."""
    while _is_open(store, confirm_by):
        try:
            with nicprog.open(device) as nic:
                result = nicprog.recover(nic, state_dir=store.folder)
        except nicprog.Locked:
            if now_s() > confirm_by + _PATIENCE_S:
                raise
            time.sleep(_LOOK_S)
            continue
        if result is not None:
            syslog.syslog(f"{device}: not confirmed, {len(result.steps)} steps took it back")
        return


def main(device: str, folder: Path, confirm_by: float) -> None:
    """Goes to the background, waits for the confirmation or the end of the time for it."""
    if os.fork():
        os._exit(0)
    store = Store(device, folder)
    syslog.openlog("nicprog")
    os.write(sys.stdout.fileno(), b"ready\n")
    try:
        _wait(store, confirm_by)
        _take_back(device, store, confirm_by)
    except nicprog.NicprogError as error:
        syslog.syslog(syslog.LOG_ERR, f"not confirmed, and not taken back: {error}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))

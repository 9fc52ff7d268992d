# SPDX-License-Identifier: Apache-2.0
"""Programs that the demonstration needs, and servers that it starts and ends."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

from ..errors import QStackError

_END_S = 5.0


def need(*programs: str) -> None:
    """Make sure that programs are installed.

    Raises:
        QStackError: Some are not; the text says how to get them.
    """
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        raise QStackError(
            f"missing: {', '.join(missing)}; install with 'apt-get install {' '.join(missing)}'"
        )


@contextlib.contextmanager
def running(process: subprocess.Popen[Any]) -> Iterator[str]:
    """Yield the first line that a server prints; end it afterwards.

    Raises:
        QStackError: It ended without a line; the text is the last one of its errors.
    """
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            _, err = process.communicate(timeout=_END_S)
            said = (err or "").strip().splitlines()
            raise QStackError(f"a server did not start: {said[-1] if said else 'no reason given'}")
        yield line
    finally:
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

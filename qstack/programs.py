# SPDX-License-Identifier: Apache-2.0
"""Finds the native programs that come with the package."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from . import _native
from .errors import NotSupportedError


def find(name: str) -> str:
    """Return the path of a native program such as ``qs-bench-engine``.

    It is looked for beside the extension module, in the build tree of an editable installation,
    and in PATH.

    Raises:
        NotSupportedError: It is nowhere.
    """
    extension = Path(_native.extension_path())
    places = [extension.parent, *(parent / "native" / "bench" for parent in extension.parents[1:3])]
    for place in places:
        if os.access(place / name, os.X_OK):
            return str(place / name)
    found = shutil.which(name)
    if found is None:
        raise NotSupportedError(
            f"the program {name} is neither in {', '.join(map(str, places))} nor in PATH; "
            "build the project with its native programs (tools/dev setup)"
        )
    return found

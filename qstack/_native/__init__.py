# SPDX-License-Identifier: Apache-2.0
"""The one door to the C library: nothing else imports the extension."""

from typing import Any, TypeAlias

from . import _qs
from ._qs import ffi, lib

CData: TypeAlias = Any
"""A C object: cffi checks its type at run time."""


def extension_path() -> str:
    """Return the file that the extension was loaded from."""
    return str(_qs.__file__)


__all__ = ["CData", "extension_path", "ffi", "lib"]

# SPDX-License-Identifier: Apache-2.0
"""The one door to the C library: nothing else imports the extension."""

from typing import Any, TypeAlias

from ._qs import ffi, lib

CData: TypeAlias = Any
"""A C object: cffi checks its type at run time."""

__all__ = ["CData", "ffi", "lib"]

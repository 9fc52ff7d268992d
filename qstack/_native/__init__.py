# SPDX-License-Identifier: Apache-2.0
"""The one door to the C library: nothing else imports the extension."""

from ._qs import ffi, lib

__all__ = ["ffi", "lib"]

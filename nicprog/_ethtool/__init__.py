# SPDX-License-Identifier: Apache-2.0
"""The one door to the C extension: types and constants of ``linux/ethtool.h``."""

from nicprog._ethtool._uapi import ffi, lib

__all__ = ["ffi", "lib"]

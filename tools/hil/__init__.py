# SPDX-License-Identifier: Apache-2.0
"""Guests under QEMU with real drivers on emulated NICs, for tests/hil: docs/design/012-guests.md.

Everything comes from Debian packages, which are unpacked into build/hil and not installed. A guest
sees the files of this machine, read-only: the working tree as it is, with its .venv.
"""

# SPDX-License-Identifier: Apache-2.0
"""``python -m qstack``."""

from .cli import main

main()

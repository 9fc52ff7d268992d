# SPDX-License-Identifier: Apache-2.0
"""Policies tried in virtual time."""

from .figures import Figures
from .machine import Machine
from .run import Options, run
from .subject import Control

__all__ = ["Control", "Figures", "Machine", "Options", "run"]

# SPDX-License-Identifier: Apache-2.0
"""QStack: a TCP stack in user space; queues, cores and priorities belong to the application."""

from . import errors, http
from .config import ListenConfig, StackConfig
from .connection import Connection
from .errors import QStackError
from .listener import Handler, Listener
from .server import Server

__version__ = "0.1.0"

__all__ = [
    "Connection",
    "Handler",
    "ListenConfig",
    "Listener",
    "QStackError",
    "Server",
    "StackConfig",
    "errors",
    "http",
]

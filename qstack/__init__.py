# SPDX-License-Identifier: Apache-2.0
"""QStack: a TCP stack in user space; queues, cores and priorities belong to the application."""

from . import errors, framing, http
from .classes import Classifier, Match, classify, match
from .compiled import classifier, framing_function
from .config import ListenConfig, StackConfig
from .connection import Connection
from .errors import QStackError
from .framing import Framing
from .listener import Handler, Listener
from .messages import MessageConnection
from .policies import Policy, policy
from .server import Server

__version__ = "0.1.0"

__all__ = [
    "Classifier",
    "Connection",
    "Framing",
    "Handler",
    "ListenConfig",
    "Listener",
    "Match",
    "MessageConnection",
    "Policy",
    "QStackError",
    "Server",
    "StackConfig",
    "classifier",
    "classify",
    "errors",
    "framing",
    "framing_function",
    "http",
    "match",
    "policy",
]

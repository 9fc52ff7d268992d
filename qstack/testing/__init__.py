# SPDX-License-Identifier: Apache-2.0
"""One TCP engine in virtual time, for packet scripts and simulations: no device, thread or clock.

Frames are whole Ethernet frames as ``bytes``, wire-true: checksums filled in, nothing left to a
device. ``scapy.layers.l2.Ether(frame)`` reads them, and what has ``__bytes__`` can be handed in.
Times are integers of nanoseconds on the caller's own clock.
"""

from .connection import Connection
from .engine import Engine, Listener
from .values import ConnectionInfo, ConnectionOptions, EngineOptions, Event, Sent, TcpState

__all__ = [
    "Connection",
    "ConnectionInfo",
    "ConnectionOptions",
    "Engine",
    "EngineOptions",
    "Event",
    "Listener",
    "Sent",
    "TcpState",
]

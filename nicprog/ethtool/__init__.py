# SPDX-License-Identifier: Apache-2.0
"""The kernel's ethtool calls, typed; for any program, with or without the rest of nicprog.

    from nicprog.ethtool import open_interface

    with open_interface("eth0") as eth:
        print(eth.driver_info().driver, eth.channels().combined_count)

Each call is one request or a few; nothing is planned, undone or remembered. What is refused raises
:class:`nicprog.errors.RequestError` (its ``errno`` says which way) or, when the interface is gone
or there is no right to it, :class:`nicprog.errors.DeviceError`. Names, units and meanings of plain
values are those of ``linux/ethtool.h``.
"""

from nicprog.ethtool.calls import Ethtool, open_interface
from nicprog.ethtool.rules import FlowType, HashField, RxAction, RxMatch, RxRule
from nicprog.ethtool.transport import IoctlTransport, Transport
from nicprog.ethtool.values import (
    LOCATION_ANY,
    LOCATION_FIRST,
    LOCATION_LAST,
    Channels,
    Coalesce,
    DriverInfo,
    Feature,
    HashFunction,
    InputTransform,
    Rings,
    Rss,
    RuleTable,
)

__all__ = [
    "Channels",
    "Coalesce",
    "DriverInfo",
    "Ethtool",
    "Feature",
    "FlowType",
    "HashField",
    "HashFunction",
    "InputTransform",
    "IoctlTransport",
    "LOCATION_ANY",
    "LOCATION_FIRST",
    "LOCATION_LAST",
    "Rings",
    "Rss",
    "RuleTable",
    "RxAction",
    "RxMatch",
    "RxRule",
    "Transport",
    "open_interface",
]

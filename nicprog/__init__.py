# SPDX-License-Identifier: Apache-2.0
"""Programs NICs: read what is set, plan changes, apply them, verify, roll back.

    import nicprog

    with nicprog.open("tap0") as nic:
        plan = nicprog.plan(nic, nicprog.load("spec.toml"))
        nicprog.apply(nic, plan)

It programs software NICs, and interfaces of the kernel as far as their drivers let it. All that it
raises on purpose is a :class:`NicprogError`. Single ethtool calls are in :mod:`nicprog.ethtool`.
"""

from nicprog.api import open, plan, verify
from nicprog.apply import Difference, Result, apply
from nicprog.backends import Backend, Counters, QueueCounters
from nicprog.backends.softnic import live_softnics
from nicprog.errors import (
    ApplyError,
    DeviceError,
    FieldError,
    Locked,
    NicprogError,
    Refused,
    RequestError,
    SnapshotError,
    SpecError,
    StalePlan,
    UsageError,
)
from nicprog.model import (
    Capabilities,
    Channels,
    Flow,
    FlowRule,
    Masked,
    Match,
    NicState,
    RssContext,
    RssTable,
)
from nicprog.plan import Disruption, Plan, Step
from nicprog.probe import Part, Report, probe
from nicprog.restore import confirm, recover, rollback
from nicprog.spec import ContextSpec, Reserve, RssSpec, RuleSpec, Spec
from nicprog.spec_file import load, parse

__all__ = [
    "ApplyError",
    "Backend",
    "Capabilities",
    "Channels",
    "ContextSpec",
    "Counters",
    "DeviceError",
    "Difference",
    "Disruption",
    "FieldError",
    "Flow",
    "FlowRule",
    "Locked",
    "Masked",
    "Match",
    "NicState",
    "NicprogError",
    "Part",
    "Plan",
    "QueueCounters",
    "Refused",
    "Report",
    "RequestError",
    "Reserve",
    "Result",
    "RssContext",
    "RssSpec",
    "RssTable",
    "RuleSpec",
    "SnapshotError",
    "Spec",
    "SpecError",
    "StalePlan",
    "Step",
    "UsageError",
    "apply",
    "confirm",
    "live_softnics",
    "load",
    "open",
    "parse",
    "plan",
    "probe",
    "recover",
    "rollback",
    "verify",
]

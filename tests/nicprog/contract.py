# SPDX-License-Identifier: Apache-2.0
"""What holds on every NIC, whatever is behind its backend."""

from __future__ import annotations

import sys

import nicprog
from nicprog.apply import differences
from nicprog.errors import Refused, SpecError
from nicprog.settings import GROUPS
from nicprog.text import state_to_toml


def plan_of_its_own_state_is_empty(nic: nicprog.Backend) -> None:
    spec = nicprog.parse(state_to_toml(nic.device, nic.read(GROUPS)))
    assert nicprog.plan(nic, spec).steps == ()
    assert nicprog.verify(nic, spec) == ()


def applied(nic: nicprog.Backend, spec: nicprog.Spec) -> nicprog.Result | None:
    """What apply did, or None when the planner refused and the NIC is as before."""
    before = nic.read(GROUPS)
    reason = ""
    try:
        plan = nicprog.plan(nic, spec)
    except (Refused, SpecError) as refused:
        reason = str(refused)
    if reason:
        assert len(reason) > len(nic.device) + 20, "a refusal says why"
        assert nic.read(GROUPS) == before
        return None
    result = nicprog.apply(nic, plan)  # the NIC refuses nothing that the planner allows
    assert differences(plan.wanted, nic.read(plan.wanted.settings)) == ()
    return result


def refused_or_applied_and_rolled_back(nic: nicprog.Backend, spec: nicprog.Spec) -> None:
    before = nic.read(GROUPS)
    result = applied(nic, spec)
    if result is None:
        return
    assert nicprog.verify(nic, spec) == ()
    assert nicprog.plan(nic, spec).steps == ()
    plan_of_its_own_state_is_empty(nic)
    if result.snapshot:
        nicprog.rollback(nic)
    assert nic.read(GROUPS) == before


def main(device: str) -> int:
    """Tries numbers of channels of an interface that counts RX and TX apart, also too many."""
    with nicprog.open(device) as nic:
        plan_of_its_own_state_is_empty(nic)
        most = nic.capabilities()
        rss = nicprog.RssSpec(equal="all")
        for rx in (1, most.rx_max, most.rx_max + 1):
            for tx in (1, most.tx_max, most.tx_max + 1):
                channels = nicprog.Channels(rx=rx, tx=tx)
                for spec in (
                    nicprog.Spec(device=device, channels=channels),
                    nicprog.Spec(device=device, channels=channels, rss=rss),
                ):
                    refused_or_applied_and_rolled_back(nic, spec)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

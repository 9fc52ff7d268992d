# SPDX-License-Identifier: Apache-2.0
"""Contexts of nicprog and of others on one NIC, in any order, with refusals and deaths between."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

import nicprog
from nicprog import reserve, sim
from nicprog.apply import differences
from nicprog.backends.ethtool import EthtoolNic
from nicprog.errors import NicprogError
from nicprog.settings import GROUPS
from nicprog.where import Steering
from tests.nicprog.strategies import specs

CONTEXTS = 15
FLOWS = reserve.flow("tcp dst_port=8443 family=ipv4")
PACKETS = [
    sim.Packet.of(f"10.0.0.{i}", "10.1.0.1", 1024 + i, port)
    for i in range(4)
    for port in (80, 443, 8443)
]


class OneNic(RuleBasedStateMachine):
    """What nicprog holds for true of a mlx5, against the model itself."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory(prefix="nicprog-contexts-")
        self.patch = pytest.MonkeyPatch()
        self.patch.setenv("QSTACK_RUN_DIR", self.folder.name)
        self.model = sim.SimNic("mlx5")
        self.saved: nicprog.NicState | None = None

    def teardown(self) -> None:
        self.patch.undo()
        self.folder.cleanup()

    def opened(self, *faults: sim.Fault) -> EthtoolNic:
        """Each time as another process."""
        return sim.connect(self.model, faults)

    def state(self) -> nicprog.NicState:
        with self.opened() as nic:
            return nic.read(GROUPS)

    @initialize(has_netlink=st.booleans())
    def kernel(self, has_netlink: bool) -> None:
        self.model.has_netlink = has_netlink

    @rule(queue=st.integers(0, 3))
    def others_make_one(self, queue: int) -> None:
        before = {context.name for context in self.state().contexts}
        if len(before) == CONTEXTS:
            return
        with self.opened() as nic:
            nic.calls.new_rss_context([queue] * 256)
        (new,) = {context.name for context in self.state().contexts} - before
        assert new.startswith("#"), "it has no name of ours"

    @rule(data=st.data())
    def others_delete_one(self, data: st.DataObject) -> None:
        """One of their own: nicprog would take the next with the number of its own for that."""
        with self.opened() as nic:
            named = {item.context for item in nic.read().rules}
            numbers = nic.context_numbers().items()
            free = sorted(n for name, n in numbers if name.startswith("#") and name not in named)
            if free:
                nic.calls.delete_rss_context(data.draw(st.sampled_from(free)))

    @rule(spec=specs("sim:mlx5"))
    def is_applied(self, spec: nicprog.Spec) -> None:
        with self.opened() as nic:
            try:
                plan = nicprog.plan(nic, spec)
            except NicprogError:
                return
            result = nicprog.apply(nic, plan)
            assert nicprog.verify(nic, spec) == ()
            assert nicprog.plan(nic, spec).steps == ()
        if result.snapshot:
            self.saved = plan.now

    @rule(queues=st.integers(0, 4))
    def is_reserved(self, queues: int) -> None:
        with self.opened() as nic:
            try:
                found, plan = reserve.plan(nic, FLOWS, queues)
            except NicprogError:
                return
            result = nicprog.apply(nic, plan)
            assert differences(found.state, nic.read()) == ()
        if result.snapshot:
            self.saved = plan.now

    @rule(spec=specs("sim:mlx5"), at=st.integers(1, 60), late=st.booleans())
    def is_refused(self, spec: nicprog.Spec, at: int, late: bool) -> None:
        before = self.state()
        with self.opened(sim.Fault(at=at, errno=errno.EIO, late=late)) as nic:
            try:
                plan = nicprog.plan(nic, spec)
                result = nicprog.apply(nic, plan)
            except NicprogError:
                assert self.state() == before
                return
        if result.snapshot:  # the fault came in none of its requests
            self.saved = plan.now

    @rule(spec=specs("sim:mlx5"), at=st.integers(1, 60), late=st.booleans())
    def dies(self, spec: nicprog.Spec, at: int, late: bool) -> None:
        before = self.state()
        with self.opened(sim.Fault(at=at, errno=None, late=late)) as nic:
            try:
                plan = nicprog.plan(nic, spec)
                result = nicprog.apply(nic, plan)
                self.saved = plan.now if result.snapshot else self.saved
                return
            except NicprogError:
                return
            except sim.Died:
                pass
        with self.opened() as nic:
            nicprog.recover(nic)
        assert self.state() == before

    @precondition(lambda self: self.saved is not None)
    @rule()
    def is_rolled_back(self) -> None:
        with self.opened() as nic:
            nicprog.rollback(nic)
            assert nic.read().contexts == self.saved.contexts  # type: ignore[union-attr]  # see above
            assert nic.read().rules == self.saved.rules  # type: ignore[union-attr]  # likewise
        self.saved = None

    @invariant()
    def packets_go_where_nicprog_says(self) -> None:
        with self.opened() as nic:
            steering = Steering(nic)
            numbers = nic.context_numbers()
            places = [steering.place(packet).queue for packet in PACKETS]
        assert sorted(numbers.values()) == sorted(set(self.model.contexts) - {0})
        assert places == [sim.deliver(self.model, packet) for packet in PACKETS]

    @invariant()
    def nothing_is_left_behind(self) -> None:
        left = {path.suffix for path in Path(os.environ["QSTACK_RUN_DIR"]).iterdir()}
        assert ".partial" not in left


TestOneNic = OneNic.TestCase
TestOneNic.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)

# SPDX-License-Identifier: Apache-2.0
"""A fault at every request of an apply: the NIC ends as it was or as it was to be.

What brings it there is apply's own undo, or, after the death of the process, `recover`. When the
NIC refuses the undo too it is `rollback`, and apply says so. Processes die at requests here; that
they die while a snapshot is written is not in these tests.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

import nicprog
from nicprog import sim
from nicprog.errors import NicprogError
from nicprog.settings import GROUPS, HOST_GROUPS
from nicprog.sim.transport import SimTransport

RULE = '[[rule]]\nname = "{0}"\nprotocol = "tcp"\nfamily = "ipv4"\ndst_port = {0}\nqueue = {1}\n'
FEW, MANY = {"apart": "rx = 3\ntx = 3"}, {"apart": "rx = 6\ntx = 6"}
FEW["combined"], MANY["combined"] = "combined = 3", "combined = 6"

# Profile, then specs by their parts: what the NIC holds at first, and what is applied.
CASES = [
    ("mlx5", "few", "many rules"),
    ("mlx5", "many rules", "few other-rules"),
    ("mlx5", "many weights key", "few"),
    ("ice", "few rules", "many other-rules weights"),
    ("i40e", "many weights key", "few rules"),
    ("i40e", "few weights key", "many rules"),
    ("ixgbe", "few rules", "few other-mask"),
    ("ixgbe", "many other-mask", "few rules key"),
    ("igb", "few", "many weights"),
    ("igb", "many weights", "few"),
    ("igb", "few", "many"),
    ("gve", "few rules", "many other-rules key"),
    ("virtio_net", "many weights", "few key"),
    ("virtio_net", "few weights", "many weights hashed"),
    ("virtio_net", "many weights", "few weights settings"),
    ("ice", "few rules settings", "many queue hashed"),
    ("i40e", "many queue", "few settings queue"),
    ("mlx5", "few settings adapts", "few flags hashed"),
    ("mlx5", "few flags", "many settings adapts"),
    ("ixgbe", "few no-rules", "few rules rules-on"),
    ("mlx5", "few rules", "many web api"),
    ("mlx5", "many web api foreign", "few web-less exclusive"),
    ("mlx5", "few web-less hashed", "few web key"),
    ("octeontx2 by-ioctl", "few foreign rules", "few exclusive shared"),
    ("octeontx2 by-ioctl", "many shared foreign", "few rules"),
    ("gve", "few host", "few other-host"),
    ("igb", "few host", "many other-host"),
]
CONTEXT = '[[context]]\nname = "{0}"\n{1}\n'
TO_CONTEXT = (
    '[[rule]]\nname = "{1}"\nprotocol = "tcp"\nfamily = "ipv4"\ndst_port = {1}\ncontext = "{0}"\n'
)
WEB = TO_CONTEXT.format("web", 443) + TO_CONTEXT.format("web", 80)
PARTS = {
    "rules": RULE.format(80, 1) + RULE.format(81, 2),
    "other-rules": RULE.format(443, 0) + RULE.format(81, 1) + RULE.format(80, 2),
    "web": WEB
    + CONTEXT.format(
        "web",
        'equal = [1, 2]\nkey = "symmetric"\n'
        '[context.hash]\nudp6 = "sd"\ntransform = "symmetric-or-xor"',
    ),
    "web-less": WEB + CONTEXT.format("web", 'weights = [1, 2, 1]\n[context.hash]\nudp6 = "sdfn"'),
    "api": TO_CONTEXT.format("api", 81) + CONTEXT.format("api", "equal = [3, 4, 5]"),
    "shared": TO_CONTEXT.format("shared", 80) + CONTEXT.format("shared", "equal = [0, 1]"),
    "other-mask": '[[rule]]\nname = "x"\nprotocol = "tcp"\nsrc = "10.0.0.1"\nqueue = 1\n',
}
SETTINGS = {
    "settings": "[rings]\nrx = 1024\n[features]\nrx-gro = false\nrx-hashing = true\n",
    "adapts": "[coalesce]\nadaptive_rx = true\n",
    "queue": "[coalesce]\nrx_usecs = 9\n[coalesce.queue.2]\nrx_usecs = 3\n",
    "flags": "[private_flags]\nrx_cqe_compress = true\n"
    "[coalesce]\nadaptive_rx = false\nrx_usecs = 7\n",
    "hashed": '[hash]\nudp4 = "sd"\ntcp4 = "sd"\n',
    "no-rules": "[features]\nntuple = false\n",
    "rules-on": "[features]\nntuple = true\n",
    "host": "[host]\ncpus = '2-4'\ninterrupts = 'spread'\nrps = '5'\nirqbalance = 'keep-away'\n"
    "napi = {threaded = true, irq_suspend_timeout_us = 7}\n",
    "other-host": "[host]\navoid_smt = true\ninterrupts = {0 = '1', 2 = '3'}\nxps = 'by-queue'\n"
    "rfs = 64\nirqbalance = 'allow'\nnapi = {threaded = false}\n",
}
RSS = {"weights": "weights = [3, 1]\n", "key": 'key = "symmetric"\n'}
ALL = (*GROUPS, "coalesce.queue.2", *HOST_GROUPS)
FAULTS = [(errno.EIO, False), (errno.EIO, True), (None, False), (None, True)]


def spec(profile: str, words: str) -> nicprog.Spec:
    kind = "apart" if profile == "gve" else "combined"
    profile, parts = profile.split()[0], words.split()
    channels = {"few": FEW, "many": MANY}[parts[0]][kind]
    rss = "".join(RSS[part] for part in parts if part in RSS)
    rules = "".join(PARTS[part] for part in parts if part in PARTS)
    end = 'other_rules = "remove"\n' if not rules and profile in ("mlx5", "ixgbe") else ""
    end += 'other_contexts = "remove"\n' if "exclusive" in parts else ""
    head = f'device = "sim:{profile}"\n{end}[channels]\n{channels}\n'
    settings = "".join(SETTINGS[part] for part in parts if part in SETTINGS)
    return nicprog.parse(f"{head}[rss]\n{rss}{settings}{rules}")


def prepared(profile: str, words: str, state_dir: Path) -> sim.SimNic:
    """With "foreign" another program's context comes first, so that it has number 1."""
    name, *kernel = profile.split()
    model = sim.SimNic(name)
    model.has_netlink = not kernel
    with sim.connect(model) as nic:
        if "foreign" in words.split():
            nic.calls.new_rss_context([0, 2] * (nic.capabilities().table_size // 2))
        nicprog.apply(nic, nicprog.plan(nic, spec(profile, words)), state_dir=state_dir)
    for left in state_dir.iterdir():
        left.unlink()
    return model


def read(model: sim.SimNic) -> nicprog.NicState:
    with sim.connect(model) as nic:
        return nic.read(ALL)


def requests_of(model: sim.SimNic, wanted: nicprog.Spec, state_dir: Path) -> int:
    with sim.connect(model) as nic:
        nicprog.apply(nic, nicprog.plan(nic, wanted), state_dir=state_dir)
        assert isinstance(nic._transport, SimTransport)
        return nic._transport.requests


def faults(requests: int) -> Iterator[sim.Fault]:
    for at in range(1, requests + 1):
        for code, late in FAULTS:
            yield sim.Fault(at=at, errno=code, late=late)


def apply_with(model: sim.SimNic, wanted: nicprog.Spec, fault: sim.Fault, state_dir: Path) -> bool:
    """True when the process died."""
    with sim.connect(model, [fault]) as nic:
        try:
            nicprog.apply(nic, nicprog.plan(nic, wanted), state_dir=state_dir)
        except nicprog.ApplyError as error:
            if not error.undone:
                raise
        except NicprogError:
            pass  # before the first step
        except sim.Died:
            return True
        else:
            raise AssertionError(f"{fault} had no effect")
    return False


@pytest.mark.parametrize(("profile", "old", "new"), CASES)
def test_the_nic_is_as_before_or_as_wanted(
    profile: str, old: str, new: str, run_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "snapshots"
    folder.mkdir()
    model, wanted = prepared(profile, old, folder), spec(profile, new)
    before = read(model)
    requests = requests_of(model, wanted, folder)
    after = read(model)
    assert before != after
    for fault in faults(requests):
        model = prepared(profile, old, folder)
        assert read(model) == before
        died = apply_with(model, wanted, fault, folder)
        with sim.connect(model) as nic:
            if died:
                nicprog.recover(nic, state_dir=folder)
            assert nic.read(ALL) == before, fault
            result = nicprog.apply(nic, nicprog.plan(nic, wanted), state_dir=folder)
            assert nic.read(ALL) == after
            if result.snapshot:
                nicprog.rollback(nic, state_dir=folder)
            assert nic.read(ALL) == before


def test_a_nic_that_refuses_the_undo_too_is_left_to_rollback(run_dir: Path, tmp_path: Path) -> None:
    """A fault makes apply undo, and from some request of that on the NIC refuses everything."""
    folder = tmp_path / "snapshots"
    folder.mkdir()
    wanted = spec("mlx5", "few other-rules")
    requests = requests_of(prepared("mlx5", "many rules", folder), wanted, folder)
    left = 0
    for at in range(1, requests, 2):
        for second in range(at + 1, at + 12, 2):
            model = prepared("mlx5", "many rules", folder)
            before = read(model)
            bad = [sim.Fault(at=n, errno=errno.EIO) for n in (at, *range(second, second + 99))]
            undone = True
            with sim.connect(model, bad) as nic:
                try:
                    nicprog.apply(nic, nicprog.plan(nic, wanted), state_dir=folder)
                except nicprog.ApplyError as error:
                    undone = error.undone
                except NicprogError:
                    pass  # before the first step
            with sim.connect(model) as nic:
                if not undone:
                    left += 1
                    nicprog.rollback(nic, state_dir=folder)
                assert nic.read(ALL) == before
    assert left, "some faults struck the undo"

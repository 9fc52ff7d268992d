# SPDX-License-Identifier: Apache-2.0
"""nicprog on real drivers, judged by where packets are counted, not by what reads back."""

from __future__ import annotations

import random

import pytest

from nicprog.settings import HOST_GROUPS
from tests.hil import inside
from tests.hil.nic import Nic
from tools.hil.guest import GuestError

SEED = 20261127
FLOWS = 120


def test_probe_says_what_each_driver_does(nic: Nic) -> None:
    report = nic.caller.call(inside.command, "probe", nic.name)
    assert report["status"] == 0
    told = report["parts"]
    channels, rss, rules = (told[part]["value"] for part in ("channels", "rss", "flow rules"))
    assert bool(channels and channels["max_combined"] >= 4) == ("channels" not in nic.lacks)
    assert bool(rss and rss["table_entries"]) == ("table" not in nic.lacks)
    if "rules" in nic.lacks:
        assert not (rules and rules["locations"])
        assert rules or told["flow rules"]["refusals"]
    else:
        assert rules  # how many there can be not every driver tells


def test_probe_of_an_interface_with_nothing(nics: dict[str, Nic]) -> None:
    caller = next(iter(nics.values())).caller
    assert caller.call(inside.command, "probe", "lo")["status"] == 0


@pytest.mark.parametrize(
    "rss", ["weights = [1, 0, 2, 5]", "equal = [2, 3]", 'equal = "all"', "table = [3, 1, 0, 0]"]
)
def test_packets_go_where_the_table_says(nic: Nic, rss: str) -> None:
    nic.needs("channels", "table")
    nic.call(inside.apply, f"[channels]\ncombined = 4\n[rss]\n{rss}\n")
    expected, got = nic.spread(nic.frames(FLOWS, SEED))
    assert got == expected


def test_packets_go_where_another_key_says(nic: Nic) -> None:
    nic.needs("table", "key")
    size = nic.call(inside.key_bytes)
    key = random.Random(SEED).randbytes(size).hex()
    nic.call(inside.apply, f'[rss]\nequal = "all"\nkey = "{key}"\n')
    expected, got = nic.spread(nic.frames(FLOWS, SEED))
    assert got == expected


FIELDS = {
    "virtio": '[features]\nrxhash = true\n[hash]\nudp4 = "sd"\ntcp6 = "sd"\n',
    "igb": '[hash]\nudp4 = "sdfn"\nudp6 = "sdfn"\n',
    "fnic": '[hash]\ntcp4 = "sd"\nudp6 = "s"\n',
    "device": '[hash]\nudp4 = "sdfn"\n',
}


def test_packets_go_by_the_fields_that_are_hashed(nic: Nic) -> None:
    nic.needs("table", "fields")
    nic.call(inside.apply, f'[rss]\nequal = "all"\n{FIELDS[nic.kind]}')
    expected, got = nic.spread(nic.frames(FLOWS, SEED))
    assert got == expected


def test_interrupts_come_where_the_spec_says(nic: Nic) -> None:
    """Counted by CPU in /proc/interrupts, while packets come in by all queues."""
    nic.needs("channels", "table", "interrupts")
    spec = (
        '[channels]\ncombined = 4\n[rss]\nequal = "all"\n'
        '[host]\ncpus = "all"\ninterrupts = "spread"\nxps = "by-queue"\nrps = "off"\n'
    )
    before_all = nic.call(inside.state, *HOST_GROUPS)
    try:
        _check_interrupts(nic, spec)
    finally:
        nic.call(inside.restore, before_all)
    assert nic.call(inside.state, *HOST_GROUPS) == before_all


def _check_interrupts(nic: Nic, spec: str) -> None:
    for text in (spec, '[host]\ninterrupts = {0 = "1", 1 = "0", 2 = "1", 3 = "0"}\n'):
        nic.call(inside.apply, text)
        nic.spread(nic.frames(FLOWS, SEED))  # an interrupt moves when it comes the next time
        before = nic.call(inside.interrupts)
        expected, got = nic.spread(nic.frames(FLOWS, SEED))
        assert sum(got.values()) == sum(expected.values())
        after = nic.call(inside.interrupts)
        for queue in got:  # where packets come to is another test's
            cpus, counts = after[f"rx-{queue}"]
            came = {cpu for cpu, count in counts.items() if count > before[f"rx-{queue}"][1][cpu]}
            assert came == {cpus}, f"rx-{queue}"


RULES = (
    '[[rule]]\nname = "web"\nprotocol = "tcp"\ndst_port = 443\nqueue = 2\n'
    '[[rule]]\nname = "range"\nprotocol = "udp"\ndst_port = "8000-8007"\nqueue = 3\n'
    '[[rule]]\nname = "no"\nprotocol = "tcp"\nfamily = "ipv4"\ndst_port = 23\ndrop = true\n'
)


def test_rules_send_and_drop(nic: Nic) -> None:
    nic.needs("table", "rules", "drops")
    nic.call(inside.apply, f"[rss]\nequal = [0, 1]\n{RULES}")
    draw = random.Random(SEED)
    frames = nic.frames(40, SEED)
    frames += [nic.frame(draw, version, 443, udp=False) for version in (4, 6) for _ in range(9)]
    frames += [nic.frame(draw, version, 8003, udp=True) for version in (4, 6) for _ in range(7)]
    frames += [nic.frame(draw, 4, 23, udp=False) for _ in range(5)]
    expected, got = nic.spread(frames)
    assert got == expected
    assert (got[2], got[3]) == (18, 14)
    assert got.total() == len(frames) - 5


def test_reserved_queues_get_their_flows_and_nothing_else(nic: Nic) -> None:
    nic.needs("table", "rules")
    queues = nic.call(inside.reserved, "tcp dst_port=8443", 2)
    draw = random.Random(SEED)
    urgent = [nic.frame(draw, version, 8443, udp=False) for version in (4, 6) for _ in range(30)]
    expected, got = nic.spread(urgent)
    assert got == expected
    assert set(got) <= set(queues)
    _, rest = nic.spread(nic.frames(FLOWS, SEED))
    assert not set(rest) & set(queues)


CONTEXT = (
    '[rss]\nequal = [0, 1]\n[[context]]\nname = "web"\nweights = [0, 0, 1, 2]\n'
    '[[rule]]\nname = "web"\nprotocol = "tcp"\ndst_port = 443\ncontext = "web"\n'
)


def test_rules_hand_packets_to_the_queues_of_a_context(nic: Nic) -> None:
    """And follow it through a change in place, and a rollback that makes it anew."""
    nic.needs("channels", "table", "rules", "contexts")
    draw = random.Random(SEED)
    web = [nic.frame(draw, version, 443, udp=False) for version in (4, 6) for _ in range(30)]
    nic.call(inside.apply, CONTEXT)
    expected, got = nic.spread(web)
    assert got == expected
    assert set(got) == {2, 3}
    _, rest = nic.spread(nic.frames(FLOWS, SEED))
    assert set(rest) == {0, 1}
    moved = CONTEXT.replace("weights = [0, 0, 1, 2]", "equal = [3]")
    (step,) = nic.call(inside.apply, moved)
    assert step.startswith("set of context 'web'")
    expected, got = nic.spread(web)
    assert (got, set(got)) == (expected, {3})
    gone = '[[rule]]\nname = "web"\nprotocol = "tcp"\ndst_port = 443\nqueue = 1\n'
    nic.call(inside.apply, gone)
    assert nic.call(inside.state)["contexts"] == []
    nic.call(inside.rollback)
    expected, got = nic.spread(web)
    assert (got, set(got)) == (expected, {3})


SETTINGS = {
    "fnic": "[rings]\nrx = 1024\n[coalesce]\nrx_usecs = 20\n[coalesce.queue.2]\nrx_usecs = 7\n"
    '[hash]\ntcp4 = "sd"\n[channels]\ncombined = 6\n',
    "igb": "[rings]\nrx = 512\n[coalesce]\nrx_usecs = 30\n[channels]\ncombined = 2\n"
    "[rss]\nweights = [1, 3]\n",
    "virtio": "[channels]\ncombined = 2\n[rss]\nweights = [1, 3]\n[features]\nrxhash = true\n",
    "macb": "[rings]\nrx = 1024\n",
}


def test_all_that_a_spec_says_is_applied_verified_and_rolled_back(nic: Nic) -> None:
    nic.needs("state")
    spec = SETTINGS.get(nic.kind) or nic.call(inside.other_settings)
    if not spec:
        pytest.skip(f"{nic.name}: no setting can be another")
    assert nic.call(inside.differences, spec)
    assert nic.call(inside.apply, spec)
    assert nic.call(inside.differences, spec) == []
    nic.call(inside.rollback)
    assert nic.call(inside.state) == nic.before


@pytest.mark.parametrize(
    ("spec", "least"),
    [
        (
            SETTINGS["fnic"] + '[[rule]]\nname = "a"\nprotocol = "udp"\ndst_port = 53\nqueue = 2\n',
            7,
        ),
        (CONTEXT, 4),
    ],
)
def test_every_operation_that_fails_is_undone(fnic: Nic, spec: str, least: int) -> None:
    failed = 0
    for at in range(1, 30):
        error = fnic.call(inside.failing_apply, spec, at)
        if error is None:
            break
        failed += 1
        assert "EIO" in error
        assert "the NIC is as before" in error or "nothing was changed" in error
        assert fnic.call(inside.state) == fnic.before
    assert failed >= least
    fnic.call(inside.rollback)


def test_a_nic_that_accepts_and_does_nothing_is_found_out(fnic: Nic) -> None:
    fnic.caller.call(inside.fault, "ignore", True)
    try:
        with pytest.raises(GuestError, match="reading it back failed: table entry"):
            fnic.call(inside.apply, "[rss]\nweights = [1, 3]\n")
    finally:
        fnic.caller.call(inside.fault, "ignore", False)


def test_a_nic_that_forgets_its_table_with_the_channels_is_found_out(fnic: Nic) -> None:
    fnic.call(inside.apply, "[rss]\nweights = [1, 3]\n")
    fnic.caller.call(inside.fault, "lose_table", True)
    try:
        with pytest.raises(GuestError, match="reading it back failed: table entry"):
            fnic.call(inside.apply, "[channels]\ncombined = 4\n")
    finally:
        fnic.caller.call(inside.fault, "lose_table", False)


def test_virtio_uses_its_table_again_after_other_channels(virtio: Nic) -> None:
    """Read back it is there all the time: only counting shows that it must be written again."""
    hashes = "[features]\nrxhash = true\n"  # see below
    virtio.call(inside.apply, f"[rss]\nweights = [1, 0, 2]\n{hashes}")
    for queues in (3, 4):
        steps = virtio.call(inside.apply, f"[channels]\ncombined = {queues}\n")
        assert steps[-1].startswith("set the table")
        expected, got = virtio.spread(virtio.frames(FLOWS, SEED))
        assert got == expected


def test_virtio_hashes_other_fields_only_while_rxhash_is_on(virtio: Nic) -> None:
    """And once it was turned off, everything goes to queue 0: plans warn of both."""
    fields = '[rss]\nequal = "all"\n[hash]\nudp4 = "sd"\n'
    virtio.call(inside.apply, f"{fields}[features]\nrxhash = true\n")
    expected, got = virtio.spread(virtio.frames(FLOWS, SEED))
    assert got == expected
    warnings = virtio.call(inside.warnings, "[features]\nrxhash = false\n")
    assert any("every packet to queue 0" in text for text in warnings)
    virtio.call(inside.apply, "[features]\nrxhash = false\n")
    expected, got = virtio.spread(virtio.frames(FLOWS, SEED))
    assert set(got) == {0}
    assert set(expected) == {0, 1, 2, 3}

# SPDX-License-Identifier: Apache-2.0
"""nicprog on real drivers, judged by where packets are counted, not by what reads back."""

from __future__ import annotations

import random

import pytest

from tests.hil import inside
from tests.hil.conftest import Nic
from tools.hil.guest import GuestError

SEED = 20261127
FLOWS = 120


def test_probe_says_what_each_driver_does(nic: Nic) -> None:
    report = nic.guest.call(inside.command, "probe", nic.name)
    assert report["status"] == 0
    assert report["driver"] in ("igb", "virtio_net", "fnic")
    told = report["parts"]
    assert told["channels"]["value"]["max_combined"] in (4, 8)
    rules = told["flow rules"]["value"]
    if report["driver"] == "virtio_net":
        assert rules is None
        assert told["flow rules"]["refusals"]
    if report["driver"] == "fnic":
        assert rules["locations"] == 64


def test_probe_of_an_interface_with_nothing(nics: dict[str, Nic]) -> None:
    report = nics["fnic"].guest.call(inside.command, "probe", "lo")
    assert report["status"] == 0


@pytest.mark.parametrize(
    "rss", ["weights = [1, 0, 2, 5]", "equal = [2, 3]", 'equal = "all"', "table = [3, 1, 0, 0]"]
)
def test_packets_go_where_the_table_says(nic: Nic, rss: str) -> None:
    nic.guest.call(inside.apply, nic.name, f"[channels]\ncombined = 4\n[rss]\n{rss}\n")
    expected, got = nic.spread(nic.frames(FLOWS, SEED))
    assert got == expected


@pytest.mark.parametrize("name", ["virtio", "fnic"])
def test_packets_go_where_another_key_says(nics: dict[str, Nic], name: str) -> None:
    nic, key = nics[name], random.Random(SEED).randbytes(40).hex()
    nic.guest.call(inside.apply, nic.name, f'[rss]\nequal = "all"\nkey = "{key}"\n')
    expected, got = nic.spread(nic.frames(FLOWS, SEED))
    assert got == expected
    nic.guest.call(inside.restore, nic.name, nic.before)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("virtio", '[features]\nrxhash = true\n[hash]\nudp4 = "sd"\ntcp6 = "sd"\n'),
        ("igb", '[hash]\nudp4 = "sdfn"\nudp6 = "sdfn"\n'),
        ("fnic", '[hash]\ntcp4 = "sd"\nudp6 = "s"\n'),
    ],
)
def test_packets_go_by_the_fields_that_are_hashed(
    nics: dict[str, Nic], name: str, text: str
) -> None:
    nic = nics[name]
    nic.guest.call(inside.apply, nic.name, f'[rss]\nequal = "all"\n{text}')
    expected, got = nic.spread(nic.frames(FLOWS, SEED))
    assert got == expected
    nic.guest.call(inside.restore, nic.name, nic.before)


@pytest.mark.parametrize("name", ["igb", "virtio"])
def test_interrupts_come_where_the_spec_says(nics: dict[str, Nic], name: str) -> None:
    """Counted by CPU in /proc/interrupts, while packets come in by all queues."""
    nic = nics[name]
    spec = (
        '[channels]\ncombined = 4\n[rss]\nequal = "all"\n'
        '[host]\ncpus = "all"\ninterrupts = "spread"\nxps = "by-queue"\nrps = "off"\n'
    )
    for text in (spec, '[host]\ninterrupts = {0 = "1", 1 = "0", 2 = "1", 3 = "0"}\n'):
        nic.guest.call(inside.apply, nic.name, text)
        nic.spread(nic.frames(FLOWS, SEED))  # an interrupt moves when it comes the next time
        before = nic.guest.call(inside.interrupts, nic.name)
        expected, got = nic.spread(nic.frames(FLOWS, SEED))
        assert sum(got.values()) == sum(expected.values())
        after = nic.guest.call(inside.interrupts, nic.name)
        for queue in got:  # where packets come to is another test's
            cpus, counts = after[f"rx-{queue}"]
            came = {cpu for cpu, count in counts.items() if count > before[f"rx-{queue}"][1][cpu]}
            assert came == {cpus}, f"rx-{queue}"
    nic.guest.call(inside.command, "rollback", nic.name)
    nic.guest.call(inside.restore, nic.name, nic.before)


def test_rules_send_and_drop(fnic: Nic) -> None:
    spec = (
        '[[rule]]\nname = "web"\nprotocol = "tcp"\ndst_port = 443\nqueue = 5\n'
        '[[rule]]\nname = "range"\nprotocol = "udp"\ndst_port = "8000-8007"\nqueue = 6\n'
        '[[rule]]\nname = "no"\nprotocol = "tcp"\nfamily = "ipv4"\ndst_port = 23\ndrop = true\n'
    )
    fnic.guest.call(inside.apply, fnic.name, spec)
    draw = random.Random(SEED)
    frames = fnic.frames(40, SEED)
    frames += [fnic.frame(draw, version, 443, udp=False) for version in (4, 6) for _ in range(9)]
    frames += [fnic.frame(draw, version, 8003, udp=True) for version in (4, 6) for _ in range(7)]
    frames += [fnic.frame(draw, 4, 23, udp=False) for _ in range(5)]
    expected, got = fnic.spread(frames)
    assert got == expected
    assert got[5] >= 18
    assert got[6] >= 14
    assert got.total() == len(frames) - 5


def test_reserved_queues_get_their_flows_and_nothing_else(fnic: Nic) -> None:
    queues = fnic.guest.call(inside.reserved, fnic.name, "tcp dst_port=8443", 2)
    draw = random.Random(SEED)
    urgent = [fnic.frame(draw, version, 8443, udp=False) for version in (4, 6) for _ in range(30)]
    expected, got = fnic.spread(urgent)
    assert got == expected
    assert set(got) <= set(queues)
    _, rest = fnic.spread(fnic.frames(FLOWS, SEED))
    assert not set(rest) & set(queues)


CONTEXT = (
    '[rss]\nequal = [0, 1]\n[[context]]\nname = "web"\nweights = [0, 0, 0, 0, 1, 2, 1]\n'
    '[[rule]]\nname = "web"\nprotocol = "tcp"\ndst_port = 443\ncontext = "web"\n'
)


def test_rules_hand_packets_to_the_queues_of_a_context(fnic: Nic) -> None:
    """And follow it through a change in place, and a rollback that makes it anew."""
    draw = random.Random(SEED)
    web = [fnic.frame(draw, version, 443, udp=False) for version in (4, 6) for _ in range(30)]
    fnic.guest.call(inside.apply, fnic.name, CONTEXT)
    expected, got = fnic.spread(web)
    assert got == expected
    assert set(got) == {4, 5, 6}
    _, rest = fnic.spread(fnic.frames(FLOWS, SEED))
    assert set(rest) == {0, 1}
    moved = CONTEXT.replace("weights = [0, 0, 0, 0, 1, 2, 1]", "equal = [6, 7]")
    (step,) = fnic.guest.call(inside.apply, fnic.name, moved)
    assert step.startswith("set of context 'web'")
    expected, got = fnic.spread(web)
    assert (got, set(got)) == (expected, {6, 7})
    gone = '[[rule]]\nname = "web"\nprotocol = "tcp"\ndst_port = 443\nqueue = 2\n'
    fnic.guest.call(inside.apply, fnic.name, gone)
    assert fnic.guest.call(inside.state, fnic.name)["contexts"] == []
    fnic.guest.call(inside.rollback, fnic.name)
    expected, got = fnic.spread(web)
    assert (got, set(got)) == (expected, {6, 7})


SETTINGS = {
    "fnic": "[rings]\nrx = 1024\n[coalesce]\nrx_usecs = 20\n[coalesce.queue.2]\nrx_usecs = 7\n"
    '[hash]\ntcp4 = "sd"\n[channels]\ncombined = 6\n',
    "igb": "[rings]\nrx = 512\n[coalesce]\nrx_usecs = 30\n[channels]\ncombined = 2\n"
    "[rss]\nweights = [1, 3]\n",
    "virtio": "[channels]\ncombined = 2\n[rss]\nweights = [1, 3]\n[features]\nrxhash = true\n",
}


@pytest.mark.parametrize("name", SETTINGS)
def test_all_that_a_spec_says_is_applied_verified_and_rolled_back(
    nics: dict[str, Nic], name: str
) -> None:
    nic = nics[name]
    assert nic.guest.call(inside.differences, nic.name, SETTINGS[name])
    assert nic.guest.call(inside.apply, nic.name, SETTINGS[name])
    assert nic.guest.call(inside.differences, nic.name, SETTINGS[name]) == []
    nic.guest.call(inside.rollback, nic.name)
    assert nic.guest.call(inside.state, nic.name) == nic.before


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
        error = fnic.guest.call(inside.failing_apply, fnic.name, spec, at)
        if error is None:
            break
        failed += 1
        assert "EIO" in error
        assert "the NIC is as before" in error or "nothing was changed" in error
        assert fnic.guest.call(inside.state, fnic.name) == fnic.before
    assert failed >= least
    fnic.guest.call(inside.rollback, fnic.name)


def test_a_nic_that_accepts_and_does_nothing_is_found_out(fnic: Nic) -> None:
    fnic.guest.call(inside.fault, "ignore", True)
    try:
        with pytest.raises(GuestError, match="reading it back failed: table entry"):
            fnic.guest.call(inside.apply, fnic.name, "[rss]\nweights = [1, 3]\n")
    finally:
        fnic.guest.call(inside.fault, "ignore", False)


def test_a_nic_that_forgets_its_table_with_the_channels_is_found_out(fnic: Nic) -> None:
    fnic.guest.call(inside.apply, fnic.name, "[rss]\nweights = [1, 3]\n")
    fnic.guest.call(inside.fault, "lose_table", True)
    try:
        with pytest.raises(GuestError, match="reading it back failed: table entry"):
            fnic.guest.call(inside.apply, fnic.name, "[channels]\ncombined = 4\n")
    finally:
        fnic.guest.call(inside.fault, "lose_table", False)


def test_virtio_uses_its_table_again_after_other_channels(virtio: Nic) -> None:
    """Read back it is there all the time: only counting shows that it must be written again."""
    hashes = "[features]\nrxhash = true\n"  # see below
    virtio.guest.call(inside.apply, virtio.name, f"[rss]\nweights = [1, 0, 2]\n{hashes}")
    for queues in (3, 4):
        steps = virtio.guest.call(inside.apply, virtio.name, f"[channels]\ncombined = {queues}\n")
        assert steps[-1].startswith("set the table")
        expected, got = virtio.spread(virtio.frames(FLOWS, SEED))
        assert got == expected


def test_virtio_hashes_other_fields_only_while_rxhash_is_on(virtio: Nic) -> None:
    """And once it was turned off, everything goes to queue 0: plans warn of both."""
    fields = '[rss]\nequal = "all"\n[hash]\nudp4 = "sd"\n'
    virtio.guest.call(inside.apply, virtio.name, f"{fields}[features]\nrxhash = true\n")
    expected, got = virtio.spread(virtio.frames(FLOWS, SEED))
    assert got == expected
    warnings = virtio.guest.call(inside.warnings, virtio.name, "[features]\nrxhash = false\n")
    assert any("every packet to queue 0" in text for text in warnings)
    virtio.guest.call(inside.apply, virtio.name, "[features]\nrxhash = false\n")
    expected, got = virtio.spread(virtio.frames(FLOWS, SEED))
    assert set(got) == {0}
    assert set(expected) == {0, 1, 2, 3}

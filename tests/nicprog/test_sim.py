# SPDX-License-Identifier: Apache-2.0
"""The model of a NIC: the kernel's checks by errno and text, through the typed calls."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace

import pytest

from nicprog import sim
from nicprog.errors import NicprogError, RequestError
from nicprog.ethtool import (
    Ethtool,
    FlowType,
    HashField,
    HashFunction,
    InputTransform,
    RxMatch,
    RxRule,
)
from nicprog.ethtool.rules import RxAction
from nicprog.ethtool.values import LOCATION_ANY
from nicprog.model import Masked
from nicprog.sim.transport import SimTransport

PORT_80 = RxMatch(dst_port=Masked(value=80, mask=0xFFFF))
SYMMETRIC = InputTransform.SYMMETRIC_OR_XOR


def calls(profile: str, *quirks: str) -> Ethtool:
    return Ethtool("sim", SimTransport(sim.SimNic(profile, quirks, "sim")))


def tcp(location: int, queue: int = 0, context: int | None = None) -> RxRule:
    return RxRule(
        flow=FlowType.TCP4, match=PORT_80, location=location, queue=queue, context=context
    )


def set_combined(nic: Ethtool, count: int) -> None:
    nic.set_channels(replace(nic.channels(), combined_count=count))


def expect(code: int, text: str, call: Callable[[], object]) -> None:
    with pytest.raises(RequestError) as caught:
        call()
    assert caught.value.errno == code
    assert text in str(caught.value)


def test_channels_have_maxima_and_a_queue_must_be_left() -> None:
    nic = calls("ice")
    expect(errno.EINVAL, "requested channel count exceeds maximum", lambda: set_combined(nic, 65))
    expect(errno.EINVAL, "would result in no RX or TX channel", lambda: set_combined(nic, 0))
    set_combined(nic, 64)
    assert nic.channels().combined_count == 64


def test_channels_stay_while_the_table_names_their_queues() -> None:
    nic = calls("ice")
    nic.set_rss(table=[0, 5] * 1024)
    text = "requested channel counts are too low for existing indirection table (5)"
    expect(errno.EINVAL, text, lambda: set_combined(nic, 5))
    set_combined(nic, 6)
    nic.reset_rss_table()
    set_combined(nic, 3)
    assert nic.rss().table == tuple(i % 3 for i in range(2048))


def test_channels_stay_while_a_rule_names_their_queues() -> None:
    nic = calls("ice")
    nic.insert_rule(tcp(3, queue=5))
    text = "requested channel counts are too low for existing ntuple filter settings (5)"
    expect(errno.EINVAL, text, lambda: set_combined(nic, 5))
    nic.delete_rule(3)
    nic.insert_rule(RxRule(flow=FlowType.TCP4, match=PORT_80, location=3, action=RxAction.DROP))
    set_combined(nic, 5)


def test_a_table_that_grows_repeats_and_one_that_shrinks_must_have_repeated() -> None:
    nic = calls("mlx5")
    table = [0, 1, 2, 3] * 64
    nic.set_rss(table=table)
    set_combined(nic, 100)
    assert nic.rss().table == tuple(table * 2)
    set_combined(nic, 8)
    assert nic.rss().table == tuple(table)
    set_combined(nic, 100)
    nic.set_rss(table=[0] * 256 + [1] * 256)
    expect(errno.EINVAL, "does not fit", lambda: set_combined(nic, 8))
    assert nic.channels().combined_count == 100


def test_a_table_names_rings_that_are_there() -> None:
    text = "entry 1: queue out of range (8)"
    expect(errno.EINVAL, text, lambda: calls("ice").set_rss(table=[0, 8] * 1024))


def test_sizes_of_table_and_key_are_exact() -> None:
    nic = calls("ice")
    for table, key in ((1024, 0), (2048, 40), (4096, 52)):
        words = b"".join(bytes(4) for _ in range(table))
        head = b"".join(n.to_bytes(4, "little") for n in (0x47, 0, table, key)) + bytes(8)
        expect(errno.EINVAL, "", lambda p=head + words + bytes(key): nic._transport.ask(0x47, p))  # type: ignore[misc]  # its own p
    nic.set_rss(key=bytes(52))
    assert nic.rss().key == bytes(52)


def test_hash_functions_and_transforms_are_those_of_the_driver() -> None:
    nic = calls("ice")
    expect(errno.EOPNOTSUPP, "", lambda: nic.set_rss(function=HashFunction.CRC32))
    expect(errno.EOPNOTSUPP, "", lambda: nic.set_rss(transform=SYMMETRIC))
    nic.set_rss(transform=InputTransform.SYMMETRIC_XOR)
    assert nic.rss().transform is InputTransform.SYMMETRIC_XOR


def test_a_symmetric_hash_needs_symmetric_fields() -> None:
    nic, lopsided = calls("mlx5"), HashField.SRC
    nic.set_hash_fields(FlowType.UDP4, lopsided)
    text = "hash field config is not symmetric"
    expect(errno.EINVAL, text, lambda: nic.set_rss(transform=SYMMETRIC))
    nic.set_hash_fields(FlowType.UDP4, HashField.SRC | HashField.DST)
    nic.set_rss(transform=SYMMETRIC)
    expect(errno.EINVAL, text, lambda: nic.set_hash_fields(FlowType.TCP4, lopsided))


def test_contexts_live_while_rules_name_them() -> None:
    nic = calls("mlx5")
    expect(errno.EINVAL, "", lambda: nic.insert_rule(tcp(0, context=1)))
    context = nic.new_rss_context([6, 7] * 128)
    expect(errno.EINVAL, "a queue beside", lambda: nic.insert_rule(tcp(0, 2, context)))
    nic.insert_rule(tcp(0, context=context))
    expect(errno.EBUSY, "a flow rule names", lambda: nic.delete_rss_context(context))
    expect(errno.EINVAL, "existing indirection table (7)", lambda: set_combined(nic, 7))
    nic.delete_rule(0)
    nic.delete_rss_context(context)
    expect(errno.ENOENT, "no such RSS context", lambda: nic.rss(context))
    set_combined(nic, 7)


def test_contexts_are_as_many_as_the_driver_has() -> None:
    nic = calls("mlx5")
    assert [nic.new_rss_context([0] * 256) for _ in range(15)] == list(range(1, 16))
    expect(errno.ENOSPC, "no more RSS contexts", lambda: nic.new_rss_context([0] * 256))
    expect(errno.EOPNOTSUPP, "", lambda: calls("ice").new_rss_context([0] * 2048))


def test_rules_need_a_location_a_queue_and_a_slot() -> None:
    nic = calls("ice")
    expect(errno.EINVAL, "location 1024 of 1024", lambda: nic.insert_rule(tcp(1024)))
    expect(errno.EINVAL, "location", lambda: nic.insert_rule(tcp(LOCATION_ANY)))
    expect(errno.EINVAL, "queue 8 is not active", lambda: nic.insert_rule(tcp(0, queue=8)))
    expect(errno.ENOENT, "no rule at location 9", lambda: nic.delete_rule(9))
    assert nic.insert_rule(tcp(1023, queue=7)) == 1023
    assert nic.rule(1023) == tcp(1023, queue=7)
    nic.insert_rule(tcp(1023, queue=2))  # over the one that is there
    assert nic.rule_locations() == (1023,)
    assert nic.rule(1023).queue == 2


def test_a_driver_that_chooses_locations() -> None:
    nic = calls("bnxt")
    assert nic.rule_table().chooses
    expect(errno.EINVAL, "the location must be any", lambda: nic.insert_rule(tcp(5)))
    assert [nic.insert_rule(tcp(LOCATION_ANY)) for _ in range(2)] == [0, 1]
    nic.delete_rule(0)
    assert nic.insert_rule(tcp(LOCATION_ANY)) == 0
    assert nic.rule_locations() == (0, 1)


def test_rings_and_coalescing_have_limits() -> None:
    nic = calls("ice")
    rings = nic.rings()
    nic.set_rings(replace(rings, rx_pending=rings.rx_max_pending))
    assert nic.rings().rx_pending == rings.rx_max_pending
    above = replace(rings, tx_pending=rings.tx_max_pending + 1)
    text = "requested ring size exceeds maximum"
    expect(errno.EINVAL, text, lambda: nic.set_rings(above))
    coalesce = replace(nic.coalesce(), rx_coalesce_usecs=20)
    nic.set_coalesce(coalesce)
    assert nic.coalesce() == coalesce
    frames = replace(coalesce, rx_max_coalesced_frames=8)
    expect(errno.EOPNOTSUPP, "rx_max_coalesced_frames", lambda: nic.set_coalesce(frames))


def test_turning_rules_off_loses_them() -> None:
    nic = calls("ice")
    nic.insert_rule(tcp(0))
    assert not nic.set_features({"rx-ntuple-filter": False})["rx-ntuple-filter"].active
    expect(errno.EOPNOTSUPP, "rx-ntuple-filter is off", lambda: nic.insert_rule(tcp(0)))
    nic.set_features({"rx-ntuple-filter": True})
    assert nic.rule_locations() == ()
    nic.insert_rule(tcp(0))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sim:mlx", "no model 'mlx'; there are mlx5, ice"),
        ("sim:ice+hums", "ice has no quirk 'hums'; there are irdma-holds-channels"),
    ],
)
def test_a_name_that_cannot_be_names_those_that_can(name: str, text: str) -> None:
    with pytest.raises(NicprogError) as caught:
        sim.open_sim(name)
    assert text in str(caught.value)

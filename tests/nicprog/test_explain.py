# SPDX-License-Identifier: Apache-2.0
"""Causes of refusals: each entry has a case that it explains, and one that excludes it."""

from __future__ import annotations

import errno
import json
from dataclasses import replace

import pytest

import nicprog
from nicprog import cli, sim
from nicprog.actions import (
    Action,
    CreateContext,
    DeleteContext,
    DeleteRule,
    InsertRule,
    SetChannels,
    SetKey,
    SetTable,
    SetValues,
)
from nicprog.backends import Backend
from nicprog.causes import CAUSES, FORGOTTEN, Facts
from nicprog.errors import ApplyError, RequestError
from nicprog.explain import errno_of, explain, explain_message, explain_refusal
from nicprog.host import Cpu, HostFacts, Interrupt, Topology
from nicprog.model import (
    FLOWS,
    Capabilities,
    Channels,
    Flow,
    FlowRule,
    Masked,
    Match,
    NicState,
    RssContext,
    RssTable,
    RuleLimits,
    TableGrowth,
)
from nicprog.settings import Limits, Value

CAN = Capabilities(
    driver="some", bus="", queues_max=8, table_size=128, key_bytes=40, locations=16, contexts=4
)
STATE = NicState(channels=Channels(combined=4), table=RssTable.default(4, 128), key=bytes(40))
WEB = Match(flow=FLOWS["tcp", 4], dst_port=Masked(value=80, mask=0xFFFF))
NARROW = Match(flow=FLOWS["tcp", 4], dst_port=Masked(value=80, mask=0xFFF0))


def rule(location: int = 0, queue: int | None = 1, match: Match = WEB) -> FlowRule:
    return FlowRule(location=location, match=match, queue=queue)


def insert(location: int = 1, queue: int | None = 1, match: Match = WEB) -> InsertRule:
    return InsertRule(rule=rule(location, queue, match))


def make(name: str) -> CreateContext:
    return CreateContext(context=RssContext(name=name, table=RssTable(entries=(0, 3) * 128)))


def values(group: str, **given: Value) -> SetValues:
    return SetValues(group=group, values=given)


def one(group: str, name: str, value: Value) -> SetValues:
    return SetValues(group=f"host.{group}", values={name: value})


HOST = HostFacts(
    topology=Topology(
        cpus=tuple(
            Cpu(number=n, package=0, core=n, siblings=frozenset((n,)), node=None) for n in range(3)
        ),
        possible=frozenset(range(4)),
        isolated=frozenset((2,)),
    ),
    interrupts=(Interrupt(number=41, name="eth0-TxRx-0", queues=("rx-0",), cpus=frozenset((0,))),),
    balanced=True,
)
LIMITS = {
    "rings": Limits(known=frozenset({"rx"}), most={"rx": 4096}),
    "features": Limits(known=frozenset({"lro"}), fixed={"lro": False}),
}
SET_TABLE = replace(STATE, table=RssTable(entries=(0, 1, 2, 2) * 32))
WEB_CONTEXT = RssContext(name="web", table=RssTable(entries=(0, 3) * 64))
TO_WEB = FlowRule(location=2, match=WEB, queue=0, context="web")
WITH_CONTEXT = replace(STATE, contexts=(WEB_CONTEXT,), rules=(TO_WEB,))
WITH_RULE = replace(STATE, rules=(rule(queue=3),))

# Cause: driver, errno, action, capabilities, state, part of the text. The same without what shows
# the cause is HEALTHY below.
CASES: dict[str, tuple[str, int, Action, Capabilities, NicState, str]] = {
    "above-maximum": ("some", errno.EINVAL, SetChannels(combined=9), CAN, STATE, "at most 8"),
    "table-names-the-queues": ("some", errno.EINVAL, SetChannels(combined=2), CAN, SET_TABLE,
        "64 of 128 table entries name queues from 2 to 2"),
    "rules-name-the-queues": ("some", errno.EINVAL, SetChannels(combined=2), CAN, WITH_RULE,
        "1 flow rules name queues that would go, the first is at location 0 (queue 3)"),
    "contexts-name-the-queues": ("some", errno.EINVAL, SetChannels(combined=2), CAN, WITH_CONTEXT,
        "1 RSS contexts name queues that would go, the first is 'web' (queue 3)"),
    "table-would-change-its-size": ("mlx5_core", errno.EINVAL, SetChannels(combined=64),
        replace(CAN, queues_max=64, table_growth=TableGrowth(least=128, per_queue=4)), STATE,
        "256 entries instead of 128"),
    "channels-are-fixed": ("vmxnet3", errno.EOPNOTSUPP, SetChannels(combined=2),
        replace(CAN, fixed_channels=True), STATE, "driver vmxnet3 has a fixed number"),
    "irdma-holds-the-channels": ("ice", errno.EBUSY, SetChannels(combined=2), CAN, STATE,
        "irdma is loaded"),
    "queues-are-in-use": ("some", errno.EBUSY, SetChannels(combined=2), CAN, STATE, "AF_XDP"),
    "entry-beyond-the-queues": ("some", errno.EINVAL, SetTable(entries=(0, 5) * 64), CAN, STATE,
        "entry 1 is queue 5, but 4 queues are active"),
    "entry-beyond-the-reach": ("ixgbe", errno.EINVAL, SetTable(entries=(0, 3) * 64),
        replace(CAN, table_queues_max=2), STATE, "names queue 3, and reaches 2 queues"),
    "another-table-size": ("some", errno.EINVAL, SetTable(entries=(0,) * 64), CAN, STATE,
        "64 entries given, the NIC has 128"),
    "another-key-length": ("some", errno.EINVAL, SetKey(key=bytes(52)), CAN, STATE,
        "52 bytes given, the NIC takes 40"),
    "no-rss-on-this-instance": ("gve", errno.EOPNOTSUPP, SetKey(key=bytes(40)),
        replace(CAN, table_size=0, key_bytes=0), STATE, "neither table nor key"),
    "firmware-keeps-the-key": ("ena", errno.EOPNOTSUPP, SetKey(key=bytes(40)), CAN, STATE, "older"),
    "key-cannot-be-set": ("igb", errno.EOPNOTSUPP, SetKey(key=bytes(40)), CAN, STATE, "no way"),
    "rule-names-no-queue": ("some", errno.EINVAL, insert(queue=4), CAN, STATE,
        "queue 4, but 4 queues are active (0 to 3)"),
    "no-such-location": ("some", errno.EINVAL, insert(16), CAN, STATE, "location 16 asked"),
    "driver-chooses-locations": ("bnxt_en", errno.EINVAL, insert(),
        replace(CAN, picks_locations=True), STATE, "chooses the location"),
    "driver-has-no-such-rules": ("igb", errno.EINVAL, insert(),
        replace(CAN, rule_limits=RuleLimits(flows=frozenset({Flow.UDP4}))), STATE,
        "packets of kind TCP4"),
    "too-many-masks": ("ice", errno.EINVAL, insert(match=NARROW),
        replace(CAN, masks_max_per_flow=1), WITH_RULE,
        "there are 2 different masks, the NIC holds 1 for one kind"),
    "no-free-location": ("some", errno.ENOSPC, insert(), replace(CAN, locations=1), WITH_RULE,
        "1 of 1 locations are taken"),
    "location-is-taken": ("macb", errno.EBUSY, insert(0), CAN, WITH_RULE, "location 0 holds"),
    "locations-of-the-whole-host": ("ena", errno.EINVAL, insert(), CAN, STATE, "one table"),
    "xsk-blocks-rules": ("i40e", errno.EINVAL, insert(), CAN, STATE, "AF_XDP socket bound"),
    "arfs-blocks-rules": ("ice", errno.EINVAL, insert(), CAN, STATE, "accelerated RFS"),
    "rules-are-off": ("some", errno.EOPNOTSUPP, insert(), replace(CAN, locations=0), STATE,
        "tells of no location"),
    "ntuple-is-off": ("some", errno.EOPNOTSUPP, insert(), CAN, STATE, "turned off"),
    "context-is-not-there": ("some", errno.EINVAL, InsertRule(rule=TO_WEB), CAN, STATE,
        "context 'web', which is not there"),
    "contexts-are-all-taken": ("some", errno.ENOSPC, CreateContext(context=WEB_CONTEXT),
        replace(CAN, contexts=1), WITH_CONTEXT, "1 of 1 RSS contexts are taken"),
    "context-is-named": ("some", errno.EBUSY, DeleteContext(context="web"), CAN, WITH_CONTEXT,
        "1 flow rules name the context, the first is at location 2"),
    "nothing-to-delete": ("some", errno.ENOENT, DeleteRule(location=7), CAN, WITH_RULE,
        "location 7 is empty; 1 rules are there"),
    "value-above-maximum": ("some", errno.EINVAL, values("rings", rx=8192), CAN, STATE,
        "rx 8192 asked, at most 4096 can be"),
    "value-is-fixed": ("some", errno.EINVAL, values("features", lro=True), CAN, STATE,
        "lro is fixed off by driver some"),
    "hash-is-not-symmetric": ("some", errno.EINVAL, values("hash", transform="symmetric-xor"), CAN,
        replace(STATE, settings={"hash": {"udp4": "sdf"}}), "udp4 hashes 'sdf'"),
    "ring-is-no-power-of-two": ("some", errno.EINVAL, values("rings", rx=1000), CAN, STATE,
        "rx 1000 is no power of two"),
    "coalescing-is-not-there": ("some", errno.EOPNOTSUPP, values("coalesce", rx_usecs=1), CAN,
        STATE, "not all of these"),
    "adaptive-is-ignored": ("virtio_net", FORGOTTEN, values("coalesce", adaptive_rx=True), CAN,
        STATE, "stays off"),
    "fields-need-rx-hashing": ("virtio_net", FORGOTTEN, values("hash", udp4="sdfn"), CAN, STATE,
        "no effect while rx-hashing is off"),
    "key-is-shifted": ("virtio_net", FORGOTTEN, SetKey(key=bytes(40)), CAN, STATE,
        "key without its last one"),
    "reset-under-way": ("ice", errno.EBUSY, SetKey(key=bytes(40)), CAN, STATE, "being reset"),
    "no-right": ("some", errno.EPERM, SetKey(key=bytes(40)), CAN, STATE, "CAP_NET_ADMIN"),
    "nic-is-gone": ("some", errno.ENODEV, SetKey(key=bytes(40)), CAN, STATE, "not there any more"),
    "interface-is-down": ("some", errno.ENETDOWN, SetKey(key=bytes(40)), CAN, STATE, "is up"),
    "channels-lose-rss": ("i40e", FORGOTTEN, SetKey(key=bytes(40)), CAN, STATE, "default ones"),
    "channels-lose-contexts": ("bnxt_en", FORGOTTEN, CreateContext(context=WEB_CONTEXT), CAN, STATE,
        "loses RSS contexts"),
    "table-does-not-follow": ("sfc", FORGOTTEN, SetTable(entries=(0,)), CAN, STATE, "not follow"),
    "ntuple-resets-the-table": ("ixgbe", FORGOTTEN, SetTable(entries=(0,)), CAN, STATE, "ntuple"),
    "rule-loses-fields": ("gve", FORGOTTEN, insert(), CAN, STATE, "TOS or VLAN"),
    "cpu-is-isolated": ("some", errno.EINVAL, one("rps", "rx-0", "1-2"), CAN, STATE,
        "CPU 2 is isolated"),
    "cpu-is-offline": ("some", errno.EINVAL, one("interrupts", "rx-0", "3"), CAN, STATE,
        "rx-0 is to have CPU 3, which is offline (online: 0-2)"),
    "cpu-cannot-be": ("some", errno.EOVERFLOW, one("xps", "tx-0", "2,9"), CAN, STATE,
        "there is no CPU 9, the host has 0-3"),
    "interrupt-is-managed": ("some", errno.EIO, one("interrupts", "rx-0", "1"), CAN, STATE,
        "interrupt 41 (eth0-TxRx-0) is managed"),
    "no-vector-left": ("some", errno.ENOSPC, one("interrupts", "rx-0", "1"), CAN, STATE,
        "no interrupt vector left"),
    "one-tx-queue": ("some", errno.ENOENT, one("xps", "tx-0", "1"), CAN, STATE,
        "one TX queue alone"),
    "no-napi-instance": ("some", errno.EOPNOTSUPP, one("napi", "threaded", True), CAN, STATE,
        "no NAPI instance"),
    "irqbalance-took-a-part": ("some", errno.EMSGSIZE, one("irqbalance", "banned", "all"), CAN,
        STATE, "of some length only"),
    "irqbalance-moved-it": ("some", FORGOTTEN, one("interrupts", "rx-0", "1"), CAN, STATE,
        "irqbalance runs"),
}  # fmt: skip
# The change that the NIC takes, by call: nothing that is seen explains a refusal of it.
HEALTHY: dict[str, Action] = {
    "set_channels": SetChannels(combined=5),
    "set_table": SetTable(entries=(0, 1) * 64),
    "set_key": SetKey(key=bytes(40)),
    "insert_rule": insert(),
    "delete_rule": DeleteRule(location=0),
    "set_values": values("rings", rx=1024),
    "create_context": CreateContext(context=WEB_CONTEXT),
    "delete_context": DeleteContext(context="web"),
}


def test_every_cause_has_its_case() -> None:
    assert [cause.name for cause in CAUSES] == list(CASES)
    for cause in CAUSES:
        assert cause.source
        assert cause.remedy
        assert cause.errors


@pytest.mark.parametrize("name", CASES)
def test_a_cause_is_found_where_it_is(name: str) -> None:
    driver, error, action, can, state, text = CASES[name]
    facts = Facts(
        action=action,
        can=replace(can, driver=driver),
        state=state,
        limits=LIMITS,
        modules=frozenset({"irdma"}),
        host=HOST,
    )
    found = {one.cause.name: one for one in explain_refusal(error, facts)}
    assert name in found
    assert text in found[name].text
    cause = found[name].cause
    assert found[name].is_seen is (cause.shows is not None)
    if cause.drivers:
        other = replace(facts, can=replace(can, driver="another"))
        assert name not in {one.cause.name for one in explain_refusal(error, other)}
    assert name not in {one.cause.name for one in explain_refusal(errno.EXDEV, facts)}


@pytest.mark.parametrize("cause", [c for c in CAUSES if c.shows], ids=lambda cause: cause.name)
@pytest.mark.parametrize("call", HEALTHY)
def test_what_the_nic_does_not_show_is_not_said(cause: nicprog.causes.Cause, call: str) -> None:
    assert cause.shows is not None
    state = WITH_RULE if call == "delete_rule" else STATE
    assert cause.shows(Facts(action=HEALTHY[call], can=CAN, state=state, limits=LIMITS)) is None


@pytest.mark.parametrize(
    ("profile", "quirks", "actions", "why"),
    [
        (
            "mlx5",
            (),
            [SetTable(entries=(0, 7) * 128), SetChannels(combined=4)],
            "table-names-the-queues",
        ),
        ("ice", ("irdma-holds-channels",), [SetChannels(combined=2)], "reset-under-way"),
        ("ena", ("firmware-keeps-key",), [SetKey(key=bytes(40))], "firmware-keeps-the-key"),
        ("i40e", ("xsk-blocks-rules",), [insert()], "xsk-blocks-rules"),
        ("igb", (), [insert()], "driver-has-no-such-rules"),
        ("ixgbe", (), [insert(0), insert(1, match=NARROW)], "too-many-masks"),
        ("gve", (), [insert(queue=None)], "driver-has-no-such-rules"),
        ("bnxt", (), [insert()], "driver-chooses-locations"),
        ("ice", (), [DeleteRule(location=3)], "nothing-to-delete"),
        ("vmxnet3", (), [SetChannels(combined=2)], "channels-are-fixed"),
        (
            "mlx5",
            (),
            [make("web"), InsertRule(rule=TO_WEB), DeleteContext(context="web")],
            "context-is-named",
        ),
        ("mlx5", (), [make("web"), SetChannels(combined=2)], "contexts-name-the-queues"),
        ("mlx5", (), [make(f"w{n}") for n in range(16)], "contexts-are-all-taken"),
    ],
)
def test_refusals_of_models_are_explained(
    profile: str, quirks: tuple[str, ...], actions: list[Action], why: str, run_dir: object
) -> None:
    with sim.connect(sim.SimNic(profile, quirks)) as nic:
        for action in actions[:-1]:
            nic.run(action)
        with pytest.raises(RequestError) as refused:
            nic.run(actions[-1])
        facts = Facts(action=actions[-1], can=nic.capabilities(), state=nic.read())
        assert why in [one.cause.name for one in explain_refusal(refused.value.errno, facts)]


class Stubborn:
    """A model that does something else than its planner knows, once."""

    def __init__(self, nic: Backend, error: int | None) -> None:
        self._nic, self._error = nic, error

    def __getattr__(self, name: str) -> object:
        return getattr(self._nic, name)

    def run(self, action: Action) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise RequestError("refused", error)
        if not isinstance(action, SetKey):
            self._nic.run(action)


def _apply(profile: str, error: int | None, text: str) -> str:
    with sim.connect(sim.SimNic(profile)) as model:
        nic = Stubborn(model, error)
        spec = nicprog.parse(f'device = "sim:{profile}"\n{text}')
        with pytest.raises(ApplyError) as failed:
            nicprog.apply(nic, nicprog.plan(nic, spec))  # type: ignore[arg-type]  # by __getattr__
        assert failed.value.undone
        return str(failed.value)


def test_an_apply_that_fails_tells_the_cause(run_dir: object) -> None:
    why = _apply("ena", errno.EOPNOTSUPP, '[rss]\nkey = "symmetric"')
    assert "(set the hash key to 6d5a6d5a... (40 bytes)) failed: refused; cause: perhaps" in why
    assert "older generations of instances" in why
    assert why.endswith("nothing was changed")


def test_an_apply_that_does_not_read_back_tells_the_cause(run_dir: object) -> None:
    why = _apply("i40e", None, '[rss]\nkey = "symmetric"')
    assert "reading it back failed: key: the NIC holds" in why
    assert "cause: perhaps other channels make table and key the default ones" in why


def test_an_apply_tells_no_cause_that_anything_may_have(run_dir: object) -> None:
    assert "cause" not in _apply("mlx5", errno.EIO, '[rss]\nkey = "symmetric"')


@pytest.mark.parametrize(
    ("message", "causes"),
    [
        ("rmgr: Cannot insert RX class rule: Invalid argument", {"driver-has-no-such-rules",
         "rule-names-no-queue", "xsk-blocks-rules"}),
        ("netlink error: requested channel counts are too low for existing ntuple filter settings",
         {"rules-name-the-queues"}),
        ("netlink error: requested channel counts are too low for existing indirection table "
         "settings (offset 36)", {"table-names-the-queues"}),
        ("Cannot set device channel parameters: Device or resource busy", {"queues-are-in-use",
         "irdma-holds-the-channels"}),
        ("eth0: cannot set the RSS table, key or context: refused (EOPNOTSUPP)",
         {"no-rss-on-this-instance"}),
        ("Cannot set device ring parameters: Invalid argument", {"value-above-maximum",
         "ring-is-no-power-of-two"}),
        ("rmgr: Cannot find appropriate slot to insert rule", {"no-free-location"}),
    ],
)  # fmt: skip
def test_messages_of_ethtool_and_the_kernel_are_understood(message: str, causes: set[str]) -> None:
    assert causes <= {one.cause.name for one in explain_message(message)}


def test_errnos_in_texts() -> None:
    texts = ("22", "EINVAL", "x (EINVAL); y", "Cannot: Invalid argument", "EOPNOTSUPP", "nothing")
    assert [errno_of(text) for text in texts] == [22, 22, 22, 22, errno.EOPNOTSUPP, None]


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["causes"]) == len(CAUSES)
    assert cli.main(["explain", "EBUSY", "--call", "set_channels", "--driver", "ice"]) == 0
    shown = capsys.readouterr().out
    assert "irdma-holds-the-channels (driver ice): " in shown
    assert "    remedy: unload it" in shown
    assert cli.main(["explain", "forgotten", "--driver", "gve"]) == 0
    assert "rule-loses-fields" in capsys.readouterr().out
    assert cli.main(["explain", "EXDEV"]) == 1
    assert "no cause of that is known here" in capsys.readouterr().out
    assert cli.main(["explain", "it is broken"]) == 2
    assert "names no error that is known here" in capsys.readouterr().err
    assert cli.main(["explain", "broken"]) == 2
    assert {one.cause.name for one in explain(errno.EPERM, "set_key")} == {"no-right"}

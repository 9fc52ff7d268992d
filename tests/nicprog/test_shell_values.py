# SPDX-License-Identifier: Apache-2.0
"""Settings under names (rings, coalescing, features, flags, hash) from and to command lines."""

from __future__ import annotations

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nicprog
from nicprog import Spec, SpecError, settings, shell, sim
from nicprog.settings import Values
from tests.nicprog.real_ethtool import run, served


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("-G e rx 1024 tx 512 rx-mini 8", {"rings": {"rx": 1024, "tx": 512, "rx_mini": 8}}),
        ("--set-ring e rx 0x40", {"rings": {"rx": 64}}),
        ("-C e adaptive-rx off rx-usecs 8 tx-frames-irq 4",
         {"coalesce": {"adaptive_rx": False, "rx_usecs": 8, "tx_frames_irq": 4}}),
        ("-Q e queue_mask 0x5 --coalesce rx-usecs 20",
         {"coalesce.queue.0": {"rx_usecs": 20}, "coalesce.queue.2": {"rx_usecs": 20}}),
        ("-Q e queue_mask 10 -C tx-usecs 1", {"coalesce.queue.4": {"tx_usecs": 1}}),
        ("-K e ntuple on rxhash off tx-tcp-segmentation on", {"features": {
            "rx-ntuple-filter": True, "rx-hashing": False, "tx-tcp-segmentation": True}}),
        ("--offload e generic-receive-offload off", {"features": {"rx-gro": False}}),
        ("--set-priv-flags e 'legacy rx' on", {"private_flags": {"legacy rx": True}}),
        ("-N e rx-flow-hash udp4 nfds", {"hash": {"udp4": "sdfn"}}),
        ("-X e hfunc xor", {"hash": {"function": "xor"}}),
        ("-X e xfrm symmetric-xor", {"hash": {"transform": "symmetric-xor"}}),
        ("-G e rx 64\nethtool -G e tx 32\nethtool -G e rx 128", {"rings": {"rx": 128, "tx": 32}}),
    ],
)  # fmt: skip
def test_lines_become_settings(line: str, wanted: dict[str, Values]) -> None:
    spec = shell.read(f"ethtool {line}").spec
    assert spec == Spec(device="e", settings=wanted)


@pytest.mark.parametrize(
    ("line", "column", "why"),
    [
        ("-G e rx-buf-len 2048", 14, "a spec cannot say 'rx-buf-len' of rings"),
        ("-G e rx 0", 17, "rx must be an integer of 1"),
        ("-G e rx", 14, "rx is missing after 'rx'"),
        ("-C e adaptive-rx 1", 26, "adaptive_rx must be true or false"),
        ("-C e rx-usecs on", 23, "rx_usecs must be an integer of 0"),
        ("-Q e --coalesce rx-usecs 3", 14, "a spec cannot say 'all'"),
        ("-Q e queue_mask 0 --coalesce rx-usecs 3", 25, "hexadecimal and above 0"),
        ("-Q e queue_mask 1 --show-coalesce", 27, "it can say --coalesce"),
        ("-Q e queue_mask 1 --coalesce", 27, "sets nothing here"),
        ("-K e tso off", 14, "'tso' is several features"),
        ("-K e tx-checksumming off", 14, "tx-checksum-ipv4"),
        ("-K e gro maybe", 18, "gro must be on or off, got 'maybe'"),
        ("-K e gro on rx-gro off", 21, "are the same feature"),
        ("-N e rx-flow-hash esp4 sd", 27, "what 'esp4' hashes"),
        ("-N e rx-flow-hash udp4 sdq", 32, "udp4 must be letters of"),
        ("-N e rx-flow-hash udp4 sd context 1", 43, "no line before makes context 1"),
        ("-X e hfunc md5", 20, "function must be one of toeplitz"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_place(line: str, column: int, why: str) -> None:
    with pytest.raises(SpecError) as refused:
        shell.read(f"ethtool {line}", "nic.sh")
    assert str(refused.value).startswith(f"nic.sh:1:{column}: ")
    assert why in str(refused.value)


COUNTS = st.integers(1, 1 << 20)
LETTERS = st.sets(st.sampled_from(settings.FIELD_LETTERS), min_size=1).map(
    lambda some: settings.in_order("".join(some))
)
COALESCE = st.dictionaries(st.sampled_from(list(settings.COALESCE)), COUNTS, min_size=1).map(
    lambda values: {
        name: value % 2 == 0 if name.startswith("adaptive") else value
        for name, value in values.items()
    }
)
FLAGS = st.text("abc -_'\"$#;", min_size=1, max_size=8).filter(
    lambda name: name not in ("on", "off")
)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "rings": st.dictionaries(st.sampled_from(settings.RINGS), COUNTS, min_size=1),
        "coalesce": COALESCE,
        "coalesce.queue.0": COALESCE,
        "coalesce.queue.17": COALESCE,
        "features": st.dictionaries(
            st.sampled_from(["rx-gro", "rx-ntuple-filter", "tx-tcp-segmentation"]),
            st.booleans(),
            min_size=1,
        ),
        "private_flags": st.dictionaries(FLAGS, st.booleans(), min_size=1),
        "hash": st.fixed_dictionaries(
            {"udp4": LETTERS},
            optional={
                "tcp6": LETTERS,
                "function": st.sampled_from(settings.FUNCTIONS),
                "transform": st.sampled_from(settings.TRANSFORMS),
            },
        ),
    },
)


@given(SETTINGS.filter(bool))
def test_settings_that_went_through_shell_are_the_same(wanted: dict[str, Values]) -> None:
    spec = Spec(device="e", settings=wanted)
    assert shell.read(shell.write_spec(spec)).spec == spec


def test_a_plan_with_settings_is_commands_in_its_order() -> None:
    with nicprog.open("sim:mlx5") as nic:
        spec = nicprog.parse(
            'device = "sim:mlx5"\n[rings]\nrx = 256\n[coalesce]\nrx_usecs = 9\n'
            '[rss]\nequal = [0, 1, 2, 3]\n[hash]\nudp4 = "sd"'
        )
        plan = nicprog.plan(nic, spec)
    lines = [line for line in shell.write_plan(plan).splitlines() if line.startswith("ethtool")]
    assert lines == [
        "ethtool -G sim:mlx5 rx 256",
        "ethtool -N sim:mlx5 rx-flow-hash udp4 sd",
        "ethtool -X sim:mlx5 equal 4",
        "ethtool -C sim:mlx5 rx-usecs 9",
    ]


@pytest.mark.skipif(not shutil.which("ethtool"), reason="ethtool is not installed")
@pytest.mark.parametrize(
    "line",
    [
        "-G qp0 rx 1024 tx 256",
        "-C qp0 adaptive-rx off rx-usecs 13 tx-frames 7",
        "-K qp0 ntuple off",
        "-N qp0 rx-flow-hash udp4 sd",
        "-N qp0 rx-flow-hash tcp6 sdfn",
    ],
)
def test_what_ethtool_does_to_a_model_is_what_the_spec_says(run_dir: object, line: str) -> None:
    nic = sim.SimNic("mlx5", device="qp0")
    script = f"ethtool {line}"
    spec = shell.read(script).spec
    with served(nic, "qp0"), sim.connect(nic) as opened:
        before = nicprog.verify(opened, spec)
        run(script)
        assert nicprog.verify(opened, spec) == ()
        assert before or line.endswith("sdfn"), "the line has an effect to compare"
    another = sim.SimNic("mlx5", device="qp0")
    with served(another, "qp0"), sim.connect(another) as opened:
        run(shell.write_spec(spec))
        assert nicprog.verify(opened, spec) == ()

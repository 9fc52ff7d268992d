# SPDX-License-Identifier: Apache-2.0
"""--hil-device: the same tests on an interface that somebody has."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qstack.lab import Namespace
from tests.hil import inside
from tests.hil.nic import Nic

TREE = Path(__file__).parents[2]
LIMIT_S = 400.0


@pytest.fixture
def veths(pytestconfig: pytest.Config) -> Iterator[Namespace]:
    """A namespace with veth0 and veth1, of four queues each, both down."""
    if pytestconfig.getoption("--hil-device"):
        pytest.skip("is about --hil-device itself")
    if os.geteuid() != 0:
        pytest.skip("needs root: makes a network namespace")
    name = f"qs-own-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    queues = ["numrxqueues", "4", "numtxqueues", "4"]
    pair = ["veth0", *queues, "type", "veth", "peer", "name", "veth1", *queues]
    try:
        subprocess.run(["ip", "-n", name, "link", "add", *pair], check=True)
        yield Namespace(name=name)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def run_tests(namespace: Namespace, *options: str) -> str:
    arguments = ["-q", "-rs", "-p", "no:cacheprovider", "tests/hil/test_drivers.py", *options]
    command = [sys.executable, "-m", "pytest", *arguments]
    return str(namespace.run(command, cwd=TREE, capture_output=True, text=True).stdout)


def shown(namespace: Namespace) -> str:
    """Links, features and channels; but a link that was ever up has another queueing discipline."""
    text = "sysctl net.ipv6.conf.veth0.disable_ipv6; ethtool -k veth0; ethtool -l veth0; ip link"
    said = namespace.run(["sh", "-c", text], capture_output=True, text=True, check=True).stdout
    return re.sub(r"qdisc \w+", "", said)


@pytest.mark.parametrize("peer", [(), ("--hil-peer", "veth1")], ids=["alone", "with a peer"])
def test_a_device_is_skipped_truthfully_and_put_back(
    veths: Namespace, peer: tuple[str, ...]
) -> None:
    before = shown(veths)
    said = run_tests(veths, "--hil-device", "veth0", *peer)
    assert re.search(r"^3 passed, \d+ skipped", said, re.MULTILINE), said
    assert "driver veth does not have an indirection table" in said
    assert "Traceback" not in said
    assert shown(veths) == before


def test_a_device_that_cannot_be_programmed_is_skipped_with_the_reason(veths: Namespace) -> None:
    said = run_tests(veths, "--hil-device", "lo")
    assert re.search(r"^2 passed, \d+ skipped", said, re.MULTILINE), said
    assert "its driver has no channels" in said


def test_a_device_that_is_not_there_is_an_error(veths: Namespace) -> None:
    assert "there is no interface 'eth9' here" in _errors(veths, "--hil-device", "eth9")
    assert "--hil-peer needs --hil-device" in _errors(veths, "--hil-peer", "veth0")


def _errors(namespace: Namespace, *options: str) -> str:
    command = [sys.executable, "-m", "pytest", "tests/hil", *options]
    done = namespace.run(command, cwd=TREE, capture_output=True, text=True)
    assert done.returncode == 4
    return str(done.stderr)


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_nic_that_can_do_everything_passes_everything(fnic: Nic) -> None:
    """In the guest, where it is an interface like any other."""
    said = fnic.caller.call(inside.tests_of, fnic.name, "fnicw0", limit_s=LIMIT_S)
    assert re.match(r"1[2-9] passed, \d+ skipped", said[-1]), "\n".join(said)

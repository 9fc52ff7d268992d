# SPDX-License-Identifier: Apache-2.0
"""The command nicprog on interfaces of the kernel, in a namespace of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qstack.lab import Namespace

LINKS = (
    ("link", "add", "v0", "numrxqueues", "4", "numtxqueues", "4", "type", "veth",
     "peer", "name", "v1", "numrxqueues", "4", "numtxqueues", "4"),
    ("tuntap", "add", "t0", "mode", "tap"),
)  # fmt: skip
FOUR, OTHER = {"combined": 0, "rx": 4, "tx": 4}, {"combined": 0, "rx": 2, "tx": 3}

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    name = f"nicprog-kernel-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for link in LINKS:
            subprocess.run(["ip", "-n", name, *link], check=True)
        yield Namespace(name=name)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def spec(folder: Path, text: str) -> str:
    path = folder / "nic.toml"
    path.write_text(f'device = "v0"\n{text}\n')
    return str(path)


def test_channels_are_planned_applied_verified_and_put_back(run: Run, tmp_path: Path) -> None:
    wanted = spec(tmp_path, "[channels]\nrx = 2\ntx = 3")
    before = run("dump", "v0")
    assert (before["driver"], before["channels"]) == ("veth", FOUR)
    assert run("verify", wanted, status=1)["differences"] == [
        {"what": "channels", "wanted": "2 rx, 3 tx", "found": "4 rx, 4 tx"}
    ]
    (step,) = run("plan", wanted)["steps"]
    assert (step["do"], step["undo"]) == ("set 2 rx, 3 tx channels", "set 4 rx, 4 tx channels")
    assert run("dump", "v0") == before
    assert run("apply", wanted)["verified"]
    assert run("dump", "v0")["channels"] == OTHER
    assert run("verify", wanted)["ok"]
    assert run("rollback", "v0")["rolled_back"]
    assert run("dump", "v0") == before


def test_the_dumped_spec_describes_the_interface(run: Run, tmp_path: Path) -> None:
    (tmp_path / "copy.toml").write_text(run("dump", "v0", "--toml")["toml"])
    assert run("verify", str(tmp_path / "copy.toml"))["ok"]


def test_a_dump_says_what_the_driver_does_not_have(run: Run) -> None:
    found = run("dump", "v0")
    assert (found["table"], found["key_hex"], found["rules"]) == ([], "", [])
    assert found["limits"]["locations"] == found["limits"]["table_entries"] == 0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[channels]\ncombined = 2", "2 combined channels asked, it has at most 0; it counts rx"),
        ("[channels]\nrx = 5\ntx = 4", "5 rx channels asked, it has at most 4"),
        ('[rss]\nequal = "all"', "driver veth has no indirection table; leave equal out"),
        ('[rss]\nkey = "symmetric"', "driver veth has no hash key; leave key out"),
        ("[[reserve]]\nqueue = 1\nport = 80", "so no queue can be reserved"),
        ('[[rule]]\nname = "x"\nprotocol = "tcp"\nqueue = 0', "driver veth has no flow rules"),
    ],
)
def test_what_the_driver_does_not_have_is_refused(
    run: Run, tmp_path: Path, text: str, why: str
) -> None:
    error = run("apply", spec(tmp_path, text), status=1)["error"]
    assert error["kind"] == "refused"
    assert why in error["message"]
    assert run("dump", "v0")["channels"] == FOUR


@pytest.mark.parametrize(
    ("device", "why"),
    [
        ("lo", "lo: cannot be programmed: its driver has no channels"),
        ("t0", "t0: no queue is active"),
        ("zz", "zz: no such interface and no such software NIC"),
    ],
)
def test_what_cannot_be_programmed_is_said(run: Run, device: str, why: str) -> None:
    assert run("dump", device, status=1)["error"]["message"].startswith(why)


def test_probe_tells_what_there_is_and_by_which_way(run: Run, namespace: Namespace) -> None:
    for device in ("v0", "v1"):
        subprocess.run(["ip", "-n", namespace.name, "link", "set", device, "up"], check=True)
    report = run("probe", "v0")
    assert report["driver"] == "veth"
    parts = report["parts"]
    assert parts["channels"]["way"] == "netlink"
    assert parts["channels"]["value"]["max_rx"] == 4
    assert [(one["kind"], one["number"]) for one in parts["queues"]["value"]] == [
        (kind, number) for kind in ("rx", "tx") for number in range(4)
    ]
    assert parts["features"]["value"]["tx-tcp-segmentation"] in ("on", "off")
    assert "off, fixed" in parts["features"]["value"].values()
    assert parts["statistics"]["way"] == "ioctl"
    assert "peer_ifindex" in parts["statistics"]["value"]
    for name in ("rss", "flow rules", "rings", "rx rings", "hashed fields", "queue statistics"):
        assert parts[name]["found"] is False, name
        assert "EOPNOTSUPP" in parts[name]["refusals"][-1]["why"]
    assert [one["way"] for one in parts["rss"]["refusals"]] == ["netlink", "ioctl"]


@pytest.mark.parametrize("device", ["lo", "t0", "v1"])
def test_probe_never_fails_on_an_interface(run: Run, device: str) -> None:
    parts = run("probe", device)["parts"]
    assert parts["features"]["found"]
    assert parts["flow rules"]["found"] is False
    assert all(part["found"] or part["refusals"] for part in parts.values())
    assert "no queue is configured" in str(parts["queues"]["refusals"])  # it is down


def test_where_knows_no_queue_without_a_table(run: Run, tmp_path: Path) -> None:
    flow = ("where", "v0", "tcp", "10.0.0.1:1", "10.0.0.2:80")
    assert "shows no table" in run(*flow, status=1)["error"]["message"]
    run("apply", spec(tmp_path, "[channels]\nrx = 1\ntx = 1"))
    assert run(*flow)["queue"] == 0


def test_probe_of_an_interface_that_is_not_there(run: Run) -> None:
    error = run("probe", "zz", status=1)["error"]
    assert error["message"].startswith("zz: no such interface and no such software NIC")


def test_a_snapshot_of_an_interface_that_was_made_anew_is_not_used(
    run: Run, namespace: Namespace, tmp_path: Path
) -> None:
    run("apply", spec(tmp_path, "[channels]\nrx = 2\ntx = 3"))
    subprocess.run(["ip", "-n", namespace.name, "link", "del", "v0"], check=True)
    subprocess.run(["ip", "-n", namespace.name, *LINKS[0]], check=True)
    error = run("rollback", "v0", status=1)["error"]
    assert error["kind"] == "snapshot"
    assert "of an earlier NIC of that name" in error["message"]


def test_the_counters_are_those_of_the_driver(run: Run) -> None:
    assert "rx_queue_3_xdp_packets" in run("counters", "v0")["totals"]


def test_metrics_tell_what_an_interface_has(run: Run) -> None:
    samples = run("metrics", "v0", "lo")["samples"]
    up = {one["labels"]["device"]: one["value"] for one in samples if one["name"] == "nicprog_up"}
    assert up == {"v0": 1, "lo": 0}
    drops = [one["labels"]["counter"] for one in samples if one["name"] == "nicprog_drops_total"]
    assert "rx_queue_0_drops" in drops


def test_the_contract_of_all_nics_holds(run: Run, namespace: Namespace) -> None:
    before = run("dump", "v0")
    command = [sys.executable, "-m", "tests.nicprog.contract", "v0"]
    done = namespace.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert run("dump", "v0") == before


def test_features_of_the_kernel_are_set_and_put_back(run: Run, tmp_path: Path) -> None:
    wanted = spec(tmp_path, "[features]\ngro = true\ntx-checksum-ip-generic = false\n")
    before = run("dump", "v0")["settings"]
    assert before["features"]["tx-checksum-ip-generic"] is True
    steps = run("apply", wanted)["steps"]
    assert [step["do"] for step in steps][-1] == "set features: tx-checksum-ip-generic off"
    now = run("dump", "v0")["settings"]["features"]
    assert now["rx-gro"] is True
    assert now["tx-checksum-ip-generic"] is False
    assert run("verify", wanted)["differences"] == []
    run("rollback", "v0")
    assert run("dump", "v0")["settings"] == before


def test_coalescing_of_a_tap_is_set_and_put_back(run: Run, tmp_path: Path) -> None:
    path = Path(spec(tmp_path, "[coalesce]\nrx_frames = 16\n"))
    path.write_text(path.read_text().replace("v0", "t0"))
    refusal = run("plan", str(path), status=1)
    assert "no queue is active" in refusal["error"]["message"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[rings]\nrx = 64", "driver veth has no rings that can be set; leave [rings] out"),
        ("[private_flags]\nx = true", "driver veth has no private_flags"),
        ("[features]\nrx-grow = true", "did you mean 'rx-gro'?"),
        ("[features]\nvlan-challenged = true", "vlan-challenged is fixed off by driver veth"),
        ('[hash]\nudp4 = "sd"', "driver veth has no hash that can be set"),
    ],
)
def test_what_a_driver_does_not_have_is_refused(
    run: Run, tmp_path: Path, text: str, words: str
) -> None:
    message = run("plan", spec(tmp_path, text), status=1)["error"]["message"]
    assert words in message

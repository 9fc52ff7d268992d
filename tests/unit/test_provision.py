# SPDX-License-Identifier: Apache-2.0
"""tools/provision/host on made-up files, on a model and on a software NIC."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nicprog
from nicprog.settings import HOST_GROUPS
from tests.nicprog.host_rig import made_up
from tests.nicprog.owner import ROOT, Owner
from tools.provision import changes, setups

PAGES = "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
CGROUP = "sys/fs/cgroup"

SCRIPT = str(ROOT / "tools/provision/host")

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Seven CPUs online, cgroup v2, two huge pages."""
    found = made_up(tmp_path / "root")
    for name, text in ((PAGES, "2"), (f"{CGROUP}/cgroup.controllers", "cpu cpuset io"),
                       (f"{CGROUP}/cgroup.subtree_control", "cpu")):  # fmt: skip
        (found / name).parent.mkdir(parents=True, exist_ok=True)
        (found / name).write_text(text + "\n")
    return found


@pytest.fixture
def run(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Runs the script and returns its JSON, or with a status its message."""
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("QSTACK_RUN_DIR", str(folder))
    main = runpy.run_path(SCRIPT)["main"]

    def host(*arguments: str, status: int = 0) -> dict[str, Any]:
        found = main(["--json", "--root", str(root), *arguments])
        out, err = capsys.readouterr()
        assert found == status, err
        if status:
            return {"message": err}
        document = json.loads(out)
        assert isinstance(document, dict)
        return document

    return host


def files_of(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


class CgroupFiles(changes.HostFiles):
    """Makes a control group's files with its folder, and takes them away with it, as the kernel.

    Attributes:
        answer: What the partition says after it was made isolated.
    """

    answer = "isolated"

    def write(self, path: str, text: str) -> None:
        """As the kernel does for these files."""
        at = self.root / path.lstrip("/")
        if path.endswith("subtree_control"):
            now = set(at.read_text().split())
            text = " ".join(sorted(now | {text[1:]} if text[0] == "+" else now - {text[1:]}))
        elif path.endswith("partition") and text == "isolated":
            text = self.answer
        at.write_text(text + "\n")

    def remove_folder(self, path: str) -> None:
        """With its files."""
        for name in self.names(path):
            (self.root / path.lstrip("/") / name).unlink()
        super().remove_folder(path)


def cores(files: changes.HostFiles) -> list[changes.Change]:
    return setups.cores(files, "4-5")


def undo(journal: changes.Journal, files: changes.HostFiles) -> None:
    changes.undo(journal, lambda entry: changes.undo_file(files, entry))


def test_cores_are_isolated_and_given_back(root: Path, tmp_path: Path) -> None:
    files, journal = CgroupFiles(root), changes.Journal(tmp_path / "state", "cores")
    before = files_of(root)
    changes.make(journal, files, cores(files))
    held = files_of(root)
    assert held[f"{CGROUP}/cgroup.subtree_control"] == "cpu cpuset\n"
    assert held[f"{CGROUP}/qstack/cpuset.cpus"] == "4-5\n"
    assert held[f"{CGROUP}/qstack/cpuset.cpus.partition"] == "isolated\n"
    with pytest.raises(changes.ProvisionError, match="is set up already"):
        changes.make(journal, files, cores(files))
    undo(journal, files)
    assert files_of(root) == before
    assert not journal.exists


def test_a_partition_that_the_kernel_does_not_make_is_undone(root: Path, tmp_path: Path) -> None:
    files, journal = CgroupFiles(root), changes.Journal(tmp_path / "state", "cores")
    files.answer = "isolated invalid (Cpu list in cpuset.cpus not exclusive)"
    with pytest.raises(changes.ProvisionError, match=r"says 'isolated invalid \(Cpu list"):
        changes.make(journal, files, cores(files))
    assert files_of(root)[f"{CGROUP}/cgroup.subtree_control"] == "cpu\n"


@pytest.mark.parametrize("died_after", range(4))
def test_a_set_up_that_was_killed_is_taken_back(
    root: Path, tmp_path: Path, died_after: int
) -> None:
    files, journal = CgroupFiles(root), changes.Journal(tmp_path / "state", "cores")
    before = files_of(root)
    made = cores(files)
    entries = []
    for index, change in enumerate(made[: died_after + 1]):
        entries.append(change.entry(files))
        journal.write(entries)
        if index < died_after:
            change.make(files)
    undo(journal, files)
    assert files_of(root) == before
    assert not journal.exists


@pytest.mark.parametrize(
    ("cpus", "words"),
    [
        ("0-6", "these are all CPUs that are online (0-6)"),
        ("6-7", "CPU 7 is not online (online: 0-6)"),
        ("a", "'a' is not a list"),
        ("", "no CPU is named"),
    ],
)
def test_cores_that_cannot_be(run: Run, cpus: str, words: str) -> None:
    assert words in run("cores", cpus, status=1)["message"]


def test_a_dry_run_changes_nothing(run: Run, root: Path) -> None:
    before = files_of(root)
    steps = run("cores", "4-5", "--dry-run")["steps"]
    assert [step.partition(":")[0] for step in steps] == [
        "write '+cpuset' to /sys/fs/cgroup/cgroup.subtree_control",
        "make /sys/fs/cgroup/qstack",
        "write '4-5' to /sys/fs/cgroup/qstack/cpuset.cpus",
        "write 'isolated' to /sys/fs/cgroup/qstack/cpuset.cpus.partition",
    ]
    assert len(run("hugepages", "8", "--dry-run")["steps"]) == 1
    assert files_of(root) == before
    assert run("list") == {"names": []}


def test_advice_for_the_command_line(run: Run, root: Path) -> None:
    assert run("cores", "4-5", "--advise")["kernel_command_line"] == (
        "isolcpus=managed_irq,domain,4-5 nohz_full=4-5 rcu_nocbs=4-5 irqaffinity=0-3,6"
    )
    (root / CGROUP / "cgroup.controllers").write_text("cpu\n")
    assert "'tools/provision/host cores 4-5 --advise'" in run("cores", "4-5", status=1)["message"]


def test_huge_pages(run: Run, root: Path) -> None:
    assert run("hugepages", "2")["steps"] == [], "they are there"
    run("hugepages", "8")
    assert (root / PAGES).read_text().strip() == "8"
    assert run("list") == {"names": ["hugepages"]}
    assert "is set up already" in run("hugepages", "9", status=1)["message"]
    assert run("undo", "hugepages", "--dry-run")["undone"] == ["hugepages"]
    assert (root / PAGES).read_text().strip() == "8"
    run("undo")
    assert (root / PAGES).read_text().strip() == "2"
    assert "nothing is set up under this name" in run("undo", "hugepages", status=1)["message"]
    assert (
        "sizes of this host: hugepages-2048kB"
        in (run("hugepages", "1", "--size", "1G", status=1)["message"])
    )
    assert "node7" in run("hugepages", "1", "--node", "7", status=1)["message"]


def test_fewer_huge_pages_than_asked_are_given_back(root: Path, tmp_path: Path) -> None:
    class Fragmented(changes.HostFiles):
        def write(self, path: str, text: str) -> None:
            super().write(path, str(min(int(text), 5)))

    files, journal = Fragmented(root), changes.Journal(tmp_path / "state", "hugepages")
    with pytest.raises(changes.ProvisionError, match="says '5' after '8' was written"):
        changes.make(journal, files, setups.hugepages(files, 8, 2048, None))
    assert (root / PAGES).read_text() == "2"


def held(device: str) -> nicprog.NicState:
    with nicprog.open(device) as nic:
        return nic.read(HOST_GROUPS)


def test_a_nic_and_a_service_on_it(run: Run, tmp_path: Path) -> None:
    device = f"sim:mlx5@{tmp_path}/nic.json"
    before = held(device)
    run("nic", device, "--cpus", "4-7", "--dry-run")
    assert held(device) == before
    run("nic", device, "--cpus", "4-7")
    spread = held(device)
    assert spread.settings["host.irqbalance"] == {"banned": "all"}
    assert list(spread.settings["host.interrupts"].values())[:5] == ["4", "5", "6", "7", "4"]
    flow = ("--flow", "tcp dst_port=443", "--queues", "2", "--cpus", "9-10")
    found = run("service", device, *flow)
    reserved = held(device)
    [shared] = reserved.contexts
    assert {rule.context for rule in reserved.rules} == {shared.name}
    queues = sorted(set(shared.table.entries))
    assert len(queues) == 2
    assert not set(queues) & set(reserved.table.entries)
    assert [reserved.settings["host.interrupts"][f"rx-{q}"] for q in queues] == ["9", "10"]
    assert [reserved.settings["host.xps"][f"tx-{q}"] for q in queues] == ["9", "10"]
    assert f"queue {', '.join(map(str, queues))} of " in found["notes"][0]
    assert run("list")["names"] == [f"service-{device}", f"nic-{device}"]
    message = run("undo", f"nic-{device}", status=1)["message"]
    assert f"service-{device} was set up after it" in message
    run("undo", f"service-{device}")
    assert held(device) == spread
    run("undo")
    assert held(device) == before


def test_a_service_leaves_what_others_did_meanwhile(run: Run, tmp_path: Path) -> None:
    device = f"sim:mlx5@{tmp_path}/nic.json"
    run("service", device, "--flow", "tcp dst_port=443", "--queues", "1", "--cpus", "9")
    other = nicprog.parse(
        f'device = "{device}"\nother_rules = "keep"\n[[rule]]\nname = "x"\nprotocol = "udp"\n'
        "dst_port = 53\ndrop = true\n[host]\nrps = '3'\n"
    )
    with nicprog.open(device) as nic:
        nicprog.apply(nic, nicprog.plan(nic, other))
    run("undo")
    with nicprog.open(device) as nic:
        assert nicprog.verify(nic, other) == ()
        assert len({rule.match.dst_port for rule in nic.read().rules}) == 1


def test_a_service_on_a_software_nic_has_rules_alone(run: Run) -> None:
    with Owner("qp0"):
        before = held("qp0")
        found = run("service", "qp0", "--flow", "tcp dst_port=443", "--queues", "1", "--cpus", "1")
        assert "has neither interrupts nor a choice of TX queues" in found["notes"][1]
        assert held("qp0").rules
        run("undo")
        assert held("qp0") == before
        assert "is no device of this host" in run("nic", "qp0", status=1)["message"]


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a namespace")
@pytest.mark.netns
def test_a_veth_has_xps_alone(run: Run) -> None:
    name = f"nicprog-provision-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        queues = ("numrxqueues", "4", "numtxqueues", "4")
        inside = ["ip", "netns", "exec", name]
        subprocess.run(
            [*inside, "ip", "link", "add", "v0", *queues, "type", "veth", "peer", "name", "v1"],
            check=True,
        )
        script = [*inside, sys.executable, SCRIPT, "--json"]
        show = [*inside, sys.executable, "-m", "nicprog.cli", "host", "v0", "--json"]

        def output(command: list[str]) -> dict[str, Any]:
            done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
            document: dict[str, Any] = json.loads(done.stdout)
            return document

        before = output(show)
        made = output([*script, "nic", "v0", "--cpus", "all"])
        assert "v0 has no interrupts of queues" in made["notes"]
        assert any(output(show)["xps"].values())
        output([*script, "undo"])
        assert output(show) == before
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)

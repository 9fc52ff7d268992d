# SPDX-License-Identifier: Apache-2.0
"""The command as people and scripts run it: by subprocess, with its streams and exit status."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

import nicprog
from nicprog import cli
from nicprog.actions import DeleteRule
from tests.nicprog.owner import Owner

SPEC = """device = "qp0"

[channels]
combined = 4

[[rule]]
name = "web"
protocol = "tcp"
dst_port = "8000-8015"
queue = 1

[[reserve]]
queue = 3
port = 8443
"""


def run(*arguments: str | Path, status: int = 0) -> tuple[str, str]:
    """Standard output and error; never a traceback, and a single line of error."""
    done = subprocess.run(
        [sys.executable, "-m", "nicprog.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == status, done.stderr
    return done.stdout, done.stderr


def run_json(*arguments: str | Path, status: int = 0) -> dict[str, Any]:
    stdout, _ = run(*arguments, "--json", status=status)
    document = json.loads(stdout)
    assert isinstance(document, dict)
    return document


def refused(*arguments: str | Path, status: int) -> str:
    """The message of a command that fails, which is one line and the same in JSON."""
    stdout, stderr = run(*arguments, status=status)
    assert stdout == ""
    assert stderr.startswith("nicprog: ")
    assert stderr.count("\n") == 1
    message = stderr.removeprefix("nicprog: ").rstrip("\n")
    assert run_json(*arguments, status=status)["error"]["message"] == message
    return message


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "nic.toml"
    path.write_text(SPEC)
    return path


def test_a_spec_is_for_the_nic_of_the_option(
    owner: Owner, nic: nicprog.Backend, tmp_path: Path
) -> None:
    spec = tmp_path / "nic.toml"
    spec.write_text(SPEC.replace("qp0", "eth-of-another-machine"))
    assert "no such interface" in refused("plan", spec, status=1)
    assert "the name of a NIC is not empty" in run("plan", spec, "--nic", "", status=2)[1]
    assert run_json("plan", spec, "--nic", "qp0")["device"] == "qp0"
    assert not run_json("verify", spec, "--nic", "qp0", status=1)["ok"]
    assert run_json("apply", spec, "--nic", "qp0", "--dry-run")["changes"] > 0
    assert nic.read().rules == ()
    assert run_json("apply", spec, "--nic", "qp0")["verified"]
    assert nic.read().rules != ()
    assert run_json("verify", spec, "--nic", "qp0")["ok"]
    spec.write_text(SPEC.replace("queue = 1", "queue = 77"))
    assert "nic.toml:10:" in refused("plan", spec, "--nic", "qp0", status=1)
    run("rollback", "qp0")
    assert nic.read().rules == ()


def test_a_spec_is_tried_on_a_model_in_a_file(run_dir: Path, tmp_path: Path) -> None:
    spec, model = tmp_path / "nic.toml", f"sim:mlx5@{tmp_path / 'nic.json'}"
    spec.write_text(SPEC.replace("qp0", "eth-of-another-machine"))
    before = run_json("dump", model)
    assert run_json("apply", spec, "--nic", model)["verified"]
    assert run_json("verify", spec, "--nic", model)["ok"]
    assert run_json("dump", model)["channels"]["combined"] == 4
    run("rollback", model)
    assert run_json("dump", model) == before


def test_plan_apply_verify_rollback(owner: Owner, nic: nicprog.Backend, spec: Path) -> None:
    before = nic.read()
    plan = run_json("plan", spec)
    assert set(plan) == {"device", "changes", "steps", "warnings"}
    assert plan["changes"] == len(plan["steps"]) == 6
    assert plan["steps"][0] == {
        "number": 1,
        "action": "set_table",
        "do": "set the table (queue 0: 86, queue 1: 85, queue 2: 85)",
        "undo": "reset the table to the default",
        "reason": plan["steps"][0]["reason"],
        "disruption": "reorders flows",
    }
    assert nic.read() == before
    assert run_json("apply", spec, "--dry-run") == plan
    assert nic.read() == before
    assert run_json("verify", spec, status=1)["ok"] is False

    done = run_json("apply", spec)
    added = {"applied", "verified", "snapshot", "recovered", "confirm_within_s"}
    assert set(done) == {*plan, *added}
    assert done["recovered"] is False
    assert done["confirm_within_s"] is None
    assert Path(done["snapshot"]).exists()
    assert nic.read().channels.combined == 4
    assert run_json("verify", spec) == {"device": "qp0", "ok": True, "differences": []}
    assert run_json("plan", spec)["changes"] == 0
    assert run_json("apply", spec)["snapshot"] is None

    assert run_json("rollback", "qp0")["rolled_back"] is True
    assert nic.read() == before
    assert "no snapshot in" in refused("rollback", "qp0", status=1)


def test_verify_says_what_differs(owner: Owner, nic: nicprog.Backend, spec: Path) -> None:
    run("apply", spec)
    nic.run(DeleteRule(location=1))
    found = run_json("verify", spec, status=1)
    assert found["differences"] == [
        {"what": "rule 1", "wanted": "tcp ipv6 dst_port 8000-8015 -> queue 1", "found": None}
    ]
    text, _ = run("verify", spec, status=1)
    assert "rule 1" in text
    assert "nothing" in text


def test_dump_is_a_spec_of_the_same_state(owner: Owner, nic: nicprog.Backend, spec: Path) -> None:
    run("apply", spec)
    state = nic.read()
    text, _ = run("dump", "qp0", "--toml")
    assert tomllib.loads(text)["device"] == "qp0"
    copy = spec.with_name("copy.toml")
    copy.write_text(text)
    run("rollback", "qp0")
    run("apply", copy)
    assert nic.read() == state
    document = run_json("dump", "qp0")
    assert {
        "device",
        "driver",
        "bus",
        "limits",
        "channels",
        "table",
        "key_hex",
        "rules",
        "contexts",
        "contexts_by",
        "settings",
    } == set(document)
    assert document["limits"] == {
        "channels": 8, "rx_channels": 0, "tx_channels": 0,
        "table_entries": 256, "key_bytes": 40, "locations": 4096, "masks": 16,
        "contexts": 0,
    }  # fmt: skip
    assert document["rules"][0] == {
        "location": 0,
        "protocol": "tcp",
        "family": "ipv4",
        "match": {"dst_port": {"value": "0x1f40", "mask": "0xfff0"}},
        "text": "tcp ipv4 dst_port 8000-8015 -> queue 1",
        "queue": 1,
        "context": None,
        "drop": False,
    }
    assert run_json("dump", "qp0", "--toml")["toml"] == text


def test_probe(owner: Owner, nic: nicprog.Backend) -> None:
    parts = run_json("probe", "qp0")["parts"]
    assert parts["channels"]["way"] == "socket"
    assert parts["channels"]["value"]["max_combined"] == nic.capabilities().queues_max
    assert parts["rss"]["value"]["key_bytes"] == nic.capabilities().key_bytes
    assert parts["flow rules"]["value"]["locations"] == nic.capabilities().locations
    assert parts["rings"]["found"] is False
    assert parts["queues"]["refusals"] == []  # the kernel knows nothing of it
    text, _ = run("probe", "qp0")
    assert "flow rules" in text


def test_counters_and_list(owner: Owner) -> None:
    owner.frame(2, 1500)
    document = run_json("counters", "qp0")
    assert document["queues"][2] == {"queue": 2, "packets": 1, "bytes": 1500}
    assert set(document) == {"device", "queues", "rules", "totals"}
    text, _ = run("counters", "qp0")
    assert "1,500" in text
    assert run_json("list") == {
        "devices": [
            {"device": "qp0", "driver": "qs_soft", "bus": "memory", "channels": 8, "rules": 0}
        ]
    }
    assert "qp0" in run("list")[0]


def test_texts_for_people(owner: Owner, spec: Path) -> None:
    text, _ = run("plan", spec)
    assert "6 steps" in text
    assert "queue 3" in text
    text, _ = run("apply", spec)
    assert "6 steps done and read back; 'nicprog rollback qp0' takes them back" in text
    assert "nothing to do" in run("plan", spec)[0]
    assert "is as wanted" in run("verify", spec)[0]
    assert "tcp ipv4 dst_port 8443 -> queue 3" in run("dump", "qp0")[0]
    assert "restored and read back, 6 steps" in run("rollback", "qp0")[0]


def test_names_from_the_spec_are_text_and_not_markup(owner: Owner, spec: Path) -> None:
    spec.write_text(SPEC.replace('"web"', '"[bold]web[/x]"'))
    assert "[bold]web[/x]" in run("plan", spec)[0].replace("\n", "")


def test_nothing_is_live(run_dir: Path) -> None:
    assert run("list")[0] == "no software NIC is live\n"
    assert run_json("list") == {"devices": []}


@pytest.mark.parametrize("verb", ["plan", "apply", "verify"])
@pytest.mark.parametrize(
    ("text", "message", "status"),
    [
        ('device = "qp0"\n[rss\n', "nic.toml:2:5: Expected ']' at the end of a table", 2),
        ('device = "qp0"\n[rss]\nkay = 1\n', "nic.toml:3:1: unknown key 'kay' in [rss]", 2),
        (
            SPEC.replace("queue = 1", "queue = 9"),
            "nic.toml:10:1: qp0: rule 'web' names queue 9, but 4 queues are active (0 to 3)",
            1,
        ),
        ('device = "eth-none"\n', "eth-none: no such interface and no such software NIC", 1),
        ('device = "lo"\n', "lo: cannot be programmed: its driver has no channels", 1),
    ],
)
def test_bad_specs_change_nothing(
    nic: nicprog.Backend, spec: Path, verb: str, text: str, message: str, status: int
) -> None:
    before = nic.read()
    spec.write_text(text)
    assert message in refused(verb, spec, status=status)
    assert nic.read() == before


def test_no_such_spec(run_dir: Path) -> None:
    assert refused("plan", "none.toml", status=2) == (
        "cannot read none.toml: No such file or directory"
    )


@pytest.mark.parametrize("arguments", [(), ("plan",), ("frobnicate",), ("dump", "a", "b")])
def test_usage(arguments: tuple[str, ...]) -> None:
    stdout, stderr = run(*arguments, status=2)
    assert stdout == ""
    assert stderr.startswith("usage: nicprog")


def test_a_dead_owner(run_dir: Path) -> None:
    Owner("qp0").kill()
    stdout, stderr = run("dump", "qp0", status=1)
    assert stdout == ""
    assert "qp0: the process that owned this software NIC is gone" in stderr
    assert not (run_dir / "qp0.nic").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user, so root")
def test_no_right_to_the_socket(owner: Owner, tmp_path: Path) -> None:
    for folder in (tmp_path / "run", tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    ours, childs = os.pipe()
    child = os.fork()  # a new interpreter might be out of that user's reach
    if child == 0:
        os.setgid(65534)
        os.setuid(65534)
        sys.stderr = io.StringIO()
        status = cli.main(["dump", "qp0"])
        os.write(childs, sys.stderr.getvalue().encode())
        os._exit(status)
    os.close(childs)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    with open(ours) as stream:
        message = stream.read()
    assert message.startswith("nicprog: qp0: no right to use")
    assert message.count("\n") == 1


def test_the_state_dir(owner: Owner, nic: nicprog.Backend, spec: Path, tmp_path: Path) -> None:
    before = nic.read()
    run("apply", spec, "--state-dir", tmp_path / "state")
    assert (tmp_path / "state" / "qp0.snapshot.json").exists()
    assert "no snapshot in" in refused("rollback", "qp0", status=1)
    run("rollback", "qp0", "--state-dir", tmp_path / "state")
    assert nic.read() == before


def test_an_interrupted_apply_is_undone(
    owner: Owner, nic: nicprog.Backend, spec: Path, run_dir: Path
) -> None:
    """The owner is stopped so that the apply hangs in a step, then interrupted, then lets go on."""
    before = nic.read()
    rules = "".join(
        f'[[rule]]\nname = "r{i}"\nprotocol = "tcp"\nfamily = "ipv4"\ndst_port = {i}\nqueue = 1\n'
        for i in range(1000, 4000)
    )
    spec.write_text(f'device = "qp0"\n{rules}')
    apply = subprocess.Popen(
        [sys.executable, "-m", "nicprog.cli", "apply", str(spec)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline, is_in_a_step = time.monotonic() + 60, False
    while not is_in_a_step:
        assert time.monotonic() < deadline
        assert apply.poll() is None
        with owner.paused():  # between looks it gets on by little, however busy the machine is
            is_in_a_step = (run_dir / "qp0.applying.json").exists()
            if is_in_a_step:
                apply.send_signal(signal.SIGINT)
    stdout, stderr = apply.communicate(timeout=30)
    assert apply.returncode == 1, stdout
    assert "interrupted by SIGINT; " in stderr
    assert "Traceback" not in stderr
    assert nic.read() == before
    assert not list(run_dir.glob("*.json"))


def test_an_interrupt_while_text_is_printed_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nicprog.show.report", interrupted)
    assert cli.main(["probe", "sim:ice"]) == 1
    assert capsys.readouterr().err == "nicprog: interrupted\n"


def test_a_closed_pipe_is_no_error(owner: Owner) -> None:
    done = subprocess.run(
        f"{sys.executable} -m nicprog.cli dump qp0 --json | head -c 1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "{"
    assert done.stderr == ""

# SPDX-License-Identifier: Apache-2.0
"""The command watch on a veth whose settings somebody else changes with ethtool."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from qstack.lab import Namespace

PAIR = ("link", "add", "v0", "numrxqueues", "4", "numtxqueues", "4", "type", "veth",
        "peer", "name", "v1", "numrxqueues", "4", "numtxqueues", "4")  # fmt: skip
WANTED, OTHER = ("rx", "2", "tx", "3"), ("rx", "4", "tx", "4")


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    name = f"nicprog-watch-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, *PAIR], check=True)
        yield Namespace(name=name)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


class Watch:
    """A running ``nicprog watch``, which looks by itself once in an hour only."""

    def __init__(
        self,
        namespace: Namespace,
        folder: Path,
        *arguments: str,
        wanted: str = "channels = { rx = 2, tx = 3 }",
    ) -> None:
        spec = folder / "nic.toml"
        spec.write_text(f'device = "v0"\n{wanted}\n')
        command = [sys.executable, "-m", "nicprog.cli", "watch", str(spec), "--interval", "1h"]
        self.process = namespace.popen(
            [*command, "--json", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"QSTACK_RUN_DIR": str(folder)},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=10)

    def next(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.stderr and self.process.stderr.read()
        event: dict[str, Any] = json.loads(line)
        assert event["device"] == "v0"
        return event

    def until(self, name: str) -> list[str]:
        """Names of the events before this one."""
        names = []
        while (event := self.next())["event"] != name:
            names.append(str(event["event"]))
        return names


def set_channels(namespace: Namespace, channels: tuple[str, ...]) -> None:
    done = namespace.run(["ethtool", "-L", "v0", *channels], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def ip(namespace: Namespace, *arguments: str) -> None:
    subprocess.run(["ip", "-n", namespace.name, *arguments], check=True)


def shown(namespace: Namespace) -> str:
    done = namespace.run(["ethtool", "-l", "v0"], capture_output=True, text=True)
    return str(done.stdout.partition("Current")[2])


def test_drift_that_the_kernel_tells_of_is_repaired_until_the_signal(
    namespace: Namespace, tmp_path: Path
) -> None:
    with Watch(namespace, tmp_path) as watch:
        assert (watch.next()["event"], watch.next()["event"]) == ("drift", "repaired")
        set_channels(namespace, OTHER)
        drift = watch.next()
        assert (drift["event"], drift["differences"]) == ("drift", 1)
        assert drift["first"][0] == {"what": "channels", "wanted": "2 rx, 3 tx",
                                     "found": "4 rx, 4 tx"}  # fmt: skip
        assert set(watch.until("repaired")) <= {"waits"}
        assert "RX:\t\t2\nTX:\t\t3" in shown(namespace)
        ip(namespace, "link", "set", "v0", "up")
        ip(namespace, "link", "set", "v0", "down")
        watch.process.terminate()
        assert watch.next()["event"] == "stopped"
        assert watch.process.wait(timeout=20) == 0


def test_features_that_somebody_turns_off_are_turned_on_again(
    namespace: Namespace, tmp_path: Path
) -> None:
    wanted = "features = { rx-gro = true }"
    with Watch(namespace, tmp_path, wanted=wanted) as watch:
        assert set(watch.until("repaired")) <= {"drift"}
        namespace.run(["ethtool", "-K", "v0", "gro", "off"], check=True)
        drift = watch.next()
        assert drift["first"] == [
            {"what": "setting features rx-gro", "wanted": "on", "found": "off"}
        ]
        assert set(watch.until("repaired")) <= {"waits"}
        shown_now = namespace.run(["ethtool", "-k", "v0"], capture_output=True, text=True).stdout
        assert "generic-receive-offload: on" in shown_now


def test_an_interface_that_is_made_anew_is_set_again(namespace: Namespace, tmp_path: Path) -> None:
    with Watch(namespace, tmp_path) as watch:
        watch.until("repaired")
        ip(namespace, "link", "del", "v0")
        absent = watch.next()
        assert absent["event"] == "absent"
        assert "v0: no such interface" in absent["why"]
        ip(namespace, *PAIR)
        assert watch.next()["made_anew"] is True
        assert set(watch.until("repaired")) <= {"waits"}
        assert "RX:\t\t2\nTX:\t\t3" in shown(namespace)


def test_it_gives_up_when_somebody_sets_it_again_and_again(
    namespace: Namespace, tmp_path: Path
) -> None:
    with Watch(namespace, tmp_path, "--repairs", "2") as watch:
        for _ in range(2):
            watch.until("repaired")
            set_channels(namespace, OTHER)
        gave_up = watch.next()
        while gave_up["event"] != "gave_up":
            gave_up = watch.next()
        assert (gave_up["repairs"], gave_up["window_s"]) == (2, 600)
        assert watch.process.wait(timeout=20) == 1
    assert "RX:\t\t4\nTX:\t\t4" in shown(namespace)


def test_an_interface_without_channels_is_told(namespace: Namespace, tmp_path: Path) -> None:
    with Watch(namespace, tmp_path, "--nic", "lo") as watch:
        assert watch.process.stdout is not None
        event = json.loads(watch.process.stdout.readline())
        assert (event["device"], event["event"]) == ("lo", "unreadable")
        assert "its driver has no channels" in event["why"]

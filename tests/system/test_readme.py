# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tools.tree import ROOT

_LIMIT_S = 30.0
_TELL_AND_WAIT = """
with __import__("contextlib").suppress(KeyboardInterrupt):
    app.start()
    print("started", flush=True)
    app.wait()
app.stop()
"""


def _example() -> str:
    match = re.search(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    assert match
    return match[1]


@contextmanager
def _running(
    code: str, folder: Path, prefix: tuple[str, ...] = ()
) -> Iterator[subprocess.Popen[str]]:
    """Run ``code`` as a program that tells when its server has started; end it by Ctrl-C."""
    program = folder / "example.py"
    assert code.count("app.run()") == 1
    program.write_text(code.replace("app.run()", _TELL_AND_WAIT))
    environment = {**os.environ, "QSTACK_RUN_DIR": str(folder)}
    command = [*prefix, sys.executable, str(program)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _expect_start_and_orderly_end(process: subprocess.Popen[str]) -> None:
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline() == "started\n", process.stderr.read()
    process.send_signal(signal.SIGINT)
    assert process.wait(_LIMIT_S) == 0, process.stderr.read()


def test_the_example_has_at_most_15_lines_of_code() -> None:
    assert len([line for line in _example().splitlines() if line.strip()]) <= 15


def test_the_example_runs_in_memory(tmp_path: Path) -> None:
    code, n_nic = re.subn(r'nic="tap:\w+"', f'nic="pair:qh{os.getpid()}"', _example())
    code, n_host = re.subn(r",\s*host_addresses=\([^)]*\)", "", code)
    assert (n_nic, n_host) == (1, 1)
    with _running(code, tmp_path) as process:
        _expect_start_and_orderly_end(process)


def _curl(namespace: str) -> str:
    """Ask the example until it answers; it has the device a moment after it has started."""
    command = ["ip", "netns", "exec", namespace, "curl", "-sS", "-m", "5"]
    end = time.monotonic() + _LIMIT_S
    while True:
        done = subprocess.run(
            [*command, "http://10.77.0.2:8080/"], capture_output=True, text=True, check=False
        )
        if done.returncode == 0 or time.monotonic() > end:
            assert done.returncode == 0, done.stderr
            return done.stdout


@pytest.mark.netns
def test_the_example_answers_curl_over_a_tap(tmp_path: Path) -> None:
    namespace = f"qh-readme-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    try:
        with _running(_example(), tmp_path, ("ip", "netns", "exec", namespace)) as process:
            assert process.stdout
            assert process.stderr
            assert process.stdout.readline() == "started\n", process.stderr.read()
            assert _curl(namespace) == "hello\n"
    finally:
        subprocess.run(["ip", "netns", "del", namespace], check=True)

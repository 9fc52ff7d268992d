# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
import socket
import time
from typing import TYPE_CHECKING

import pytest

from qstack.lab import Impairment
from qstack.site import HELLO, blob, blob_sha256
from tests.netns.rig import Rig, open_lab, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = 100 << 20
LOSS_AND_REORDERING = Impairment(loss=1, reorder=1, reorder_us=300, delay_us=50)


@pytest.fixture(scope="module")
def upload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("upload") / "blob"
    with path.open("wb") as file:
        for chunk in blob(SIZE):
            file.write(chunk)
    return path


def check_download(rig: Rig, version: int, tmp_path: Path, timeout_s: int = 60) -> None:
    target = tmp_path / "download"
    rig.curl("-o", str(target), rig.url(version, f"/bytes/{SIZE}"), timeout_s=timeout_s)
    with target.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == blob_sha256(SIZE)


def check_upload(rig: Rig, version: int, upload: Path, timeout_s: int = 60) -> None:
    done = rig.curl("-T", str(upload), rig.url(version, "/upload"), timeout_s=timeout_s)
    assert json.loads(done.stdout) == {"bytes": SIZE, "sha256": blob_sha256(SIZE)}


@pytest.mark.slow
@pytest.mark.parametrize("mtu", [1500, 9000])
@pytest.mark.parametrize("kind", ["tap", "xsk"])
def test_100_mib_both_ways(kind: str, mtu: int, upload: Path, tmp_path: Path) -> None:
    with open_lab(kind, mtu) as lab, serving(lab) as rig:
        assert rig.info["mtu"] == mtu
        for version in (4, 6):
            check_download(rig, version, tmp_path)
            check_upload(rig, version, upload)


@pytest.mark.slow
@pytest.mark.parametrize(("down", "up"), [(4, 6), (6, 4)])
@pytest.mark.parametrize("mtu", [1500, 9000])
@pytest.mark.parametrize("kind", ["tap", "xsk"])
def test_100_mib_with_loss_and_reordering(
    kind: str, mtu: int, down: int, up: int, upload: Path, tmp_path: Path
) -> None:
    with open_lab(kind, mtu, LOSS_AND_REORDERING) as lab, serving(lab) as rig:
        check_download(rig, down, tmp_path, timeout_s=140)
        check_upload(rig, up, upload, timeout_s=140)
        assert lab.wire is not None
        counters = lab.wire.stop()
    for direction in ("a_to_b", "b_to_a"):  # the wire was as bad as was asked for
        assert counters[direction]["lost"] > 50
        assert counters[direction]["reordered"] > 50


@pytest.fixture(scope="module", params=["tap", "xsk"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with open_lab(request.param) as lab, serving(lab) as rig:
        yield rig


@pytest.mark.parametrize("version", [4, 6])
def test_hello_keeps_the_connection(rig: Rig, version: int) -> None:
    url = rig.url(version, "/")
    done = rig.curl("-w", "%{num_connects}\n", url, url, url)
    assert done.stdout == (HELLO + b"1\n") + (HELLO + b"0\n") * 2


def test_every_class_is_served_under_its_own(rig: Rig) -> None:
    for port, priority in ((8080, 0), (8443, 7)):
        where = json.loads(rig.curl(rig.url(4, "/where", port)).stdout)
        assert where["priority"] == priority
        assert where["peer"][0] == str(rig.lab.client4.ip)


def test_garbage_is_answered_and_the_server_goes_on(rig: Rig) -> None:
    script = (
        f"exec 3<>/dev/tcp/{rig.lab.server4.ip}/8080; printf 'garbage\\r\\n\\r\\n' >&3; cat <&3"
    )
    done = rig.lab.client.run(["bash", "-c", script], capture_output=True, timeout=10, check=True)
    assert done.stdout.startswith(b"HTTP/1.1 400 ")
    assert rig.curl(rig.url(4, "/")).stdout == HELLO


def test_an_upload_that_is_refused_still_gets_its_answer(rig: Rig) -> None:
    """Closing with bytes unread would reset, and the kernel throws away what it had received."""
    with (
        rig.lab.client.entered(),
        socket.create_connection((str(rig.lab.server4.ip), 8080), timeout=10) as client,
    ):
        client.sendall(b"PUT /elsewhere HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
        for _ in range(5):
            time.sleep(0.1)  # the answer and the FIN are there, and more is sent
            client.sendall(bytes(50_000))
        answer = b""
        while data := client.recv(65536):
            answer += data
    assert answer.startswith(b"HTTP/1.1 413 ")

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path

import pytest

from qstack.http import StaticFiles
from tests.unit.fake_transport import Client


@pytest.fixture
def site(tmp_path: Path) -> Path:
    root = tmp_path / "site"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_bytes(b"hello")
    (root / "sub/index.html").write_bytes(b"<p>")
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(root / "fifo")
    return root


def get(site: Path, target: str, method: str = "GET") -> bytes:
    client = Client(StaticFiles(site))
    return client.send(f"{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


def test_a_file_comes_with_its_length_and_type(site: Path) -> None:
    out = get(site, "/a.txt?x=1")
    assert out.startswith(b"HTTP/1.1 200 ")
    assert b"Content-Type: text/plain\r\n" in out
    assert out.endswith(b"Content-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello")


def test_a_directory_is_its_index(site: Path) -> None:
    assert get(site, "/sub/").endswith(b"<p>")


def test_head_leaves_no_descriptor_open(site: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        assert b"Content-Length: 5\r\n" in get(site, "/a.txt", "HEAD")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "target",
    [
        "/none",
        "/",
        "/../secret",
        "/%2e%2e/secret",
        "/sub/../../secret",
        "/link",
        "/fifo",
        "/%00",
        "//etc/passwd",
    ],
)
def test_what_is_not_a_file_below_the_root_is_404(site: Path, target: str) -> None:
    out = get(site, target)
    assert out.startswith(b"HTTP/1.1 404 ")
    assert b"secret" not in out


def test_other_methods_are_refused(site: Path) -> None:
    assert get(site, "/a.txt", "DELETE").startswith(b"HTTP/1.1 405 ")

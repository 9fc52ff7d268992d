# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import pytest

from tools.check_wheel import expected, problems

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "qstack/__init__.py",
        "qstack/py.typed",
        "qstack/_native/qs.cdef.h",
        "qstack/meson.build",
        "nicprog/__init__.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def _wheel(folder: Path, names: set[str]) -> Path:
    wheel = folder / "qstack_net-0.1.0-cp311-abi3-linux_x86_64.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in sorted(names | {"qstack_net-0.1.0.dist-info/METADATA"}):
            archive.writestr(name, "")
    return wheel


def test_only_what_users_import_is_expected(tree: Path) -> None:
    assert expected(tree) == {
        "qstack/__init__.py",
        "qstack/py.typed",
        "nicprog/__init__.py",
        "qstack/_native/_qs.abi3.so",
        "nicprog/_ethtool/_uapi.abi3.so",
    }


def test_a_wheel_that_equals_the_tree_passes(tree: Path, tmp_path: Path) -> None:
    assert problems(_wheel(tmp_path, expected(tree)), tree) == []


def test_a_file_that_is_missing_is_found(tree: Path, tmp_path: Path) -> None:
    wheel = _wheel(tmp_path, expected(tree) - {"qstack/py.typed"})
    assert problems(wheel, tree) == [f"{wheel.name}: lacks qstack/py.typed"]


def test_a_file_too_many_is_found(tree: Path, tmp_path: Path) -> None:
    wheel = _wheel(tmp_path, expected(tree) | {"qstack/_native/qs.cdef.h"})
    assert problems(wheel, tree) == [
        f"{wheel.name}: holds qstack/_native/qs.cdef.h, which is not in the tree"
    ]

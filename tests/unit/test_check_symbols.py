# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tools.check_symbols import declared, problems
from tools.tree import ROOT

if TYPE_CHECKING:
    from pathlib import Path

_HEADER = """
/* QS_API int qs_only_in_a_comment(void); */
#define QS_API __attribute__((visibility("default")))
QS_API int qs_one(int a,
                  int b);
QS_API __attribute__((warn_unused_result)) const char *qs_two(void);
"""
_SOURCE = '#include "qs.h"\nint qs_one(int a, int b) { return a + b; }\n'
_TWO = 'const char *qs_two(void) { return "2"; }\n'


def _build(folder: Path, source: str) -> tuple[Path, Path, Path]:
    (folder / "qs.h").write_text(_HEADER)
    (folder / "qs.c").write_text(source)
    library, core, obj = folder / "lib.so", folder / "core.a", folder / "qs.o"
    hidden = ["gcc", "-fPIC", "-fvisibility=hidden", str(folder / "qs.c")]
    subprocess.run([*hidden, "-shared", "-o", str(library)], check=True)
    subprocess.run([*hidden, "-c", "-o", str(obj)], check=True)
    subprocess.run(["ar", "rc", str(core), str(obj)], check=True)
    return folder, library, core


def test_declarations_are_read_from_the_public_headers() -> None:
    names = declared(ROOT / "native/include/qstack")
    assert {"qs_strerror", "qs_engine_new", "qs_conn_write", "qs_engine_tx"} <= names


def test_equal_names_pass(tmp_path: Path) -> None:
    assert problems(*_build(tmp_path, _SOURCE + _TWO)) == []


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (_SOURCE, "lib.so: qs_two is declared QS_API but not exported"),
        (
            _SOURCE + _TWO + "QS_API int qs_more(void) { return 3; }\n",
            "lib.so: qs_more is exported but not declared QS_API",
        ),
        (
            _SOURCE + _TWO + "#include <time.h>\nlong now(void) { return time(0); }\n",
            "core.a: the core calls time, which is outside of it",
        ),
    ],
)
def test_a_difference_is_found(tmp_path: Path, source: str, problem: str) -> None:
    assert problems(*_build(tmp_path, source)) == [problem]

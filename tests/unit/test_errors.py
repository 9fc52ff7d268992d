# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path

import pytest

from qstack import errors
from qstack._native import lib

HEADER = Path(__file__).parents[2] / "native/include/qstack/qs_base.h"


def test_every_code_of_the_header_has_a_class_of_its_own() -> None:
    codes = dict(re.findall(r"X\(([A-Z]+), (-\d+),", HEADER.read_text()))
    assert len(codes) >= 18
    classes = {type(errors.from_code(int(value), "x")) for value in codes.values()}
    assert errors.QStackError not in classes
    assert len(classes) == len(codes)
    for name, value in codes.items():
        assert getattr(lib, f"QS_ERR_{name}") == int(value)


@pytest.mark.parametrize(
    ("code", "builtin"),
    [
        (lib.QS_ERR_RESET, ConnectionResetError),
        (lib.QS_ERR_TIMEDOUT, TimeoutError),
        (lib.QS_ERR_REFUSED, ConnectionRefusedError),
        (lib.QS_ERR_PERM, PermissionError),
        (lib.QS_ERR_ARG, ValueError),
        (lib.QS_ERR_EOF, EOFError),
        (lib.QS_ERR_CLOSED, BrokenPipeError),
    ],
)
def test_an_error_is_also_the_builtin_that_it_resembles(
    code: int, builtin: type[Exception]
) -> None:
    with pytest.raises(builtin) as caught:
        errors.check(code, "try it")
    assert isinstance(caught.value, errors.QStackError)
    assert caught.value.code == code
    assert str(caught.value).startswith("try it: ")


def test_the_words_of_the_library_win() -> None:
    error = errors.from_code(lib.QS_ERR_NODEV, "open", "eth9: no such device")
    assert str(error) == "eth9: no such device"


def test_a_positive_result_passes() -> None:
    assert errors.check(7, "x") == 7


def test_an_unknown_code_is_still_an_error() -> None:
    with pytest.raises(errors.QStackError):
        errors.check(-999, "x")

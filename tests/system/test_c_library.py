# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.check_symbols import problems
from tools.tree import ROOT

_PROGRAM = """
#include <qstack/qs_stack.h>
#include <stdio.h>
#include <stdlib.h>

static void *take(void *ctx, size_t bytes) { (void)ctx; return calloc(1, bytes); }
static void give(void *ctx, void *block, size_t bytes) { (void)ctx; (void)bytes; free(block); }

int main(void)
{
    const struct qs_mem mem = {take, give, NULL};
    qs_engine_opts opts;
    qs_engine *engine;

    qs_engine_opts_init(&opts);
    opts.conns_max = opts.chunks_max = 16;
    qs_err err = qs_engine_new(&engine, &opts, &mem);
    printf("%s, %s\\n", qs_strerror(err), qs_strerror(QS_ERR_ADDRINUSE));
    qs_engine_free(engine);
    return err;
}
"""


def _run(*command: str | Path, **env: str) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, "PATH": path, **env}
    )
    return done.stdout


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("build")


@pytest.fixture(scope="module")
def prefix(build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the plain C library is installed, built without Python."""
    prefix = tmp_path_factory.mktemp("prefix")
    options = ["-Dpython=disabled", "-Dtests=disabled", "--libdir=lib", f"--prefix={prefix}"]
    _run("meson", "setup", *options, str(build), str(ROOT))
    _run("meson", "install", "-C", str(build), "--quiet")
    return prefix


def test_a_c_program_is_built_with_pkg_config_and_runs(prefix: Path, tmp_path: Path) -> None:
    pkg_config_path = str(prefix / "lib/pkgconfig")
    flags = _run("pkg-config", "--cflags", "--libs", "qstack", PKG_CONFIG_PATH=pkg_config_path)
    source, program = tmp_path / "program.c", tmp_path / "program"
    source.write_text(_PROGRAM)
    _run("gcc", "-Wall", "-Wextra", "-Werror", source, "-o", program, *flags.split())

    assert _run(program, LD_LIBRARY_PATH=str(prefix / "lib")) == "success, the port is taken\n"
    assert "libqstack.so.0" in _run("objdump", "-p", program)


_EXAMPLE = ROOT / "native/examples/two_engines.c"
# Frames between the two, each with the time at which it left: ARP and its answer, handshake and
# request, reply, both FINs, last ACK; then TIME-WAIT.
_TIME_LINE = """\
  1000 ms  client sends 42 bytes
  1010 ms  server sends 42 bytes
  1020 ms  client sends 74 bytes, SYN
  1030 ms  server sends 74 bytes, SYN
  1040 ms  client sends 66 bytes
  1040 ms  client sends 70 bytes
  1050 ms  server reads ping
  1050 ms  server sends 70 bytes
  1060 ms  client reads pong
  1060 ms  client sends 66 bytes, FIN
  1070 ms  server sends 66 bytes
  1070 ms  server sends 66 bytes, FIN
  1080 ms  client sends 66 bytes
  1090 ms  server has closed
 61080 ms  client has closed
"""


def test_the_example_is_short_and_needs_the_public_headers_only() -> None:
    lines = _EXAMPLE.read_text().splitlines()
    includes = [line.split()[1] for line in lines if line.startswith("#include")]
    assert len(lines) < 100
    assert [name for name in includes if "qs" in name] == ["<qstack/qs_conn.h>"]
    assert not [name for name in includes if name.startswith('"')]


def test_the_example_drives_two_engines_in_virtual_time(prefix: Path, tmp_path: Path) -> None:
    pkg_config_path = str(prefix / "lib/pkgconfig")
    flags = _run("pkg-config", "--cflags", "--libs", "qstack", PKG_CONFIG_PATH=pkg_config_path)
    program = tmp_path / "two_engines"
    warnings = ("-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror")
    _run("cc", "-std=c11", *warnings, _EXAMPLE, "-o", program, *flags.split())

    assert _run(program, LD_LIBRARY_PATH=str(prefix / "lib")) == _TIME_LINE


def test_the_headers_are_those_of_the_tree(prefix: Path) -> None:
    installed = {p.name: p.read_bytes() for p in (prefix / "include/qstack").iterdir()}
    ours = {p.name: p.read_bytes() for p in (ROOT / "native/include/qstack").iterdir()}
    assert installed == ours


@pytest.mark.usefixtures("prefix")
def test_exports_are_what_the_headers_declare(build: Path) -> None:
    native = build / "native"
    archive = native / "core/libqstack_core.a"
    assert problems(ROOT / "native/include/qstack", native / "libqstack.so", archive) == []


def test_exports_carry_the_version_node_of_the_map(prefix: Path) -> None:
    names = _run("nm", "-D", "--defined-only", prefix / "lib/libqstack.so.0").split()
    assert "qs_strerror@@QSTACK_0" in names


def test_nothing_but_the_library_is_installed(prefix: Path) -> None:
    files = {p.relative_to(prefix).as_posix() for p in prefix.rglob("*") if not p.is_dir()}
    outside = {name for name in files if not name.startswith("include/qstack/")}
    assert outside == {
        "lib/libqstack.so",
        "lib/libqstack.so.0",
        "lib/libqstack.so.0.1.0",
        "lib/pkgconfig/qstack.pc",
    }

# SPDX-License-Identifier: Apache-2.0
"""The verbs of tools/dev that need Python. Standard library only."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
BIN = ROOT / ".venv" / "bin"
CLANG = "clang-14"

# Flavour of the C build -> (compiler, meson options). Asserts hold in gcc and san, not in clang.
FLAVOURS = {
    "gcc": ("gcc", ("--buildtype=debugoptimized", "-Dwerror=true")),
    "clang": (CLANG, ("--buildtype=release", "-Dwerror=true")),
    "san": (
        "gcc",
        (
            "--buildtype=debugoptimized",
            "-Dwerror=true",
            "-Db_sanitize=address,undefined",
            "-Db_lundef=false",
            "-Dc_args=-fno-sanitize-recover=all",
        ),
    ),
    # The software NIC's readers are ordered by fences, which ThreadSanitizer does not know.
    "tsan": (
        "gcc",
        (
            "--buildtype=debugoptimized",
            "-Dwerror=true",
            "-Db_sanitize=thread",
            "-Db_lundef=false",
            "-Dc_args=-Wno-tsan",
        ),
    ),
    "fuzz": (CLANG, ("--buildtype=debugoptimized", "-Dfuzz=enabled", "-Db_lundef=false")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Commands that are run in order until one fails.

    Attributes:
        name: What the summary calls it.
        commands: Argument vectors, run in the project's root.
        good: Exit statuses that are no failure.
    """

    name: str
    commands: list[list[str]]
    good: frozenset[int] = field(default=frozenset({0}))


def _tool(name: str) -> str:
    return str(BIN / name)


def _environment() -> dict[str, str]:
    path = f"{BIN}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    # meson test makes malloc fill every block; with engines made by the thousand that takes
    # minutes, and the run under ASan sees uses of freed memory anyway.
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", "MALLOC_PERTURB_": "0"}


def _run(command: list[str]) -> int:
    shown = " ".join(command)
    print(
        "+", shown if len(shown) < 300 else f"{shown[:200]} ... ({len(command)} words)", flush=True
    )
    return subprocess.run(command, cwd=ROOT, env=_environment(), check=False).returncode


def _run_stage(stage: Stage) -> bool:
    return all(_run(command) in stage.good for command in stage.commands)


def run_stages(stages: list[Stage]) -> int:
    """Run every stage, also after one has failed, and print a line for each at the end.

    Returns:
        Exit status: 0 when all passed, else 1.
    """
    lines, failed = [], 0
    begin = time.monotonic()
    for number, stage in enumerate(stages, 1):
        print(f"\n== {stage.name} ({number} of {len(stages)})", flush=True)
        start = time.monotonic()
        passed = _run_stage(stage)
        failed += not passed
        verdict = "ok    " if passed else "FAILED"
        lines.append(f"{verdict} {time.monotonic() - start:6.1f} s  {stage.name}")
    print("", *lines, sep="\n")
    verdict = f"{failed} of {len(stages)} FAILED" if failed else "all passed"
    print(f"{verdict}, {time.monotonic() - begin:.0f} s")
    return 1 if failed else 0


def build_commands(flavour: str) -> list[list[str]]:
    """Return the commands that configure, if need be, and compile one flavour of the C build."""
    compiler, options = FLAVOURS[flavour]
    folder = BUILD / flavour
    setup = [_tool("meson"), "setup", "-Dpython=disabled", *options, str(folder)]
    # `env` because meson takes the compiler from the environment, at the first set-up only.
    configure = [] if (folder / "build.ninja").exists() else [["env", f"CC={compiler}", *setup]]
    return [*configure, [_tool("ninja"), "-C", str(folder)]]


def _c_tests(flavour: str, *options: str) -> list[list[str]]:
    test = [_tool("meson"), "test", "-C", str(BUILD / flavour), "--no-rebuild", "--print-errorlogs"]
    return [*build_commands(flavour), [*test, *options]]


def _pytest(*args: str) -> Stage:
    paths = [arg for arg in args if arg.startswith("tests/")]
    # pytest exits with 5 when nothing was selected, which -k may cause.
    good = frozenset({0, 5}) if "-k" in args else frozenset({0})
    name = "Python tests: " + " ".join(path.removeprefix("tests/") for path in paths)
    return Stage(name=name, commands=[[_tool("python"), "-m", "pytest", *args]], good=good)


_ALONE = ("netns", "hil")


def _of_hil(args: argparse.Namespace) -> list[str]:
    """Options that choose what tests/hil runs on, as pytest has them."""
    options = {"--hil-lane": args.hil_lane, "--hil-device": args.hil_device}
    options["--hil-peer"] = args.hil_peer
    return [word for name, value in options.items() if value for word in (name, value)]


def stages_of_test(args: argparse.Namespace) -> list[Stage]:
    """Return the stages of ``tools/dev test`` with these options."""
    selection = ["-k", args.k] if args.k else []
    selection += ["-m", "not slow"] if args.quick else []
    if args.matrix:
        cells = ["--cells", "full", "--jobs", "8", "--recheck", "9"]
        journal = ["--resume", str(BUILD / "matrix.jsonl")]
        command = [_tool("qstack"), "bench", "tcp", *cells, *journal]
        name = "the full matrix against Linux's TCP"
        return [Stage(name=name, commands=[command])]
    san = Stage(name="ASan and UBSan: C tests, corpus", commands=_c_tests("san", "-t", "4"))
    tsan = Stage(
        name="ThreadSanitizer: C tests of the runtime",
        commands=_c_tests("tsan", "-t", "10", "--suite", "runtime", "--num-processes", "1"),
    )
    netns = _pytest("tests/netns", *selection)
    hil = _pytest("tests/hil", "-rs", *_of_hil(args), *selection)
    sweep = Stage(
        name="sweep: three edits",
        commands=[*build_commands("gcc"), [str(BUILD / "gcc/native/tests/test_sweep"), "3"]],
    )
    guests = args.hil or bool(_of_hil(args))
    if args.san or args.tsan or args.netns or guests or args.sweep:
        only = [san] * args.san + [tsan] * args.tsan + [netns] * args.netns + [hil] * guests
        return only + [sweep] * args.sweep
    folders = [path for path in sorted((ROOT / "tests").iterdir()) if any(path.glob("test_*.py"))]
    names = [f"tests/{path.name}" for path in folders if path.name not in _ALONE]
    python = [_pytest(*names, *selection)]
    python += [netns, hil]
    if args.k:
        return python
    return [
        Stage(name="gcc: C tests, corpus", commands=_c_tests("gcc", "-t", "2")),
        san,
        Stage(name="clang: compiles without a warning", commands=build_commands("clang")),
        *python,
    ]


def _c_files() -> list[str]:
    return sorted(str(p.relative_to(ROOT)) for p in (ROOT / "native").rglob("*.[ch]"))


def stages_of_fixing() -> list[Stage]:
    """Return the stages of ``tools/dev lint --fix``: what tools can put right by themselves."""
    return [
        Stage(name="ruff --fix", commands=[[_tool("ruff"), "check", "--fix"]]),
        Stage(name="ruff format", commands=[[_tool("ruff"), "format"]]),
        Stage(name="clang-format", commands=[[_tool("clang-format"), "-i", *_c_files()]]),
    ]


def stages_of_lint() -> list[Stage]:
    """Return the stages of ``tools/dev lint``."""
    python = _tool("python")
    checks = ("layers", "sizes", "cites", "map")
    return [
        Stage(name="ruff", commands=[[_tool("ruff"), "check"]]),
        Stage(name="ruff format", commands=[[_tool("ruff"), "format", "--check"]]),
        Stage(name="mypy --strict", commands=[[_tool("mypy")]]),
        Stage(
            name="clang-format",
            commands=[[_tool("clang-format"), "--dry-run", "-Werror", *_c_files()]],
        ),
        Stage(name="codespell", commands=[[_tool("codespell")]]),
        Stage(
            name="conformance.md is current",
            commands=[[python, "-m", "tools.conformance", "--check"]],
        ),
        *(Stage(name=f"check_{c}", commands=[[python, "-m", f"tools.check_{c}"]]) for c in checks),
        Stage(name="gcc without a warning", commands=build_commands("gcc")),
        Stage(name="clang without a warning", commands=build_commands("clang")),
        Stage(
            name="check_symbols",
            commands=[[python, "-m", "tools.check_symbols", str(BUILD / "gcc")]],
        ),
    ]


def fuzz(args: argparse.Namespace) -> int:
    """Build the fuzz targets and run them, each with its corpus."""
    if not _run_stage(Stage(name="build", commands=build_commands("fuzz"))):
        return 1
    folder = BUILD / "fuzz" / "native" / "fuzz"
    targets = {path.name: path for path in sorted(folder.glob("fuzz_*")) if path.is_file()}
    chosen = args.target or list(targets)
    for name in chosen:
        if name not in targets:
            print(f"tools/dev: no fuzz target '{name}', there are: {' '.join(targets) or 'none'}")
            return 2
    return run_stages([_fuzz_stage(targets[name], args.seconds) for name in chosen])


def _fuzz_stage(target: Path, seconds: int) -> Stage:
    found = BUILD / "fuzz-found" / target.name
    crashes = BUILD / "fuzz-crashes" / target.name
    found.mkdir(parents=True, exist_ok=True)
    crashes.mkdir(parents=True, exist_ok=True)
    corpus = ROOT / "native" / "fuzz" / "corpus" / target.name.removeprefix("fuzz_")
    command = [
        str(target),
        f"-max_total_time={seconds}",
        f"-artifact_prefix={crashes}/",
        "-print_final_stats=1",
        "-timeout=10",
        str(found),
        *([str(corpus)] if corpus.is_dir() else []),
    ]
    return Stage(name=f"{target.name}, {seconds} s; crashes go to {crashes}", commands=[command])


def docs() -> int:
    """Build the documentation; a warning is an error."""
    out = BUILD / "docs"
    command = [_tool("sphinx-build"), "-W", "--keep-going", "-q", "-b", "html", "docs", str(out)]
    if _run(command):
        return 1
    print(f"the documentation is at {out / 'index.html'}")
    return 0


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"at least 1 second, got {text}")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tools/dev")
    verbs = parser.add_subparsers(dest="verb", required=True)
    test = verbs.add_parser("test", help="run the tests")
    test.add_argument("--san", action="store_true", help="only the C tests under ASan and UBSan")
    test.add_argument(
        "--tsan",
        action="store_true",
        help="only the C tests of the runtime under ThreadSanitizer",
    )
    test.add_argument("--netns", action="store_true", help="only tests/netns")
    test.add_argument("--hil", action="store_true", help="only tests/hil: guests with real drivers")
    test.add_argument(
        "--hil-lane", metavar="NAME", help="only tests/hil, in this guest: docs/testing.md"
    )
    test.add_argument(
        "--hil-device", metavar="IFACE", help="only tests/hil, on a NIC of this machine"
    )
    test.add_argument(
        "--hil-peer", metavar="IFACE", help="the interface at its other end, which sends frames"
    )
    test.add_argument(
        "--matrix",
        action="store_true",
        help="only the full matrix against Linux's TCP: hours, goes on where it was",
    )
    test.add_argument("--sweep", action="store_true", help="only the sweep, up to three edits")
    test.add_argument("--quick", action="store_true", help="without tests marked slow")
    test.add_argument("-k", metavar="EXPRESSION", help="only Python tests that match, as in pytest")
    lint = verbs.add_parser("lint", help="run formatters, type checker, compilers and checks")
    lint.add_argument("--fix", action="store_true", help="only put right what tools can")
    fuzzing = verbs.add_parser("fuzz", help="run fuzz targets")
    fuzzing.add_argument("--seconds", type=_positive, default=60, help="for each; default 60")
    fuzzing.add_argument("target", nargs="*", metavar="TARGET", help="default: all")
    verbs.add_parser(
        "soak",
        help="honest clients and floods over a bad wire, then all as at the start; needs root",
        usage="tools/dev soak [--minutes 30] [--seed 1] [--frames 3000] [--connects 200] [--json]",
        description="Frames and connects are rates per second. Exit status 0: passed, 1: not, "
        "2: bad options. The document of --json is described in docs/testing.md.",
    )
    verbs.add_parser("bench", help="run 'qstack bench engine' with the options given")
    verbs.add_parser("docs", help="build the documentation into build/docs")
    return parser


def main(argv: list[str]) -> int:
    """Run one verb; returns the exit status."""
    if not {"-h", "--help"} & set(argv):
        if argv[:1] == ["bench"]:
            return _run([_tool("qstack"), "bench", "engine", *argv[1:]])
        if argv[:1] == ["soak"]:
            # Not _run(): standard output is for the document alone.
            command = [_tool("python"), "-m", "tools.soak", *argv[1:]]
            return subprocess.run(command, cwd=ROOT, env=_environment(), check=False).returncode
    args = _parser().parse_args(argv)
    if args.verb == "test":
        return run_stages(stages_of_test(args))
    if args.verb == "lint":
        return run_stages(stages_of_fixing() if args.fix else stages_of_lint())
    if args.verb == "fuzz":
        return fuzz(args)
    return docs()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)

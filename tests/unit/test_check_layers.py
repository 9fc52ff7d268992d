# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.check_layers import problems
from tools.tree import ROOT

if TYPE_CHECKING:
    from pathlib import Path

# A small tree in which every arrow points the allowed way.
_TREE = {
    "native/include/qstack/qs_base.h": "#include <stdint.h>\n",
    "native/include/qstack/qs_engine.h": '#include "qs_base.h"\n',
    "native/core/engine.h": '#include <limits.h>\n#include "qstack/qs_engine.h"\n',
    "native/core/engine.c": '#include <string.h>\n#include "engine.h"\n',
    "native/io/nic_layout.h": "#include <stdint.h>\n",
    "native/io/driver.h": '#include <sys/socket.h>\n#include "qstack/qs_base.h"\n',
    "native/io/driver.c": '#include "driver.h"\n#include "core/engine.h"\n',
    "native/io/nic.c": '#include "nic_layout.h"\n',
    "native/bpf/steer.bpf.c": '#include <linux/bpf.h>\n#include "../io/nic_layout.h"\n',
    "native/runtime/worker.h": "#include <pthread.h>\n",
    "native/runtime/worker.c": '#include "worker.h"\n#include "io/driver.h"\n',
    "native/tests/test.c": '#include "core/engine.h"\n#include "runtime/worker.h"\n',
    "qstack/__init__.py": "import qstack.server\n",
    "qstack/_native/__init__.py": "from qstack._native._qs import ffi, lib\n",
    "qstack/server.py": "from qstack._native import lib\nimport nicprog\n",
    "qstack/policies/rss.py": "import numpy\nfrom . import naive\n",
    "nicprog/__init__.py": "from .model import Rule\n",
    "nicprog/_ethtool/__init__.py": "from ._uapi import ffi\n",
    "nicprog/model.py": "import tomllib\n",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in _TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_project_keeps_its_layers() -> None:
    assert problems(ROOT) == []


def test_the_small_tree_has_no_breach(tree: Path) -> None:
    assert problems(tree) == []


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("native/core/engine.c", "#include <time.h>"),
        ("native/core/engine.c", "  #  include <stdlib.h>"),
        ("native/core/engine.c", "#include <stdio.h> // for a moment"),
        ("native/core/engine.h", '#include "io/driver.h"'),
        ("native/core/engine.c", '#include "../runtime/worker.h"'),
        ("native/core/engine.c", '#include "not_there.h"'),
        ("native/core/engine.c", "#include <io/driver.h>"),
        ("native/include/qstack/qs_base.h", "#include <sys/types.h>"),
        ("native/include/qstack/qs_base.h", '#include "core/engine.h"'),
        ("native/io/driver.c", '#include "runtime/worker.h"'),
        ("native/io/driver.h", '#include "tests/qs_test.h"'),
        ("native/bpf/steer.bpf.c", '#include "io/driver.h"'),
        ("native/bpf/steer.bpf.c", "#include <stdlib.h>"),
        ("native/bpf/steer.bpf.c", '#include "core/engine.h"'),
        ("nicprog/model.py", "import qstack.units"),
        ("nicprog/model.py", "from qstack import units"),
        ("nicprog/model.py", "def late():\n    import qstack"),
        ("nicprog/model.py", "import importlib\nimportlib.import_module('qstack')"),
        ("nicprog/model.py", "name = 'q' + 'stack'\n__import__(name)"),
        ("qstack/policies/rss.py", "import qstack._native"),
        ("qstack/policies/rss.py", "from .. import _native"),
        ("qstack/policies/rss.py", "from nicprog.model import Rule"),
        ("qstack/server.py", "from qstack._native._qs import lib"),
        ("qstack/server.py", "from ._native import _qs"),
        ("tests/unit/test_x.py", "from nicprog._ethtool._uapi import lib"),
    ],
)
def test_a_planted_breach_is_found(tree: Path, where: str, line: str) -> None:
    path = tree / where
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text() if path.exists() else ""
    path.write_text(f"{before}{line}\n")

    found = problems(tree)

    assert len(found) == 1
    assert found[0].startswith(f"{where}:{(before + line).count(chr(10)) + 1}: ")

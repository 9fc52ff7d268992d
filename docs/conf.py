# SPDX-License-Identifier: Apache-2.0
"""Settings of Sphinx."""

import re
import tomllib
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]

project = "QStack"
author = "QStack contributors"
release = version = _PROJECT["version"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
myst_heading_anchors = 3
html_theme = "alabaster"
html_theme_options = {"description": "TCP in user space", "show_powered_by": "false"}


def _write_counters() -> None:
    """Write the table of counters from their one list, QS_COUNTER_LIST."""
    header = (_ROOT / "native/include/qstack/qs_stats.h").read_text()
    rows = re.findall(r'^ +X\(\w+, (\w+), "(.*?)"\)', header, re.MULTILINE)
    lines = [
        "| counter | counts |",
        "|---|---|",
        *(f"| `{name}` | {text} |" for name, text in rows),
    ]
    out = _ROOT / "build/docs-generated/counters.md"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(lines) + "\n")


_write_counters()

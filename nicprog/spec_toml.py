# SPDX-License-Identifier: Apache-2.0
"""A spec as the text of a spec file; :func:`nicprog.parse` reads it back to an equal one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Final

from nicprog.host.spec import HostSpec
from nicprog.spec import Spec
from nicprog.text import settings_to_toml

_SECTIONS: Final = {"rules": "rule", "contexts": "context"}
"""Lists of tables that are called otherwise in a file."""


def spec_to_toml(spec: Spec) -> str:
    """What ``spec`` says; what is left to the default is left out."""
    head, tables = [], []
    for name, value in _said(spec):
        section = _SECTIONS.get(name, name)
        if name == "settings":
            tables += [settings_to_toml(group, values) + "\n" for group, values in value.items()]
        elif name == "host":
            tables.append(_host(value))
        elif is_dataclass(value):
            tables.append(f"\n[{section}]\n{_lines(value)}")
        elif isinstance(value, tuple) and any(map(is_dataclass, value)):
            tables += [f"\n[[{section}]]\n{_lines(one)}" for one in value]
        else:
            head.append(f"{section} = {_value(value)}\n")
    return "".join(head + tables)


def _host(host: HostSpec) -> str:
    """Its tables come after its values: what follows a table's head is in that table."""
    said = _said(host)
    plain = "".join(f"{name} = {_value(one)}\n" for name, one in said if not _is_table(one))
    tables = [
        f"\n[host.{name}]\n{_lines(one) if is_dataclass(one) else _pairs(one)}"
        for name, one in said
        if _is_table(one)
    ]
    return f"\n[host]\n{plain}" + "".join(tables)


def _is_table(value: Any) -> bool:
    return is_dataclass(value) or isinstance(value, Mapping)


def _pairs(values: Mapping[str, Any]) -> str:
    return "".join(f"{json.dumps(key)} = {_value(value)}\n" for key, value in values.items())


def _lines(part: Any) -> str:
    return "".join(f"{name} = {_value(value)}\n" for name, value in _said(part))


def _said(part: Any) -> list[tuple[str, Any]]:
    """Names and values of the fields that are not at their default."""
    return [
        (item.name, value)
        for item in fields(part)
        if item.compare
        and ((value := getattr(part, item.name)) != item.default or item.default is MISSING)
        and value is not None
    ]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{json.dumps(k)} = {_value(v)}' for k, v in value.items())} }}"
    # TOML's strings are JSON's, but for characters beyond 16 bits and DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

# SPDX-License-Identifier: Apache-2.0
"""Spec files: TOML in, every error with its line and column."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, TypeVar

from nicprog.errors import FieldError, SpecError
from nicprog.host.spec import HostSpec, NapiSpec
from nicprog.model import Channels
from nicprog.settings import GROUPS, QUEUE, Value, checked
from nicprog.spec import ContextSpec, Reserve, RssSpec, RuleSpec, Spec, check
from nicprog.toml_source import Path as ValuePath
from nicprog.toml_source import Source


def load(path: str | Path) -> Spec:
    """Reads a spec file.

    Raises:
        SpecError: The file cannot be read, or is wrong; then the text begins with file, line and
            column.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: is not UTF-8 (byte {error.start}); TOML must be") from None
    return parse(text, str(path))


def parse(text: str, name: str = "spec") -> Spec:
    """Reads a spec from TOML; ``name`` is what messages call it.

    Raises:
        SpecError: The text is wrong; the message begins with name, line and column.
    """
    source = Source(name, text)
    spec = _Reader(source).spec(source.values())
    check(spec)
    return spec


_PLAIN: Final = ("device", "other_rules", "other_contexts")
_INT_LIST: Final = "a list of integers"
_TYPES: Final[dict[str, dict[str, tuple[type | str, ...]]]] = {
    "": {"device": (str,), "other_rules": (str,), "other_contexts": (str,), "channels": (dict,),
         "rss": (dict,), "context": ("tables",), "rule": ("tables",), "reserve": ("tables",),
         "host": (dict,),
         **dict.fromkeys(GROUPS, (dict,))},
    "channels": {"combined": (int,), "rx": (int,), "tx": (int,)},
    "rss": {"equal": (_INT_LIST, str), "weights": (_INT_LIST,), "table": (_INT_LIST, str),
            "key": (str,)},
    "context": {"name": (str,), "equal": (_INT_LIST,), "weights": (_INT_LIST,),
                "table": (_INT_LIST,), "key": (str,), "hash": (dict,)},
    "rule": {"name": (str,), "protocol": (str, int), "family": (str,), "src": (str,), "dst": (str,),
             "src_port": (int, str), "dst_port": (int, str), "dscp": (int,), "tos": (str,),
             "vlan": (int,), "vlan_tci": (str,), "l4_proto": (str,), "queue": (int,),
             "drop": (bool,), "context": (str,), "location": (int,)},
    "reserve": {"queue": (int,), "port": (int, str), "protocol": (str,), "name": (str,)},
    "host": {"cpus": (str,), "avoid_smt": (bool,), "interrupts": (str, dict), "xps": (str, dict),
             "xps_rxqs": (str, dict), "rps": (str, dict), "rfs": (int, dict), "napi": (dict,),
             "irqbalance": (str,)},
    "host.napi": {"threaded": (bool,), "defer_hard_irqs": (int,),
                  "gro_flush_timeout_us": (int, float), "irq_suspend_timeout_us": (int, float)},
}  # fmt: skip
_WORDS: Final = {str: "a string", int: "an integer", bool: "true or false", dict: "a table",
                 float: "a number",
                 "tables": "a list of tables, written [[{key}]]"}  # fmt: skip

_T = TypeVar(
    "_T", Channels, RssSpec, ContextSpec, RuleSpec, Reserve, HostSpec, NapiSpec, Spec
)  # fmt: skip


class _Reader:
    """Turns the values of a file into a Spec; knows where each one stands."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def spec(self, values: dict[str, Any]) -> Spec:
        self._check_keys("", values, ())
        parts: dict[str, Any] = {
            "contexts": tuple(
                self._make(ContextSpec, "context", table, ("context", i))
                for i, table in enumerate(values.get("context", ()))
            ),
            "rules": tuple(
                self._make(RuleSpec, "rule", table, ("rule", i))
                for i, table in enumerate(values.get("rule", ()))
            ),
            "reserve": tuple(
                self._make(Reserve, "reserve", table, ("reserve", i))
                for i, table in enumerate(values.get("reserve", ()))
            ),
            "source": self.source,
        }
        if "channels" in values:
            parts["channels"] = self._make(Channels, "channels", values["channels"], ("channels",))
        if "rss" in values:
            parts["rss"] = self._make(RssSpec, "rss", values["rss"], ("rss",))
        if "host" in values:
            parts["host"] = self._host(values["host"])
        if settings := self._settings(values):
            parts["settings"] = settings
        plain = {key: values[key] for key in _PLAIN if key in values}
        return self._build(Spec, plain | parts, (), "device")

    def _host(self, table: dict[str, Any]) -> HostSpec:
        self._check_keys("host", table, ("host",))
        parts = dict(table)
        if "napi" in table:
            path = ("host", "napi")
            parts["napi"] = self._make(NapiSpec, "host.napi", table["napi"], path)
        return self._build(HostSpec, parts, ("host",), "host")

    def _settings(self, values: Mapping[str, Any]) -> dict[str, dict[str, Value]]:
        """Groups that the file has, each checked; those of single queues are in ``coalesce``."""
        found: dict[str, dict[str, Value]] = {}
        for group in GROUPS:
            table = dict(values.get(group, {}))
            queues = table.pop("queue", {}) if group == "coalesce" else {}
            if table:
                found[group] = self._group(group, table, (group,))
            for queue, of_queue in self._queues(queues):
                path = ("coalesce", "queue", queue)
                found[f"{QUEUE}{int(queue)}"] = self._group("coalesce", of_queue, path)
        return found

    def _queues(self, queues: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        if not isinstance(queues, dict):
            text = "queue must be tables, written [coalesce.queue.0]"
            raise self.source.error(("coalesce", "queue"), text)
        for queue, table in queues.items():
            if not queue.isdecimal() or not isinstance(table, dict):
                text = f"[coalesce.queue.N] needs the number of a queue and a table, got {queue!r}"
                raise self.source.error(("coalesce", "queue", queue), text)
            yield queue, table

    def _group(self, group: str, table: dict[str, Any], path: ValuePath) -> dict[str, Value]:
        try:
            return checked(group, table)
        except FieldError as error:
            raise self.source.error((*path, error.field), str(error)) from None

    def _make(self, cls: type[_T], section: str, table: Any, path: ValuePath) -> _T:
        self._check_keys(section, table, path)
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
        return self._build(cls, values, path, section)

    def _build(self, cls: type[_T], values: Mapping[str, Any], path: ValuePath, what: str) -> _T:
        for item in fields(cls):
            required = item.default is item.default_factory  # both MISSING
            if required and item.name not in values:
                raise self.source.error(
                    path,
                    f"{item.name} is missing; every spec needs it"
                    if not path
                    else f"{what} lacks {item.name}",
                )
        try:
            return cls(**values)
        except FieldError as error:
            raise self.source.error(_below(path, error.field), str(error)) from None
        except ValueError as error:
            raise self.source.error((*path, *list(values)[:1]), str(error)) from None

    def _check_keys(self, section: str, table: Any, path: ValuePath) -> None:
        known = _TYPES[section]
        for key, value in table.items():
            if key not in known:
                where = f" in [{section}]" if section else ""
                raise self.source.error(
                    (*path, key), f"unknown key {key!r}{where}{_hint(key, known)}"
                )
            if not any(_is(value, kind) for kind in known[key]):
                words = " or ".join(str(_WORDS.get(kind, kind)) for kind in known[key])
                raise self.source.error(
                    (*path, key), f"{key} must be {words.format(key=key)}, got {value!r}"
                )


def _below(path: ValuePath, field: str) -> ValuePath:
    return (*path, *field.split("."))


def _is(value: object, kind: type | str) -> bool:
    if isinstance(kind, type):
        return type(value) is kind  # true is not an integer here
    wanted = dict if kind == "tables" else int
    return isinstance(value, list) and all(type(item) is wanted for item in value)


def _hint(key: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"

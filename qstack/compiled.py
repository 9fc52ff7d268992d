# SPDX-License-Identifier: Apache-2.0
"""Python functions that run on workers, compiled by numba, without the GIL.

What such a function does wrong does not stop the worker: one that takes more than 50 us, loops or
raises has answered nothing, which is counted (`Server.function_stats`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .errors import ConfigError


@dataclass(frozen=True, eq=False)
class CompiledClassifier:
    """A function ``(flow, data) -> class``, compiled.

    Attributes:
        python: As it was written; the same answers, slower.
        address: Of the C function ``qs_classify_fn`` (``qstack/qs_message.h``).
        compiled: Keeps it alive.
    """

    python: Callable[[Any, Any], int]
    address: int
    compiled: object


@dataclass(frozen=True, eq=False)
class CompiledFraming:
    """A function ``(data) -> length``, compiled.

    Attributes:
        python: As it was written; the same answers, slower.
        address: Of the C function ``qs_framing_fn``.
        compiled: Keeps it alive.
    """

    python: Callable[[Any], int]
    address: int
    compiled: object


def _numba() -> Any:
    try:
        import numba  # takes a second: only who compiles pays
    except ImportError:
        raise ConfigError(
            "compiled functions need numba: pip install 'qstack-net[compiled]'"
        ) from None
    return numba


def _flow_type(numba: Any) -> Any:
    """Return ``struct qs_flow`` (``qstack/qs_message.h``) as numba sees it."""
    import numpy as np

    fields = [
        ("local", np.uint8, 16),
        ("remote", np.uint8, 16),
        ("local_port", np.uint16),
        ("remote_port", np.uint16),
        ("vlan", np.uint16),
        ("pcp", np.uint8),
        ("dscp", np.uint8),
        ("prio", np.uint8),
    ]
    return numba.from_dtype(np.dtype(fields, align=True))


def classifier(function: Callable[[Any, Any], int]) -> CompiledClassifier:
    """Compile a function that says how urgent a message is; a decorator.

    Example:
        >>> @qstack.classifier
        ... def by_first_byte(flow, data):
        ...     return 7 if len(data) > 0 and data[0] == 1 else flow.prio

    Args:
        function: Gets ``flow``, a record with ``local`` and ``remote`` (16 bytes each, IPv4 as
            ::ffff:a.b.c.d), ``local_port``, ``remote_port``, ``vlan`` and ``pcp`` (0 without a
            tag), ``dscp`` and ``prio`` (the class of the connection), and ``data``, an array of
            uint8 with the message's first bytes, at most 16,384; empty when a connection opens.
            Returns a class, 0 to 7.

    Raises:
        ConfigError: numba is not installed.
        numba.core.errors.NumbaError: The function cannot be compiled.
    """
    numba = _numba()
    types = numba.types
    inner = numba.njit(function)

    def outer(flow, data, n, _ctx):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        try:
            return inner(numba.carray(flow, 1)[0], numba.carray(data, (n,)))
        except Exception:
            return -1

    signature = types.int32(
        types.CPointer(_flow_type(numba)), types.CPointer(types.uint8), types.uintp, types.voidptr
    )
    compiled = numba.cfunc(signature)(outer)
    return CompiledClassifier(function, compiled.address, compiled)


def framing_function(function: Callable[[Any], int]) -> CompiledFraming:
    """Compile a function that says how long a message is; a decorator, for `framing.custom`.

    Example:
        >>> @qstack.framing_function
        ... def one_byte(data):
        ...     return data[0] + 1

    Args:
        function: Gets an array of uint8 that begins where a message does and has at least one byte,
            at most 16,384. Returns bytes of all of the message, which may be more; 0 when more
            bytes are needed to tell; a negative number when no message begins like this. The
            answer depends on nothing else.

    Raises:
        ConfigError: numba is not installed.
        numba.core.errors.NumbaError: The function cannot be compiled.
    """
    numba = _numba()
    types = numba.types
    inner = numba.njit(function)

    def outer(data, n, _ctx):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        try:
            return inner(numba.carray(data, (n,)))
        except Exception:
            return -1

    signature = types.int64(types.CPointer(types.uint8), types.uintp, types.voidptr)
    compiled = numba.cfunc(signature)(outer)
    return CompiledFraming(function, compiled.address, compiled)

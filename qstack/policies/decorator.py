# SPDX-License-Identifier: Apache-2.0
"""``qstack.policy``: a plain Python function that is also a compiled one.

numba is imported when something is compiled, not before: the plain function works without it.
"""

from __future__ import annotations

import types
import zlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from ..errors import NotSupportedError, QStackError

if TYPE_CHECKING:
    from .contract import View

Limits = Literal["given", "none"]
Function = Callable[..., int]
F = TypeVar("F", bound=Callable[..., Any])

FAULT = -1
"""What ``Policy.entry`` returns when the policy raised, say by an index out of bounds."""

_helpers: list[Callable[..., Any]] = []
_registered: set[Callable[..., Any]] = set()


def require_numba() -> Any:
    """Return the module numba.

    Raises:
        NotSupportedError: It is not installed; the text says how to get it.
    """
    try:
        import numba
    except ImportError as e:
        raise NotSupportedError(
            f"policies are compiled by numba, which cannot be imported ({e}); "
            "install it with: pip install 'qstack-net[compiled]'"
        ) from None
    return numba


def helper(function: F) -> F:
    """Mark a function that policies call: plain for the plain one, compiled into the compiled."""
    _helpers.append(function)
    return function


class Policy:
    """A function that decides what moves; see ``qstack.policies.contract``.

    Attributes:
        name: Of the function.
        plain: The function itself. It takes records by attribute: ``View.plain_arguments()``.
        limits: "given": budget and cool-down of the controller; "none": neither, for algorithms
            that were published without. Only the simulator runs those.
        doc: First line of its docstring.
    """

    def __init__(self, function: Function, limits: Limits) -> None:
        self.name = function.__name__
        self.plain = function
        self.limits = limits
        self.doc = (function.__doc__ or "").partition("\n")[0]

    def __call__(self, view: View) -> int:
        """Decide by the compiled function.

        Returns:
            How many records of ``view.moves`` it wrote.

        Raises:
            NotSupportedError: There is no numba.
            QStackError: It cannot be compiled.
            Exception: What it raised.
        """
        return int(self.compiled(*view.arguments()))

    @cached_property
    def compiled(self) -> Callable[..., int]:
        """The compiled function, from numba's cache of files where that is possible.

        Raises:
            NotSupportedError: There is no numba.
            QStackError: It cannot be compiled; the text is numba's.
        """
        numba = require_numba()
        _register(numba)
        options = {"boundscheck": True, "error_model": "numpy", "nogil": True}
        signature = _signature(numba)
        function = _named_by_helpers(self.plain)
        try:
            try:
                done = numba.njit(signature, cache=True, **options)(function)
            except RuntimeError:  # neither beside the file nor in a cache of the user
                done = numba.njit(signature, **options)(function)
        except numba.core.errors.NumbaError as e:
            raise QStackError(f"policy {self.name} cannot be compiled: {e}") from None
        compiled: Callable[..., int] = done
        return compiled

    @cached_property
    def entry(self) -> Any:
        """The policy as a C function, for callers without the GIL; a ``numba.cfunc``.

        ``int64_t entry(const int64_t sizes[5], figures, cores, queues, buckets, flows, double
        *memory, moves)``: sizes are n_cores, n_queues, n_buckets, n_flows and the budget, the
        others point to the records of the contract. It returns how many moves it wrote, or FAULT.
        ``entry.address`` is the pointer, valid as long as this object lives.
        """
        numba = require_numba()
        return numba.cfunc(_c_signature(numba))(_c_entry(numba, self.compiled))


@overload
def policy(function: Function, /) -> Policy: ...
@overload
def policy(*, limits: Limits) -> Callable[[Function], Policy]: ...
def policy(
    function: Function | None = None, /, *, limits: Limits = "given"
) -> Policy | Callable[[Function], Policy]:
    """Make a policy of a function (figures, cores, queues, buckets, flows, memory, moves) -> int.

    Args:
        function: Written in the part of Python that numba compiles. It writes records into
            ``moves`` and returns how many.
        limits: "none" for an algorithm that knows neither budget nor cool-down.
    """
    if function is None:
        return lambda f: Policy(f, limits)
    return Policy(function, limits)


def _register(numba: Any) -> None:
    for function in _helpers:
        if function not in _registered:
            numba.extending.register_jitable(function)
            _registered.add(function)


def _named_by_helpers(function: Function) -> Function:
    """Return the function under a name that changes with the files of the helpers.

    numba's cache looks at the file of the function alone, and would keep old helpers in use.
    """
    assert isinstance(function, types.FunctionType)
    digest = 0
    for path in sorted({h.__code__.co_filename for h in _helpers}):
        digest = zlib.crc32(Path(path).read_bytes(), digest)
    copy = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__qualname__ = f"{function.__qualname__}-{digest:08x}"
    return copy


def _records(numba: Any) -> list[Any]:
    from . import contract

    names = ("FIGURES", "CORE", "QUEUE", "BUCKET", "FLOW")
    return [numba.from_dtype(getattr(contract, name)) for name in names]


def _signature(numba: Any) -> Any:
    from .contract import MOVE

    return numba.int64(
        *(record[::1] for record in _records(numba)),
        numba.float64[::1],
        numba.from_dtype(MOVE)[::1],
    )


def _c_signature(numba: Any) -> Any:
    from .contract import MOVE

    pointer = numba.types.CPointer
    return numba.int64(
        pointer(numba.int64),
        *(pointer(record) for record in _records(numba)),
        pointer(numba.float64),
        pointer(numba.from_dtype(MOVE)),
    )


def _c_entry(numba: Any, compiled: Callable[..., int]) -> Function:
    from .contract import MEMORY_SIZE

    carray = numba.carray

    def entry(
        sizes: Any,
        figures: Any,
        cores: Any,
        queues: Any,
        buckets: Any,
        flows: Any,
        memory: Any,
        moves: Any,
    ) -> int:
        n = carray(sizes, 5)
        try:
            return compiled(
                carray(figures, 1),
                carray(cores, n[0]),
                carray(queues, n[1]),
                carray(buckets, n[2]),
                carray(flows, n[3]),
                carray(memory, MEMORY_SIZE),
                carray(moves, n[4]),
            )
        except Exception:
            return FAULT

    return entry

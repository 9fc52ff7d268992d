# SPDX-License-Identifier: Apache-2.0
"""Policies by name, and a user's own from a file."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

from ..errors import ConfigError
from .arachne import arachne
from .balance import balance
from .decorator import Policy
from .ix import ix
from .oracle import oracle
from .rsspp import rsspp
from .shenango import shenango
from .static import static
from .tas import tas

POLICIES: Final = {
    each.name: each for each in (static, rsspp, tas, ix, arachne, shenango, oracle, balance)
}


def find(name: str) -> Policy:
    """Return a policy: one that is shipped, or ``FILE.py:FUNCTION``.

    The file is run, with the rights of this process.

    Raises:
        ConfigError: There is none of this name; the file cannot be read or fails; the function is
            not there or not marked with ``qstack.policy``.
    """
    if name in POLICIES:
        return POLICIES[name]
    file, colon, function = name.rpartition(":")
    if not colon:
        raise ConfigError(
            f"no policy is called {name!r}; there are {', '.join(POLICIES)}, and FILE.py:FUNCTION"
        )
    found = getattr(_module(Path(file)), function, None)
    if found is None:
        raise ConfigError(f"{file} has no {function!r}")
    if not isinstance(found, Policy):
        raise ConfigError(f"{name} is not a policy: mark the function with @qstack.policy")
    return found


def _module(path: Path) -> ModuleType:
    if path.suffix != ".py" or not path.is_file():
        raise ConfigError(f"{path} is not a Python file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    sys.path.insert(0, str(path.parent))  # what the file imports from beside it
    try:
        spec.loader.exec_module(module)
    except Exception as e:
        raise ConfigError(f"{path} cannot be run: {type(e).__name__}: {e}") from e
    finally:
        sys.path[:] = before
    return module

# SPDX-License-Identifier: Apache-2.0
"""Everything that nicprog raises on purpose. The text says what, on what, why, and what to do."""

from __future__ import annotations

from typing import ClassVar


class NicprogError(Exception):
    """Base of all errors below.

    Attributes:
        exit_status: What the command line exits with: 1 (failed) or 2 (usage or bad spec).
        kind: Stable word for JSON documents.
    """

    exit_status: ClassVar[int] = 1
    kind: ClassVar[str] = "failed"


class FieldError(ValueError):
    """A value of a spec is wrong.

    Attributes:
        field: Name of the value, as the spec file spells it; of one in a table below that,
            ``TABLE.NAME``.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class SpecError(NicprogError):
    """A spec file is wrong; the text begins with ``FILE:LINE:COLUMN:``."""

    exit_status = 2
    kind = "bad_spec"


class UsageError(NicprogError):
    """An argument of a command is wrong."""

    exit_status = 2
    kind = "usage"


class DeviceError(NicprogError):
    """The device is not there, not ours to program, not allowed, or its owner is gone."""

    kind = "device"


class RequestError(NicprogError):
    """The NIC refused one request.

    Attributes:
        errno: Positive errno of the answer.
    """

    kind = "refused_by_nic"

    def __init__(self, message: str, errno: int) -> None:
        super().__init__(message)
        self.errno = errno


class Refused(NicprogError):
    """The planner refuses what the NIC would refuse."""

    kind = "refused"


class StalePlan(NicprogError):
    """The NIC changed between plan and apply."""

    kind = "stale_plan"


class Locked(NicprogError):
    """Another nicprog is changing the same NIC."""

    kind = "locked"


class ApplyError(NicprogError):
    """A step failed.

    Attributes:
        undone: True when the NIC is as it was before the first step.
    """

    kind = "apply_failed"

    def __init__(self, message: str, *, undone: bool) -> None:
        super().__init__(message)
        self.undone = undone


class SnapshotError(NicprogError):
    """There is no usable snapshot."""

    kind = "snapshot"

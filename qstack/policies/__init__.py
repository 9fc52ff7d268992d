# SPDX-License-Identifier: Apache-2.0
"""Policies: which bucket is on which queue, which queue on which core, which cores are on."""

from .decorator import Policy, helper, policy

__all__ = ["Policy", "helper", "policy"]

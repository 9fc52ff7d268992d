# SPDX-License-Identifier: Apache-2.0
"""A soak of the real stack: honest clients and floods for long, then everything as at the start."""

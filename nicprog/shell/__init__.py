# SPDX-License-Identifier: Apache-2.0
"""Command lines of ethtool to a spec, and a spec or a plan to command lines.

For example::

    from nicprog import shell

    found = shell.read(Path("nic.sh").read_text(), "nic.sh")
    print(shell.write_spec(found.spec))

What lines mean is taken from ethtool(8) and held against the program ethtool in tests.
"""

from nicprog.shell.read import Imported, read
from nicprog.shell.write import write_plan, write_spec

__all__ = ["Imported", "read", "write_plan", "write_spec"]

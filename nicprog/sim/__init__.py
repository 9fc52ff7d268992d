# SPDX-License-Identifier: Apache-2.0
"""Models of NICs: the kernel's checks, each driver's limits and quirks, steering, and faults.

For example::

    from nicprog import sim

    nic = sim.SimNic("ice")
    with sim.connect(nic) as backend:
        nicprog.apply(backend, nicprog.plan(backend, spec))
    assert sim.deliver(nic, sim.Packet.of("10.0.0.1", "10.0.0.2", 1024, 80)) == 3

``nicprog.open("sim:ice")`` opens a new one, ``sim:ice@state.json`` one that is kept in a file. What
the models prove, and what they do not, is in docs/design/011-model-of-nics.md.
"""

from nicprog.packet import Packet, toeplitz
from nicprog.sim.backend import connect, is_sim, open_sim
from nicprog.sim.nic import Context, SimNic
from nicprog.sim.profiles import PROFILES, QUIRKS, Profile, Quirk
from nicprog.sim.steering import deliver
from nicprog.sim.transport import Died, Fault

__all__ = [
    "PROFILES",
    "QUIRKS",
    "Context",
    "Died",
    "Fault",
    "Packet",
    "Profile",
    "Quirk",
    "SimNic",
    "connect",
    "deliver",
    "is_sim",
    "open_sim",
    "toeplitz",
]

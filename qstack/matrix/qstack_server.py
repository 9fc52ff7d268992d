# SPDX-License-Identifier: Apache-2.0
"""The site on QStack, with the engine's counters on request.

python -m qstack.matrix.qstack_server DEVICE PORT: prints the stack's properties as a line when it
serves, then its counters, summed over the queues, for each line that it reads.
"""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict

from ..http import handler
from ..server import Server
from ..site import Site
from .dial import BUFFER_BYTES


def main() -> None:
    """Run the command line."""
    device, port = sys.argv[1:]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the device is given back
    site = Site()
    server = Server(nic=device, receive_buffer_bytes=BUFFER_BYTES, send_buffer_bytes=BUFFER_BYTES)
    server.listen(port=int(port))(handler(open_sink=site.open_sink)(site))
    try:
        with server:
            print(json.dumps(asdict(server.info)), flush=True)
            for _ in sys.stdin:
                queues = server.stats()["queues"]
                total = {name: sum(queue[name] for queue in queues) for name in queues[0]}
                print(json.dumps(total), flush=True)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()

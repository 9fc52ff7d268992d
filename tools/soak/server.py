# SPDX-License-Identifier: Apache-2.0
"""The site on QStack, with the sum of its queues' counters for each line that it reads.

python -m tools.soak.server DEVICE PORT. A peer that is gone without a word, since the wire lost its
RST, is found by keep-alive: without it such a connection would rightly stay for ever.
"""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict

from qstack.http import handler
from qstack.server import Server
from qstack.site import Site

QUEUES = 2
KEEPALIVE = "5s"
USER_TIMEOUT = "30s"


def main(register: Callable[[Server, int], object] | None = None) -> None:
    """Run the command line.

    Args:
        register: Makes the listener on the given port; default: that of the site.
    """
    device, port = sys.argv[1:]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the device is given back
    server = Server(nic=device, queues=QUEUES)
    (register or serve_site)(server, int(port))
    try:
        with server:
            print(json.dumps(asdict(server.info)), flush=True)
            for _ in sys.stdin:
                total = Counter[str]()
                for queue in server.stats()["queues"]:
                    total.update(queue)
                print(json.dumps(total), flush=True)
    except KeyboardInterrupt:
        pass


def serve_site(server: Server, port: int) -> None:
    """Serve the site on a port."""
    site = Site()
    listen = server.listen(port=port, keepalive=KEEPALIVE, user_timeout=USER_TIMEOUT)
    listen(handler(open_sink=site.open_sink)(site))


if __name__ == "__main__":
    main()

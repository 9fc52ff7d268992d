# SPDX-License-Identifier: Apache-2.0
"""The server of the soak with a fault: python -m tests.netns.leaky_server FAULT DEVICE PORT."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from qstack.http import handler
from qstack.http.service import HttpHandler
from qstack.site import Site
from tools.soak import server as soak_server

if TYPE_CHECKING:
    from qstack import Connection, Server
    from qstack.http import Request, Response

LEAKED_BYTES = 1 << 16
LIFE_REQUESTS = 500
kept: list[bytes] = []


class NeverCloses(HttpHandler):
    def on_eof(self, conn: Connection) -> None:
        pass


def faulty(fault: str, site: Site) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        if fault == "memory":
            kept.append(b"\x01" * LEAKED_BYTES)
        if fault == "life":
            kept.append(b"")
            if len(kept) > LIFE_REQUESTS:
                os._exit(3)
        response = site(request)
        if fault == "bytes" and request.path.startswith("/bytes/") and response.length:
            response.body = iter([b"\0" * response.length])
        return response

    return answer


def main() -> None:
    fault = sys.argv.pop(1)

    def register(server: Server, port: int) -> None:
        site = Site()
        handle = handler(open_sink=site.open_sink)(faulty(fault, site))
        if fault == "connections":
            handle.__class__ = NeverCloses
        server.listen(port=port, user_timeout=soak_server.USER_TIMEOUT)(handle)

    soak_server.main(register)


if __name__ == "__main__":
    main()

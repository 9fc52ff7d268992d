# SPDX-License-Identifier: Apache-2.0
"""The peer of the demonstration: the same site and HTTP code on kernel TCP, under uvloop.

python -m qstack.demo.kernel_server HOST PORT...
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

from ..http.session import Service, Session
from ..site import Site


class _Protocol(asyncio.Protocol):
    """One connection: what `qstack.Connection` is to a session, over a transport of asyncio."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.backpressure = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._session = Session(self, self._service)

    def data_received(self, data: bytes) -> None:
        self._session.data_received(data)

    def eof_received(self) -> bool:
        self._session.eof_received()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._session.lost()

    def pause_writing(self) -> None:
        self.backpressure = True

    def resume_writing(self) -> None:
        self.backpressure = False
        self._session.writable()

    def write(self, data: bytes, /) -> None:
        self._transport.write(data)

    def close(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def resume_soon(self) -> None:
        asyncio.get_running_loop().call_soon(self._session.writable)


async def serve(host: str, ports: list[int]) -> None:
    """Serve until cancelled."""
    loop = asyncio.get_running_loop()
    site = Site()
    service = Service(answer=site, open_sink=site.open_sink)
    servers = [
        await loop.create_server(lambda: _Protocol(service), host, port, backlog=4096)
        for port in ports
    ]
    print("ready", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


def main() -> None:
    """Run the command line."""
    host, *ports = sys.argv[1:]
    uvloop.run(serve(host, [int(port) for port in ports]))


if __name__ == "__main__":
    main()

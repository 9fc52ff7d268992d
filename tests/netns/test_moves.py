# SPDX-License-Identifier: Apache-2.0
"""Queues move between workers, and buckets of flows between queues, while clients of kernel TCP
check every byte, on TAP and AF_XDP."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from qstack import Connection, Server, StackConfig
from qstack.lab import Lab

from .rig import open_lab

PORT = 7000
CONNECTIONS = 8
ROUNDS = 100
BYTES_MOST = 40_000
LIMIT_S = 20.0
BUCKETS = 256


@pytest.fixture(params=["tap", "xsk"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with open_lab(request.param) as lab:
        yield lab


def server(lab: Lab) -> Server:
    if lab.kind == "tap":
        assert lab.host4 is not None
        config = StackConfig(
            nic=f"tap:{lab.server_if}",
            queues=4,
            workers=2,
            workers_max=3,
            addresses=(str(lab.server4),),
            host_addresses=(str(lab.host4),),
            gateways=(str(lab.host4.ip),),
        )
    else:
        config = StackConfig(nic=f"xsk:{lab.server_if}", queues=4, workers=2, workers_max=3)
    app = Server(config=config)

    @app.listen(port=PORT)
    def echo(conn: Connection) -> None:
        conn.write(conn.data)

    return app


def converse(sock: socket.socket, seed: int) -> int:
    """Send and receive; return the bytes that came back."""
    source = random.Random(seed)
    total = 0
    for _ in range(ROUNDS):
        sent = source.randbytes(source.randint(1, BYTES_MOST))
        sock.sendall(sent)
        back = b""
        while len(back) < len(sent):
            more = sock.recv(65536)
            assert more, "the end came early"
            back += more
        assert back == sent
        total += len(sent)
    return total


def move_until_done(app: Server, done: list[Future[int]]) -> int:
    """Move queues among two workers and a third one that comes and goes; return the moves."""
    n = 0
    while not all(one.done() for one in done):
        third = app.add_worker()
        for queue in range(4):
            app.move_queue(queue, (n + queue) % 3, timeout="10s")
            n += 1
        app.remove_worker(third, timeout="10s")
    return n


def move_buckets_until_done(app: Server, done: list[Future[int]]) -> int:
    """Move buckets of the software NIC to queues by chance; return how often."""
    source = random.Random(1)
    n = 0
    while not all(one.done() for one in done):
        chosen = source.sample(range(BUCKETS), BUCKETS // 4)
        app.move_buckets({bucket: source.randrange(4) for bucket in chosen}, timeout="10s")
        n += 1
    return n


@pytest.mark.parametrize("move", [move_until_done, move_buckets_until_done])
def test_every_byte_comes_back_while_things_move(
    lab: Lab, move: Callable[[Server, list[Future[int]]], int]
) -> None:
    app = server(lab)
    with lab.server.entered():
        app.start()
    try:
        with lab.client.entered():
            address = (str(lab.server4.ip), PORT)
            sockets = [
                socket.create_connection(address, timeout=LIMIT_S) for _ in range(CONNECTIONS)
            ]
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            done = [pool.submit(converse, sock, seed) for seed, sock in enumerate(sockets)]
            n_moves = move(app, done)
            total = sum(one.result() for one in done)
        stats = app.stats()
        queues, flows = stats["queues"], stats["flows"]
        for sock in sockets:
            sock.close()
    finally:
        app.stop()
    print(f"{n_moves} moves, {total} bytes, {sum(q['retransmits'] for q in queues)} retransmits")
    assert n_moves >= 20
    assert (sum(queue["arrived"] for queue in flows) > 10) == (move is move_buckets_until_done)
    assert sum(queue["lost"] + queue["frames_lost"] for queue in flows) == 0
    assert sum(queue["passive_opens"] for queue in queues) == CONNECTIONS
    assert sum(queue["resets_received"] + queue["resets_sent"] for queue in queues) == 0

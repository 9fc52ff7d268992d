# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import functools
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from qstack.matrix import Cell, Side, Wire, all_pairs, every_cell, judge, sample, summary
from qstack.matrix.run import destroyed
from qstack.matrix.transfer import Transfer, transfer
from qstack.site import HELLO, blob

MIB = 1 << 20


def test_few_cells_have_every_pair_that_all_have() -> None:
    every = every_cell()
    chosen = all_pairs(every)
    wanted = frozenset().union(*(cell.pairs() for cell in every))
    assert frozenset().union(*(cell.pairs() for cell in chosen)) == wanted
    assert set(chosen) <= set(every)
    # 4 MTUs with 4 losses are 16; more than twice that would not be few.
    assert 16 <= len(chosen) <= 32
    assert all_pairs(every) == chosen


def test_every_combination_is_there_once_but_ipv6_at_576() -> None:
    every = every_cell()
    assert len(set(every)) == len(every) == 7 * 2**8 * 4
    assert {cell.mtu for cell in every if cell.ip == 6} == {1280, 1500, 9000}
    assert {cell.mtu for cell in every if cell.ip == 4} == {576, 1280, 1500, 9000}


@pytest.mark.parametrize("client", ["qstack", "linux"])
@pytest.mark.parametrize("sender", ["qstack", "linux"])
def test_it_is_an_upload_when_the_client_sends(client: str, sender: str) -> None:
    ways = {cell.upload for cell in every_cell() if (cell.client, cell.sender) == (client, sender)}
    assert ways == {client == sender}


def test_a_sample_is_repeated_by_its_seed() -> None:
    every = every_cell()
    assert len(sample(every, 7, 1)) == 7
    assert sample(every, 7, 1) == sample(every, 7, 1) != sample(every, 7, 2)
    assert sample(every[:3], 7, 1) == every[:3]


def test_what_is_sent_suits_the_path() -> None:
    sizes = {cell: cell.transfer_bytes() for cell in every_cell()}
    # Ten losses at 5 %, on average.
    assert all(n >= 200 * cell.segment_bytes() for cell, n in sizes.items())
    assert max(sizes.values()) <= 100 * MIB
    for loss, delay_ms in ((5, 50), (1, 1)):
        worse = [n for c, n in sizes.items() if (c.loss, c.delay_ms) == (loss, delay_ms)]
        better = [n for c, n in sizes.items() if (c.loss, c.delay_ms) == (0, delay_ms)]
        assert max(worse) <= max(better)


def side(seconds: float, again: int, **differing: object) -> Side:
    done = {"moved_bytes": MIB, "finished": True, "hash_ok": True, **differing}
    return Side(
        transfer=Transfer(seconds=seconds, **done),  # type: ignore[arg-type]
        retransmits=again,
        destroyed=10,
        receiver_dropped=3,
    )


def wires(*pairs: tuple[Side, Side]) -> list[Wire]:
    return [Wire(seed=i, qstack=pair[0], linux=pair[1]) for i, pair in enumerate(pairs, 1)]


def lossy_cell() -> Cell:
    return next(cell for cell in every_cell() if cell.loss)


def test_only_frames_on_the_way_of_the_bytes_count_as_destroyed() -> None:
    ways = {"a_to_b": 1, "b_to_a": 100}  # client to server, and back
    fates = {"lost": 1, "queue_dropped": 2, "send_failed": 3, "oversize": 4}
    counters = {
        way: {name: n * factor for name, n in fates.items()} | {"frames_in": 9000, "reordered": 70}
        for way, factor in ways.items()
    }
    assert destroyed(counters, upload=True) == 10
    assert destroyed(counters, upload=False) == 1000


def test_figures_of_a_cell() -> None:
    figures = judge(lossy_cell(), MIB, wires((side(2, 20), side(1, 10))))
    assert figures["qstack"]["goodput_mbit"] == pytest.approx(MIB * 8 / 2e6)
    assert figures["ratio"] == pytest.approx(0.5)
    assert figures["retransmits_ratio"] == pytest.approx(2)
    assert (figures["hash_ok"], figures["stuck"]) == (True, False)


def test_one_unlucky_wire_does_not_judge_a_cell() -> None:
    three = wires(
        (side(9, 90), side(1, 10)), (side(1, 10), side(1, 10)), (side(1, 11), side(1, 10))
    )
    figures = judge(lossy_cell(), MIB, three)
    assert figures["ratio"] == pytest.approx(1)
    assert figures["retransmits_ratio"] == pytest.approx(1.1)
    assert figures["qstack_mbit_per_second"] == pytest.approx(MIB * 8 / 1e6)
    assert figures["qstack"]["retransmits"] == 111
    assert [run["ratio"] for run in figures["runs"]] == pytest.approx([1 / 9, 1, 1])
    assert [run["seed"] for run in figures["runs"]] == [1, 2, 3]


def test_one_wire_that_went_wrong_is_told_of_its_cell() -> None:
    stuck = side(5, 1, stuck=True, hash_ok=None, finished=False, error="nothing moved")
    wrong = side(5, 1, hash_ok=False)
    good = side(1, 10)
    figures = judge(lossy_cell(), MIB, wires((good, good), (stuck, good), (good, wrong)))
    assert (figures["stuck"], figures["hash_ok"]) == (True, False)
    assert figures["qstack"]["error"] == "nothing moved"
    assert (figures["qstack"]["finished"], figures["qstack"]["hash_ok"]) == (False, None)
    assert figures["linux"]["hash_ok"] is False
    assert figures["ratio"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("differing", "hash_ok", "stuck"),
    [
        ({"hash_ok": False}, False, False),
        ({"stuck": True, "hash_ok": None, "finished": False}, True, True),
    ],
)
def test_what_went_wrong_has_no_goodput(
    differing: dict[str, object], hash_ok: bool, stuck: bool
) -> None:
    figures = judge(lossy_cell(), MIB, wires((side(2, 20, **differing), side(1, 10))))
    assert figures["qstack"]["goodput_mbit"] is None
    assert figures["qstack_mbit_per_second"] is None
    assert figures["ratio"] is None
    assert (figures["hash_ok"], figures["stuck"]) == (hash_ok, stuck)
    counts = summary([figures])
    assert (counts["wrong"], counts["stuck"]) == (int(not hash_ok), int(stuck))


def test_the_summary_judges_cells_with_loss_only() -> None:
    lossless = next(cell for cell in every_cell() if not cell.loss)
    other = side(1, 10)
    cells = [judge(lossy_cell(), MIB, wires((side(t, n), other))) for t, n in ((2, 10), (1, 14))]
    counts = summary([*cells, judge(lossless, MIB, wires((side(100, 500), other)))])
    assert (counts["cells"], counts["cells_with_loss"]) == (3, 2)
    assert counts["receiver_dropped"] == 9
    assert counts["ratio_least"] == pytest.approx(0.5)
    assert counts["ratio_median"] == pytest.approx(0.75)
    assert counts["ratio_too_low"] == 1
    assert counts["retransmits_ratio_most"] == pytest.approx(1.4)
    assert counts["retransmits_ratio_too_high"] == 1


@contextmanager
def answering(after_hello: Callable[[socket.socket], None]) -> Iterator[int]:
    """Yield the port of a server that says hello and goes on with `after_hello`."""

    def serve() -> None:
        conn, _ = listener.accept()
        with conn:
            conn.recv(4096)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(HELLO) + HELLO)
            try:
                conn.recv(64)
                after_hello(conn)
            except OSError:
                pass  # the client has given up

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)
        assert not thread.is_alive()


def fetch(port: int, n: int, *, limit_s: float = 30.0, stall_s: float = 20.0) -> Transfer:
    return transfer("127.0.0.1", port, n, upload=False, limit_s=limit_s, stall_s=stall_s)


def head(n: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % n


def send_all(conn: socket.socket, data: bytes) -> None:
    conn.sendall(data)


def test_a_download_is_hashed() -> None:
    right = b"".join(blob(100_000))
    for content in (right, right[:-1] + b"?"):
        whole = head(len(content)) + content
        with answering(functools.partial(send_all, data=whole)) as port:
            done = fetch(port, len(content))
        assert (done.finished, done.moved_bytes, done.stuck) == (True, len(content), False)
        assert done.hash_ok == (content == right)


def test_a_connection_that_ends_early_is_wrong() -> None:
    with answering(lambda conn: conn.sendall(head(10) + b"1234")) as port:
        done = fetch(port, 10)
    assert (done.finished, done.hash_ok, done.moved_bytes) == (False, False, 4)
    assert done.error is not None


def test_a_download_of_which_nothing_comes_is_stuck() -> None:
    def stop(conn: socket.socket) -> None:
        conn.sendall(head(MIB) + next(blob(1000)))
        conn.recv(1)  # until the client gives up

    with answering(stop) as port:
        done = fetch(port, MIB, stall_s=0.5)
    assert (done.stuck, done.finished, done.moved_bytes) == (True, False, 1000)


def test_a_slow_download_is_measured_and_not_stuck() -> None:
    def trickle(conn: socket.socket) -> None:
        conn.sendall(head(MIB))
        never = threading.Event()
        for piece in blob(MIB):
            for i in range(len(piece)):
                conn.sendall(piece[i : i + 1])
                never.wait(0.05)

    with answering(trickle) as port:
        done = fetch(port, MIB, limit_s=1, stall_s=0.8)
    assert (done.stuck, done.finished, done.hash_ok) == (False, False, True)
    assert 0 < done.moved_bytes < MIB


def test_an_upload_that_nobody_reads_is_stuck() -> None:
    def ignore(conn: socket.socket) -> None:
        gone.wait(10)

    gone = threading.Event()
    with answering(ignore) as port:
        done = transfer("127.0.0.1", port, 50 * MIB, upload=True, limit_s=30, stall_s=0.5)
        gone.set()
    assert (done.stuck, done.finished, done.hash_ok) == (True, False, None)
    assert done.moved_bytes < 50 * MIB

# SPDX-License-Identifier: Apache-2.0
"""Every interleaving of a bucket's move between two queues (docs/design/021).

Two models. One is of frames: native/runtime/flows.c and buckets.c for one bucket with one flow; a
step is what a worker, the call or the NIC does between two accesses to what they share. The other
is of an application that has the connection: split_move.c and app.c; rings are read in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pytest

OLD, NEW = 0, 1
BURST = 2

S = TypeVar("S")


def ends(start: S, steps: Callable[[S], Iterator[S]]) -> tuple[set[S], int]:
    """Return the states that have no next one, and how many states there are."""
    seen, left, last = {start}, [start], set()
    while left:
        state = left.pop()
        following = list(steps(state))
        if not following:
            last.add(state)
        for one in following:
            if one not in seen:
                seen.add(one)
                left.append(one)
    return last, len(seen)


# ---- frames ----


@dataclass(frozen=True, slots=True)
class Frames:
    """All that NIC, workers and the call share, and what each of them knows.

    Attributes:
        left: Frames of the flow still to come, numbered.
        late: One that the NIC has assigned to a queue and not put there yet.
        rings: Of both queues; so ``inbox``.
        has: Queue that has the flow, None: it is in a letter.
        held: By the new queue, while ``holding``.
        leaving: What the old queue is about: "drain", "send" or "".
        taken: Frames by the flow's engine, in order.
        reset: An engine that did not know the flow answered.
        call: Step of the call; ``answers`` that it waits for.
    """

    left: tuple[int, ...]
    late: tuple[int, int] | None = None
    table: int = OLD
    rings: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    inbox: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    has: int | None = OLD
    home: int | None = None
    holding: bool = False
    held: tuple[int, ...] = ()
    leaving: str = ""
    ring_empty: bool = False
    taken: tuple[int, ...] = ()
    reset: bool = False
    call: str = "ask"
    answers: int = 0


def put(pair: tuple[tuple, tuple], queue: int, *more: object) -> tuple[tuple, tuple]:  # type: ignore[type-arg]
    """Return a pair of queues with more at the end of one."""
    return (pair[0] + more, pair[1]) if queue == OLD else (pair[0], pair[1] + more)


def without(pair: tuple[tuple, tuple], queue: int, n: int) -> tuple[tuple, tuple]:  # type: ignore[type-arg]
    """Return a pair of queues without the first ``n`` of one."""
    return (pair[0][n:], pair[1]) if queue == OLD else (pair[0], pair[1][n:])


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameModel:
    """What happens, and what is left out of the protocol, to see that it is missed.

    Attributes:
        n_frames: Of the flow.
        stragglers: The NIC may be slow to put a frame where the table said.
    """

    n_frames: int = 4
    stragglers: bool = False
    fails: bool = False
    holds: bool = True
    drains: bool = True
    relays: bool = True
    undoes: bool = True

    def steps(self, s: Frames) -> Iterator[Frames]:
        """Yield all states that may follow."""
        yield from self._nic(s)
        yield from self._call(s)
        for queue in (OLD, NEW):
            if s.inbox[queue]:
                yield self._letter(s, queue, s.inbox[queue][0])
            if s.rings[queue] or (queue == OLD and s.leaving == "drain" and not s.ring_empty):
                yield self._receive(s, queue)
        if s.leaving == "drain" and (s.ring_empty or not self.drains):
            yield replace(s, leaving="send", home=NEW)
        elif s.leaving == "send":
            inbox = put(s.inbox, NEW, *(["flow"] if s.has == OLD else []), "last")
            yield replace(s, leaving="", has=None if s.has == OLD else s.has, inbox=inbox)

    def _nic(self, s: Frames) -> Iterator[Frames]:
        if s.late is not None:
            queue, frame = s.late
            yield replace(s, late=None, rings=put(s.rings, queue, frame))
        if s.left and (s.late is None or s.late[0] != s.table):  # one queue keeps the order
            yield replace(s, left=s.left[1:], rings=put(s.rings, s.table, s.left[0]))
            if self.stragglers and s.late is None:
                yield replace(s, left=s.left[1:], late=(s.table, s.left[0]))

    def _call(self, s: Frames) -> Iterator[Frames]:
        if s.call == "ask":
            inbox = put(put(s.inbox, NEW, "hold"), OLD, "ask")
            yield replace(s, call="asked", answers=2, inbox=inbox)
        elif s.call == "asked":
            if s.answers == 0:
                yield replace(s, call="write")
            if self.fails:  # it does not wait for ever
                yield self._undo(s)
        elif s.call == "write":
            yield replace(s, call="written", table=NEW)
            if self.fails:
                yield self._undo(s)
        elif s.call == "written":
            yield replace(s, call="moves", answers=1, inbox=put(s.inbox, OLD, "leave"))
        elif s.call == "moves" and s.answers == 0:
            yield replace(s, call="done")

    def _undo(self, s: Frames) -> Frames:
        inbox = put(s.inbox, NEW, "release") if self.undoes else s.inbox
        return replace(s, call="failed", answers=-9, inbox=inbox)  # late answers count no more

    def _letter(self, s: Frames, queue: int, letter: str) -> Frames:
        s = replace(s, inbox=without(s.inbox, queue, 1))
        if letter == "ask":
            return replace(s, answers=s.answers - 1)
        if letter == "hold":
            return replace(s, holding=self.holds, answers=s.answers - 1)
        if letter == "leave":
            return replace(s, leaving="drain", ring_empty=False)
        if letter == "flow":
            return replace(s, has=queue)
        if letter in ("last", "release"):
            held = s.held
            s = replace(s, holding=False, held=())
            for frame in held:
                s = self._engine(s, queue, frame, relayed=False)
            return replace(s, answers=s.answers - 1) if letter == "last" else s
        return self._engine(s, queue, int(letter), relayed=True)

    def _receive(self, s: Frames, queue: int) -> Frames:
        burst = s.rings[queue][:BURST]
        empty = s.ring_empty if queue == NEW else len(burst) < BURST
        s = replace(s, rings=without(s.rings, queue, len(burst)), ring_empty=empty)
        for frame in burst:
            s = self._engine(s, queue, frame, relayed=False)
        return s

    def _engine(self, s: Frames, queue: int, frame: int, *, relayed: bool) -> Frames:
        known = s.has == queue
        if queue == NEW and s.holding and not (known and relayed):
            return replace(s, held=(*s.held, frame))
        if known:
            return replace(s, taken=(*s.taken, frame))
        if self.relays and s.home is not None and s.home != queue:
            return replace(s, inbox=put(s.inbox, s.home, str(frame)))
        return replace(s, reset=True)

    def all_is_well(self, s: Frames) -> bool:
        """Whether an end is one that the protocol promises."""
        frames = tuple(range(self.n_frames))
        taken = tuple(sorted(s.taken)) if self.stragglers else s.taken
        where = NEW if s.call == "done" else OLD
        return taken == frames and s.has == where and not (s.reset or s.held or s.holding)


def frames_that_end_badly(model: FrameModel) -> list[Frames]:
    last, n = ends(Frames(left=tuple(range(model.n_frames))), model.steps)
    print(f"{model}: {n} states, {len(last)} ends")
    return [s for s in last if not model.all_is_well(s)]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("stragglers", [False, True])
def test_every_frame_is_taken_once(*, fails: bool, stragglers: bool) -> None:
    assert not frames_that_end_badly(FrameModel(fails=fails, stragglers=stragglers, n_frames=5))


@pytest.mark.parametrize(
    "model",
    [
        FrameModel(holds=False),
        FrameModel(drains=False),
        FrameModel(relays=False, stragglers=True),
        FrameModel(undoes=False, fails=True),
    ],
)
def test_what_is_left_out_is_missed(model: FrameModel) -> None:
    assert frames_that_end_badly(model)


# ---- an application ----


@dataclass(frozen=True, slots=True)
class Talk:
    """A connection of an application that answers each record by a command.

    Attributes:
        data: What the peer sends, still to be received; ``readable``: received, in the engine.
        has: Queue that has the connection.
        moves: Letters about it that are on their way: to the new queue, in order.
        events: Rings to the application; a record is a number, or "moved" with a count.
        commands: Rings back; a command is a number, or "moved", and what is to come before.
        told: Records of the connection so far.
        arriving: The new queue sends nothing: the application has not said that it knows.
        read: Records that the application has read; ``got`` the numbers in them.
        leaving: Count at which it turns to the new queue, -1: it was not told; ``turned``.
        given: Commands so far; ``before``: of them, to the old queue.
        elsewhere: Commands that came to the new queue after the connection.
        done: Commands carried out, in order.
    """

    data: tuple[int, ...]
    readable: tuple[int, ...] = ()
    has: int = OLD
    moves: tuple[tuple[str, int], ...] = ()
    events: tuple[tuple, tuple] = ((), ())  # type: ignore[type-arg]
    commands: tuple[tuple, tuple] = ((), ())  # type: ignore[type-arg]
    told: int = 0
    left: bool = False
    arriving: bool = False
    read: int = 0
    got: tuple[int, ...] = ()
    leaving: int = -1
    turned: bool = False
    given: int = 0
    before: int = 0
    here: int = 0
    elsewhere: int = 0
    done: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkModel:
    """What is left out of the protocol, to see that it is missed."""

    n: int = 4
    counts_records: bool = True
    waits_for_commands: bool = True
    keeps_quiet: bool = True

    def steps(self, s: Talk) -> Iterator[Talk]:
        """Yield all states that may follow."""
        if s.data:
            yield replace(s, data=s.data[1:], readable=(*s.readable, s.data[0]))
        if s.has == OLD and not s.left:
            yield replace(s, left=True, has=-1, moves=(*s.moves, ("flow", 0)))
        if s.moves:
            yield self._letter(replace(s, moves=s.moves[1:]), *s.moves[0])
        quiet = s.has == NEW and s.arriving and self.keeps_quiet
        if s.has >= 0 and s.readable and not quiet:
            events = put(s.events, s.has, s.readable[0])
            yield replace(s, readable=s.readable[1:], events=events, told=s.told + 1)
        for queue in (OLD, NEW):
            if s.events[queue]:
                yield self._read(replace(s, events=without(s.events, queue, 1)), s.events[queue][0])
            if s.commands[queue]:
                yield from self._command(s, queue, *s.commands[queue][0])
        if s.leaving >= 0 and not s.turned and (s.read == s.leaving or not self.counts_records):
            turned = replace(s, turned=True, before=s.given, given=s.given + 1)
            yield replace(turned, commands=put(s.commands, NEW, ("moved", s.given)))

    def _letter(self, s: Talk, kind: str, number: int) -> Talk:
        if kind == "flow":
            events = put(s.events, NEW, ("moved", s.told))
            here = replace(s, has=NEW, arriving=True, events=events, told=s.told + 1)
            return replace(here, elsewhere=s.here)
        return replace(s, done=(*s.done, number), elsewhere=s.elsewhere + 1)

    def _read(self, s: Talk, record: Any) -> Talk:
        if isinstance(record, tuple):
            return replace(s, leaving=record[1])
        queue = NEW if s.turned else OLD
        commands = put(s.commands, queue, (record, s.before))
        return replace(
            s, read=s.read + 1, got=(*s.got, record), commands=commands, given=s.given + 1
        )

    def _command(self, s: Talk, queue: int, command: Any, before: int) -> Iterator[Talk]:
        taken = replace(s, commands=without(s.commands, queue, 1))
        if queue == OLD and s.left:
            yield replace(taken, moves=(*s.moves, ("command", command)))
        elif queue == OLD:
            yield replace(taken, done=(*s.done, command), here=s.here + 1)
        elif s.elsewhere < before and self.waits_for_commands:
            return
        elif command == "moved":
            yield replace(taken, arriving=False)
        else:
            yield replace(taken, done=(*s.done, command))


def talks_that_end_badly(model: TalkModel) -> list[Talk]:
    numbers = tuple(range(model.n))
    last, n = ends(Talk(data=numbers), model.steps)
    print(f"{model}: {n} states, {len(last)} ends")
    return [s for s in last if s.got != numbers or s.done != numbers or s.arriving or not s.turned]


def test_an_application_reads_and_writes_in_order() -> None:
    assert not talks_that_end_badly(TalkModel(n=5))


@pytest.mark.parametrize(
    "model",
    [
        TalkModel(counts_records=False),
        TalkModel(waits_for_commands=False),
        TalkModel(keeps_quiet=False),
    ],
)
def test_what_is_left_out_of_the_talk_is_missed(model: TalkModel) -> None:
    assert talks_that_end_badly(model)

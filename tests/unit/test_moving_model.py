# SPDX-License-Identifier: Apache-2.0
"""Every interleaving of the hand-over of a queue between workers (docs/design/019).

A model of native/runtime/move.c, elastic.c and the sleep of worker.c, for one queue: each step is
one access to a word that threads share, and has the name of its function there. Steps take effect
at once and in order, but for the command, whose store may be delayed until the exchange that
follows, as x86 does. What the C memory model allows beyond that is the matter of ThreadSanitizer
and of the argument in the note.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

NOBODY = -1


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker's words and where its thread is.

    Attributes:
        at: The step that is next.
        given: Its word; ``took_given`` what the turn found in it. So with ``asked``.
        runs: The queue is in its own set.
        event: Its event fd is readable.
        told: Whom it tells, or gives the queue to.
    """

    at: str = "blocked"
    given: bool = False
    asked: bool = False
    sleeping: bool = True
    event: bool = False
    ending: bool = False
    runs: bool = False
    took_given: bool = False
    took_asked: bool = False
    told: int = NOBODY


@dataclass(frozen=True, slots=True)
class World:
    """All that the threads share.

    Attributes:
        commands: In the ring of the queue's application; ``stored``: not seen by others yet.
        teller: Step of the thread that puts them there, the worker it tells, and how many are left.
        control: Step of the thread that moves the queue, and what it has done of its script.
    """

    workers: tuple[Worker, ...]
    owner: int = 0
    runner: int = 0
    wanted: int = 0
    commands: int = 0
    stored: int = 0
    teller: tuple[str, int, int] = ("put", NOBODY, 1)
    control: tuple[str, int] = ("next", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What happens, and what is left out of the protocol, to see that it is missed.

    Attributes:
        script: ``("aim", w)``: the queue is wanted at w; ``("remove", w)``: w ends when has_left().
        commands: That the teller puts into the ring, one after the other.
        polls: Workers may also begin another turn instead of going to sleep.
    """

    script: tuple[tuple[str, int], ...]
    commands: int = 1
    n_workers: int = 2
    polls: bool = False
    looks_twice: bool = True
    looks_on_arrival: bool = True
    owner_first: bool = True
    says_so_first: bool = True
    passes_on: bool = True
    sleeps_with_care: bool = True
    reads_events: bool = True

    def start(self) -> World:
        """Return all workers asleep, the first one with the queue."""
        workers = (Worker(runs=True), *(Worker() for _ in range(self.n_workers - 1)))
        return World(workers, teller=("put" if self.commands else "done", NOBODY, self.commands))

    # ---- steps of a worker ----

    def _worker(self, s: World, i: int) -> Iterator[World]:
        w = s.workers[i]
        step = getattr(self, f"_at_{w.at}", None)
        if step is not None:
            yield from step(s, i, w)

    def _at_blocked(self, s: World, i: int, w: Worker) -> Iterator[World]:
        if w.event:
            yield _with(s, i, at="woken")

    def _at_woken(self, s: World, i: int, _w: Worker) -> Iterator[World]:
        yield _with(s, i, sleeping=False, at="read_event" if self.reads_events else "turn")

    def _at_wake(self, s: World, i: int, w: Worker) -> Iterator[World]:
        yield _with(s, i, sleeping=False, at="turn" if w.sleeping else "read_event")

    def _at_read_event(self, s: World, i: int, _w: Worker) -> Iterator[World]:
        yield _with(s, i, event=False, at="turn")

    def _at_turn(self, s: World, i: int, w: Worker) -> Iterator[World]:
        """The end is asked for together with what was given: nothing is between them."""
        if w.ending:
            yield _with(s, i, at="ended")
        else:
            yield _with(s, i, took_given=w.given, given=False, at="moves_asked")

    def _at_moves_asked(self, s: World, i: int, w: Worker) -> Iterator[World]:
        told_of_none = "look" if w.asked else self._serve(w)
        at = "take" if w.took_given else told_of_none
        yield _with(s, i, took_asked=w.asked, asked=False, at=at)

    def _at_take(self, s: World, i: int, w: Worker) -> Iterator[World]:
        at = "look" if w.took_asked or self.looks_on_arrival else "serve"
        yield _with(replace(s, runner=i), i, runs=True, at=at)

    def _at_look(self, s: World, i: int, w: Worker) -> Iterator[World]:
        if w.runs:
            yield _with(s, i, at="serve" if s.wanted == i else self._give())
        elif s.owner == i or not self.passes_on:
            yield self._end_turn(s, i)
        else:
            yield _with(s, i, told=s.owner, at="tell_ask")

    @staticmethod
    def _serve(w: Worker) -> str:
        return "serve" if w.runs else "sleep"

    @staticmethod
    def _end_turn(s: World, i: int) -> World:
        at = "serve" if s.workers[i].runs else "sleep"
        return _with(s, i, at=at, told=NOBODY, took_given=False, took_asked=False)

    def _at_tell_ask(self, s: World, i: int, w: Worker) -> Iterator[World]:
        yield _with(_with(s, w.told, asked=True), i, at="tell_nudge")

    def _at_tell_nudge(self, s: World, i: int, w: Worker) -> Iterator[World]:
        wakes = s.workers[w.told].sleeping
        yield _with(_with(s, w.told, sleeping=False), i, at="tell_write" if wakes else "tell_again")

    def _at_tell_write(self, s: World, i: int, w: Worker) -> Iterator[World]:
        yield _with(_with(s, w.told, event=True), i, at="tell_again")

    def _at_tell_again(self, s: World, i: int, w: Worker) -> Iterator[World]:
        again = self.looks_twice and s.owner != w.told
        if again:
            yield _with(s, i, told=s.owner, at="tell_ask")
        else:
            yield self._end_turn(s, i)

    # give(): `runner`, `wanted`, `owner`, its own `sleeping`, `given`, the nudge

    def _give(self) -> str:
        return "give_say" if self.says_so_first else "give_wanted"

    def _at_give_say(self, s: World, i: int, _w: Worker) -> Iterator[World]:
        yield _with(replace(s, runner=NOBODY), i, at="give_wanted")

    def _at_give_wanted(self, s: World, i: int, _w: Worker) -> Iterator[World]:
        if s.wanted == i:
            yield _with(s, i, at="give_not")
        else:
            at = "give_owner" if self.owner_first else "give_given"
            yield _with(s, i, told=s.wanted, runs=False, at=at)

    def _at_give_not(self, s: World, i: int, _w: Worker) -> Iterator[World]:
        yield self._end_turn(replace(s, runner=i), i)

    def _at_give_owner(self, s: World, i: int, w: Worker) -> Iterator[World]:
        named = replace(s, owner=w.told)
        yield _with(named, i, at="give_awake") if self.owner_first else self._end_turn(named, i)

    def _at_give_awake(self, s: World, i: int, _w: Worker) -> Iterator[World]:
        yield _with(s, i, sleeping=False, at="give_given")

    def _at_give_given(self, s: World, i: int, w: Worker) -> Iterator[World]:
        yield _with(_with(s, w.told, given=True), i, at="give_nudge")

    def _at_give_nudge(self, s: World, i: int, w: Worker) -> Iterator[World]:
        nudged = _with(s, w.told, sleeping=False)
        if s.workers[w.told].sleeping:
            yield _with(nudged, i, at="give_write")
        else:
            yield self._given(nudged, i)

    def _at_give_write(self, s: World, i: int, w: Worker) -> Iterator[World]:
        yield self._given(_with(s, w.told, event=True), i)

    def _given(self, s: World, i: int) -> World:
        return self._end_turn(s, i) if self.owner_first else _with(s, i, at="give_owner")

    # the rest of the turn, and sleep

    def _at_serve(self, s: World, i: int, _w: Worker) -> Iterator[World]:
        served = self._end_turn(replace(s, commands=0), i)
        yield _with(served, i, at="sleep")
        if self.polls:
            yield _with(served, i, at="turn")

    def _at_sleep(self, s: World, i: int, _w: Worker) -> Iterator[World]:
        yield _with(s, i, sleeping=True, at="may_sleep" if self.sleeps_with_care else "blocked")

    def _at_may_sleep(self, s: World, i: int, w: Worker) -> Iterator[World]:
        yield _with(s, i, at="wake" if w.asked else "may_sleep_given")

    def _at_may_sleep_given(self, s: World, i: int, w: Worker) -> Iterator[World]:
        yield _with(s, i, at="wake" if w.given or w.ending else "may_sleep_work")

    def _at_may_sleep_work(self, s: World, i: int, w: Worker) -> Iterator[World]:
        yield _with(s, i, at="wake" if w.runs and s.commands else "blocked")

    # ---- steps of the others ----

    def _teller(self, s: World) -> Iterator[World]:
        at, told, left = s.teller
        if s.stored:
            yield replace(s, commands=s.commands + s.stored, stored=0)
        if at == "put":
            yield replace(s, stored=1, teller=("owner", NOBODY, left - 1))
        elif at == "owner":
            yield replace(s, teller=("nudge", s.owner, left))
        elif at == "nudge":
            wakes = s.workers[told].sleeping
            nudged = replace(
                _with(s, told, sleeping=False), commands=s.commands + s.stored, stored=0
            )
            yield replace(nudged, teller=("write" if wakes else "again", told, left))
        elif at == "write":
            yield replace(_with(s, told, event=True), teller=("again", told, left))
        elif at == "again":
            if self.looks_twice and s.owner != told:
                yield replace(s, teller=("nudge", s.owner, left))
            else:
                yield replace(s, teller=("put" if left else "done", NOBODY, left))

    def _control(self, s: World) -> Iterator[World]:
        at, n = s.control
        if n == len(self.script):
            return
        what, w = self.script[n]
        if at == "next" and what == "aim":
            yield replace(s, wanted=w, control=("ask", n))
        elif at == "next" and s.runner not in (w, NOBODY):  # remove: has_left()
            yield replace(_with(s, w, ending=True), control=("nudge", n))
        elif at == "ask":
            yield replace(_with(s, w, asked=True), control=("nudge", n))
        elif at == "nudge":
            wakes = s.workers[w].sleeping
            after = ("write", n) if wakes else ("next", n + 1)
            yield replace(_with(s, w, sleeping=False), control=after)
        elif at == "write":
            yield replace(_with(s, w, event=True), control=("next", n + 1))

    def steps(self, s: World) -> Iterator[World]:
        """Yield what may be next, one step of one thread."""
        yield from self._control(s)
        yield from self._teller(s)
        for i in range(self.n_workers):
            yield from self._worker(s, i)

    def is_wrong(self, s: World) -> str | None:
        """Say what must never be, of a state in which somebody may still do something."""
        n_running = sum(w.runs for w in s.workers)
        n_given = sum(
            w.given or (w.at in ("moves_asked", "take") and w.took_given) for w in s.workers
        )
        return "two workers have the queue" if n_running + n_given > 1 else None

    def is_unfinished(self, s: World) -> str | None:
        """Say what is missing in a state in which nobody does anything any more."""
        if s.commands:
            return "a command waits and everybody sleeps"
        if s.control[1] < len(self.script):
            return "the script has not ended"
        if s.runner != s.wanted or not s.workers[s.wanted].runs or s.owner != s.wanted:
            return "the queue is not where it is wanted"
        return None


def _with(s: World, i: int, **changes: object) -> World:
    worker = replace(s.workers[i], **changes)  # type: ignore[arg-type]
    return replace(s, workers=(*s.workers[:i], worker, *s.workers[i + 1 :]))


def explore(model: Model) -> tuple[int, str | None]:
    """Return how many states there are, and what is wrong in one of them.

    Beyond single states: from each of them the end can be reached, so nothing goes round for ever.
    """
    start = model.start()
    before: dict[World, list[World]] = {start: []}
    todo, ends = [start], []
    while todo:
        state = todo.pop()
        if (wrong := model.is_wrong(state)) is not None:
            return len(before), wrong
        successors = list(model.steps(state))
        if not successors:
            if (wrong := model.is_unfinished(state)) is not None:
                return len(before), wrong
            ends.append(state)
        for successor in successors:
            if successor not in before:
                before[successor] = []
                todo.append(successor)
            before[successor].append(state)
    reaching, todo = set(ends), list(ends)
    while todo:
        for state in before[todo.pop()]:
            if state not in reaching:
                reaching.add(state)
                todo.append(state)
    return len(before), None if len(reaching) == len(before) else "some state has no way to the end"


MOVE = (("aim", 1),)
TURN_ROUND = (("aim", 1), ("aim", 0))
SEND_ON = (("aim", 1), ("aim", 2))
REMOVE = (("aim", 1), ("aim", 0), ("remove", 1))


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(Model(script=MOVE, polls=True), id="move"),
        pytest.param(Model(script=TURN_ROUND, commands=0), id="turn round"),
        pytest.param(Model(script=REMOVE, commands=0), id="remove"),
        pytest.param(Model(script=TURN_ROUND), id="turn round, command", marks=pytest.mark.slow),
        pytest.param(
            Model(script=SEND_ON, commands=0, n_workers=3), id="send on", marks=pytest.mark.slow
        ),
    ],
)
def test_in_every_interleaving_one_worker_has_the_queue_and_none_sleeps_on_work(
    model: Model,
) -> None:
    n_states, wrong = explore(model)
    print(f"{n_states} states")
    assert wrong is None
    assert n_states > 1000


@pytest.mark.parametrize(
    ("model", "wrong"),
    [
        (Model(script=MOVE, looks_twice=False), "everybody sleeps"),
        (Model(script=MOVE, owner_first=False), "everybody sleeps"),
        (Model(script=MOVE, sleeps_with_care=False), "not where it is wanted"),
        (Model(script=MOVE, reads_events=False), "no way to the end"),
        (Model(script=MOVE, passes_on=False), "not where it is wanted"),
        (Model(script=TURN_ROUND, commands=0, looks_on_arrival=False), "not where it is wanted"),
        (Model(script=REMOVE, commands=0, says_so_first=False), "not where it is wanted"),
    ],
    ids=[
        *("second look", "owner first", "look before sleep", "late event"),
        *("pass on", "on arrival", "say first"),
    ],
)
def test_what_is_left_out_is_missed(model: Model, wrong: str) -> None:
    found = explore(model)[1]
    assert found is not None
    assert wrong in found

"""Groups that are sampled ahead: how far, by which weights, in which order, and what becomes of those that fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import cycle
from typing import Any

import pytest
from test_rollout import Dice, episodes, parity, task

from togi.protocols import Reward, Sampler
from togi.rollout import Episodes
from togi.samplers import Dynamic, Groups
from togi.samplers.ahead import Ahead, Pace, Place, Ready, Why
from togi.samplers.baton import Baton, Elsewhere, Stopped
from togi.types import Group, Prompt, Sampling, Score, Task, Trajectory, Turn

TASKS = [task(name) for name in "abcdefgh"]


class Shelf:
    """Keeps nothing but what it was told."""

    def __init__(self, found: dict[Place, Ready] | None = None) -> None:
        self._found, self.kept, self.dropped = found or {}, dict[Place, Ready](), list[tuple[Place, Why]]()

    def found(self) -> dict[Place, Ready]:
        return dict(self._found)

    def keep(self, place: Place, ready: Ready) -> None:
        self.kept[place] = ready

    def drop(self, place: Place, why: Why) -> None:
        self.dropped.append((place, why))


class Gates(Dice):
    """Answers a prompt once its gate is open; every gate is, but those that are shut. Draws by ``version``."""

    def __init__(self, version: int = 0) -> None:
        super().__init__(version=version)
        self.shut: dict[str, threading.Event] = {}
        self.waiting: list[str] = []

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, progress: Callable[[int, int], None] | None = None
    ) -> list[list[Turn]]:
        for prompt in prompts:
            name = "".join(map(chr, prompt.ids))[-1]
            self.waiting.append(name)
            if name in self.shut:
                assert self.shut[name].wait(20)
        return super().generate(prompts, sampling, progress)


def ahead(
    engine: Dice,
    *,
    staleness: int,
    groups: int = 2,
    steps: int = 10,
    sampler: Sampler = Groups(2),  # noqa: B008
    shelf: Shelf | None = None,
    asks_here: bool = False,
    reward: Reward = parity,
) -> tuple[Ahead, Episodes, Shelf, list[str]]:
    play, _, _ = episodes(reward)
    play, shelf, told = replace(play, engine=engine), shelf or Shelf(), list[str]()  # type: ignore[arg-type]
    pace = Pace(staleness=staleness, groups=groups, steps=steps)
    return Ahead(sampler, pace, play, shelf, TASKS, asks_here=asks_here, tell=told.append), play, shelf, told


@contextmanager
def closing(sampler: Ahead) -> Iterator[None]:
    try:
        yield
    finally:
        sampler.close()


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not done():
        assert time.monotonic() < end
        time.sleep(0.002)


def names(groups: Sequence[Group]) -> str:
    return "".join(group.task.id for group in groups)


@pytest.mark.parametrize(
    ("staleness", "groups", "steps", "step", "waiting", "allowed"),
    [
        (0, 4, 10, 0, 0, 4),
        (0, 4, 10, 3, 0, 4),
        (0, 4, 10, 3, 4, 0),
        (1, 4, 10, 0, 0, 8),
        (1, 4, 10, 1, 4, 4),
        (1, 4, 10, 1, 3, 5),
        (2, 3, 10, 5, 6, 3),
        (2, 3, 6, 5, 0, 3),  # no step comes after the last
        (9, 3, 6, 0, 0, 18),
        (9, 3, 6, 2, 12, 0),
    ],
)
def test_how_many_may_be_asked_for(
    staleness: int, groups: int, steps: int, step: int, waiting: int, allowed: int
) -> None:
    assert Pace(staleness=staleness, groups=groups, steps=steps).allowed(step, waiting) == allowed


@pytest.mark.parametrize(
    ("staleness", "step", "since", "stale"), [(0, 3, 3, False), (0, 3, 2, True), (2, 3, 1, False), (2, 3, 0, True)]
)
def test_what_is_too_old(staleness: int, step: int, since: int, stale: bool) -> None:
    assert Pace(staleness=staleness, groups=1, steps=9).stale(step, since) is stale


@pytest.mark.parametrize("sampler", [Groups(3), Groups(2, votes=4), Dynamic(2, max_rounds=1)])
@pytest.mark.parametrize("tasks", ["abcdefgh", "aab", "a"])  # steps that ask a task again, too
def test_without_staleness_it_gives_what_the_sampler_does(sampler: Sampler, tasks: str) -> None:
    here, _, _ = episodes()
    ours, play, _, _ = ahead(Gates(), staleness=0, groups=4, sampler=sampler)
    here = replace(here, engine=Dice(version=0))  # type: ignore[arg-type]
    one, other = (cycle([task(name) for name in tasks]) for _ in range(2))
    with closing(ours):
        for step in range(3):
            plain, apart = here.at(step), play.at(step)
            wanted, got = sampler(one, 4, plain), ours(other, 4, apart)
            assert got == wanted
            assert apart.played == plain.played
            assert apart.drawn == plain.drawn
            assert {**apart.counts, **plain.counts} == pytest.approx(apart.counts)
            assert apart.counts["staleness/max"] == 0


def test_groups_are_learned_from_in_order_whichever_were_ready_first() -> None:
    engine = Gates()
    engine.shut["a"] = threading.Event()
    ours, play, shelf, _ = ahead(engine, staleness=1)

    def opens() -> None:
        until(lambda: len(shelf.kept) == 3)
        engine.shut["a"].set()

    with closing(ours):
        threading.Thread(target=opens).start()
        assert names(ours(iter(TASKS), 2, play.at(0))) == "ab"
        assert shelf.kept.keys() == {Place(step=step, number=number) for step in (0, 1) for number in (0, 1)}
        assert sorted(engine.waiting) == list("abcd")


def test_weights_that_drew_are_told_and_are_not_older_than_allowed() -> None:
    engine, stream = Gates(), iter(cycle(TASKS))
    ours, play, shelf, _ = ahead(engine, staleness=2, steps=5)
    ages = []
    with closing(ours):
        for step in range(5):
            engine.version = 10 * step  # several updates a step
            own = play.at(step)
            groups = ours(stream, 2, own)
            with ours.meanwhile():
                until(lambda: len(shelf.kept) == min(2 * step + 6, 10))  # noqa: B023
            versions = {turn.version for group in groups for each in group.trajectories for turn in each.turns}
            assert versions == {10 * max(0, step - 2)}
            ages.append((own.counts["staleness/mean"], own.counts["staleness/max"]))
    assert ages == [(0, 0), (1, 1), (2, 2), (2, 2), (2, 2)]
    assert len(engine.waiting) == 10  # the last step is not sampled beyond


def test_sampling_goes_on_while_weights_change() -> None:
    engine = Gates()
    engine.shut["d"] = threading.Event()
    ours, play, shelf, _ = ahead(engine, staleness=1)
    with closing(ours):
        ours(iter(TASKS), 2, play.at(0))
        with ours.meanwhile():
            engine.shut["d"].set()
            until(lambda: Place(step=1, number=1) in shelf.kept)


def test_nobody_computes_while_who_learns_does_not_give_way() -> None:
    engine, stream = Gates(), iter(TASKS)
    engine.shut["d"] = threading.Event()
    ours, play, shelf, _ = ahead(engine, staleness=1)
    with closing(ours):
        ours(stream, 2, play.at(0))
        engine.shut["d"].set()
        time.sleep(0.05)
        assert Place(step=1, number=1) not in shelf.kept
        assert names(ours(stream, 2, play.at(1))) == "cd"


@pytest.mark.parametrize("asks_here", [False, True])
def test_models_of_this_process_are_asked_while_nothing_is_learned(asks_here: bool) -> None:
    learning, scored_while = False, list[bool]()

    def reward(task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        scored_while.append(learning)
        return parity(task, trajectories)

    engine, stream = Gates(), iter(TASKS)
    engine.shut["c"] = engine.shut["d"] = threading.Event()
    ours, play, shelf, _ = ahead(engine, staleness=1, reward=reward, asks_here=asks_here)
    with closing(ours):
        ours(stream, 2, play.at(0))
        with ours.meanwhile():
            learning = True
            engine.shut["d"].set()
            until(lambda: len(shelf.kept) == 4 or asks_here)
            time.sleep(0.05 * asks_here)
            learning = False
        ours(stream, 2, play.at(1))
    assert any(scored_while) is not asks_here
    assert len(scored_while) >= 4


def test_what_is_too_old_is_sampled_again_by_the_weights_of_now() -> None:
    """A process that stopped with a more patient recipe left groups of old weights."""
    first, play, shelf, _ = ahead(Gates(), staleness=3)
    with closing(first):
        first(iter(TASKS), 2, play.at(0))
        with first.meanwhile():
            until(lambda: len(shelf.kept) == 8)
    later, play, again, _ = ahead(Gates(version=5), staleness=1, shelf=Shelf(shelf.kept))
    later.restore([])
    with closing(later):
        own = play.at(3)
        groups = later(iter(TASKS), 2, own)
    assert again.dropped == [(Place(step=3, number=0), "stale"), (Place(step=3, number=1), "stale")]
    assert own.counts["ahead/dropped/stale"] == 2
    assert {turn.version for group in groups for each in group.trajectories for turn in each.turns} == {5}
    assert [place for place in again.kept if place.step == 3] == [Place(step=3, number=0), Place(step=3, number=1)]


def test_what_was_kept_is_not_sampled_again_and_its_task_is_not_drawn_twice() -> None:
    engine, stream = Gates(), iter(TASKS)
    first, play, shelf, _ = ahead(engine, staleness=1)
    with closing(first):
        first(stream, 2, play.at(0))
        state = first.state()
        with first.meanwhile():
            until(lambda: len(shelf.kept) == 4)
    assert state == [[1, 0, ["c"]], [1, 1, ["d"]]]
    kept = {place: ready for place, ready in shelf.kept.items() if place.number == 0}
    engine = Gates(version=1)
    second, play, _, _ = ahead(engine, staleness=1, shelf=Shelf(kept))
    second.restore(state)
    with closing(second):
        groups = second(stream, 2, play.at(1))
        with second.meanwhile():
            until(lambda: len(engine.waiting) == 3)
    assert names(groups) == "cd"
    assert groups[0] is kept[Place(step=1, number=0)].groups[0]
    assert sorted(engine.waiting) == list("def")


def test_a_task_that_is_gone_is_drawn_anew() -> None:
    ours, play, _, _ = ahead(Gates(), staleness=0)
    ours.restore([[0, 0, ["gone"]], [0, 1, ["h"]]])
    with closing(ours):
        assert names(ours(iter(TASKS), 2, play.at(0))) == "ah"


def test_what_fails_stops_the_step_that_waits() -> None:
    class Fails(Gates):
        def generate(self, *asked: object, **_: object) -> list[list[Turn]]:
            raise ValueError("the engine is gone")

    ours, play, shelf, _ = ahead(Fails(), staleness=1)
    with closing(ours), pytest.raises(ValueError, match="the engine is gone"):
        ours(iter(TASKS), 2, play.at(0))
    assert not shelf.kept


def test_threads_end_with_it() -> None:
    engine = Gates()
    engine.shut["c"] = engine.shut["d"] = threading.Event()
    ours, play, shelf, _ = ahead(engine, staleness=1)
    ours(iter(TASKS), 2, play.at(0))
    ours.close()
    engine.shut["d"].set()
    until(lambda: not any(each.name.startswith("group ") for each in threading.enumerate()))
    assert len(shelf.kept) == 2


def test_nothing_is_drawn_to_its_end_that_nobody_waits_for() -> None:
    """As where a stage ends early: engines elsewhere hear of it, and what they are asked for fails."""

    class Leaves(Gates):
        def generate(self, *asked: Any, **more: Any) -> list[list[Turn]]:
            turns = super().generate(*asked, **more)
            if self.off:
                raise ValueError("it was called off")
            return turns

        off = False

        def call_off(self) -> None:
            self.off = True
            self.shut["c"].set()

    engine = Leaves()
    engine.shut["c"] = engine.shut["d"] = threading.Event()
    ours, play, shelf, _ = ahead(engine, staleness=1)
    ours(iter(TASKS), 2, play.at(0))
    with ours.meanwhile():
        until(lambda: {"c", "d"} <= set(engine.waiting))
    assert not engine.off
    ours.close()
    until(lambda: not any(each.name.startswith("group ") for each in threading.enumerate()))
    assert engine.off
    assert len(shelf.kept) == 2


def test_a_long_wait_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("togi.samplers.ahead.PATIENCE", 0.0)
    monkeypatch.setattr("togi.samplers.ahead.LOOK", 0.01)
    engine, done = Gates(), list[tuple[int, int]]()
    engine.shut["b"] = threading.Event()
    ours, play, _, told = ahead(engine, staleness=0)
    threading.Timer(0.2, engine.shut["b"].set).start()
    with closing(ours):
        ours(iter(TASKS), 2, play.at(0, lambda *each: done.append(each)))
    assert "for 1 of its 2 groups: numbers 1, which" in told[-1]
    assert (1, 2) in done


def test_who_waits_for_the_engine_lets_others_compute() -> None:
    engine, baton = Gates(), Baton()
    engine.shut["a"] = threading.Event()
    elsewhere, others = Elsewhere(engine, baton), list[bool]()  # type: ignore[arg-type]

    def other() -> None:
        baton.take()
        others.append(True)
        baton.give()
        engine.shut["a"].set()

    threading.Thread(target=other, daemon=True).start()
    with elsewhere.conversation(Sampling(), 1) as talk:
        talk.ask([Prompt(ids=(97,), seeds=(1, 2))])
        assert not others
        assert len(talk.draw()) == 2
    assert others == [True]
    baton.stop()
    with pytest.raises(Stopped):
        elsewhere.generate([], Sampling())

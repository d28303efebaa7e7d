"""Groups that are sampled ahead, while earlier ones are learned from. It knows no token, no loss and no server.

Every group is wanted by a step: a step learns from its own groups, in their order, whichever were ready first, so that
short answers are not learned from before long ones. What is asynchronous is only by which weights a group was drawn.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from togi.protocols import Sampler
from togi.samplers.baton import Baton, ByModelsHere, Elsewhere, Stopped, at_once
from togi.types import Group, Task

if TYPE_CHECKING:  # it imports tokenizers, which nobody needs who only reads what was kept
    from togi.rollout import Episodes

PATIENCE = 120.0  # seconds until it is first told what is waited for
LOOK = 0.5  # seconds between two looks at what is waited for
Why = Literal["stale"]
"""Why a group that was ready is not learned from: its weights are too old."""


@dataclass(frozen=True, kw_only=True, order=True)
class Place:
    """Where a group is wanted: in which step, counted from 0, as which of its groups."""

    step: int
    number: int


@dataclass(frozen=True, kw_only=True)
class Ready:
    """What was sampled for a place: ``groups`` are learned from (several where players have one each, none where every
    one was dropped), ``played`` are all that were scored. ``tasks`` were drawn for it; ``since`` is the step from which
    on the oldest weights were published that drew any of it."""

    tasks: tuple[str, ...]
    groups: tuple[Group, ...]
    played: tuple[Group, ...]
    drawn: tuple[int, ...]
    counts: Mapping[str, float]
    since: int


class Kept(Protocol):
    """Where groups are kept until they were learned from."""

    def found(self) -> dict[Place, Ready]:
        """Those that an earlier process kept, of tasks that are still there."""
        ...

    def keep(self, place: Place, ready: Ready) -> None: ...

    def drop(self, place: Place, why: Why) -> None: ...


@dataclass(kw_only=True, eq=False)
class _Wanted:
    """A group that was asked for. ``begun`` is the step at which it was, ``turn`` its place in the order of asking."""

    place: Place
    tasks: list[Task]
    begun: int
    turn: int = 0
    ready: Ready | None = None
    error: BaseException | None = None

    @property
    def settled(self) -> bool:
        return self.ready is not None or self.error is not None


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How far sampling may be ahead: a group is learned from at most ``staleness`` published weights after those that
    drew it. A stage has ``steps`` steps of ``groups`` groups."""

    staleness: int
    groups: int
    steps: int

    def allowed(self, step: int, waiting: int) -> int:
        """How many further groups may be asked for at a step, while so many are ready or being sampled; each step
        before has learned from its groups."""
        learned = step * self.groups
        return min(self.staleness + step + 1, self.steps) * self.groups - learned - waiting

    def stale(self, step: int, since: int) -> bool:
        """Whether what weights drew that were published at step ``since`` is too old to be learned from."""
        return step - since > self.staleness


class Ahead:
    """Samples a stage's groups apart from each other, each in a thread that has the baton unless it waits for the
    engine. The thread that learns has it from the start, and gives it while it learns or waits for groups."""

    def __init__(
        self,
        sampler: Sampler,
        pace: Pace,
        episodes: Episodes,
        kept: Kept,
        tasks: Sequence[Task],
        *,
        asks_here: bool = False,
        tell: Callable[[str], None],
    ) -> None:
        """``asks_here`` says that the reward asks models of this process; ``tell`` is told what is waited for long."""
        self._sampler, self._pace, self._kept, self._tell = sampler, pace, kept, tell
        self._baton = Baton()
        self._engine = Elsewhere(episodes.engine, self._baton)
        reward = episodes.reward
        if asks_here and reward is not None:
            reward = ByModelsHere(reward, self._baton)
        self._episodes = replace(episodes, engine=self._engine, reward=reward, waiting=self._baton.away)
        self._by_id = {task.id: task for task in tasks}
        self._found = kept.found()
        self._tasks: Iterator[Task] = iter(())
        self._asked: dict[Place, list[str]] = {}
        self._wanted: dict[Place, _Wanted] = {}
        self._plays: dict[int, Episodes] = {}
        self._published: dict[int, int] = {}
        self._asking = self._begun = 0  # how many were asked for, and how many of them have begun
        self._dropped: Counter[Why] = Counter()

    def __call__(self, tasks: Iterator[Task], want: int, play: Episodes) -> list[Group]:
        """The groups of the step of ``play``, which counts what they cost."""
        assert want == self._pace.groups, "recipes refuse steps of groups that are not all new"
        self._engine.publish(play.sampling)
        self._published[self._engine.version] = play.step
        self._tasks = tasks
        self._ask(play.step)
        wanted = [self._wanted[Place(step=play.step, number=number)] for number in range(want)]
        with play.timed("wait"):
            ready = self._fresh(wanted, play)
        self._cost(ready, play)
        play.counts.update(self._counts(ready, play.step))
        for each in wanted:
            del self._wanted[each.place]
        self._plays = {step: own for step, own in self._plays.items() if step > play.step}
        return [group for each in ready for group in each.groups]

    @contextmanager
    def meanwhile(self) -> Iterator[None]:
        """While it lasts, groups are sampled and weights may change."""
        self._baton.learning = True
        self._baton.give()
        try:
            yield
        finally:
            self._back(at_once, lambda: "learning has waited {} for a group that is being scored or answered to let go")
            self._baton.learning = False

    def close(self) -> None:
        """Wait for nothing that is being sampled, and have none of it drawn to its end."""
        self._baton.stop()
        self._engine.call_off()

    def idle(self) -> float:
        """The seconds since this was asked last in which nothing was asked of the engine."""
        return self._engine.idle()

    def state(self) -> list[Any]:
        """The tasks of all places that were asked for and not learned from, as plain data."""
        return [[at.step, at.number, [task.id for task in each.tasks]] for at, each in sorted(self._wanted.items())]

    def restore(self, state: Sequence[Any]) -> None:
        """To be called before the first step; a task that is not there any more is drawn anew."""
        for step, number, ids in state:
            if set(ids) <= self._by_id.keys():
                self._asked[Place(step=step, number=number)] = list(ids)

    def _ask(self, step: int) -> None:
        """Ask for all groups that may be asked for."""
        first = step * self._pace.groups + len(self._wanted)
        for place in range(first, first + self._pace.allowed(step, len(self._wanted))):
            self._want(Place(step=place // self._pace.groups, number=place % self._pace.groups), step)

    def _want(self, place: Place, step: int) -> None:
        ready = self._found.pop(place, None)
        drawn = [self._by_id[task] for task in self._asked.pop(place, [])]
        while len(drawn) < (len(ready.tasks) if ready else 1):
            drawn.append(next(self._tasks))
        wanted = self._wanted[place] = _Wanted(place=place, tasks=drawn, begun=step, ready=ready)
        if ready is None:
            self._begin(wanted)
        else:
            self._play(place.step).asked_before(ready.played)

    def _begin(self, wanted: _Wanted) -> None:
        wanted.turn, self._asking = self._asking, self._asking + 1
        name = f"group {wanted.place.number} of step {wanted.place.step + 1}"
        threading.Thread(target=self._sample, args=(wanted,), name=name, daemon=True).start()

    def _sample(self, wanted: _Wanted) -> None:
        """The thread of one place. They begin in turn, since those of a step that ask the same task share its seeds."""
        try:
            self._baton.take(lambda: self._begun == wanted.turn)
            self._begun += 1
            play = self._play(wanted.place.step).apart()
            groups = self._sampler(self._drawn(wanted.tasks), 1, play)
            made = self._made(wanted, groups, play)
            self._kept.keep(wanted.place, made)
            wanted.ready = made
        except Stopped:
            return
        except BaseException as error:  # raised by whoever waits for the group
            wanted.error = error
        self._baton.give()

    def _drawn(self, tasks: list[Task]) -> Iterator[Task]:
        """The tasks of a place, and as many more as its sampler asks for."""
        yield from tuple(tasks)
        while True:
            tasks.append(next(self._tasks))
            yield tasks[-1]

    def _made(self, wanted: _Wanted, groups: Sequence[Group], play: Episodes) -> Ready:
        versions = {
            turn.version for group in play.played for each in group.trajectories for turn in each.turns if turn.logp
        }
        return Ready(
            tasks=tuple(task.id for task in wanted.tasks),
            groups=tuple(groups),
            played=tuple(play.played),
            drawn=tuple(play.drawn),
            counts=dict(play.counts),
            since=min((self._published.get(version, wanted.begun) for version in versions), default=wanted.begun),
        )

    def _play(self, step: int) -> Episodes:
        if step not in self._plays:
            self._plays[step] = self._episodes.at(step)
        return self._plays[step]

    def _fresh(self, wanted: Sequence[_Wanted], play: Episodes) -> list[Ready]:
        """Wait until all are ready by weights that are young enough; what is too old is asked for again."""
        while True:
            self._wait(wanted, play)
            ready = [each.ready for each in wanted if each.ready is not None]
            assert len(ready) == len(wanted)
            old = [each for each, own in zip(wanted, ready, strict=True) if self._pace.stale(play.step, own.since)]
            if not old:
                return ready
            for each in old:
                self._drop(each, play.step)

    def _drop(self, wanted: _Wanted, step: int) -> None:
        self._kept.drop(wanted.place, "stale")
        self._dropped["stale"] += 1
        wanted.ready, wanted.begun = None, step
        self._begin(wanted)

    def _wait(self, wanted: Sequence[_Wanted], play: Episodes) -> None:
        """Wait until all are settled, or one of any step has failed, which is raised."""

        def left() -> list[int]:
            numbers = [each.place.number for each in wanted if not each.settled]
            if play.progress is not None:
                play.progress(len(wanted) - len(numbers), len(wanted))
            return numbers

        self._baton.give()
        self._back(
            lambda: self._failed() is not None or all(each.settled for each in wanted),
            lambda: _waiting(play.step, left(), len(wanted)),
        )
        if failed := self._failed():
            raise failed

    def _back(self, when: Callable[[], bool], say: Callable[[], str]) -> None:
        """Take the baton back; what is waited for long is told."""
        begun, patience = time.monotonic(), PATIENCE
        while not self._baton.take_back(when, LOOK):
            said, waited = say(), time.monotonic() - begun
            if waited > patience:
                since = time.strftime("%H:%M:%S", time.localtime(time.time() - waited))
                self._tell(said.format(f"since {since} ({waited:.0f} s)"))
                patience *= 2

    def _failed(self) -> BaseException | None:
        return next((each.error for each in self._wanted.values() if each.error is not None), None)

    def _cost(self, ready: Sequence[Ready], play: Episodes) -> None:
        """Add to a step's play what its groups cost."""
        values: dict[str, list[float]] = defaultdict(list)
        for each in ready:
            play.played.extend(each.played)
            play.drawn.extend(each.drawn)
            for name, value in each.counts.items():
                values[name].append(value)
        totals = self._sampler.totals
        play.counts.update({name: sum(own) if name in totals else fmean(own) for name, own in values.items()})

    def _counts(self, ready: Sequence[Ready], step: int) -> dict[str, float]:
        """Of a step that takes what is ready: how old it is, how much more is ready, and what was dropped before."""
        ages = [max(0, step - each.since) for each in ready]
        waiting = sum(each.settled for at, each in self._wanted.items() if at.step > step)
        counts = {"staleness/mean": fmean(ages), "staleness/max": max(ages), "ahead/ready": waiting}
        dropped, self._dropped = self._dropped, Counter()
        return counts | {f"ahead/dropped/{why}": dropped[why] for why in get_args(Why)}


def _waiting(step: int, left: Sequence[int], wanted: int) -> str:
    shown = ", ".join(map(str, left[:5])) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
    return (
        f"step {step + 1} has waited {{}} for {len(left)} of its {wanted} groups: numbers {shown}, which the engine "
        "draws, or which are answered or scored"
    )

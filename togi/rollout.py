"""Play: episodes in lock-step, n attempts a task, scoring, failures as data. Knows no algorithm and no model.

What one attempt samples depends on (run seed, step, task, attempt, turn) alone, never on its neighbours, so a rollout
is the same whatever it is batched with. What an environment raises becomes data; what a reward returns is checked.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

from togi.protocols import Asked, Batched, Engine, Env, Reward
from togi.tokenization import Chat
from togi.types import Group, Ids, Message, Prompt, Sampling, Score, Stop, Task, Trajectory, Turn


@dataclass
class _Episode:
    """One attempt being played. ``ids`` is what the model sees next; ``stop`` is set when it is over. ``begun`` is what
    its first completion begins with, ``salt`` sets its randomness apart from that of other beginnings, and ``opening``
    is the text that the chat template began the next turn with."""

    task: Task
    attempt: int
    begun: Ids = ()
    salt: str = ""
    ids: Ids = ()
    opening: str = ""
    env: Env | None = None
    turns: list[Turn] = field(default_factory=list)
    stop: Stop | None = None
    error: str | None = None

    def end(self, stop: Stop, error: str | None = None) -> None:
        self.stop, self.error = stop, error


def untimed(phase: str) -> AbstractContextManager[None]:
    """Measures nothing."""
    return nullcontext()


@dataclass(frozen=True, kw_only=True)
class Episodes:
    """Plays tasks through an environment each, with one engine call a turn for all of them.

    ``at(step)`` gives the play of one step, with fresh ``counts``, ``scores`` and ``stops`` (of all attempts that were
    scored, those that a sampler drops as well); a task that is played again within a step gets the seeds of further
    attempts. Runs of stages that share a seed and step numbers sample alike: give each its own seed. ``timed("grade")``
    is entered while scores are given.
    ``opponent`` makes the engine that has so much of the reference mixed into the policy.
    """

    engine: Engine
    chat: Chat
    env: Callable[[Task], Env]
    reward: Reward | None
    sampling: Sampling
    opponent: Callable[[float], Engine] | None = None
    seed: int = 0
    step: int = 0
    progress: Callable[[int, int], None] | None = None
    timed: Callable[[str], AbstractContextManager[None]] = untimed
    counts: dict[str, float] = field(default_factory=dict)
    scores: list[Score] = field(default_factory=list, repr=False)
    stops: list[Stop] = field(default_factory=list, repr=False)
    _played: dict[str, int] = field(default_factory=dict, repr=False)

    def at(
        self,
        step: int,
        progress: Callable[[int, int], None] | None = None,
        timed: Callable[[str], AbstractContextManager[None]] = untimed,
    ) -> Episodes:
        """The same play at another step; ``progress`` is told of finished turns."""
        return replace(self, step=step, progress=progress, timed=timed, counts={}, scores=[], stops=[], _played={})

    def __call__(self, tasks: Sequence[Task], n: int) -> list[Group]:
        """Attempt every task ``n`` times and score. Raises ValueError when there is no reward, or a wrong one."""
        self._check_reward()
        return self._scored(tasks, self.attempts(tasks, n))

    def attempts(self, tasks: Sequence[Task], n: int) -> list[tuple[Trajectory, ...]]:
        """``n`` attempts at every task, not scored."""
        if n < 1:
            raise ValueError(f"attempts must be at least 1, got {n}")
        episodes = []
        for task in tasks:
            first = self._played.get(task.id, 0)
            self._played[task.id] = first + n
            episodes += [_Episode(task=task, attempt=first + i) for i in range(n)]
        played = self._played_out(episodes)
        return [tuple(played[i * n : (i + 1) * n]) for i in range(len(tasks))]

    def continued(self, begun: Sequence[tuple[Task, Ids]], n: int) -> list[Group]:
        """``n`` attempts for each task and beginning of its first completion, scored; no log-probabilities.

        What is drawn depends on the task and the beginning alone, beside run and step. A completion has no more tokens
        than one that is sampled at once: what goes beyond is cut off. Raises ValueError when there is no reward.
        """
        self._check_reward()
        episodes = [
            _Episode(task=task, attempt=attempt, begun=ids, salt=f"\x1f{','.join(map(str, ids))}")
            for task, ids in begun
            for attempt in range(n)
        ]
        played = self._played_out(episodes)
        attempts = [tuple(played[i * n : (i + 1) * n]) for i in range(len(begun))]
        return self._scored([task for task, _ in begun], attempts)

    def step_ends(self, trajectory: Trajectory, separator: str) -> tuple[int, ...]:
        return self.chat.step_ends(trajectory.turns[-1].completion, separator)

    def _played_out(self, episodes: Sequence[_Episode]) -> list[Trajectory]:
        try:
            self._start(episodes)
            turn = 0
            while live := [episode for episode in episodes if episode.stop is None]:
                self._turn(live, turn)
                turn += 1
        finally:
            for episode in episodes:
                _close(episode)
        return [Trajectory(turns=tuple(e.turns), stop=e.stop or "error", error=e.error) for e in episodes]

    def against(self, tasks: Sequence[Task], share: float) -> list[Group]:
        """The policy's attempt and its opponent's at every task, scored together; ``share`` is the reference's part in
        the opponent. Raises ValueError when there is no reward or no reference."""
        self._check_reward()
        if self.opponent is None:
            raise ValueError("an opponent is mixed from the policy and its reference, and this play has no reference")
        own = self.attempts(tasks, 1)
        theirs = replace(self, engine=self.opponent(share)).attempts(tasks, 1)
        return self._scored(tasks, [(*a, *b) for a, b in zip(own, theirs, strict=True)])

    def _check_reward(self) -> None:
        if self.reward is None:
            raise ValueError("sampled attempts need a reward: give the stage one, or train on recorded answers")

    def _scored(self, tasks: Sequence[Task], attempts: Sequence[tuple[Trajectory, ...]]) -> list[Group]:
        assert self.reward is not None
        with self.timed("grade"):
            scores = score(self.reward, list(zip(tasks, attempts, strict=True)))
        self.scores.extend(each for given in scores for each in given)
        self.stops.extend(trajectory.stop for trajectories in attempts for trajectory in trajectories)
        return [
            Group(task=task, trajectories=trajectories, scores=given)
            for task, trajectories, given in zip(tasks, attempts, scores, strict=True)
        ]

    def greedy(self, tasks: Sequence[Task]) -> list[Group]:
        """Played apart: the attempts of this step keep their seeds."""
        return replace(self, sampling=replace(self.sampling, temperature=0.0), counts={}, _played={})(tasks, 1)

    def referenced(self, group: Group, tag: str) -> tuple[Turn | None, ...]:
        """For each attempt the turn in which the task's own answer stands where the attempt opened ``<tag>``; None
        where it did not, where it failed, and for a task without an answer."""
        gold = self.chat.reference(group.task)
        places = [
            self.chat.referenced(one.turns[-1], gold, tag) if gold and one.turns and one.error is None else None
            for one in group.trajectories
        ]
        return tuple(None if place is None else place.turn for place in places)

    def recorded(self, tasks: Sequence[Task]) -> list[Group]:
        groups = []
        for task in tasks:
            if not task.recorded:
                raise ValueError(f"task {task.id} has no recorded answer: give the row a completion, or sample instead")
            turns = [self.chat.recorded(task.prompt, answer) for answer in task.recorded]
            trajectories = tuple(Trajectory(turns=each, stop="eos") for each in turns)
            worth = task.worth or (0.0,) * len(turns)
            groups.append(
                Group(task=task, trajectories=trajectories, scores=tuple(Score(value=value) for value in worth))
            )
        return groups

    def _start(self, episodes: Sequence[_Episode]) -> None:
        encoded: dict[tuple[Message, ...], Ids] = {}
        for episode in episodes:
            try:
                episode.env = self.env(episode.task)
                messages = episode.env.start()
            except Exception as problem:
                episode.end("error", f"environment: {_said(problem)}")
                continue
            if messages not in encoded:
                encoded[messages] = self.chat.prompt(messages)
            episode.ids, episode.opening = (*encoded[messages], *episode.begun), self.chat.opening(messages)

    def _turn(self, live: Sequence[_Episode], number: int) -> None:
        shared: dict[Ids, list[_Episode]] = {}
        for episode in live:
            shared.setdefault(episode.ids, []).append(episode)
        prompts = [
            Prompt(ids=ids, seeds=tuple(self._seed(episode, number) for episode in each))
            for ids, each in shared.items()
        ]
        drawn = self.engine.generate(prompts, self.sampling, self.progress)
        for each, turns in zip(shared.values(), drawn, strict=True):
            for episode, turn in zip(each, turns, strict=True):
                self._answer(episode, self._whole(episode, turn))

    def _seed(self, episode: _Episode, turn: int) -> int:
        return attempt_seed(self.seed, self.step, episode.task.id + episode.salt, episode.attempt, turn)

    def _whole(self, episode: _Episode, turn: Turn) -> Turn:
        """The turn with all that it says, and with what it was to begin with, which some other policy may have written,
        as a part of its completion."""
        if not episode.begun or episode.turns:
            return replace(turn, text=episode.opening + turn.text) if episode.opening else turn
        completion, most = (*episode.begun, *turn.completion), self.sampling.max_tokens
        return replace(
            turn,
            prompt=turn.prompt[: -len(episode.begun)],
            completion=completion[:most],
            text=episode.opening + self.chat.decode(completion[:most]),
            stop="length" if len(completion) > most else turn.stop,
            logp=(),
        )

    def _answer(self, episode: _Episode, turn: Turn) -> None:
        """Hand the turn to the environment, and note how the episode goes on."""
        if turn.stop == "context" and not turn.completion:
            if not episode.turns:
                episode.turns.append(turn)
                episode.end("context", f"the prompt's {len(turn.prompt)} tokens leave no room in the model's context")
            else:
                episode.end("context")
            return
        assert episode.env is not None
        try:
            replies, reward, done = episode.env.step(Message(role="assistant", content=turn.text))
        except Exception as problem:
            episode.turns.append(turn)
            episode.end("error", f"environment: {_said(problem)}")
            return
        episode.turns.append(replace(turn, replies=replies, reward=float(reward)))
        if done:
            episode.end(turn.stop)
        else:
            episode.ids = self.chat.extend(turn.prompt + turn.completion, replies)
            episode.opening = self.chat.opening(replies)


def attempt_seed(seed: int, step: int, task: str, attempt: int, turn: int) -> int:
    """A seed in [0, 2^63) from all that one turn's randomness may depend on."""
    key = "\x1f".join([str(seed), str(step), str(attempt), str(turn), task])
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 1


def score(reward: Reward, asked: Sequence[Asked]) -> list[tuple[Score, ...]]:
    """One score a trajectory. The reward is not asked about failed ones: their scores have status ``error``. One that
    kept its grader from grading it earns 0, and no more than any sibling that was graded.

    Raises ValueError, naming the reward, when it gives something other than one finite Score a trajectory. What a
    reward raises is not caught: graders that may fail run in workers, which turn a failure into a status.
    """
    sound = [(task, [t for t in trajectories if t.error is None]) for task, trajectories in asked]
    put = [(task, trajectories) for task, trajectories in sound if trajectories]
    answers = reward.many(put) if isinstance(reward, Batched) else [reward(*each) for each in put]
    rest: list[Score] = []
    for (task, trajectories), given in zip(put, answers, strict=True):
        _check(reward, task, trajectories, given)
        rest += _grounded(given)
    following = iter(rest)
    return [
        tuple(
            next(following) if t.error is None else Score(value=math.nan, status="error", note=t.error)
            for t in trajectories
        )
        for _, trajectories in asked
    ]


def _grounded(scores: Sequence[Score]) -> Iterator[Score]:
    """The scores, those of own faults lowered: a bonus beside a failed part, a cost that was never counted, or a reward
    whose wrong answers are worth less than 0 would otherwise pay for not being graded."""
    graded = [each.value for each in scores if each.status == "ok" and each.own_fault is None]
    most = min([0.0, *graded])
    for each in scores:
        if each.status != "ok" or each.own_fault is None:
            yield each
            continue
        value = min(each.value, most)
        shares = {**each.shares, "own_fault": value - each.value} if each.shares and value < each.value else each.shares
        parts = {**each.parts, "correct": 0.0} if "correct" in each.parts else each.parts
        dense = tuple(min(token, 0.0) for token in each.dense)
        yield replace(each, value=value, parts=parts, shares=shares, dense=dense)


def _check(reward: Reward, task: Task, trajectories: Sequence[Trajectory], scores: object) -> None:
    who = f"reward {reward!r}, task {task.id}"
    if not isinstance(scores, list | tuple) or len(scores) != len(trajectories):
        got = f"{len(scores)} of them" if isinstance(scores, list | tuple) else repr(scores)
        raise ValueError(f"{who}: wanted a list of {len(trajectories)} scores, one an attempt, got {got}")
    for trajectory, each in zip(trajectories, scores, strict=True):
        if not isinstance(each, Score):
            raise ValueError(f"{who}: wanted Score objects, got {each!r}; return Score(value=...) for each attempt")
        if each.status != "ok":
            continue
        if not isinstance(each.value, int | float) or not math.isfinite(each.value):
            raise ValueError(
                f"{who}: wanted a finite number, got {each.value!r}; when no score can be given, say so with "
                'Score(value=math.nan, status="error", note=...)'
            )
        wanted = sum(len(turn.completion) for turn in trajectory.turns)
        if each.dense and len(each.dense) != wanted:
            raise ValueError(f"{who}: wanted {wanted} dense rewards, one a completion token, got {len(each.dense)}")
        if len(each.steps) != len(each.step_ends):
            raise ValueError(f"{who}: {len(each.steps)} steps have worths, and {len(each.step_ends)} have ends")


def _close(episode: _Episode) -> None:
    if episode.env is None:
        return
    try:
        episode.env.close()
    except Exception as problem:
        episode.error = episode.error or f"environment, closing: {_said(problem)}"


def _said(problem: Exception) -> str:
    return f"{type(problem).__name__}: {problem}"

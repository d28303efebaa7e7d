"""Play: episodes side by side, n attempts a task, scoring, failures as data. Knows no algorithm and no model.

What one attempt samples depends on (run seed, step, task, attempt, turn) alone, never on its neighbours, so a rollout
is the same whatever it is batched with. What an environment raises becomes data; what a reward returns is checked.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

from togi.engines.stop_strings import cut
from togi.envs import OneTurn
from togi.episode import Episode
from togi.episode_answers import Answers, Here, InThreads
from togi.episode_blame import Blame
from togi.protocols import Asked, Batched, Conversing, Engine, Env, Keeping, Reward, Talk
from togi.rounds import Rounds
from togi.tokenization import Chat
from togi.types import (
    Beside,
    Group,
    Ids,
    Limits,
    Message,
    Opponent,
    Prompt,
    Question,
    Sampling,
    Score,
    Stop,
    Task,
    Trajectory,
    Turn,
)

_Encoded = dict[tuple[str, tuple[Message, ...], str], Ids]
"""Prompts by the task, the messages and the tools, each encoded once."""


def untimed(phase: str) -> AbstractContextManager[None]:
    """Measures nothing."""
    return nullcontext()


def one_half(task: str) -> float:
    """What is known of tasks before any attempt."""
    return 0.5


@dataclass(frozen=True, kw_only=True)
class Episodes:
    """Plays tasks through an environment each. With an engine that converses episodes do not wait for each other: one
    goes on while the turns of others are drawn. With others all turns are drawn that come next, and then all answered.

    ``at(step)`` gives the play of one step, with fresh ``counts``, ``played`` (all groups that were scored, those that
    a sampler drops as well) and ``drawn`` (how many tokens of each turn were drawn). Runs of stages that share a seed
    and step numbers sample alike: give each its own seed. ``timed("grade")`` is entered while scores are given.
    ``opponent`` makes the engine that has so much of the reference mixed into the policy. ``rates`` is what earlier
    steps tell of each task, by its id. ``waiting`` is entered while environments in threads are waited for.
    """

    engine: Engine
    chat: Chat
    env: Callable[[Task], Env]
    reward: Reward | None
    sampling: Sampling
    limits: Limits = field(default=Limits())
    beside: Beside | None = None
    opponent: Callable[[float], Engine] | None = None
    seed: int = 0
    step: int = 0
    progress: Callable[[int, int], None] | None = None
    timed: Callable[[str], AbstractContextManager[None]] = untimed
    rates: Callable[[str], float] = one_half
    waiting: Callable[[], AbstractContextManager[None]] = nullcontext
    counts: dict[str, float] = field(default_factory=dict)
    played: list[Group] = field(default_factory=list, repr=False)
    drawn: list[int] = field(default_factory=list, repr=False)
    _played: dict[tuple[str, Ids], int] = field(default_factory=dict, repr=False)

    def at(
        self,
        step: int,
        progress: Callable[[int, int], None] | None = None,
        timed: Callable[[str], AbstractContextManager[None]] = untimed,
    ) -> Episodes:
        """The same play at another step; ``progress`` is told of finished turns."""
        return replace(self, step=step, progress=progress, timed=timed, counts={}, played=[], drawn=[], _played={})

    def apart(self) -> Episodes:
        """The play of the same step for another thread, which counts by itself; no two draw by the same seed."""
        return replace(self, progress=None, timed=untimed, counts={}, played=[], drawn=[])

    def asked_before(self, groups: Sequence[Group]) -> None:
        """Take no more seeds of attempts that an earlier process made from their prompts on."""
        for task, attempts in {(group.task.id, len(group.trajectories)) for group in groups}:
            self._played[task, ()] = self._played.get((task, ()), 0) + attempts

    @property
    def scores(self) -> list[Score]:
        return [each for group in self.played for each in group.scores]

    @property
    def stops(self) -> list[Stop]:
        return [trajectory.stop for group in self.played for trajectory in group.trajectories]

    def rate(self, task: Task) -> float:
        """How likely an attempt at a task is right, as far as that is known."""
        return self.rates(task.id)

    def __call__(self, questions: Sequence[Question]) -> list[Group]:
        """The attempts at each question, scored. Raises ValueError when there is no reward, or a wrong one."""
        self._check_reward()
        played = self.attempts(questions)
        players = getattr(self.env, "players", ())
        roles = [by_role(attempts, players) for attempts in played]
        asked = zip(questions, roles, strict=True)
        groups = self.scored([(question.task, own) for question, each in asked for own in each.values()])
        names = [role for each in roles for role in each]
        return [replace(group, role=role) for group, role in zip(groups, names, strict=True)]

    def attempts(self, questions: Sequence[Question]) -> list[tuple[Trajectory, ...]]:
        """The attempts at each question, not scored. Raises ValueError for an opponent where there is no reference.

        A task that is asked about again within a step, with the same beginning, gets the seeds of further attempts.
        What is drawn after a beginning depends on the task and the beginning alone, beside run and step; its completion
        has no more tokens than one that is sampled at once.
        """
        asked = [self._episodes(question) for question in questions]
        kinds: dict[tuple[Opponent | None, Sampling], list[Episode]] = {}
        for question, episodes in zip(questions, asked, strict=True):
            kinds.setdefault((question.by, self._how(question)), []).extend(episodes)
        for (by, sampling), episodes in kinds.items():
            self._play_out(episodes, self._who(by), sampling)
        return [tuple(each for episode in episodes for each in episode.trajectories()) for episodes in asked]

    def scored(self, asked: Sequence[Asked]) -> list[Group]:
        """Attempts that were made before, those of each entry scored together. Raises ValueError as a call does."""
        reward = self._check_reward()
        with self.timed("grade"):
            scores = score(reward, asked)
        groups = [
            Group(task=task, trajectories=tuple(trajectories), scores=given)
            for (task, trajectories), given in zip(asked, scores, strict=True)
        ]
        self.played.extend(groups)
        return groups

    def keeping(self) -> AbstractContextManager[None]:
        """While it lasts, attempts that go on from earlier ones cost their new tokens alone, with an engine that can
        keep the others. Rewards that ask this engine wait until it is over."""
        return self.engine.keeping() if isinstance(self.engine, Keeping) else nullcontext()

    def _check_reward(self) -> Reward:
        if self.reward is None:
            raise ValueError("sampled attempts need a reward: give the stage one, or train on recorded answers")
        return self.reward

    def _episodes(self, question: Question) -> list[Episode]:
        first = 0
        # The likeliest answer is the same one whenever it is asked for, and takes no other attempt's seed.
        if self._how(question).temperature > 0:
            asked = question.task.id, question.beginning
            first = self._played.get(asked, 0)
            self._played[asked] = first + question.attempts
        return [Episode(question=question, attempt=first + i, limits=self.limits) for i in range(question.attempts)]

    def _how(self, question: Question) -> Sampling:
        return question.sampling or self.sampling

    def _who(self, by: Opponent | None) -> Engine:
        if by is None:
            return self.engine
        if self.opponent is None:
            raise ValueError("an opponent is mixed from the policy and its reference, and this play has no reference")
        return self.opponent(by.reference_share)

    def _play_out(self, episodes: Sequence[Episode], engine: Engine, sampling: Sampling) -> None:
        beside = self.beside
        answers = InThreads(beside.threads, beside.seconds, self.waiting) if beside else Here()
        try:
            answers.start(episodes, self.env)
            players = len(getattr(self.env, "players", ())) or 1
            with self._talk(engine, sampling, len(episodes) * players) as talk:
                self._converse(episodes, talk, answers, sampling)
        finally:
            answers.close(episodes)
        blame = Blame(make=self.env, harmless=lambda task: self.chat.reference(task) or "", tell=self._tell)
        for episode in episodes:
            episode.blame(blame)

    def _talk(self, engine: Engine, sampling: Sampling, most: int) -> AbstractContextManager[Talk]:
        """Talk with the engine; an attempt of a single turn needs no more than a call."""
        if self.env is OneTurn or not isinstance(engine, Conversing):
            return nullcontext(Rounds(engine, sampling, self.progress))
        return engine.conversation(sampling, most, self.progress)

    def _converse(self, episodes: Sequence[Episode], talk: Talk, answers: Answers, sampling: Sampling) -> None:
        encoded: _Encoded = {}
        turns: dict[int, Episode] = {}  # that are drawn or wait to be, by number
        asked: dict[int, list[int]] = {}  # all turns of an episode
        number, going_on = 0, list(episodes)
        while going_on or turns or answers.pending:
            prompts = []
            for prompt, each in self._prompts([e for e in going_on if e.stop is None], encoded, sampling.max_tokens):
                prompts.append(prompt)
                for episode in each:
                    turns[number] = episode
                    asked.setdefault(id(episode), []).append(number)
                    number += 1
            talk.ask(prompts)
            spoke = []
            for ended, turn in talk.draw() if turns else ():
                self.drawn.append(len(turn.completion))
                spoke.append(turns.pop(ended))
                self._answer(spoke[-1], self._whole(spoke[-1], turn, sampling), answers)
            going_on = answers.due(talk.drawing)
            talk.over(turn for e in (*spoke, *going_on) if e.stop is not None for turn in asked[id(e)])

    def _prompts(self, live: Sequence[Episode], encoded: _Encoded, most: int) -> list[tuple[Prompt, list[Episode]]]:
        """What episodes ask next, those together that ask the same."""
        shared: dict[tuple[Ids, int | None, int], list[Episode]] = {}
        for episode in live:
            try:
                self._ask(episode, encoded)
            except Exception as problem:
                if not episode.said:  # nobody is asked anything then, which is for the user to mend
                    raise
                episode.fail(problem)
                continue
            left = episode.left
            if episode.begun:
                room = max(0, most - len(episode.begun))
                left = room if left is None else min(left, room)
            shared.setdefault((episode.view.ids, left, len(episode.begun)), []).append(episode)
        return [
            (Prompt(ids=ids, seeds=tuple(self._seed(episode) for episode in each), left=left, begun=begun), each)
            for (ids, left, begun), each in shared.items()
        ]

    def _ask(self, episode: Episode, encoded: _Encoded) -> None:
        """Write what the player who is to act was told as the tokens that the model is to continue."""
        task, view = episode.asked, episode.view
        chat, told, before = self.chat.of(task), view.heard(), view.so_far.get(episode.conversation)
        view.opening = chat.opening(told)
        if before is not None:
            view.ids = chat.extend(before, told)
            return
        place = task.id, told, repr(task.tools)
        if place not in encoded:
            encoded[place] = chat.prompt(told)
        view.ids = (*encoded[place], *episode.begun)

    def _tell(self, task: Task, told: tuple[Message, ...], begun: bool) -> None:
        """Raises ValueError for what has no tokens."""
        chat = self.chat.of(task)
        chat.prompt(told) if begun else chat.extend((), told)

    def _seed(self, episode: Episode) -> int:
        beginning = episode.question.beginning
        salt = f"\x1f{','.join(map(str, beginning))}" if beginning else ""
        task = episode.question.task.id + salt
        return attempt_seed(self.seed, self.step, task, episode.attempt, len(episode.said))

    def _whole(self, episode: Episode, turn: Turn, sampling: Sampling) -> Turn:
        """The turn with all that it says, and with what it was to begin with, which some other policy may have written,
        as a part of its completion."""
        begun, opening, most = episode.begun, episode.view.opening, sampling.max_tokens
        if not begun:
            return replace(turn, text=opening + turn.text) if opening else turn
        completion = (*begun, *turn.completion)
        stop: Stop = turn.stop
        if len(completion) > most or (len(completion) == most and stop == "tokens"):
            completion, stop = completion[:most], "length"
        text = self.chat.decode(completion)
        return replace(
            turn,
            prompt=turn.prompt[: -len(begun)],
            completion=completion,
            text=opening + (cut(text, sampling.stop) if stop == "stop_string" else text),
            stop=stop,
            logp=(*episode.question.logp, *turn.logp)[:most] if episode.question.logp else (),
        )

    def _answer(self, episode: Episode, turn: Turn, answers: Answers) -> None:
        if turn.completion or turn.stop != "context":
            answers.hand(episode, turn)
        elif episode.view.turns:
            episode.end("context")
        else:
            episode.view.take(turn, episode.conversation)
            episode.end("context", f"the prompt's {len(turn.prompt)} tokens leave no room in the model's context")


def by_role(trajectories: Sequence[Trajectory], players: Sequence[str] = ()) -> dict[str, tuple[Trajectory, ...]]:
    """The attempts at a task, those of each role for themselves: all of ``players``, also those that never acted. An
    attempt that failed before anybody acted is one of each player."""
    roles: dict[str, list[Trajectory]] = {player: [] for player in players}
    for trajectory in trajectories:
        for role in (trajectory.role,) if trajectory.role or not players else players:
            roles.setdefault(role, []).append(replace(trajectory, role=role))
    return {role: tuple(each) for role, each in roles.items()}


def attempt_seed(seed: int, step: int, task: str, attempt: int, turn: int) -> int:
    """A seed in [0, 2^63) from all that one turn's randomness may depend on."""
    key = "\x1f".join([str(seed), str(step), str(attempt), str(turn), task])
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 1


def score(reward: Reward, asked: Sequence[Asked]) -> list[tuple[Score, ...]]:
    """One score a trajectory. The reward is not asked about failed ones: their scores have status ``error``. One that
    broke its environment, or kept its grader from grading it, earns 0, no more than any attempt of its role that was
    graded along with it, and no more than its environment had paid it.

    Raises ValueError, naming the reward, when it gives something other than one finite Score a trajectory. What a
    reward raises is not caught: graders that may fail run in workers, which turn a failure into a status.
    """
    sound = [(task, [t for t in trajectories if t.error is None]) for task, trajectories in asked]
    put = [(task, trajectories) for task, trajectories in sound if trajectories]
    answers = reward.many(put) if isinstance(reward, Batched) else [reward(*each) for each in put]
    rest: list[Score] = []
    for (task, trajectories), given in zip(put, answers, strict=True):
        _check(reward, task, trajectories, given)
        rest += given
    parts = dict.fromkeys((name for each in rest for name in each.parts), 0.0)
    shares = dict.fromkeys((name for each in rest for name in each.shares), 0.0)
    following = iter(rest)
    scores = [
        [next(following) if t.error is None else _broken(t, parts, shares) for t in trajectories]
        for _, trajectories in asked
    ]
    pairs = [
        pair
        for (_, trajectories), own in zip(asked, scores, strict=True)
        for pair in zip(trajectories, own, strict=True)
    ]
    least: dict[str, float] = {}
    for trajectory, each in pairs:
        if each.status == "ok" and each.own_fault is None:
            least[trajectory.role] = min(least.get(trajectory.role, 0.0), each.value)
    grounded = iter([_grounded(each, trajectory, least.get(trajectory.role, 0.0)) for trajectory, each in pairs])
    return [tuple(next(grounded) for _ in own) for own in scores]


def _broken(trajectory: Trajectory, parts: Mapping[str, float], shares: Mapping[str, float]) -> Score:
    """The score of an attempt that broke off; ``parts`` and ``shares`` are those of one that earned nothing."""
    fault, note = trajectory.own_fault, trajectory.error or ""
    if fault is None:
        return Score(value=math.nan, status="error", note=note)
    note += f" (the completion's own fault: {fault})"
    return Score(value=0.0, parts=parts, shares=shares, own_fault=fault, note=note)


def _grounded(given: Score, trajectory: Trajectory, least: float) -> Score:
    """The score, one of an own fault lowered to the ``least``: a bonus beside a failed part, a cost that was never
    counted, or a reward whose wrong answers are worth less than 0 would otherwise pay for not being graded."""
    if given.status != "ok" or given.own_fault is None:
        return given
    value = min(given.value, least, sum(turn.reward for turn in trajectory.turns))
    shares = (
        {**given.shares, "own_fault": value - given.value} if given.shares and value < given.value else given.shares
    )
    parts = {**given.parts, "correct": 0.0} if "correct" in given.parts else given.parts
    dense = tuple(min(token, 0.0) for token in given.dense)
    return replace(given, value=value, parts=parts, shares=shares, dense=dense)


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

"""Episodes: seeds that no neighbour can move, turns in lock-step, failures as data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from togi.batch import samples
from togi.envs import OneTurn
from togi.protocols import Env, Reward
from togi.rollout import Episodes, attempt_seed
from togi.samplers.group import ask, recorded
from togi.types import Group, Ids, Message, Prompt, Question, Sampling, Score, Task, Trajectory, Turn

CONTEXT = 24


class Letters:
    """One id a character; replies are appended in brackets."""

    def __init__(self, prefill: str = "") -> None:
        self.encoded, self.prefill = 0, prefill

    def opening(self, messages: Sequence[Message]) -> str:
        return self.prefill

    def prompt(self, messages: Sequence[Message]) -> Ids:
        self.encoded += 1
        return tuple(ord(c) for message in messages for c in message.content)

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))

    def reference(self, task: Task) -> str | None:
        return None if task.answer is None else str(task.answer)

    def extend(self, ids: Ids, replies: Sequence[Message]) -> Ids:
        return ids + tuple(ord(c) for reply in replies for c in f"[{reply.content}]")

    def of(self, task: Task) -> Letters:
        return self

    def recorded(self, prompt: Sequence[Message], answer: Sequence[Message]) -> tuple[Turn, ...]:
        return (Turn(prompt=self.prompt(prompt), completion=self.prompt(answer), text=answer[0].content, stop="eos"),)


@dataclass
class Dice:
    """Emits two digits that depend on the seed alone; full contexts give empty turns."""

    version: int = 7
    context: int = CONTEXT
    calls: list[list[Prompt]] = field(default_factory=list)

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, progress: Callable[[int, int], None] | None = None
    ) -> list[list[Turn]]:
        self.calls.append(list(prompts))
        if progress is not None:
            progress(1, 1)
        return [[self._turn(prompt.ids, seed) for seed in prompt.seeds] for prompt in prompts]

    def sync(self, policy: object) -> None: ...

    def _turn(self, ids: Ids, seed: int) -> Turn:
        if len(ids) >= self.context:
            return Turn(prompt=ids, completion=(), text="", stop="context", version=self.version)
        text = f"{seed % 100:02d}"
        return Turn(
            prompt=ids, completion=tuple(map(ord, text)), text=text, stop="eos", logp=(-1.0, -2.0), version=self.version
        )


def parity(task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
    return [Score(value=float(int(trajectory.turns[-1].text) % 2)) for trajectory in trajectories]


class Guess(Env):
    """Three turns of hints; records that it was made and closed."""

    made = closed = 0

    def __init__(self, task: Task) -> None:
        Guess.made += 1
        self.turns = 0
        self.fails_at = task.info.get("fails_at")

    def start(self) -> tuple[Message, ...]:
        if self.fails_at == 0:
            raise RuntimeError("no start")
        return (Message(role="user", content="go"),)

    def step(self, message: Message) -> tuple[tuple[Message, ...], float, bool]:
        self.turns += 1
        if self.fails_at == self.turns:
            raise KeyError("boom")
        return (Message(role="user", content=f"h{self.turns}"),), 0.5, self.turns == 3

    def close(self) -> None:
        Guess.closed += 1


def task(name: str, **info: object) -> Task:
    return Task(id=name, prompt=(Message(role="user", content=f"ask {name[0]}"),), info=info)


def episodes(
    reward: Reward | None = parity, env: Callable[[Task], Env] = OneTurn, seed: int = 0
) -> tuple[Episodes, Dice, Letters]:
    engine, chat = Dice(), Letters()
    play = Episodes(engine=engine, chat=chat, env=env, reward=reward, sampling=Sampling(), seed=seed)  # type: ignore[arg-type]
    return play, engine, chat


def texts(groups: Sequence[Group]) -> list[list[list[str]]]:
    return [[[turn.text for turn in t.turns] for t in group.trajectories] for group in groups]


def test_one_engine_call_one_prompt_a_task_and_each_encoded_once() -> None:
    play, engine, chat = episodes()
    groups = play(ask([task("a"), task("b")], 3))
    assert [[len(prompt.seeds) for prompt in call] for call in engine.calls] == [[3, 3]]
    assert chat.encoded == 2
    assert [group.task.id for group in groups] == ["a", "b"]
    assert [len(group.trajectories) for group in groups] == [3, 3]
    assert len({seed for prompt in engine.calls[0] for seed in prompt.seeds}) == 6
    first = groups[0].trajectories[0]
    assert first.stop == "eos"
    assert first.turns[0].version == 7
    assert groups[0].scores[0].value == int(first.turns[0].text) % 2


def test_a_turn_says_what_the_template_began_it_with() -> None:
    play, _, chat = episodes(reward=lambda task, trajectories: [Score(value=0.0)] * len(trajectories), env=Guess)
    bare = play(ask([task("a")], 1))[0].trajectories[0].turns
    chat.prefill = "<think>"
    (begun,) = replace(play, _played={})(ask([task("a")], 1))[0].trajectories
    (continued,) = play([Question(task=task("a"), beginning=(120,))])[0].trajectories
    assert [turn.text for turn in begun.turns] == [f"<think>{turn.text}" for turn in bare]
    assert [turn.completion for turn in begun.turns] == [turn.completion for turn in bare]
    assert continued.turns[0].text.startswith("<think>x")


def test_a_rollout_does_not_depend_on_its_neighbours() -> None:
    alone = texts(episodes()[0](ask([task("b")], 2)))[0]
    among = texts(episodes()[0](ask([task("a"), task("b"), task("c")], 4)))[1]
    assert among[:2] == alone


def test_seeds_differ_by_run_seed_step_task_and_attempt() -> None:
    def drawn(seed: int, step: int, name: str) -> list[list[str]]:
        return texts(episodes(seed=seed)[0].at(step)(ask([task(name)], 8)))[0]

    base = drawn(0, 0, "a")
    assert base == drawn(0, 0, "a")
    assert len({tuple(each) for each in base}) > 1
    assert all(base != other for other in (drawn(1, 0, "a"), drawn(0, 1, "a"), drawn(0, 0, "b")))
    seeds = {attempt_seed(s, t, i, a, n) for s in (0, 1) for t in (0, 1) for i in "ab" for a in (0, 1) for n in (0, 1)}
    assert len(seeds) == 32
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_task_played_again_within_a_step_gets_further_attempts() -> None:
    four = texts(episodes()[0](ask([task("a")], 4)))[0]
    play = episodes()[0].at(0)
    first, second = play(ask([task("a")], 2)), play(ask([task("a")], 2))
    assert texts(first)[0] + texts(second)[0] == four
    twice = episodes()[0](ask([task("a"), task("a")], 2))
    assert texts(twice)[0] + texts(twice)[1] == four
    assert texts(play.at(0)(ask([task("a")], 2)))[0] == four[:2]


def test_progress_and_counts_belong_to_one_step() -> None:
    told: list[tuple[int, int]] = []
    play = episodes()[0]
    play.counts["x"] = 1.0
    later = play.at(3, lambda done, total: told.append((done, total)))
    later(ask([task("a")], 1))
    assert told == [(1, 1)]
    assert later.counts == {}
    assert later.step == 3


def test_turns_go_in_lock_step_and_keep_the_ids_that_were_sampled() -> None:
    play, engine, _ = episodes(env=Guess)
    [group] = play(ask([task("a")], 2))
    assert len(engine.calls) == 3
    trajectory = group.trajectories[0]
    assert [turn.reward for turn in trajectory.turns] == [0.5, 0.5, 0.5]
    assert trajectory.turns[0].replies == (Message(role="user", content="h1"),)
    for before, after in zip(trajectory.turns, trajectory.turns[1:], strict=False):
        seen = before.prompt + before.completion
        assert after.prompt == seen + tuple(map(ord, f"[{before.replies[0].content}]"))
    assert len(samples([group])) == 2
    assert trajectory.stop == "eos"


class TwoTalks(Guess):
    """Talks in turn in two conversations."""

    conversation = "a"

    def step(self, message: Message) -> tuple[tuple[Message, ...], float, bool]:
        self.conversation = "ab"[self.conversation == "a"]
        return super().step(message)


class ToolsLater(Guess):
    """Has a tool from the second turn on."""

    @property
    def tools(self) -> tuple[object, ...] | None:
        return ({"tool": 1},) if self.turns else ()


def test_replies_follow_what_was_said_in_their_own_conversation() -> None:
    play, _, _ = episodes(env=TwoTalks)
    ((trajectory,),) = play.attempts([Question(task=task("a"))])
    seen = ["".join(map(chr, turn.prompt)) for turn in trajectory.turns]
    first = trajectory.turns[0].text
    assert seen == ["go", "h1", f"go{first}[h2]"]
    group = Group(task=task("a"), trajectories=(trajectory,), scores=(Score(value=1.0),))
    assert [sample.mask.sum() for sample in samples([group])] == [2, 2, 2], "no token is learned twice"


def test_an_environment_says_what_can_be_called_next() -> None:
    play, _, chat = episodes(env=ToolsLater)
    asked: list[object] = []
    chat.of = lambda task: (asked.append(task.tools), chat)[1]  # type: ignore[method-assign, func-returns-value]
    play.attempts([Question(task=replace(task("a"), tools=({"tool": 0},)))])
    assert asked == [(), ({"tool": 1},), ({"tool": 1},)]


def test_an_environment_is_closed_whatever_it_counts() -> None:
    class Miscounts(Guess):
        @property
        def counts(self) -> dict[str, float]:
            raise ValueError("no number")

    Guess.made = Guess.closed = 0
    (group,) = episodes(env=Miscounts)[0](ask([task("a")], 2))
    assert Guess.closed == Guess.made >= 2
    assert all("no number" in (trajectory.error or "") for trajectory in group.trajectories)


def test_environments_are_closed_whatever_happens() -> None:
    Guess.made = Guess.closed = 0
    episodes(env=Guess)[0](ask([task("a"), task("b", fails_at=0), task("c", fails_at=2)], 2))
    assert Guess.closed == Guess.made >= 6


def test_a_failing_environment_is_data() -> None:
    asked: list[int] = []

    def counting(task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        asked.append(len(trajectories))
        return parity(task, trajectories)

    play, _, _ = episodes(counting, env=Guess)
    good, at_start, at_second = play(ask([task("a"), task("b", fails_at=0), task("c", fails_at=2)], 2))
    assert asked == [2]
    assert {score.status for score in good.scores} == {"ok"}
    for group, turns, words in ((at_start, 0, "RuntimeError: no start"), (at_second, 2, "KeyError: 'boom'")):
        for trajectory, score in zip(group.trajectories, group.scores, strict=True):
            assert trajectory.stop == "error"
            assert len(trajectory.turns) == turns
            assert words in str(trajectory.error)
            assert score.status == "error"
            assert math.isnan(score.value)
            assert words in score.note
    assert samples([at_start, at_second]) == []


def test_a_prompt_longer_than_the_context_is_an_unscored_attempt() -> None:
    long = Task(id="long", prompt=(Message(role="user", content="x" * CONTEXT),))
    [group, other] = episodes()[0](ask([long, task("a")], 2))
    assert {trajectory.stop for trajectory in group.trajectories} == {"context"}
    assert "24 tokens" in str(group.trajectories[0].error)
    assert {score.status for score in group.scores} == {"error"}
    assert {score.status for score in other.scores} == {"ok"}


def test_an_episode_that_fills_the_context_ends_there_and_is_scored() -> None:
    class Endless(OneTurn):
        def step(self, message: Message) -> tuple[tuple[Message, ...], float, bool]:
            return (Message(role="user", content="more"),), 0.0, False

    [group] = episodes(env=Endless)[0](ask([task("a")], 1))
    trajectory = group.trajectories[0]
    assert trajectory.stop == "context"
    assert trajectory.error is None
    assert len(trajectory.turns) == 3
    assert group.scores[0].status == "ok"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([Score(value=1.0)], "wanted a list of 2 scores"),
        ("hello", "wanted a list of 2 scores"),
        ([1.0, 0.0], "wanted Score objects"),
        ([Score(value=math.nan), Score(value=1.0)], "wanted a finite number"),
        ([Score(value="good"), Score(value=1.0)], "wanted a finite number"),  # type: ignore[arg-type]
        ([Score(value=1.0, dense=(1.0,)), Score(value=1.0)], "wanted 2 dense rewards"),
    ],
)
def test_a_reward_that_returns_nonsense_is_named(given: object, words: str) -> None:
    def crooked(task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        return given  # type: ignore[return-value]

    with pytest.raises(ValueError, match=f"crooked.*task a.*{words}"):
        episodes(crooked)[0](ask([task("a")], 2))


def test_a_status_needs_no_value() -> None:
    def shy(task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        return [Score(value=math.nan, status="abstain", note="cannot tell") for _ in trajectories]

    [group] = episodes(shy)[0](ask([task("a")], 2))
    assert {score.status for score in group.scores} == {"abstain"}


def test_recorded_answers_become_groups_without_engine_or_reward() -> None:
    play, engine, _ = episodes(None)
    answers = ((Message(role="assistant", content="yes"),), (Message(role="assistant", content="no"),))
    group = recorded(Task(id="a", prompt=(Message(role="user", content="q"),), recorded=answers), play.chat)
    assert [t.turns[0].text for t in group.trajectories] == ["yes", "no"]
    assert [score.value for score in group.scores] == [0.0, 0.0]
    assert engine.calls == []
    with pytest.raises(ValueError, match="task b has no recorded answer"):
        recorded(task("b"), play.chat)


def test_sampling_needs_a_reward_and_an_attempt() -> None:
    with pytest.raises(ValueError, match="need a reward"):
        episodes(None)[0](ask([task("a")], 2))
    with pytest.raises(ValueError, match="at least 1"):
        episodes()[0](ask([task("a")], 0))

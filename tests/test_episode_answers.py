"""Environments that answer in threads: what is drawn does not depend on who is quick, and who hangs harms nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from test_native_engine import engine_of, qwen2, shapes_seen
from test_rollout import Guess, Letters, episodes, task, texts

from togi import episode_answers
from togi.engines.native import NativeEngine
from togi.envs import OneTurn
from togi.envs.step_clock import at_most
from togi.episode import Episode
from togi.episode_answers import Here, InThreads
from togi.protocols import Env
from togi.rollout import Episodes
from togi.samplers.group import ask
from togi.types import Beside, Ids, Message, Question, Sampling, Score, Task, Trajectory, Turn


class Slow(Guess):
    """Sleeps as the task says, and remembers in which thread it was called."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.slow = task.info.get("slow", 0.0)
        self.threads = {threading.get_ident()}

    def step(self, message: Message) -> tuple[tuple[Message, ...], float, bool]:
        time.sleep(self.slow * (self.turns + 1) % 0.013)
        self.threads.add(threading.get_ident())
        return super().step(message)

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        assert len(self.threads) == 1
        super().close()


class Hangs(Guess):
    """At the second turn, in Python or in a wait, as the task says."""

    def step(self, message: Message) -> tuple[tuple[Message, ...], float, bool]:
        with at_most(0.2):  # as recipes have it, where the main thread plays it again
            while self.turns == 1 and self.fails_at == "python":
                pass
            if self.turns == 1 and self.fails_at == "wait":
                threading.Event().wait(5)
        return super().step(message)


def scored(task: Task, trajectories: list[Trajectory]) -> list[Score]:
    return [Score(value=float(len(each.turns))) for each in trajectories]


def real(
    env: Callable[[Task], Env], beside: Beside | None, rows: int = 8, eos: Sequence[int] = range(3, 11)
) -> Episodes:
    engine = engine_of(qwen2(), eos=tuple(eos), batch_size=rows)
    sampling = Sampling(max_tokens=9)
    return Episodes(engine=engine, chat=Few(), env=env, reward=scored, sampling=sampling, beside=beside)  # type: ignore[arg-type]


class Few(Letters):
    """Letters within the vocabulary of a tiny model."""

    def prompt(self, messages: Sequence[Message]) -> Ids:
        return tuple(11 + each % 50 for each in super().prompt(messages))

    def extend(self, ids: Ids, replies: Sequence[Message]) -> Ids:
        return (*ids, *(11 + each % 50 for each in super().extend((), replies)))


@pytest.mark.parametrize("rows", [8, 2])
def test_what_is_drawn_does_not_depend_on_who_is_quick(rows: int) -> None:
    tasks = [task("a", slow=0.011), task("b"), task("c", slow=0.004)]
    seen = []
    for beside in (None, Beside(threads=2, seconds=9), Beside(threads=8, seconds=9)):
        groups = real(Slow, beside, rows)(ask(tasks, 3))
        assert all(score.value == 3 for group in groups for score in group.scores)
        seen.append([[turn.completion for turn in each.turns] for group in groups for each in group.trajectories])
    assert seen[0] == seen[1] == seen[2]


def test_rounds_answer_in_threads_too() -> None:
    play = episodes(env=Slow)[0]
    beside = replace(play, beside=Beside(threads=3, seconds=9), _played={})
    assert texts(play(ask([task("a", slow=0.01), task("b")], 3))) == texts(beside(ask([task("a"), task("b")], 3)))


@pytest.mark.parametrize("how", ["python", "wait"])
def test_one_that_hangs_is_counted_and_harms_nobody(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episode_answers, "GRACE", 0.1)
    play = replace(episodes(scored, env=Hangs)[0], beside=Beside(threads=1, seconds=0.2))  # type: ignore[arg-type]
    bad, good = play(ask([task("bad", fails_at=how), task("good")], 1))
    assert [score.status for score in good.scores] == ["ok"]
    assert len(good.trajectories[0].turns) == 3
    [broke] = bad.trajectories
    assert broke.stop == "error"
    assert "TimeoutError: took longer than 0.2 s" in (broke.error or "")
    assert ("left behind" in (broke.error or "")) == (how == "wait")
    assert len(broke.turns) == 2


def test_what_fails_in_a_thread_is_data() -> None:
    play = replace(episodes(scored, env=Guess)[0], beside=Beside(threads=2, seconds=9))  # type: ignore[arg-type]
    Guess.made = Guess.closed = 0
    good, start, second = play(ask([task("a"), task("b", fails_at=0), task("c", fails_at=2)], 2))
    assert {score.status for score in good.scores} == {"ok"}
    for group, words in ((start, "RuntimeError: no start"), (second, "KeyError: 'boom'")):
        assert all(words in score.note for score in group.scores)
    assert Guess.closed == Guess.made


def test_who_ended_first_goes_on_while_others_are_drawn() -> None:
    """Here: once a third as many have ended as are drawn. In threads: when the next ones have ended."""

    def made(name: str) -> Episode:
        return Episode(question=Question(task=task(name)), attempt=0)

    turn = Turn(prompt=(1,), completion=(2,), text="x", stop="eos")
    for answers, lag in ((Here(), 0), (InThreads(2, 9.0), 1)):
        each = [made(name) for name in "abcd"]
        answers.start(each, Guess)
        for episode in each:
            episode.view.heard()
        assert answers.due(4) == []
        answers.hand(each[0], turn)
        assert answers.due(4) == []
        answers.hand(each[1], turn)
        assert answers.due(4) == ([] if lag else each[:2])
        answers.hand(each[2], turn)
        assert answers.due(1) == (each[:2] if lag else each[2:3])
        answers.hand(each[3], turn)
        assert answers.due(0) == (each[2:3] if lag else each[3:])
        assert answers.due(0) == (each[3:] if lag else [])
        assert not answers.pending
        answers.close(each)


def test_one_that_takes_long_holds_up_nobody() -> None:
    answers, each = InThreads(2, 9.0), [Episode(question=Question(task=task(name)), attempt=0) for name in "abcd"]
    answers.start(each, Guess)
    for episode in each:
        episode.view.heard()
    for episode in each[:3]:
        answers.hand(episode, Turn(prompt=(1,), completion=(2,), text="x", stop="eos"))
    assert answers.due(1) == []
    assert answers.due(1) == each[:3]
    answers.close(each)


def test_a_single_turn_needs_no_talk() -> None:
    play = real(OneTurn, None)
    [group] = play(ask([task("a")], 2))
    assert [len(each.turns) for each in group.trajectories] == [1, 1]


class Pair(OneTurn):
    """Two players speak in turn, twice each, and each hears what the other said."""

    players = ("left", "right")

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.turn, self.player = 0, "left"

    def start(self) -> dict[str, tuple[Message, ...]]:  # type: ignore[override]
        return {player: (Message(role="user", content=f"you are {player}"),) for player in self.players}

    def step(self, message: Message) -> tuple[dict[str, tuple[Message, ...]], float, bool]:  # type: ignore[override]
        self.turn += 1
        self.player = self.players[self.turn % 2]
        return {self.player: (Message(role="user", content="go on"),)}, 1.0, self.turn == 4


def test_each_player_s_tokens_are_computed_once() -> None:
    play = real(Pair, None, rows=16, eos=())
    assert isinstance(play.engine, NativeEngine)
    shapes = shapes_seen(play.engine.model)
    [attempts] = play.attempts([Question(task=task("a"), attempts=4)])
    computed = sum(rows * tokens for rows, tokens in shapes)
    assert [(each.role, len(each.turns)) for each in attempts] == [("left", 2), ("right", 2)] * 4
    last = [each.turns[-1] for each in attempts]
    shared = 3 * (len(attempts[0].turns[0].prompt) + len(attempts[1].turns[0].prompt))
    assert computed == sum(len(turn.prompt) + len(turn.completion) - 1 for turn in last) - shared

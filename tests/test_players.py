"""Several players in one episode: each has its own view, turns and pay, and the tokens of each are learned once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_rollout import Dice, Letters

from togi.algorithms import RAE
from togi.batch import samples
from togi.envs.open_env import against, open_env, opening
from togi.episode import Episode
from togi.evidence.after.evaluation_summary import compare_scores
from togi.evidence.after.play_evaluation import from_groups
from togi.protocols import Env
from togi.records import rollout_metrics, rollout_rows
from togi.rollout import Episodes, by_role
from togi.sandbox.workers.pool import Pool
from togi.types import Memory, Message, Question, Sample, Sampling, Score, Task, Trajectory, Turn

TASK = Task(id="t", prompt=(Message(role="user", content="?"),), answer="7")

GAME = """
class Game:
    players = ("left", "right")
    def __init__(self, task, script=()):
        self.task, self.script, self.player = task, list(script), "left"
    def start(self):
        return {"left": "you are left", "right": "you are right"}
    def step(self, message):
        mover, self.player = self.player, "right" if self.player == "left" else "left"
        self.said = getattr(self, "said", 0) + 1
        if self.said == 4:
            return {"left": "over", "right": "over"}, {"left": 1, "right": -1}, True
        return {self.player: f"{mover} said {message.content}"}, 0, False
"""


def said(*contents: str) -> tuple[Message, ...]:
    return tuple(Message(role="user", content=content) for content in contents)


@pytest.fixture
def game(tmp_path: Path) -> Callable[[Task], Env]:
    (tmp_path / "game.py").write_text(GAME)
    return open_env("game.py:Game", {}, tmp_path, Pool(workers=1))


def play(make: Callable[[Task], Env], reward: Any = None) -> tuple[Episodes, Dice]:
    def paid(task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        return [Score(value=sum(turn.reward for turn in each.turns)) for each in trajectories]

    engine = Dice(context=400)
    return Episodes(engine=engine, chat=Letters(), env=make, reward=reward or paid, sampling=Sampling()), engine  # type: ignore[arg-type]


def test_each_player_has_its_own_conversation_turns_and_pay(game: Callable[[Task], Env]) -> None:
    left, right = play(game)[0]([Question(task=TASK, attempts=2)])
    assert [{each.role for each in group.trajectories} for group in (left, right)] == [{"left"}, {"right"}]
    assert [[score.value for score in group.scores] for group in (left, right)] == [[1.0, 1.0], [-1.0, -1.0]]
    for one, other in zip(left.trajectories, right.trajectories, strict=True):
        first, second = (turn.text for turn in one.turns)
        answer, last = (turn.text for turn in other.turns)
        assert [turn.replies for turn in one.turns] == [said(f"right said {answer}"), said("over")]
        assert [turn.replies for turn in other.turns] == [said(f"left said {second}"), said("over")]
        assert "".join(map(chr, one.turns[1].prompt)) == f"you are left{first}[right said {answer}]"
        assert "".join(map(chr, other.turns[0].prompt)) == f"you are rightleft said {first}"
        assert "".join(map(chr, other.turns[1].prompt)) == f"you are rightleft said {first}{answer}[left said {second}]"
        assert last not in "".join(map(chr, one.turns[1].prompt))


def test_every_sampled_token_is_learned_once_in_its_own_role(game: Callable[[Task], Env]) -> None:
    groups = play(game)[0]([Question(task=TASK, attempts=3)])
    drawn = [turn.completion for group in groups for each in group.trajectories for turn in each.turns]
    made = samples(groups)
    assert [(sample.role, sample.group) for sample in made] == [("left", 0)] * 3 + [("right", 1)] * 3
    assert [token for each in drawn for token in each] == [int(i) for s in made for i in s.ids[s.mask]]


def test_seeds_are_those_of_the_episode_whoever_acts(game: Callable[[Task], Env]) -> None:
    episodes, engine = play(game)
    episodes([Question(task=TASK, attempts=2)])
    seeds = [seed for call in engine.calls for prompt in call for seed in prompt.seeds]
    assert len(engine.calls) == 4
    assert len(set(seeds)) == 8


Heard = Any
CASES: list[tuple[str, list[tuple[str, Heard, Any, bool]], Heard, dict[str, tuple[list[float], list[int]]]]] = [
    # who acts next after each step, what is said and paid -> rewards and numbers of replies of each player's turns
    ("paid before the first turn", [("b", {"b": said("x")}, {"b": 2.0}, False), ("", (), 1.0, True)], said("q"),
     {"a": ([0.0], [0]), "b": ([3.0], [0])}),
    ("one acts twice", [("a", said("again"), 1.0, False), ("", {"a": said("end")}, {"a": 0.5}, True)], said("q"),
     {"a": ([1.0, 0.5], [1, 1])}),
    ("who never acts has none", [("", (), {"a": 1.0, "b": 9.0}, True)], {"a": said("q"), "b": said("q")},
     {"a": ([1.0], [0])}),
    ("told twice before it acts", [("a", {"b": said("x"), "a": said("y")}, 0.0, False),
                                  ("b", {"b": said("z")}, 0.0, False), ("", (), {"a": 1.0}, True)], said("q"),
     {"a": ([0.0, 1.0], [1, 0]), "b": ([0.0], [0])}),
]  # fmt: skip


class Scripted(Env):
    def __init__(self, start: Heard, steps: Sequence[tuple[str, Heard, Any, bool]]) -> None:
        self.player, self._start, self._steps = "a", start, list(steps)

    def start(self) -> Heard:
        return self._start

    def step(self, message: Message) -> tuple[Heard, float | Mapping[str, float], bool]:
        self.player, replies, reward, done = self._steps.pop(0)
        return replies, reward, done

    def close(self) -> None: ...


def through(env: Env) -> Episode:
    episode = Episode(question=Question(task=TASK), attempt=0)
    episode.start(lambda task: env)
    while episode.stop is None:
        episode.view.heard()
        episode.act(Turn(prompt=(1,), completion=(2,), text="m", stop="eos", logp=(-1.0,)))
    return episode


@pytest.mark.parametrize(("name", "steps", "start", "wanted"), CASES)
def test_pay_and_replies_reach_the_turn_they_belong_to(name: str, steps: Any, start: Heard, wanted: Any) -> None:
    found = through(Scripted(start, steps)).trajectories()
    assert {
        each.role: ([turn.reward for turn in each.turns], [len(turn.replies) for turn in each.turns]) for each in found
    } == wanted
    assert {each.stop for each in found} == {"eos"}


def test_a_player_who_was_told_nothing_cannot_act() -> None:
    episode = through(Scripted(said("q"), [("b", {"a": said("x")}, 0.0, False)]))
    assert episode.error == "environment: ValueError: b is to act, and was told nothing since its last turn"
    assert [each.stop for each in episode.trajectories()] == ["error"]


def test_only_the_one_who_broke_it_is_to_blame(tmp_path: Path) -> None:
    (tmp_path / "game.py").write_text(GAME.replace("mover, ", "self.take(message.content)\n        mover, ") + (
        "    def take(self, text):\n        if self.player == 'right' and text != self.task.answer: int('x')\n"
    ))  # fmt: skip
    make = open_env("game.py:Game", {}, tmp_path, Pool(workers=1))
    left, right = play(make)[0]([Question(task=TASK, attempts=1)])
    assert [score.status for score in left.scores + right.scores] == ["error", "ok"]
    assert right.scores[0].own_fault == "error"
    assert [each.error for each in left.trajectories + right.trajectories] == ["environment: ValueError: " + WORDS] * 2


WORDS = "invalid literal for int() with base 10: 'x'"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("(\"left\", \"right\")", "'left'"), "has players = 'left'; wanted names"),
        (("(\"left\", \"right\")", "('left',)"), "wanted two or more"),
        (("(\"left\", \"right\")", "('left', 'left')"), "no name twice"),
        (("(\"left\", \"right\")", "('left', 'the right')"), "wanted names of letters"),
        (("(\"left\", \"right\")", "('left', 3)"), "wanted names of letters"),
    ],
)  # fmt: skip
def test_players_that_cannot_be_told_apart_are_refused(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    (tmp_path / "game.py").write_text(GAME.replace(*change))
    with pytest.raises(ValueError, match=words):
        open_env("game.py:Game", {}, tmp_path, Pool(workers=1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('task, list(script), "left"', 'task, [], "middle"'), "Game.player is 'middle'; wanted the one who is to act"),
        (("{self.player: f", "{'middle': f"), r"Game.step\(\) names a player 'middle'; there are 'left' and 'right'"),
        (("said {message.content}\"}, 0,", "said\"}, '0',"), "wanted a finite number as reward, or one for each"),
        (("said {message.content}\"}, 0,", "said\"}, {'me': 0},"), r"names a player 'me'"),
        (("said {message.content}\"}, 0, False", "said\"}, 0, 'no'"), "done as True or False"),
        (("{self.player: f", "{mover: f"), "right is to act, and was told nothing"),
        (("return {\"left\": \"you are left\"", "return {\"left\": 3"), "wanted a text, or messages"),
        (("return {\"left\": \"you are left\"", "return {\"x\": \"y\""), r"Game.start\(\) names a player 'x'"),
    ],
)  # fmt: skip
def test_a_game_that_makes_no_sense_is_told(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    broken = GAME.replace(*change)
    assert broken != GAME
    if "told nothing" in words:
        broken = broken.replace(', "right": "you are right"', "")
    (tmp_path / "game.py").write_text(broken)
    episode = through(open_env("game.py:Game", {}, tmp_path, Pool(workers=1))(TASK))
    assert re.search(words, str(episode.error))


def test_a_game_opens_with_what_its_first_player_is_told(game: Callable[[Task], Env]) -> None:
    assert opening(game, TASK)[1] == said("you are left")


def test_attempts_are_told_apart_by_role() -> None:
    def names(roles: str, players: str = "") -> dict[str, list[str]]:
        found = by_role([Trajectory(turns=(), stop="eos", role=role.strip()) for role in roles], players)
        return {role: [each.role for each in group] for role, group in found.items()}

    assert names("abab") == {"a": ["a", "a"], "b": ["b", "b"]}
    assert names("  ") == {"": ["", ""]}
    assert names("aa", "ab") == {"a": ["a", "a"], "b": []}
    assert names("b a", "ab") == {"a": ["a", "a"], "b": ["b", "b"]}


def test_a_player_who_never_acts_is_a_task_without_attempts(tmp_path: Path) -> None:
    (tmp_path / "game.py").write_text(GAME.replace("== 4", "== 1"))
    groups = play(open_env("game.py:Game", {}, tmp_path, Pool(workers=1)))[0]([Question(task=TASK, attempts=2)])
    assert [(group.role, len(group.trajectories)) for group in groups] == [("left", 2), ("right", 0)]
    record = from_groups(groups, 2, model="m", step=0, sampling=Sampling())
    assert [(task["id"], len(task["attempts"])) for task in record["tasks"]] == [("t, left", 2), ("t, right", 0)]
    assert compare_scores(record, record).tasks == 1
    assert rollout_metrics(groups)["reward"] == 1.0
    assert [sample.role for sample in samples(groups)] == ["left", "left"]


ECHO = """
def echo(told, chance): return told.upper()
def roll(told, chance): return str(chance.randrange(1000))
def odd(told, chance): return 3
def blind(told): return ""
"""


def with_others(tmp_path: Path, move: str, code: str = GAME) -> Callable[[Task], Env]:
    (tmp_path / "game.py").write_text(code + ECHO)
    return against(open_env("game.py:Game", {}, tmp_path, Pool(workers=1)), f"game.py:{move}", tmp_path)


@pytest.mark.parametrize(
    ("mine", "heard", "last", "paid"),
    [
        ("left", ["you are left", "right said YOU ARE RIGHT\nLEFT SAID 10"], "over", 1.0),
        ("right", ["you are rightleft said YOU ARE LEFT", "left said RIGHT SAID 10"], "over", -1.0),
    ],
)
def test_others_play_all_but_one(tmp_path: Path, mine: str, heard: list[str], last: str, paid: float) -> None:
    env = with_others(tmp_path, "echo")(replace(TASK, info={"player": mine}))
    found = ["".join(message.content for message in env.start())]  # type: ignore[union-attr]
    for number in (10, 11):
        told, reward, done = env.step(Message(role="assistant", content=str(number)))
        found.append("".join(message.content for message in told))  # type: ignore[union-attr]
    assert (found, reward, done) == ([*heard, last], paid, True)
    assert env.player == mine  # type: ignore[attr-defined]


def test_the_model_has_one_role_and_others_the_same_luck_for_every_attempt(tmp_path: Path) -> None:
    make = with_others(tmp_path, "roll")
    groups = play(make)[0]([Question(task=replace(TASK, id=name), attempts=2) for name in "abcdefgh"])
    assert len(groups) == 8
    assert {group.trajectories[0].role for group in groups} == {"left", "right"}
    for group in groups:
        one, other = group.trajectories
        assert one.role == other.role
        assert one.turns[0].replies[:1] == other.turns[0].replies[:1] or one.turns[0].text != other.turns[0].text
    assert make.files == (tmp_path / "game.py",) * 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("move", "words"),
    [
        ("odd", r"odd\(\) gave 3; wanted a text, right's move"),
        ("echo", "wants to be the player 'up'; there are 'left'"),
    ],
)
def test_others_that_make_no_sense_are_told(tmp_path: Path, move: str, words: str) -> None:
    info = {"player": "up" if move == "echo" else "left"}
    make = with_others(tmp_path, move)
    (group,) = play(make)[0]([Question(task=replace(TASK, info=info))])
    assert re.search(words, str(group.trajectories[0].error))


def test_a_game_of_others_alone_is_told(tmp_path: Path) -> None:
    alone = GAME.replace('"right" if self.player == "left" else "left"', '"left"')
    env = with_others(tmp_path, "echo", alone)(replace(TASK, info={"player": "right"}))
    with pytest.raises(ValueError, match="the game was over before right could act"):
        env.start()
    endless = alone.replace("== 4", "== 4000")
    env = with_others(tmp_path, "echo", endless)(replace(TASK, info={"player": "right"}))
    with pytest.raises(ValueError, match="1000 moves"):
        env.start()


@pytest.mark.parametrize(
    ("code", "move", "words"),
    [
        (GAME, "blind", r"cannot be called as blind\(told, chance\)"),
        (GAME, "nobody", 'has no function "nobody"'),
        (GAME.replace("players =", "some ="), "echo", "has nobody to play"),
    ],
)
def test_others_that_cannot_play_are_refused(tmp_path: Path, code: str, move: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        with_others(tmp_path, move, code)


def player(role: str, reward: float, number: int) -> Sample:
    return Sample(
        ids=np.arange(3),
        mask=np.array([False, True, True]),
        logp=np.zeros(3, np.float32),
        reward=reward,
        group=number,
        trajectory=0,
        task="t",
        stop="eos",
        role=role,
    )


def advantages(algorithm: RAE, samples: Sequence[Sample], memory: Memory) -> list[float]:
    found = []
    for each in algorithm.credit(samples, memory):
        assert each.advantage is not None
        assert (each.advantage[each.mask] == each.advantage[1]).all()
        assert each.advantage[0] == 0
        found.append(float(each.advantage[1]))
    return found


RAE_STEPS: list[tuple[float, Memory, list[tuple[str, float]], list[float], Memory]] = [
    # decay, means before, (role, reward), advantages, means after
    (0.95, {"rae/a": 0.2, "rae/b": -0.1}, [("a", 1), ("b", -1)], [0.8, -0.9], {"rae/a": 0.24, "rae/b": -0.145}),
    (0.95, {}, [("a", 1), ("b", -1)], [1, -1], {"rae/a": 0.05, "rae/b": -0.05}),
    (0.5, {}, [("a", 1), ("a", 0), ("b", 0), ("a", 1)], [1, 0, 0, 1], {"rae/a": 7 / 12, "rae/b": 0}),
    (1.0, {}, [("a", 1), ("a", 1), ("b", -1)], [1, 1, -1], {"rae/a": 0, "rae/b": 0}),
    (0.0, {}, [("a", 1), ("a", 3)], [1, 3], {"rae/a": 2}),
    (0.95, {}, [("", 1)], [1], {"rae/baseline": 0.05}),
]


@pytest.mark.parametrize(("decay", "before", "played", "wanted", "after"), RAE_STEPS)
def test_a_role_is_compared_with_what_it_earned_before(
    decay: float, before: Memory, played: list[tuple[str, float]], wanted: list[float], after: Memory
) -> None:
    memory = dict(before)
    some = [player(role, reward, number) for number, (role, reward) in enumerate(played)]
    assert advantages(RAE(decay=decay), some, memory) == pytest.approx(wanted)
    assert memory == pytest.approx(after)


def test_two_parts_of_an_attempt_count_once() -> None:
    memory: Memory = {}
    parts = [player("a", 1.0, 0)] * 2
    assert advantages(RAE(decay=0.5), parts, memory) == [1, 1]
    assert memory == {"rae/a": 0.5}
    assert RAE().credit([], memory) == []


@pytest.mark.parametrize("decay", [-0.1, 1.1])
def test_a_decay_is_a_share(decay: float) -> None:
    with pytest.raises(ValueError, match="decay must be between 0 and 1"):
        RAE(decay=decay)


def test_metrics_and_evaluations_tell_roles_apart(game: Callable[[Task], Env]) -> None:
    groups = play(game)[0]([Question(task=TASK, attempts=2)])
    found = rollout_metrics(groups)
    roles = {name: value for name, value in found.items() if name.startswith("role/")}
    assert roles == {"role/left/reward": 1, "role/left/turns": 2, "role/right/reward": -1, "role/right/turns": 2}
    rows = list(rollout_rows(groups, [], [], str, {}))
    assert [row["role"] for row in rows] == ["left", "left", "right", "right"]
    record = from_groups(groups, 2, model="m", step=0, sampling=Sampling())
    assert [task["id"] for task in record["tasks"]] == ["t, left", "t, right"]

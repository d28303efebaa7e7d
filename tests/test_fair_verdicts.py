"""What preview and doctor say of rewards of every kind: only what is hopeless is called so, the unchecked told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_text import byte_level, tiny_folder
from toy_run import toy_run

from togi.algorithms import DAPO, DPO, GRPO
from togi.data import Tasks
from togi.evidence.before.cold_start import cold_start
from togi.evidence.before.preview import preview
from togi.evidence.before.recorded_answers import disagreements, recorded_of
from togi.evidence.before.row_answers import cases_of, judge, sight_of
from togi.evidence.during.stuck_stage import ALIKE, RewardCheck, Standstill
from togi.models.load_model import Loaded, load_model
from togi.protocols import Reward
from togi.rewards import clip, concise, form, gate, majority, number
from togi.rewards.algebra import Leaf
from togi.samplers import Groups
from togi.tokenization import Chat
from togi.types import Group, Message, Sample, Sampling, Score, Stop, Task, Trajectory, Turn

CHAT = Chat(byte_level(), frozenset({2}))


@dataclass(frozen=True)
class Own(Leaf):
    """A function of a task and a text, which says nothing of what it reads."""

    pays: Callable[[Task, str], float]
    name: str = "own"

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        return [self._score(task, trajectory.turns[-1].text) for trajectory in trajectories]

    def _score(self, task: Task, text: str) -> Score:
        try:
            value = self.pays(task, text)
        except (KeyError, TypeError) as error:
            return Score(value=float("nan"), status="error", note=repr(error))
        return Score(value=value, parts={"own": value}, shares={"own": value})


def ask(name: str, answer: Any, **columns: Any) -> Task:
    return Task(id=name, prompt=(Message(role="user", content=f"what is {name}?"),), answer=answer, info=columns)


KNOWN = [ask("a", "7"), ask("b", "8"), ask("c", "19")]
UNKNOWN = [ask("a", None), ask("b", None)]
NAMED = [ask("a", None, solution="7"), ask("b", None, solution="8")]
WRITTEN = [
    replace(task, recorded=((Message(role="assistant", content=text),),))
    for task, text in zip(NAMED, ["7", "8"], strict=True)
]
SORTED = [ask(f"t{number}", "yes" if number < 10 else "no", number=number) for number in range(12)]
UNREAD = "the reward was not seen to read a row's answer"
FLAT = "the reward never differs"

REWARDS: list[tuple[str, Reward, Sequence[Task], bool, str]] = [
    ("a verifier", number(), KNOWN, False, "all 3 gold answers"),
    ("from 0 to 100", 100 * number(), KNOWN, False, "all 3 gold answers"),
    ("from -1 to 0", number() - 1, KNOWN, False, "all 3 gold answers"),
    ("with a floor", clip(number(), 0.2, 1), KNOWN, False, "all 3 gold answers"),
    ("a form added", number() + 0.2 * form(), KNOWN, False, "all 3 gold answers"),
    ("a verifier that is cut to nothing", clip(number(), 0, 0), KNOWN, True, FLAT),
    ("brevity", Own(lambda _, text: -float(len(text))), KNOWN, False, UNREAD),
    ("brevity, which an empty answer serves", Own(lambda _, text: -float(len(text))), KNOWN, False, "an empty answer"),
    ("brevity of rows without an answer", Own(lambda _, text: -float(len(text))), UNKNOWN, False, UNREAD),
    ("brevity, gated", gate(concise(50), by=number()), KNOWN, False, "all 3 gold answers"),
    ("style", Own(lambda _, text: float("!" in text)), KNOWN, False, FLAT),
    ("style of rows without an answer", Own(lambda _, text: float("!" in text)), UNKNOWN, False, UNREAD),
    ("style, from 0 to 100", Own(lambda _, text: 50.0 + len(set(text))), KNOWN, False, UNREAD),
    ("style of written answers", Own(lambda _, text: float("!" in text)), WRITTEN, False, UNREAD),
    ("own, reads the answer", Own(lambda task, text: float(text == task.answer)), KNOWN, False, "all 3 gold answers"),
    ("own, 0 to 100", Own(lambda task, text: 100.0 * (text == task.answer)), KNOWN, False, "all 3 gold answers"),
    ("own, punishes", Own(lambda task, text: -float(text != task.answer)), KNOWN, False, "all 3 gold answers"),
    ("own, sorted rows", Own(lambda task, text: float(text == task.answer)), SORTED, False, "all 12 gold answers"),
    ("own, another column", Own(lambda task, text: float(text == task.info["solution"])), WRITTEN, False, "all 2 gold"),
    ("own, the wrong way round", Own(lambda task, text: float(text != task.answer)), KNOWN, True, "an empty answer"),
    ("own, of another type", Own(lambda task, text: float(text == int(task.answer))), KNOWN, False, FLAT),
    ("own, a missing column", Own(lambda task, text: task.info["nothing"]), KNOWN, True, "could not be scored"),
    ("own, fails without an answer", Own(lambda task, text: task.info["nothing"]), UNKNOWN, True, "ended in error"),
    ("a verifier without answers", number(), UNKNOWN, True, "ended in unparseable"),
    ("a vote", majority(), KNOWN, False, "the reward reads no answer"),
]


@pytest.mark.parametrize(
    ("reward", "tasks", "hopeless", "says"), [row[1:] for row in REWARDS], ids=[r[0] for r in REWARDS]
)
def test_a_reward_is_judged_by_what_it_can_see(
    reward: Reward, tasks: Sequence[Task], hopeless: bool, says: str
) -> None:
    found = judge(cases_of(tasks, reward, CHAT), sight_of(tasks, reward, CHAT, asks=False))
    assert any(finding.level == "fail" for finding in found) is hopeless, found
    assert any(says in finding.title for finding in found), found


def test_a_reward_that_asks_a_model_is_not_asked_for_other_rows() -> None:
    asked: list[str] = []
    judging = Own(lambda task, text: float(len(asked.append(text) or "")))  # type: ignore[func-returns-value]
    assert sight_of(KNOWN, judging, CHAT, asks=True) == "open"
    assert asked == []


# Attempts of the model -----------------------------------------------------------------------------------------------


def played(rows: Sequence[Sequence[float]], correct: float | None, stop: Stop) -> list[Group]:
    def one(row: int, index: int, value: float) -> tuple[Trajectory, Score]:
        turn = Turn(prompt=(1,), completion=(2, 3), text=f"{row} {index}", stop=stop)
        parts = {} if correct is None else {"correct": correct}
        return Trajectory(turns=(turn,), stop=stop), Score(value=value, parts=parts, shares={"own": value})

    groups = []
    for number_, row in enumerate(rows):
        trajectories, scores = zip(*(one(number_, index, value) for index, value in enumerate(row)), strict=True)
        groups.append(Group(task=ask(f"t{number_}", None), trajectories=trajectories, scores=scores))
    return groups


FLAT_50, FLAT_0, DIFFER = [[50.0, 50.0]] * 4, [[0.0, 0.0]] * 4, [[0.0, 1.0]] * 4
ATTEMPTS: list[tuple[str, list[list[float]], float | None, Stop, dict[str, bool], str, str]] = [
    ("they differ", DIFFER, None, "eos", {}, "ok", "4 of 4 groups carry a signal"),
    ("they differ, 0 to 100", [[10.0, 80.0], [30.0, 31.0]], None, "eos", {}, "ok", "from 10 to 80"),
    ("they differ, negative", [[-3.0, -1.0], [-2.0, -1.0]], None, "eos", {}, "ok", "from -3 to -1"),
    ("all alike, nobody knows how good", FLAT_50, None, "eos", {}, "fail", "what good and bad answers are paid"),
    ("all alike, negative", [[-1.0, -1.0]] * 4, None, "eos", {}, "fail", "what good and bad answers are paid"),
    ("all wrong", FLAT_0, None, "eos", {}, "fail", "train the form first"),
    ("all wrong, with a floor", [[0.2, 0.2]] * 4, 0.0, "eos", {}, "fail", "train the form first"),
    ("all right", [[1.0, 1.0]] * 4, None, "eos", {}, "fail", "most tasks are solved"),
    ("all right, 0 to 100", [[100.0, 100.0]] * 4, 1.0, "eos", {}, "fail", "most tasks are solved"),
    ("all right, least pay is 0", [[0.0, 0.0]] * 4, 1.0, "eos", {}, "fail", "most tasks are solved"),
    ("none right, other parts differ", DIFFER, 0.0, "eos", {}, "warn", "differ only in own"),
    ("one attempt a task", [[0.0], [1.0]], None, "eos", {"alone": True}, "ok", "attempts are paid differently"),
    ("one attempt, all alike", [[0.0], [0.0]], None, "eos", {"alone": True}, "fail", "0 of 2 groups"),
    ("all cut", DIFFER, None, "length", {}, "warn", "never ended its answer"),
    ("all cut and left out", DIFFER, None, "length", {"drops_cut": True}, "fail", "drop_truncated learns nothing"),
    ("all cut by the context", DIFFER, None, "context", {"drops_cut": True}, "fail", "drop_truncated learns nothing"),
]


@pytest.mark.parametrize(
    ("rows", "correct", "stop", "given", "level", "says"),
    [row[1:] for row in ATTEMPTS],
    ids=[row[0] for row in ATTEMPTS],
)
def test_attempts_are_judged_by_whether_they_differ(
    rows: list[list[float]], correct: float | None, stop: Stop, given: dict[str, bool], level: str, says: str
) -> None:
    found = cold_start(played(rows, correct, stop), Sampling(max_tokens=8), **given)  # type: ignore[arg-type]
    [told] = [finding for finding in found if says in f"{finding.title} {finding.advice}"]
    assert told.level == level
    order = ["ok", "warn", "fail"]
    assert level == "ok" or max(order.index(finding.level) for finding in found) == order.index(level)


# Pairs ---------------------------------------------------------------------------------------------------------------


def pair(name: str, first: str, second: str, worth: tuple[float, float] = (1.0, 0.0)) -> Task:
    recorded = tuple((Message(role="assistant", content=text),) for text in (first, second))
    return replace(ask(name, None), recorded=recorded, worth=worth)


def test_both_sides_of_a_pair_are_shown_with_what_each_is_paid() -> None:
    pairs = [pair("a", "good!", "bad"), pair("b", "bad", "good!", (0.0, 1.0)), pair("c", "dull", "loud!")]
    shown = recorded_of(pairs, Own(lambda _, text: float("!" in text)), CHAT)
    told = [[(one.kind, one.text, one.score and one.score.value) for one in each] for each in shown]
    assert told[:2] == [[("chosen", "good!", 1.0), ("rejected", "bad", 0.0)]] * 2
    [finding] = disagreements(shown)
    assert "the rejected answer more than the chosen one in 1 of 3 pairs" in finding.title
    assert [one.score for one in recorded_of(pairs, None, CHAT)[0]] == [None, None]


def test_other_recorded_answers_are_named_for_what_they_are() -> None:
    ranked = replace(pair("a", "x", "y"), recorded=(*pair("a", "x", "y").recorded, pair("b", "z", "y").recorded[0]))
    [kinds] = [[one.kind for one in each] for each in recorded_of([replace(ranked, worth=(1.0, 3.0, 2.0))], None, CHAT)]
    assert kinds == ["an answer of worth 3", "an answer of worth 2", "an answer of worth 1"]
    assert [each[0].kind for each in recorded_of(WRITTEN, None, CHAT)] == ["the recorded answer it learns from"] * 2


# The whole -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def loaded(model: Path) -> Loaded:
    return load_model(str(model))


def test_a_preview_shows_pairs_and_what_does_not_fit(tmp_path: Path, model: Path, loaded: Loaded) -> None:
    run = toy_run(tmp_path / "run", model)
    pairs = replace(run.stages[1], algorithm=DPO(), tasks=Tasks([pair("p", "right", "wrong")]), reward=None, name="dpo")
    long = replace(run.stages[1], algorithm=DAPO, reward=number(), tasks=Tasks([ask("n", "123456789")]))
    long = replace(long, sampling=Sampling(max_tokens=2))
    found = preview(replace(run, stages=(pairs, long), evaluation=None), loaded)
    assert [(one.kind, one.text) for one in found.looks[0].recorded[0]] == [("chosen", "right"), ("rejected", "wrong")]
    [fault] = found.findings
    assert "drop_truncated learns nothing from attempts that are cut" in fault.title
    kept = replace(long, algorithm=GRPO(sampler=Groups(4)))
    assert preview(replace(run, stages=(kept,), evaluation=None), loaded).findings == []


CUT, ALIKE_ALL = "Raise max_tokens", "were paid differently"


@pytest.mark.parametrize(
    ("advantage", "stops", "says"),
    [
        (1.0, ["length"], CUT),  # paid differently, and left out by drop_truncated
        (1.0, ["context"], CUT),
        (1.0, ["length", "eos"], CUT),  # the one that ended had nothing to teach
        (0.0, ["length"], CUT),
        (0.0, ["length", "eos"], ALIKE_ALL),
        (0.0, ["eos"], ALIKE_ALL),
        (None, ["length"], CUT),  # dropped by the sampler
        (None, ["eos"], ALIKE_ALL),
    ],
)
def test_training_says_why_nothing_was_learned(advantage: float | None, stops: list[Stop], says: str) -> None:
    check = RewardCheck("grpo", 20, taught=False)
    step = ([Score(value=0.0)], [] if advantage is None else [a_sample(stops[0], advantage)], stops)
    for _ in range(ALIKE - 1):
        check.look(*step)
    assert not check.taught
    with pytest.raises(Standstill, match=says):
        check.look(*step)


def a_sample(stop: Stop, advantage: float) -> Sample:
    return Sample(
        ids=np.array([1, 2]), mask=np.array([False, True]), logp=np.zeros(2, np.float32), reward=0.0, group=0,
        trajectory=0, task="t", stop=stop, advantage=np.array([0.0, advantage], np.float32), weight=0.0,
    )  # fmt: skip

"""Dodging is not free: what a completion causes earns 0 and is counted; what the machine causes is not scored."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from togi import rewards
from togi.algorithms import DPO, GRPO
from togi.batch import samples
from togi.evidence.after.evaluation_summary import summary
from togi.evidence.after.play_evaluation import from_groups
from togi.graders.marks import is_mark
from togi.records import reward_metrics, rollout_rows
from togi.rewards import Composable, clip, gate, python, scorer
from togi.rewards.algebra import Leaf
from togi.rewards.blame import graded
from togi.rewards.verifiers import Verifier, list_of, matches, number
from togi.rollout import score
from togi.samplers import Dynamic, Rejection
from togi.sandbox.workers.pool import Pool, why_no_jail
from togi.types import Fault, Group, Message, Question, Sample, Sampling, Score, Task, Trajectory, Turn

BOX = r"\boxed{%s}"


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(workers=2, seconds=0.5) as pool:
        yield pool


def attempt(text: str, tokens: int = 4) -> Trajectory:
    turn = Turn(prompt=(1,), completion=(2,) * tokens, text=text, stop="eos", logp=(-0.5,) * tokens)
    return Trajectory(turns=(turn,), stop="eos")


def ask(answer: Any, **info: Any) -> Task:
    return Task(id="t", prompt=(Message(role="user", content="?"),), answer=answer, info=info)


def grade(reward: Composable, answer: Any, *texts: str) -> Sequence[Score]:
    return score(reward, [(ask(answer), [attempt(text) for text in texts])])[0]


class said(Leaf):
    """A reward that says what it is told to: numbers, and ``None`` for a completion at fault."""

    def __init__(self, *values: float | None, name: str = "said") -> None:
        self.values, self._name = values, name

    @property
    def name(self) -> str:
        return self._name

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        return [
            Score(value=value or 0.0, parts={self.name: value or 0.0}, own_fault="time" if value is None else None)
            for value in self.values
        ]


def composed(reward: Composable, count: int) -> Sequence[Score]:
    return score(reward, [(ask("7"), [attempt("x")] * count)])[0]


# Who is to blame -----------------------------------------------------------------------------------------------------

OWN = """
import os, re, time
def slow(task, completion):
    return float(re.fullmatch("(a+)+b", completion) is not None or completion == task.answer)
def careless(task, completion):
    return float(int(completion) == int(task.answer))
def always(task, completion):
    raise RuntimeError("mine")
def hangs(task, completion):
    time.sleep(60)
def group(completions, answer, **columns):
    return [float(int(each[0]["content"]) == int(gold)) for each, gold in zip(completions, answer)]
def ranks(completions, **columns):
    lengths = [len(re.sub("(a+)+b", "", each[0]["content"])) for each in completions]
    return [float(length == max(lengths)) for length in lengths]
def deep(task, completion):
    import json
    return float(json.loads(completion) == json.loads(task.answer))
def eats(task, completion):
    return float(len("x" * int(completion)) == int(task.answer))
def dies(task, completion):
    return os._exit(3) if completion == "die" else float(completion == task.answer)
def costs(task, completion):
    return -float(re.fullmatch("(a+)+b", completion) is not None or len(completion))
"""


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mine")
    (folder / "own.py").write_text(OWN)
    return folder


STALL = "a" * 60
ROWS: list[tuple[str, list[str], list[float], list[Fault | None]]] = [
    ("slow", ["7", STALL, "8"], [1, 0, 0], [None, "time", None]),
    ("slow", [STALL, STALL], [0, 0], ["time", "time"]),
    ("careless", ["7", "seven", ""], [1, 0, 0], [None, "error", "error"]),
    ("careless", ["seven", "eight"], [0, 0], ["error", "error"]),
    ("group", ["7", "seven", "8"], [1, 0, 0], [None, "error", None]),
    ("group", ["seven"], [0], ["error"]),
    ("ranks", ["bb", STALL, "b"], [1, 0, 0], [None, "time", None]),
    ("deep", ["7", "[" * 100_000], [1, 0], [None, "depth"]),
    ("eats", ["7", str(10**12)], [1, 0], [None, "memory"]),
    ("dies", ["7", "die"], [1, 0], [None, "error"]),
    ("costs", ["7", STALL, "88"], [-1, -2, -2], [None, "time", None]),
]


@pytest.mark.parametrize(("function", "texts", "values", "faults"), ROWS)
def test_a_completion_that_breaks_an_own_reward_earns_no_more_than_a_wrong_one(
    mine: Path, pool: Pool, function: str, texts: list[str], values: list[float], faults: list[Fault | None]
) -> None:
    scores = grade(python(f"own.py:{function}", base=mine, pool=pool), "7", *texts)
    assert [each.own_fault for each in scores] == faults, scores
    assert [(each.status, each.value) for each in scores] == [("ok", value) for value in values]


@pytest.mark.parametrize("function", ["always", "hangs"])
def test_a_function_that_fails_at_right_answers_too_is_not_the_completions_fault(
    mine: Path, pool: Pool, function: str
) -> None:
    scores = grade(python(f"own.py:{function}", base=mine, pool=pool), "7", "7", "8")
    assert all(each.status in ("error", "timeout") and math.isnan(each.value) for each in scores)


def test_a_pattern_that_backtracks_for_ever_is_the_completions_fault(pool: Pool) -> None:
    scores = grade(matches("(a+)+b|7", pool=pool), None, "7", STALL, STALL, STALL)
    assert [(each.value, each.own_fault) for each in scores] == [(1, None)] + [(0, "time")] * 3
    assert scores[1].parts == {"matches": 0, "correct": 0, "parsed": 0}
    assert "the completion's own fault: time" in scores[1].note


FORGE = """
import json, os
def runs(task, completion):
    if completion in ("7", ""):
        return float(completion == "7")
    said = {"status": "ok", "value": json.loads(completion), "note": "", "output": "", "peak_mb": 1}
    for fd in range(3, 64):
        try:
            os.write(fd, json.dumps(said).encode() + b"\\n")
        except OSError:
            pass
    os._exit(0)
def evaluates(text, **arguments):
    return {"value": 1.0, "parsed": 1.0} if text == "7" else runs(None, text)
"""
FORGED_REPLIES = [
    "1",
    '{"replies": 3, "reached": true}',
    '{"replies": [], "reached": false}',
    '{"replies": [{}], "reached": false}',
    '{"replies": [{"status": "absurd"}], "reached": false}',
    '{"replies": [{"status": []}], "reached": false}',
    '{"replies": [{"values": [1e999]}], "reached": false}',
    '{"replies": [{"values": {}}], "reached": false}',
    '{"replies": [{"status": "timeout", "note": ""}], "reached": false}',
]
FORGED_MARKS = [
    "null",
    "[]",
    "{}",
    '{"value": "x", "parsed": 1}',
    '{"value": 1e9, "parsed": 1}',
    '{"value": NaN, "parsed": 1}',
    '{"value": 1, "parsed": 1, "parts": []}',
    '{"value": 1, "parsed": 1, "parts": {"a": null}}',
    '{"bad_gold": "a forged excuse"}',
    '{"bad_gold": 1}',
]


@pytest.mark.parametrize("forged", FORGED_REPLIES)
def test_a_forged_reply_of_an_own_reward_earns_nothing(tmp_path: Path, pool: Pool, forged: str) -> None:
    (tmp_path / "own.py").write_text(FORGE)
    (one,) = grade(python("own.py:runs", base=tmp_path, pool=pool, fresh=True), "7", forged)
    assert (one.value, one.status, one.own_fault is not None) == (0, "ok", True), one


@pytest.mark.parametrize("forged", FORGED_MARKS)
def test_a_forged_mark_is_neither_paid_nor_excused(tmp_path: Path, pool: Pool, forged: str) -> None:
    (tmp_path / "own.py").write_text(FORGE)
    call, control = {"text": forged}, {"text": "7"}
    (one,) = graded(pool, f"{tmp_path / 'own.py'}:evaluates", [call], [control], warm=[control], gives=is_mark)
    assert one.own_fault == "error", one


LONG = {
    "prose": (number, "x " * 6000),
    "prose around a right answer": (number, "x " * 6000 + "7"),
    "a long answer": (number, f"<answer>{'7 + ' * 3000}7</answer>"),
    "what follows an answer": (number, f"<answer>7</answer>{'x ' * 6000}"),
    "what follows a box": (number, rf"\boxed{{7}}{'x ' * 6000}"),
    "characters that fold to many": (number, "\ufdfa" * 3000),
    "a long list": (list_of, f"<answer>{'7, ' * 4000}7</answer>"),
}


@pytest.mark.parametrize(("verifier", "text"), LONG.values(), ids=LONG)
def test_an_answer_that_is_too_long_to_be_read_is_the_completions_fault(
    pool: Pool, verifier: Callable[..., Verifier], text: str
) -> None:
    long, right = grade(verifier(pool=pool), "7", text, "<answer>7</answer>")
    assert (long.value, long.own_fault, long.parts["parsed"], right.value) == (0, "length", 0, 1), long


def test_a_long_thought_is_no_fault(pool: Pool) -> None:
    (one,) = grade(number(pool=pool), "7", f"<think>{'x ' * 50_000}</think>7")
    assert (one.value, one.own_fault) == (1, None)


def test_a_right_answer_that_cannot_be_graded_is_not_the_completions_fault(pool: Pool) -> None:
    """The row's own pattern hangs at what it is to match."""
    pattern = "(a+)+b"
    hanging = ask(pattern)
    reward = matches(pool=pool)
    object.__setattr__(reward, "right", lambda task: STALL)
    assert score(reward, [(hanging, [attempt(STALL)])])[0][0].status == "timeout"


TOWERS = {
    "a factorial of a factorial": "9!!!",
    "a tower of powers": "5^{5^{5^{5^{5}}}}",
    "a huge power": "10^{10^{10}}",
    "nested roots": r"\sqrt{" * 11 + "2" + "}" * 11 + "^{9^{9^{9}}}",
    "a huge binomial": r"\binom{10^{9}}{5\cdot 10^{8}}",
    "a long sum": r"\sum_{k=1}^{10^{12}} \frac{1}{k^{k}}",
    "a long product": r"\prod_{k=1}^{10^{9}} k!",
    "an integral without end": r"\int_0^{1} x^{x^{x^{x}}} \sin(\sin(\sin x)) dx",
    "a number of many digits": "7" * 1_000_000,
    "deep brackets": "(" * 100_000 + "7" + ")" * 100_000,
    "deep fractions": r"\frac{1}{1+" * 300 + "7" + "}" * 300,
    "a matrix of powers": r"\begin{pmatrix}9^{9^{9^{9}}} & 1\\ 1 & 9^{9^{9}}\end{pmatrix}",
}


@pytest.mark.slow
@pytest.mark.parametrize("tower", TOWERS.values(), ids=TOWERS)
def test_one_right_and_three_towers_average_a_quarter(tower: str) -> None:
    pytest.importorskip("math_verify")
    with Pool(workers=2, seconds=2.0, memory_mb=512) as pool:
        scores = grade(rewards.math(pool=pool), "7", BOX % "7", *[BOX % tower] * 3)
    assert reward_metrics(scores)["reward"] == 0.25, scores


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer", ["9**9**9**9", "__import__('time').sleep(9)", "(" * 500 + "7" + ")" * 500, "0" * 10**6]
)
def test_a_scorer_that_evaluates_answers_is_not_dodged(answer: str) -> None:
    pytest.importorskip("reasoning_gym")
    from togi.data import ReasoningGym, load_tasks

    task = load_tasks(ReasoningGym(name="countdown", size=1, seed=3, config={}), split="train")[0]
    with Pool(workers=2, seconds=2.0, tier="process" if why_no_jail() else "bubblewrap") as pool:
        (scores,) = score(scorer(pool=pool), [(task, [attempt(each) for each in ("1", answer)])])
    assert [(each.status, each.value) for each in scores] == [("ok", 0.0)] * 2


# What it earns in a composed reward ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reward", "values"),
    [
        (said(1, None, 0), [1, 0, 0]),
        (2 * said(1, None, 0) - 1, [1, -1, -1]),
        (said(1, 0, None) + 0.5, [1.5, 0.5, 0]),
        (said(1, None, 0) + 0.1 * said(1, 1, 1, name="bonus"), [1.1, 0, 0.1]),
        (-1 * said(1, None, 3), [-1, -3, -3]),
        (said(1, 1, 0, name="right") - 0.5 * said(1, None, 0, name="cost"), [0.5, 0, 0]),
        (gate(said(1, 1, name="right"), by=said(1, None, name="form")), [1, 0]),
        (clip(said(1, None), 0.25, 1), [1, 0]),
        (said(None, None), [0, 0]),
        (said(-0.5, None), [-0.5, -0.5]),
    ],
)
def test_an_own_fault_never_pays(reward: Composable, values: list[float]) -> None:
    scores = composed(reward, len(values))
    assert [each.value for each in scores] == pytest.approx(values)
    for each in scores:
        assert not each.shares or math.isclose(sum(each.shares.values()), each.value, abs_tol=1e-12)


def test_an_own_fault_beside_an_unscored_part_is_unscored(pool: Pool) -> None:
    class lost(said):
        def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
            return [Score(value=math.nan, status="error", note="no judge")] * len(trajectories)

    (one,) = composed(said(None) + lost(name="judge"), 1)
    assert (one.status, math.isnan(one.value)) == ("error", True)


def test_correct_is_taken_back_where_a_part_beside_it_was_dodged(mine: Path, pool: Pool) -> None:
    reward = number(pool=pool) + 0.5 * python("own.py:slow", base=mine, pool=pool)
    (stalled, right) = grade(reward, "7", f"<answer>7</answer>{STALL}", "7")
    assert right.parts["correct"] == 1
    assert stalled.own_fault is None or stalled.parts["correct"] == 0


# What counts it ------------------------------------------------------------------------------------------------------


def dodging() -> Group:
    scores = composed(said(1, None, None, None), 4)
    return Group(task=ask("7"), trajectories=tuple(attempt("x") for _ in scores), scores=tuple(scores))


def test_one_right_and_three_dodging_attempts_average_a_quarter_everywhere() -> None:
    group = dodging()
    metrics = reward_metrics(group.scores)
    assert metrics == {"reward": 0.25, "rewards/said/mean": 0.25, "own_fault/time": 0.75}
    assert [sample.reward for sample in samples([group])] == [1, 0, 0, 0]
    told = summary(from_groups([group], 4, model="m", step=0, sampling=Sampling()))
    assert told.reward is not None
    assert (told.reward.point, told.pass_at[1].point, told.pass_at[4].point) == (0.25, 0.25, 1.0)
    assert (told.scored, dict(told.unscored), dict(told.own_faults)) == (4, {}, {"time": 3})
    rows = list(rollout_rows([group], [], [], str, {}))
    assert [row["score"].get("own_fault") for row in rows] == [None, "time", "time", "time"]


def means(samples: Sequence[Sample]) -> list[float]:
    return [float(each.advantage[each.mask].mean()) for each in samples if each.advantage is not None]


def test_dodging_attempts_are_learned_from_like_wrong_ones() -> None:
    made = samples([dodging()])
    assert means(GRPO().credit(made, {})) == pytest.approx([1.4997, -0.4999, -0.4999, -0.4999], abs=1e-3)
    unlike = [replace(each, ids=each.ids + number * each.mask) for number, each in enumerate(made)]
    assert sorted(means(DPO().credit(unlike, {}))) == [-1, 0, 0, 1]  # one dodging attempt is the rejected answer


class Once:
    """A play that gives each task one group of scores."""

    def __init__(self, *groups: Sequence[Score]) -> None:
        self.groups, self.counts = list(groups), dict[str, float]()

    def __call__(self, questions: Sequence[Question]) -> list[Group]:
        return [
            Group(
                task=question.task,
                trajectories=tuple(attempt(f"{place}") for place in range(question.attempts)),
                scores=tuple(scores),
            )
            for question, scores in zip(questions, self.groups, strict=True)
        ]


def test_samplers_count_dodging_attempts_as_wrong_ones() -> None:
    tasks = [ask("7") for _ in range(2)]
    mixed, lost = composed(said(1, None, None, None), 4), composed(said(None, None, None, None), 4)
    play = Once(mixed, lost)
    assert [len(each.scores) for each in Dynamic(4, max_rounds=1)(iter(tasks), 2, play)] == [4]  # type: ignore[arg-type]
    assert (play.counts["dynamic/accuracy"], play.counts["dynamic/unscored"]) == (0.125, 0)
    play = Once(mixed)
    (kept,) = Rejection(n=4, keep=2, reward_scale=0.01)(iter(tasks), 1, play)  # type: ignore[arg-type]
    assert kept.scores[0].value == 1
    assert play.counts["rejection/reward"] == 0.25

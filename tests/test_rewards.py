"""Verifiers against answers, hedges and hacks; lengths against hand-computed numbers; grader failures as statuses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from togi import rewards
from togi.data import ReasoningGym, load_tasks
from togi.graders.choice import read_choice
from togi.graders.marks import answer_text
from togi.graders.number import parse_number
from togi.graders.reasoning_gym_scorer import EXECUTING
from togi.rewards import Composable, brevity, choice, concise, exact, form, gate, number, overlong, python, scorer
from togi.sandbox.box import AnyTier
from togi.sandbox.workers.pool import Pool, why_no_jail
from togi.types import Message, Score, Task, Trajectory, Turn


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(workers=2, seconds=5.0) as pool:
        yield pool


def attempt(text: str, tokens: int = 5) -> Trajectory:
    turn = Turn(prompt=(1,), completion=tuple(range(tokens)), text=text, stop="eos")
    return Trajectory(turns=(turn,), stop="eos")


def ask(answer: Any, **info: Any) -> Task:
    return Task(id="train:1", prompt=(Message(role="user", content="?"),), answer=answer, info=info)


def grade(reward: Composable, answer: Any, *texts: str) -> list[Score]:
    return reward(ask(answer), [attempt(text) for text in texts])


def values(scores: Sequence[Score]) -> list[float]:
    assert all(score.status == "ok" for score in scores), scores
    return [score.value for score in scores]


# Where the answer stands ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("42", "42"),
        ("<think>41</think> 42 ", "42"),
        ("<think>41</think><answer> 42</answer>", "42"),
        ("<think>a</think><think>b</think>42", "42"),
        ("<think>it is 42", None),
        ("<think>41</think><think>it is 42", None),
        ("<think><answer>42</answer></think>", None),
        ("<think>x</think><answer>41</answer><answer>42</answer>", None),
        ("<answer>42", None),
        ("</answer>42<answer>", None),
        ("<answer></answer>", None),
        ("", None),
    ],
)
def test_the_answer_is_found_after_the_thinking(text: str, answer: str | None) -> None:
    assert answer_text(text) == answer


def test_a_marker_narrows_the_answer() -> None:
    assert answer_text("1 + 1 = 2 #### 2", marker="####") == "2"
    assert answer_text("2", marker="####") is None
    assert answer_text("#### 1 #### 2", marker="####") is None  # two answers


# Numbers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", "42"),
        ("The answer is 42.", "42"),
        ("**42**", "42"),
        ("x = 42", "42"),
        ("42 apples", "42"),
        ("-5", "-5"),
        ("−5", "-5"),
        ("+5", "5"),
        ("1,234,567", "1234567"),
        ("$1,234.50", "2469/2"),
        ("-$5", "-5"),
        ("3/4", "3/4"),
        ("-3/4", "-3/4"),
        (".5", "1/2"),
        ("42%", "21/50"),
        ("1e3", "1000"),
        ("2.5e-1", "1/4"),
        ("٤٢", "42"),
        ("\uff14\uff12", "42"),
    ],
)
def test_numbers_are_read_exactly(text: str, value: str) -> None:
    assert parse_number(text) == Fraction(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "none",
        "41 or 42",
        "41, 42",
        "41-42",
        "41 42",
        "not 42",
        "anything but 42",
        "never 42",
        "isn't 42",
        "2+40",
        "2 + 41 = 42",
        "3x",
        "km2",
        "5²",
        "½",
        "4\u200b2",
        "1,5",
        "1,23",
        "12/31/2020",
        "1/0",
        "1.2.3",
        "1e999999999",
        "9" * 5000,
        "1/" + "9" * 5000,
    ],
)
def test_doubtful_numbers_are_no_answer(text: str) -> None:
    assert parse_number(text) is None


def test_number_pays_for_the_right_number(pool: Pool) -> None:
    reward = number(pool=pool)
    scores = grade(reward, "42", "42", "42.0", "43", "no idea", "<think>42</think> 41", "1..100: 42")
    assert values(scores) == [1, 1, 0, 0, 0, 0]
    assert [score.parts["parsed"] for score in scores] == [1, 1, 1, 0, 1, 0]
    assert [score.parts["correct"] for score in scores] == [score.parts["number"] for score in scores]


@pytest.mark.parametrize("gold", [42, 42.0, "42", " 42.00 ", "six times seven is 42 #### 42"])
def test_gold_numbers_may_be_written_in_many_ways(pool: Pool, gold: Any) -> None:
    assert values(grade(number(pool=pool), gold, "42", "24")) == [1, 0]


@pytest.mark.parametrize("gold", [None, "forty-two", "41 or 42", [42, 43], ""])
def test_a_gold_that_cannot_be_read_is_not_a_zero(pool: Pool, gold: Any) -> None:
    (score,) = grade(number(pool=pool), gold, "42")
    assert score.status == "unparseable"
    assert math.isnan(score.value)
    assert repr(gold) in score.note


def test_number_tolerance(pool: Pool) -> None:
    assert values(grade(number(tolerance=0.01, pool=pool), "3.14159", "3.14", "3.13", "22/7")) == [1, 0, 1]
    with pytest.raises(ValueError, match="tolerance"):
        number(tolerance=-1)


# Letters and text ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["B", "b", "(B)", "B.", "B)", "**B**", "$B$", "B. Paris", "(B) Paris", "B: x", "The answer is B.", "Answer: (B)"],
)
def test_choices(text: str) -> None:
    assert read_choice(text, "ABCDE") == "B"


@pytest.mark.parametrize(
    "text", ["", "A dog", "A or B", "(A) (B)", "A) x, B) y", "BD", "F", "not B", "is A or is B", "Better"]
)
def test_doubtful_choices_are_no_answer(text: str) -> None:
    assert read_choice(text, "ABCDE") is None


def test_choice_pays_for_the_right_letter(pool: Pool) -> None:
    scores = grade(choice(pool=pool), "B", "(B)", "C", "all of them")
    assert values(scores) == [1, 0, 0]
    assert [score.parts["parsed"] for score in scores] == [1, 1, 0]
    assert grade(choice(pool=pool), "Paris", "B")[0].status == "unparseable"
    with pytest.raises(ValueError, match="capital letters"):
        choice(options="abc")


def test_exact_forgives_white_space_and_case_only(pool: Pool) -> None:
    assert values(grade(exact(pool=pool), "New York", " new   york\n", "New York!", "York")) == [1, 0, 0]
    assert values(grade(exact(case=True, pool=pool), "New York", "new york", "New York")) == [0, 1]
    assert values(grade(exact(pool=pool), ["one", "1"], "1", "one", "2")) == [1, 1, 0]
    assert grade(exact(pool=pool), None, "x")[0].status == "unparseable"


# Mathematics ---------------------------------------------------------------------------------------------------------

BOX = r"\boxed{%s}"


@pytest.mark.parametrize(
    ("gold", "right", "wrong"),
    [
        ("1/2", [BOX % "0.5", BOX % r"\frac12", BOX % r"\dfrac{2}{4}"], [BOX % "0.3", "1/2", "$1/2$"]),
        ("x^2+1", [BOX % "1+x^2"], [BOX % "x^2-1"]),
        (
            "42",
            [BOX % "42", BOX % "x=42", (BOX % "42") * 2],
            [BOX % "41" + BOX % "42", BOX % "41 or 42", BOX % "42, 43"],
        ),
        ("42", ["<think>" + BOX % "41" + "</think>" + BOX % "42"], ["<think>" + BOX % "42" + "</think>" + BOX % "41"]),
        ("42", [], [BOX % "41=42", BOX % "x=41=42", BOX % r"42\%", r"\boxed{42", "<think>" + BOX % "42"]),
        ("1/2006!", [BOX % "1/2006!"], [BOX % "1/2004!"]),
        ("2^{-98}", [], [BOX % "2^{-99}"]),
        ("4", [], [BOX % r"4\sqrt{2}"]),
        (r"1,3,5,\ldots", [], [BOX % r"1,2,\ldots,n"]),
    ],
)
def test_mathematics(pool: Pool, gold: str, right: list[str], wrong: list[str]) -> None:
    pytest.importorskip("math_verify")
    assert values(grade(rewards.math(pool=pool), gold, *right, *wrong)) == [1.0] * len(right) + [0.0] * len(wrong)


def test_a_tower_of_powers_is_its_own_fault() -> None:
    pytest.importorskip("math_verify")
    with Pool(workers=1, seconds=1.0) as pool:
        tower = BOX % "5^{5^{5^{5^{5}}}}"
        scores = grade(rewards.math(pool=pool), "25", tower, BOX % "25")
        assert [(score.value, score.own_fault) for score in scores] == [(0, "length"), (1, None)]
        assert pool.alive == 1


# Form ----------------------------------------------------------------------------------------------------------------

GOOD = "<think>3 + 4 = 7</think>\n<answer>7</answer>"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (GOOD, 1),
        (f"\n{GOOD} ", 1),
        ("<think>a\nb\nc d e</think><answer>7</answer>", 1),
        ("", 0),
        ("7", 0),
        ("<think></think><answer>7</answer>", 0),
        ("<think> . </think><answer>7</answer>", 0),
        ("<think>3 + 4 = 7</think><answer> </answer>", 0),
        ("<think>3 + 4 = 7</think>7", 0),
        ("<think>3 + 4 = 7<answer>7</answer>", 0),
        ("<answer>7</answer><think>3 + 4 = 7</think>", 0),
        ("so " + GOOD, 0),
        (GOOD + " indeed", 0),
        (GOOD + GOOD, 0),
        ("<think>3 + 4 <think>= 7</think></think><answer>7</answer>", 0),
        ("<think>3 + 4 = 7</think> well <answer>7</answer>", 0),
        ("<think><answer>7</answer></think><answer>7</answer>", 0),
        ("<THINK>3 + 4 = 7</THINK><answer>7</answer>", 0),
    ],
)
def test_form(pool: Pool, text: str, value: float) -> None:
    (score,) = grade(form(pool=pool), "7", text)
    assert (score.value, dict(score.parts)) == (value, {"form": value})


def test_form_without_an_answer_tag(pool: Pool) -> None:
    bare = form(answer="", pool=pool)
    texts = ["<think>3 + 4 = 7</think> 7", "<think></think> 7", "<think>3 + 4 = 7</think> ", "7", "<think>3 + 4 = 7"]
    assert values(grade(bare, "7", *texts)) == [1, 0, 0, 0, 0]


def test_an_empty_thought_never_pays_behind_the_gate(pool: Pool) -> None:
    reward = gate(number(pool=pool), by=form(pool=pool))
    scores = grade(reward, "7", GOOD, "<think></think><answer>7</answer>", GOOD.replace("7</a", "8</a"))
    assert values(scores) == [1, 0, 0]
    assert [score.parts["number"] for score in scores] == [1, 1, 0]
    assert [score.parts["correct"] for score in scores] == [1, 0, 0]


# reasoning-gym -------------------------------------------------------------------------------------------------------


def gym_task(name: str, **config: Any) -> Task:
    pytest.importorskip("reasoning_gym")
    return load_tasks(ReasoningGym(name=name, size=1, seed=3, config=config), split="train")[0]


@pytest.mark.parametrize("name", ["chain_sum", "gcd", "spell_backward", "letter_counting", "basic_arithmetic"])
def test_gold_answers_get_full_marks_from_the_set_s_own_scorer(pool: Pool, name: str) -> None:
    task = gym_task(name)
    scores = scorer(pool=pool)(task, [attempt(task.answer), attempt("banana"), attempt("")])
    assert values(scores) == [1, 0, 0]
    assert [score.parts["parsed"] for score in scores] == [1, 1, 0]


def test_partial_credit_is_asked_for(pool: Pool) -> None:
    task = gym_task("chain_sum")
    padded = [attempt(f"{task.answer} 7 8 9")]
    assert values(scorer(pool=pool)(task, padded)) == [0]
    (partial,) = values(scorer(partial=True, pool=pool)(task, padded))
    assert 0 < partial < 1


def held() -> AnyTier:
    """What keeps in scorers that run answers here; where nothing does, they are run all the same: these are ours."""
    return "process" if why_no_jail() else "bubblewrap"


def test_a_scorer_that_runs_the_answer_is_stopped_by_the_clock() -> None:
    task = gym_task("countdown")
    with Pool(workers=2, seconds=1.0, tier=held()) as pool:
        scores = scorer(pool=pool)(task, [attempt(text) for text in ("9**9**9**9", "0")])
        assert [score.own_fault for score in scores] == ["time", None]
        assert pool.alive == 2


def test_what_an_answer_runs_happens_in_a_worker_only() -> None:
    """An answer that is run may end its worker, not us."""
    task = gym_task("countdown")
    with Pool(workers=2, seconds=5.0, tier=held()) as pool:
        scores = scorer(pool=pool)(task, [attempt("__import__('os')._exit(7)"), attempt("1")])
        assert [(score.status, score.value) for score in scores] == [("ok", 0)] * 2
        assert pool.alive == 2


def test_what_an_answer_writes_stays_in_the_jail(tmp_path: Path) -> None:
    if why_no_jail():
        pytest.skip(why_no_jail())
    task = gym_task("n_queens")
    outside = f"[open('{tmp_path / 'mark'}', 'w')]"
    with Pool(workers=1, seconds=5.0, tier="bubblewrap") as pool:
        scorer(pool=pool)(task, [attempt(outside), attempt("__import__('os').mkdir('mark')")])
        assert "mark" in pool.traces.left
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("name", sorted(EXECUTING))
def test_scorers_that_run_answers_are_refused_where_nothing_keeps_them_in(name: str) -> None:
    task = gym_task(name)
    with pytest.raises(ValueError, match=f"scorer of {name} runs code that a model wrote"):
        scorer(pool=Pool(tier="landlock"))(task, [attempt("1")])


def test_other_scorers_need_no_jail() -> None:
    task = gym_task("gcd")
    with Pool(workers=1, tier="landlock") as pool:
        assert values(scorer(pool=pool)(task, [attempt(task.answer)])) == [1]


def test_scorer_refuses_other_tasks(pool: Pool) -> None:
    with pytest.raises(ValueError, match="reasoning-gym tasks only; task train:1"):
        grade(scorer(pool=pool), "7", "7")


# Lengths -------------------------------------------------------------------------------------------------------------


def lengths(reward: Composable, *tokens: int) -> list[float]:
    return values(reward(ask("7"), [attempt("", count) for count in tokens]))


def test_overlong_is_dapo_s_soft_punishment() -> None:
    assert lengths(overlong(20480, 4096), 10, 16384, 18432, 20480, 21000) == [0, 0, -0.5, -1, -1]
    assert lengths(overlong(64, 16), 48, 49, 64) == [0, -0.0625, -1]
    for cache in (0, 65):
        with pytest.raises(ValueError, match="cache"):
            overlong(64, cache)


def test_lengths_count_all_turns() -> None:
    turn = Turn(prompt=(1,), completion=(1,) * 30, text="", stop="eos")
    (score,) = overlong(64, 16)(ask("7"), [Trajectory(turns=(turn, turn), stop="eos")])
    assert score.value == -0.75


def test_concise_falls_to_nothing() -> None:
    assert lengths(concise(100), 0, 25, 100, 300) == [1, 0.75, 0, 0]


def test_brevity_is_kimi_s_length_reward(pool: Pool) -> None:
    attempts = [attempt("7", 100), attempt("7", 300), attempt("8", 500), attempt("8", 200)]
    assert values(brevity(number(pool=pool))(ask("7"), attempts)) == [0.5, 0, -0.5, 0]
    assert values(brevity(number(pool=pool))(ask("7"), attempts[:1] * 2)) == [0, 0]


# Functions of the user's own -----------------------------------------------------------------------------------------

MINE = """
import math, time
def right(task, completion):
    return completion == task.answer and task.prompt[0].content == "?" and task.info["level"] == 2
def trl(completions, answer, level, **kwargs):
    assert kwargs["prompts"][0] == [{"role": "user", "content": "?"}]
    return [float(completion[0]["content"] == a) * l for completion, a, l in zip(completions, answer, level)]
def strict(prompts, completions, level):
    return [len(prompts) * l for l in level]
def wants(completions, ground_truth):
    return [0.0] * len(completions)
def plain(completions, **kwargs):
    return [float(len(completion)) for completion in completions]
def some(completions, **kwargs):
    return [None, 1.0]
def short(completions, **kwargs):
    return [1.0]
def single(completions, **kwargs):
    return 1.0
def text(task, completion):
    return "good"
def nan(task, completion):
    return math.nan
def infinite(completions, **kwargs):
    return [math.inf] * len(completions)
def huge(task, completion):
    return 1e300
def nothing(task, completion):
    return None
def raises(task, completion):
    raise RuntimeError("mine")
def sleeps(task, completion):
    time.sleep(30 if completion == "sleep" else 0)
    return 1.0
def array(task, completion):
    import numpy
    return numpy.float32(0.5)
def other(a, b):
    return 1
"""


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mine")
    (folder / "mine.py").write_text(MINE)
    return folder


def own(mine: Path, function: str, pool: Pool, *texts: str) -> list[Score]:
    return python(f"mine.py:{function}", base=mine, pool=pool)(ask("7", level=2), [attempt(text) for text in texts])


def test_both_signatures(mine: Path, pool: Pool) -> None:
    scores = own(mine, "right", pool, "7", "8")
    assert (values(scores), dict(scores[0].parts)) == ([1, 0], {"right": 1.0})
    assert values(own(mine, "trl", pool, "7", "8")) == [2, 0]
    assert values(own(mine, "strict", pool, "7", "8")) == [4, 4]
    assert values(own(mine, "array", pool, "7")) == [0.5]


def test_raw_text_reaches_trl_s_signature_as_strings(mine: Path, pool: Pool) -> None:
    task = Task(id="a", prompt=(Message(role="text", content="Once"),))
    assert values(python("mine.py:plain", base=mine, pool=pool)(task, [attempt("abc")])) == [3.0]


def test_none_abstains(mine: Path, pool: Pool) -> None:
    assert [score.status for score in own(mine, "some", pool, "7", "8")] == ["abstain", "ok"]
    assert [score.status for score in own(mine, "nothing", pool, "7", "8")] == ["abstain", "abstain"]


@pytest.mark.parametrize(
    ("function", "note"),
    [
        ("text", "text returned str 'good'; a number was wanted"),
        ("nan", "nan returned nan"),
        ("infinite", "infinite returned inf"),
        ("huge", "huge returned 1e+300"),
        ("short", "short returned 1 numbers for 2 completions"),
        ("single", "single returned float 1.0; a list of 2 numbers"),
        ("raises", "RuntimeError: mine"),
        ("wants", "wants wants ['ground_truth']"),
        ("other", "neither Togi's signature"),
    ],
)
def test_unusable_returns_are_errors_that_name_the_function(mine: Path, pool: Pool, function: str, note: str) -> None:
    scores = own(mine, function, pool, "7", "8")
    assert [score.status for score in scores] == ["error", "error"]
    assert all(math.isnan(score.value) and score.note.startswith(f"{function}: ") for score in scores)
    assert note in scores[0].note


def test_one_slow_completion_costs_its_siblings_nothing(mine: Path) -> None:
    with Pool(workers=2, seconds=0.5) as pool:
        scores = own(mine, "sleeps", pool, "a", "sleep", "b")
        assert [score.own_fault for score in scores] == [None, "time", None]


def test_a_missing_function_is_refused_where_it_is_named(mine: Path) -> None:
    with pytest.raises(ValueError, match='did you mean "right"'):
        python("mine.py:rigt", base=mine)

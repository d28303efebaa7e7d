"""What the strict and the permissive reading of mathematics pay for: the strict one must refuse every known slip."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from togi import rewards
from togi.sandbox.workers.pool import Pool
from togi.types import Message, Score, Task, Trajectory, Turn

pytest.importorskip("math_verify")

# Gold and completion; math-verify's default pays for each of these wrong answers.
PAID_WRONGLY = [
    (r"\frac{1}{2006!}", r"$\frac{1}{2004!}$"),  # both are 0 to six digits
    ("2^{-98}", "$2^{-99}$"),
    (r"1+1/\mathrm{e}", r"$1-1/\mathrm{e}$"),  # reads only the 1 of a formula it cannot read
    ("4", r"$4\sqrt(2)$"),
    ("42", "The answer is 42 or 43 or 44."),
    ("42", "x=41=42"),
    ("42", "$41=42$"),
    ("42", "42%"),
    (r"\{1,2\}", "$(1,2)$"),
    ("3 m", "3 km"),
]
# The library pays for these where the gold is plain text; read as LaTeX, as here, it is not fooled.
REFUSED_BY_BOTH = [("3x+4y+14=0", "3*x-1*y+13=0"), (r"1,3,5,\ldots", r"1,2,\ldots,n")]
# Gold and a right completion that the default does not pay for.
MISSED = [
    (r"1/\sqrt{n}", r"$\sqrt{1/n}$"),
    (r"\frac{\pi}{2}", "pi/2"),
    ("5", "five"),
    ("7", r"\boxed{7"),
]
NO_MATHEMATICS = ["A", "(A)", r"\text{A}"]  # letters are for choice()


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(workers=2, seconds=10.0) as pool:
        yield pool


def grade(pool: Pool, gold: str, text: str, *, strict: bool) -> Score:
    task = Task(id="train:1", prompt=(Message(role="user", content="?"),), answer=gold)
    turn = Turn(prompt=(1,), completion=(2,), text=text, stop="eos")
    return rewards.math(strict=strict, pool=pool)(task, [Trajectory(turns=(turn,), stop="eos")])[0]


def boxed(text: str) -> str:
    return rf"\boxed{{{text.removeprefix('The answer is ').strip('$.')}}}"


@pytest.mark.parametrize(("gold", "wrong"), PAID_WRONGLY)
def test_the_strict_reading_refuses_what_the_permissive_one_pays_for(pool: Pool, gold: str, wrong: str) -> None:
    known = grade(pool, gold, wrong, strict=False)
    assert known.status == "ok"
    assert known.value == 1, "math-verify now refuses this: say so in docs/verifiers.md"
    for text in (wrong, boxed(wrong)):
        strict = grade(pool, gold, text, strict=True)
        assert (strict.status, strict.value) == ("ok", 0) or strict.status == "unparseable", text


@pytest.mark.parametrize(("gold", "wrong"), REFUSED_BY_BOTH)
def test_a_gold_is_read_as_latex(pool: Pool, gold: str, wrong: str) -> None:
    assert all(grade(pool, gold, text, strict=False).value == 0 for text in (wrong, f"${wrong}$"))
    assert grade(pool, gold, boxed(wrong), strict=True).value == 0


@pytest.mark.parametrize(("gold", "right"), MISSED)
def test_what_the_permissive_reading_misses(pool: Pool, gold: str, right: str) -> None:
    missed = grade(pool, gold, right, strict=False)
    assert (missed.status, missed.value) == ("ok", 0), "math-verify now reads this: say so in docs/verifiers.md"


@pytest.mark.parametrize("letter", NO_MATHEMATICS)
def test_a_letter_is_no_mathematics(pool: Pool, letter: str) -> None:
    assert grade(pool, letter, letter, strict=False).value != 1


@pytest.mark.parametrize(
    "gold", ["1/2", "x^2+1", "42", r"\{1,2\}", "(1,2)", "3 m", r"3\text{ m}", "42\\%", "x=3", "[0,1)"]
)
def test_gold_gets_full_marks_in_both(pool: Pool, gold: str) -> None:
    for strict in (True, False):
        score = grade(pool, gold, rf"\boxed{{{gold}}}", strict=strict)
        assert (score.status, score.value) == ("ok", 1), strict


def test_units_are_part_of_a_strict_answer(pool: Pool) -> None:
    pay = {text: grade(pool, "3 m", rf"\boxed{{{text}}}", strict=True).value for text in (r"3\,\text{m}", "3 km", "3")}
    assert pay == {r"3\,\text{m}": 1, "3 km": 0, "3": 0}
    plain = ["x = 42", r"\displaystyle 42", r"\$42", r"\frac{84}{2}", "42.0"]
    assert [grade(pool, "42", rf"\boxed{{{text}}}", strict=True).value for text in plain] == [1] * len(plain)
    assert grade(pool, "42", r"\boxed{42 \text{ or so}}", strict=True).value == 0


def test_a_box_that_is_taken_back_is_no_answer(pool: Pool) -> None:
    denied = [r"not \boxed{42}", r"It isn't $\boxed{42}$", r"either \boxed{42}", r"41 or \boxed{42}"]
    denied += [r"\boxed{42}, or maybe not", r"$\boxed{42}$ or 43", r"\boxed{42} is wrong"]
    for text in denied:
        score = grade(pool, "42", text, strict=True)
        assert (score.value, score.parts["parsed"]) == (0, 0), text
    meant = [
        r"It is not 41 or 43. So \boxed{42}.",
        r"$\boxed{42}$ is the answer",
        r"Whether odd or not: it is \boxed{42}",
    ]
    assert [grade(pool, "42", text, strict=True).value for text in meant] == [1, 1, 1]


def test_the_permissive_reading_finds_answers_without_a_box(pool: Pool) -> None:
    assert grade(pool, "1/2", "So it is 0.5.", strict=False).value == 1
    assert grade(pool, "1/2", "So it is 0.5.", strict=True).parts["parsed"] == 0
    assert grade(pool, "1/2", "no idea", strict=False).parts["parsed"] == 0
    assert grade(pool, "42", "<think>42", strict=False).parts["parsed"] == 0


def test_a_tower_of_powers_is_the_completion_s_own_fault_in_the_permissive_reading() -> None:
    with Pool(workers=1, seconds=1.0) as pool:
        assert grade(pool, "25", "$5^{5^{5^{5^{5}}}}$", strict=False).own_fault == "time"

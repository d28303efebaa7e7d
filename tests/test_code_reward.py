"""The code reward against a box that runs programs right here: what is extracted, compared, paid and noted."""

from __future__ import annotations

import contextlib
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from togi.data import Rows, load_tasks
from togi.evidence.before.row_answers import gold_text
from togi.rewards import form, gate, parse_reward
from togi.rewards.code import code
from togi.rewards.code.compare_values import same, same_text
from togi.rewards.code.find_program import program
from togi.rewards.code.row_tests import BadTests, read_tests
from togi.rewards.code.value_format import read_value
from togi.sandbox.box import Box, Calls, Limits, Outcome, Ran, Script, Tier
from togi.sandbox.codec import decode, encode
from togi.types import Score, Task, Trajectory, Turn

ADD = {"function": "add", "inputs": [[1, 2], [3, 4], [-5, 5]], "outputs": [3, 7, 0]}
RIGHT = "def add(a, b):\n    return a + b\n"


@dataclass
class Here:
    """Runs programs in this process, for programs that are harmless. ``dead`` starts none."""

    dead: bool = False
    ran: list[Calls | Script] = field(default_factory=list)

    @property
    def tier(self) -> Tier:
        return "process"

    def run(self, programs: Sequence[Calls | Script], limits: Limits) -> list[Ran]:
        self.ran += programs
        for each in programs:
            [encode(arguments) for arguments in (each.arguments if isinstance(each, Calls) else ())]
        return [Ran(status="error", note="no jail", judged=False) if self.dead else one(each) for each in programs]


def one(job: Calls | Script) -> Ran:
    names: dict[str, Any] = {}
    out = io.StringIO()
    if isinstance(job, Script):
        stdin = iter(job.stdin.splitlines())
        names["input"] = lambda: next(stdin)
    with contextlib.redirect_stdout(out):
        try:
            exec(job.source, names)
        except Exception as error:
            return Ran(status="error", note=repr(error), stdout=out.getvalue())
        if isinstance(job, Script):
            return Ran(status="ok", stdout=out.getvalue())
        outcomes = []
        for arguments in job.arguments:
            try:
                outcomes.append(Outcome(value=names[job.function](*arguments)))
            except Exception as error:
                outcomes.append(Outcome(status="raised", note=repr(error)))
    return Ran(status="ok", outcomes=tuple(outcomes), stdout=out.getvalue())


def task(answer: Any, **info: Any) -> Task:
    return Task(id="train:1", prompt=(), answer=answer, info=info)


def said(text: str) -> Trajectory:
    return Trajectory(turns=(Turn(prompt=(1,), completion=(2,), text=text, stop="eos"),), stop="eos")


def fenced(source: str) -> str:
    return f"Here it is.\n```python\n{source}\n```\n"


def grade(answer: Any, *sources: str, reward: code | None = None, **info: Any) -> list[Score]:
    reward = reward or code(box=Here())
    return reward(task(answer, **info), [said(fenced(source)) for source in sources])


def values(scores: Sequence[Score]) -> list[float]:
    return [score.value for score in scores]


# Where the program stands --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("```python\nx = 1\n```", "x = 1\n"),
        ("```py\nx = 1\n```\nand\n```python\nx = 2\n```", "x = 2\n"),
        ("```python\nx = 1\n```\nprints\n```\n1\n```", "x = 1\n"),
        ("```\nx = 1\n```", "x = 1\n"),
        ("- so:\n  ```python\n  if x:\n      y\n  ```", "if x:\n    y\n"),
        ("<think>```python\nx = 1\n```</think>\n```python\nx = 2\n```", "x = 2\n"),
        ("<think>hm</think>\nx = 3\n", "x = 3"),
        ("<think>hm</think><answer>```python\nx = 4\n```</answer>", "x = 4\n"),
        ("so <answer>x = 5</answer>", "x = 5"),
        ("<think>```python\nx = 1\n```</think>", None),
        ("<think>```python\nx = 1\n```", None),
        ("```python\nx = 1", None),
        ("```python\n\n```", None),
        ("```json\n{}\n```", None),
        ("<think>hm</think>\n```python\nx = 1", None),
        ("x = 1", None),
        ("", None),
    ],
)
def test_the_program_is_the_last_closed_block_after_the_thinking(text: str, found: str | None) -> None:
    assert program(text) == found


# What is the same ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [1, 1.5, True, None, "a", [1, [2]], (1, 2), {1: 2}, {"a": [1]}, {1, 2}, frozenset({(1,)}), math.inf, b"x", 10**400],
)
def test_a_value_is_the_same_as_itself(value: Any) -> None:
    assert same(value, value)
    assert same(math.nan, math.nan)


@pytest.mark.parametrize(
    ("got", "wanted"),
    [
        (1, 1.0),
        (True, 1),
        (1.0, 1),
        (0, None),
        ("1", 1),
        ([1], (1,)),
        ([1, 2], [1]),
        ([1, True], [1, 1]),
        ({1: 2}, {1.0: 2}),
        ({1: 2}, {1: 2.0}),
        ({1: 2, 3: 4}, {1: 2}),
        ({1}, {True}),
        ({(1,)}, {(1.0,)}),
        ({1}, frozenset({1})),
        (math.nan, 1.0),
        (math.inf, -math.inf),
        (1.0000001, 1.0),
        (b"x", "x"),
        (bytearray(b"x"), b"x"),
    ],
)
def test_types_and_values_tell_apart(got: Any, wanted: Any) -> None:
    assert not same(got, wanted)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3)
KEYS = st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0]) | st.text(max_size=1)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.sets(KEYS, max_size=3)
        | st.frozensets(KEYS, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(VALUES, VALUES)
def test_values_are_the_same_when_they_are_written_the_same(one: Any, other: Any) -> None:
    assert same(decode(encode(one)), one)
    assert same(one, other) == same(other, one)
    if written(one) == written(other):
        assert same(one, other)
    elif "-0.0" not in written([one, other]):  # the zeros are equal, and written differently
        assert not same(one, other)


def written(value: Any) -> str:
    """A value with its types as text, whatever the order of its members."""
    if isinstance(value, dict):
        return f"dict{sorted(f'{written(key)}:{written(each)}' for key, each in value.items())}"
    if isinstance(value, set | frozenset | list | tuple):
        members = [written(each) for each in value]
        return f"{type(value).__name__}{sorted(members) if isinstance(value, set | frozenset) else members}"
    return repr(value)


def test_a_tolerance_is_for_floats_alone_and_exact() -> None:
    assert same(1.5, 1.0, tolerance=0.5)
    assert not same(1.5000001, 1.0, tolerance=0.5)
    assert same([1.0, {"a": 2.1}], [1.0, {"a": 2.0}], tolerance=0.2)
    assert not same(2, 1, tolerance=5.0)
    assert not same(1, 1.0, tolerance=0.5)
    assert not same(math.inf, 1e308, tolerance=1e308)
    assert not same(math.nan, 1.0, tolerance=1e308)
    assert not same(10**400, 1.0, strict=False, tolerance=1.0)


def test_numbers_may_be_compared_as_python_does() -> None:
    assert same(1, True, strict=False)
    assert same([1.0, {2: 1}], [1, {2.0: True}], strict=False)
    assert not same([1], (1,), strict=False)
    assert not same("1", 1, strict=False)


def test_white_space_at_the_end_of_lines_is_not_compared() -> None:
    assert same_text("1 \n2\n\n", "1\n2")
    assert not same_text(" 1", "1")
    assert not same_text("1\n\n2", "1\n2")


def test_values_that_json_lacks_are_written_by_their_type() -> None:
    assert read_value({"a": {"tuple": [1, {"set": [2]}]}}) == {"a": (1, {2})}
    assert read_value({"dict": [[1, {"b": 2}]]}) == {1: {"b": 2}}
    assert read_value({"dict": [["tuple", []]]}) == {"tuple": []}
    assert math.isnan(read_value({"float": "nan"}))
    assert read_value([2**70, {}]) == [2**70, {}]
    with pytest.raises(ValueError):
        read_value({"float": "one"})


# What is paid --------------------------------------------------------------------------------------------------------


def test_passing_every_test_pays_one_and_anything_less_nothing() -> None:
    scores = grade(ADD, RIGHT, "def add(a, b):\n    return max(3, a + b)", "def add(a, b):\n    return a - b")
    assert values(scores) == [1, 0, 0]
    assert [score.parts["code/passed"] for score in scores] == pytest.approx([1, 2 / 3, 0])
    assert scores[1].parts == pytest.approx({"code": 0, "correct": 0, "parsed": 1, "code/passed": 2 / 3, "code/ran": 1})
    assert scores[1].note == "code: 2 of 3 tests passed; test 3 gave another value"


def test_a_fraction_is_paid_by_choice_and_correct_stays_all_or_nothing() -> None:
    reward = code(pay="fraction", box=Here())
    scores = grade(ADD, RIGHT, "def add(a, b):\n    return max(3, a + b)", reward=reward)
    assert values(scores) == pytest.approx([1, 2 / 3])
    assert [score.parts["correct"] for score in scores] == [1, 0]


def test_what_raises_or_cannot_be_read_earns_nothing_and_is_noted() -> None:
    scores = grade(ADD, "def add(a, b):\n    return 1 / 0", "def add(a, b:", "def other(): pass")
    assert values(scores) == [0, 0, 0]
    assert "ZeroDivisionError" in scores[0].note
    assert [score.parts["code/ran"] for score in scores[:2]] == [1, 0]
    (silent,) = code(box=Here())(task(ADD), [said("I would rather not.")])
    assert (silent.value, silent.parts["parsed"]) == (0.0, 0.0)


def test_expected_values_never_enter_the_box() -> None:
    box = Here()
    answer = {"function": "f", "inputs": [[1]], "outputs": ["SECRET"], "setup": "import math"}
    grade(answer, "def f(x):\n    return math.pi", reward=code(box=box))
    assert len(box.ran) == 1
    assert "SECRET" not in repr(box.ran)
    assert "import math" in box.ran[0].source


def test_a_script_is_run_once_for_each_input() -> None:
    answer = {"stdin": ["1 2\n", "3 4\n"], "stdout": ["3\n", "7\n"]}
    scores = grade(answer, "a, b = map(int, input().split())\nprint(a + b, end='  \\n\\n')", "print(3)")
    assert values(scores) == [1, 0]
    assert scores[1].parts["code/passed"] == 0.5


def test_a_check_decides_where_several_outputs_are_right() -> None:
    check = "def check(arguments, output):\n    return arguments[0] == output ** 2"
    answer = {"function": "root", "inputs": [[4], [9]], "check": check}
    scores = grade(
        answer, "def root(x):\n    return -(x ** 0.5)", "def root(x):\n    return 2", "def root(x):\n    return 'a'"
    )
    assert values(scores) == [1, 0, 0]
    assert [score.parts["code/passed"] for score in scores] == [1, 0.5, 0]
    (broken,) = grade(answer | {"check": "def check(:"}, RIGHT.replace("add(a, b)", "root(a, b=0)"))
    assert broken.status == "unparseable"


def test_an_output_too_deep_for_another_box_is_wrong_and_stops_nothing() -> None:
    value: list[Any] = []
    for _ in range(64):
        value = [value]
    encode(value)
    answer = {"function": "deep", "inputs": [[1]], "check": "def check(arguments, output):\n    return True"}
    source = "def deep(x):\n    value = []\n    for _ in range(64):\n        value = [value]\n    return value"
    assert values(grade(answer, source, "def deep(x):\n    return x")) == [0, 1]


def test_fresh_tests_catch_a_program_that_knows_the_rows_tests_by_heart() -> None:
    known = "def add(a, b):\n    return {(1, 2): 3, (3, 4): 7, (-5, 5): 0}.get((a, b))"
    fresh = "def fresh(rng):\n    return [rng.randrange(100, 200), 1]"
    assert values(grade(ADD, known, RIGHT)) == [1, 1]
    box = Here()
    reward = code(fresh=4, box=box)
    scores = grade(ADD, known, RIGHT, reward=reward, reference=RIGHT, fresh=fresh)
    assert values(scores) == [0, 1]
    assert scores[0].parts["code/passed"] == pytest.approx(3 / 7)
    runs = len(box.ran)
    assert values(grade(ADD, RIGHT, reward=reward, reference=RIGHT, fresh=fresh)) == [1]
    assert len(box.ran) == runs + 1  # the fresh tests were kept


def test_fresh_tests_for_scripts() -> None:
    answer = {"stdin": ["1\n"], "stdout": ["2\n"]}
    double = "print(2 * int(input()))"
    fresh = "def fresh(rng):\n    return f'{rng.randrange(5, 100)}\\n'"
    scores = grade(answer, double, "print(2)", reward=code(fresh=2, box=Here()), reference=double, fresh=fresh)
    assert values(scores) == [1, 0]


def test_tests_that_cannot_be_made_are_not_the_models_doing() -> None:
    reward = code(fresh=2, box=Here())
    fresh = "def fresh(rng):\n    return [1, 2]"
    for info in (
        {},
        {"fresh": fresh, "reference": "def add(a, b):\n    return 1 / 0"},
        {"fresh": "1", "reference": RIGHT},
    ):
        (score,) = grade(ADD, RIGHT, reward=reward, **info)
        assert score.status == "unparseable"


def test_a_box_that_runs_nothing_is_an_error_and_never_a_zero() -> None:
    (score,) = grade(ADD, RIGHT, reward=code(box=Here(dead=True)))
    assert score.status == "error"
    assert "no jail" in score.note
    assert math.isnan(score.value)


def test_many_tasks_are_one_run_of_the_box() -> None:
    box = Here()
    asked = [(task(ADD), [said(fenced(RIGHT))]), (task(ADD), [said("nothing"), said(fenced(RIGHT))])]
    assert [values(scores) for scores in code(box=box).many(asked)] == [[1], [0, 1]]
    assert len(box.ran) == 2


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "{",
        [],
        {},
        {"function": "f"},
        {"function": "f g", "inputs": [[1]], "outputs": [1]},
        {"function": "f", "inputs": [1], "outputs": [1]},
        {"function": "f", "inputs": [[1]], "outputs": []},
        {"function": "f", "inputs": [[1]], "outputs": [{"float": "x"}]},
        {"function": "f", "inputs": [[1]], "outputs": [1], "tolerance": -1},
        {"function": "f", "inputs": [[1]], "outputs": [1], "outptus": [1]},
        {"stdin": ["1"], "stdout": []},
        {"stdin": ["1"], "stdout": [1]},
    ],
)
def test_tests_that_cannot_be_read_are_unparseable(answer: Any) -> None:
    with pytest.raises(BadTests):
        read_tests(task(answer))
    assert [score.status for score in grade(answer, RIGHT)] == ["unparseable"]


def test_tests_may_be_text() -> None:
    assert values(grade('{"function": "add", "inputs": [[1, 2]], "outputs": [3]}', RIGHT)) == [1]


def test_settings_that_mean_nothing_are_refused() -> None:
    for wrong in ({"pay": "most"}, {"fresh": -1}, {"tolerance": -1.0}, {"seconds": 0.0}, {"memory_mb": 1}):
        with pytest.raises(ValueError, match="code:"):
            code(**wrong)  # type: ignore[arg-type]


def test_the_reward_has_a_name_in_recipes(tmp_path: Path) -> None:
    assert parse_reward('code(pay="fraction", fresh=8)', tmp_path) == code(pay="fraction", fresh=8)
    with pytest.raises(ValueError, match="box"):
        parse_reward("code(box=1)", tmp_path)


def test_rows_of_the_documentation_are_tasks_whose_reference_is_right(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "code.md").read_text(encoding="utf-8")
    rows = re.findall(r"```json\n(.*?)\n```", page, re.DOTALL)
    assert len(rows) == 4
    for number, row in enumerate(rows):
        (tmp_path / f"{number}.jsonl").write_text(row, encoding="utf-8")
        (one,) = load_tasks(Rows(path=tmp_path / f"{number}.jsonl"), split="train")
        reward = code(fresh=8 if "fresh" in one.info else 0, box=Here())
        right = gold_text(one, gate(reward, by=form()))
        assert right is not None
        assert values(reward(one, [said(right), said(fenced("x = 1"))])) == [1, 0]


def test_here_is_a_box() -> None:
    box: Box = Here()
    assert box.tier == "process"

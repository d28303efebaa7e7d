"""Own rewards: functions as people write them for TRL, async ones, what they return, print and ask of the network."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_text import tiny_folder
from toy_run import toy_run

from togi.algorithms import GRPO
from togi.data import Rows, load_tasks
from togi.evidence.before import grading_time
from togi.evidence.before.grading_time import GradingTime, advice, grading_share
from togi.evidence.during.reward_log import LARGEST, NAME, RewardLog
from togi.rewards import clip, gate, number, python
from togi.rewards.printed_output import printed_to
from togi.run import Silent
from togi.run_folder.files import FolderError, read_lines
from togi.samplers import Groups
from togi.sandbox.workers.pool import Pool, why_no_jail
from togi.train import Clock, train
from togi.types import Message, Score, Task, Trajectory, Turn

TRL = """
import asyncio, collections, functools, logging, math, re, sys, time
import numpy, torch

def contents(completions):
    return [completion[0]["content"] for completion in completions]

# As the documentation and the scripts around TRL write them
def reward_func(completions, ground_truth, **kwargs):
    matches = [re.search(r"\\\\boxed\\{(.*?)\\}", text) for text in contents(completions)]
    return [1.0 if match and match.group(1) == right else 0.0 for match, right in zip(matches, ground_truth)]
def format_reward_func(completions, **kwargs):
    pattern = r"^<think>.*?</think><answer>.*?</answer>$"
    return [1.0 if re.match(pattern, text) else 0.0 for text in contents(completions)]
def token_lengths(completion_ids, **kwargs):
    return [float(len(ids)) for ids in completion_ids]
def by_prompt(prompts, completions, **kwargs):
    return [float(prompt[-1]["content"] == "?") for prompt in prompts]
def solution_reward(completions, solution):
    return [float(text == right) for text, right in zip(contents(completions), solution)]
def answer_reward(completions, answer):
    return [float(text == right) for text, right in zip(contents(completions), answer)]
def everything(prompts, completions, completion_ids, solution, level, **kwargs):
    return [float(len(prompts) == len(completions) == len(completion_ids) == len(solution) == len(level))] * len(level)
def only_keywords(**kwargs):
    return [float(text == right) for text, right in zip(contents(kwargs["completions"]), kwargs["solution"])]
def both(*args, **kwargs):
    return [0.5] * len(kwargs["completions"])
def logs(completions, log_extra=None, log_metric=None, **kwargs):
    log_extra("text", contents(completions))
    log_metric("count", len(completions))
    return [1.0] * len(completions)
def does_not_apply(completions, **kwargs):
    return [None if text == "8" else 1.0 for text in contents(completions)]
def nan_does_not_apply(completions, **kwargs):
    return [math.nan if text == "8" else 1.0 for text in contents(completions)]
class Graded:
    __name__ = "graded"
    def __init__(self, weight=1.0):
        self.weight = weight
    def __call__(self, prompts, completions, solution, **kwargs):
        return [self.weight * (text == right) for text, right in zip(contents(completions), solution)]
graded = Graded(0.25)
class Awaited:
    async def __call__(self, completions, **kwargs):
        await asyncio.sleep(0)
        return [0.5] * len(completions)
awaited = Awaited()
def weighted(completions, solution, weight, **kwargs):
    return [weight * (text == right) for text, right in zip(contents(completions), solution)]
half = functools.partial(weighted, weight=0.5)
given = lambda completions, **kwargs: [float(len(text)) for text in contents(completions)]
async def asynchronous(completions, **kwargs):
    await asyncio.sleep(0.01)
    return [float(text == "7") for text in contents(completions)]
async_partial = functools.partial(asynchronous)
returns_a_coroutine = lambda completions, **kwargs: asynchronous(completions)
def decorated(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return function(*args, **kwargs)
    return inner
wrapped = decorated(answer_reward)

# What is returned
def as_list(completions, **_): return [1, 0]
def as_tuple(completions, **_): return (True, False)
def as_array(completions, **_): return numpy.array([1.0, 0.0])
def as_integers(completions, **_): return numpy.array([1, 0], dtype=numpy.int8)
def as_booleans(completions, **_): return numpy.array([True, False])
def as_column(completions, **_): return numpy.array([[1.0], [0.0]])
def as_tensor(completions, **_): return torch.tensor([1.0, 0.0])
def as_bfloat16(completions, **_): return torch.tensor([1.0, 0.0], dtype=torch.bfloat16)
def as_a_leaf(completions, **_): return torch.tensor([1.0, 0.0], requires_grad=True)
def as_scalars(completions, **_): return [torch.tensor(1.0), numpy.float32(0.0)]
def as_generator(completions, **_): return (float(text == "7") for text in contents(completions))
def as_deque(completions, **_): return collections.deque([1.0, 0.0])
def as_values(completions, **_): return {"a": 1.0, "b": 0.0}.values()
# and what cannot be read
def a_set(completions, **_): return {1.0, 0.0}
def a_mapping(completions, **_): return {"a": 1.0, "b": 0.0}
def a_text(completions, **_): return "10"
def a_scalar(completions, **_): return numpy.float64(1.0)
def a_matrix(completions, **_): return numpy.ones((2, 2))
def too_many(completions, **_): return (1.0 for _ in iter(int, 1))
def complex_numbers(completions, **_): return numpy.array([1j, 0])
def nothing(completions, **_): return None
def wants_state(completions, trainer_state): return [0.0] * len(completions)
"""

TOGI = """
import asyncio, functools, logging, os, socket, sys, time, urllib.request
def scalar_array(task, completion):
    import numpy
    return numpy.array([float(completion == task.answer)])
def one_in_a_list(task, completion): return [float(completion == task.answer)]
def other_order(completion, task): return float(completion == task.answer)
def positional(task, completion, /): return float(completion == task.answer)
def with_default(task, completion, weight=2.0): return weight * (completion == task.answer)
short = lambda task, completion: float(completion == task.answer)
class Exact:
    def __call__(self, task, completion): return float(completion == task.answer)
class Needs:
    def __init__(self, weight): ...
    def __call__(self, task, completion): return 1.0
class Plain: ...
def needs_more(task, completion, weight): return weight
active = 0
async def together(task, completion):
    global active
    active += 1
    await asyncio.sleep(0.01)
    return float(active)
async def some_late(task, completion):
    await asyncio.sleep(60 if completion == "late" else 0.01)
    return float(completion == task.answer)
async def some_raise(task, completion):
    return float(int(completion) == int(task.answer))
async def blocks(task, completion):
    if completion == "block":
        time.sleep(60)
    return float(completion == task.answer)
def reaches(task, completion):
    return float(len(urllib.request.urlopen("http://reward.example/score", timeout=1).read()))
def hides(task, completion):
    try:
        socket.create_connection(("127.0.0.1", 9), timeout=0.2)
    except OSError:
        return 0.0
def chatty(task, completion):
    print("graded", completion, "\\x1b[31mred")
    logging.getLogger("mine").warning("odd %s", completion)
    print("problem", file=sys.stderr)
    return 1.0
logging.basicConfig(level=logging.INFO)
def informed(task, completion):
    logging.info("seen %s", completion)
    return 1.0
def parted(task, completion):
    right = completion == task.answer
    return float(right), {"right": right, "n": len(completion)}
def parted_nan(task, completion): return 1.0, {"right": float("nan")}
def parted_text(task, completion): return 1.0, {"right": "much"}
def parted_name(task, completion): return 1.0, {"\x1b[31m": 1.0}
def parted_many(task, completion): return 1.0, {str(n): 1.0 for n in range(21)}
def parted_none(task, completion): return None, {"right": None}
def lone(task, completion):
    print("\\ud800")
    return 1.0
"""


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(workers=2, seconds=5.0) as pool:
        yield pool


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "trl.py").write_text(TRL)
    (folder / "own.py").write_text(TOGI)
    return folder


def attempt(text: str) -> Trajectory:
    return Trajectory(turns=(Turn(prompt=(1,), completion=(5, 6, 7), text=text, stop="eos"),), stop="eos")


def ask(**info: Any) -> Task:
    info = {"solution": "7", "ground_truth": "7", "level": 2} | info
    return Task(id="t", prompt=(Message(role="user", content="?"),), answer="7", info=info)


def grade(folder: Path, function: str, pool: Pool, *texts: str) -> list[Score]:
    return python(function, base=folder, pool=pool)(ask(), [attempt(text) for text in texts])


def values(scores: list[Score]) -> list[float]:
    assert all(each.status == "ok" and each.own_fault is None for each in scores), scores
    return [each.value for each in scores]


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        *((name, [1, 0]) for name in ("solution_reward", "answer_reward", "only_keywords", "wrapped", "logs")[:4]),
        ("reward_func", [0, 0]),
        ("format_reward_func", [0, 0]),
        ("token_lengths", [3, 3]),
        ("by_prompt", [1, 1]),
        ("everything", [1, 1]),
        ("both", [0.5, 0.5]),
        ("logs", [1, 1]),
        ("graded", [0.25, 0]),
        ("Graded", [1, 0]),
        ("awaited", [0.5, 0.5]),
        ("Awaited", [0.5, 0.5]),
        ("half", [0.5, 0]),
        ("given", [1, 1]),
        ("asynchronous", [1, 0]),
        ("async_partial", [1, 0]),
        ("returns_a_coroutine", [1, 0]),
        *(
            (f"as_{kind}", [1, 0])
            for kind in ("list", "tuple", "array", "integers", "booleans", "column", "tensor", "bfloat16", "a_leaf")
        ),
        *((f"as_{kind}", [1, 0]) for kind in ("scalars", "generator", "deque", "values")),
    ],
)
def test_functions_written_for_trl_work_unchanged(folder: Path, pool: Pool, function: str, wanted: list[float]) -> None:
    assert values(grade(folder, f"trl.py:{function}", pool, "7", "8")) == wanted


def test_a_function_may_say_what_its_number_is_made_of(folder: Path, pool: Pool) -> None:
    right, wrong = grade(folder, "own.py:parted", pool, "7", "88")
    assert (right.value, dict(right.parts)) == (1, {"parted": 1, "parted/right": 1, "parted/n": 1})
    assert (wrong.value, dict(wrong.parts)) == (0, {"parted": 0, "parted/right": 0, "parted/n": 2})
    twice = 2 * python("own.py:parted", base=folder, pool=pool)
    assert [each.value for each in twice(ask(), [attempt("7")])] == [2]
    assert grade(folder, "own.py:parted_none", pool, "7")[0].status == "abstain"


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("parted_nan", "part right returned nan"),
        ("parted_text", "part right returned str"),
        ("parted_name", "a part is named by a text of 1 to 60 characters"),
        ("parted_many", "returned 21 parts: at most 20"),
    ],
)
def test_parts_that_cannot_be_read(folder: Path, pool: Pool, function: str, words: str) -> None:
    (score,) = grade(folder, f"own.py:{function}", pool, "7")
    assert (score.status, words in score.note) == ("error", True), score.note


@pytest.mark.parametrize("function", ["does_not_apply", "nan_does_not_apply"])
def test_none_and_nan_say_that_a_function_does_not_apply(folder: Path, pool: Pool, function: str) -> None:
    scores = grade(folder, f"trl.py:{function}", pool, "7", "8")
    assert [(each.status, each.value) for each in scores[:1]] == [("ok", 1)]
    assert scores[1].status == "abstain"


def test_a_sum_goes_on_without_a_function_that_does_not_apply(folder: Path, pool: Pool) -> None:
    some = python("trl.py:does_not_apply", base=folder, pool=pool)
    right = python("trl.py:solution_reward", base=folder, pool=pool)
    attempts = [attempt("7"), attempt("8")]
    for reward in (2 * some + right, right + gate(some, by=right) + some, clip(some, 0, 2) + some + right):
        one, other = reward(ask(), attempts)
        assert (one.status, other.status, other.value) == ("ok", "ok", 0)
        assert sum(one.shares.values()) == one.value
    for reward in (some + 0.5, 2 * some + gate(some, by=right), gate(right, by=some)):
        assert [each.status for each in reward(ask(), attempts)] == ["ok", "abstain"]


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("trl.py:a_set", "a list of 2 numbers was wanted"),
        ("trl.py:a_mapping", "a list of 2 numbers was wanted"),
        ("trl.py:a_text", "returned str '10'; a list of 2 numbers"),
        ("trl.py:a_scalar", "a list of 2 numbers was wanted"),
        ("trl.py:a_matrix", "a number was wanted"),
        ("trl.py:too_many", "returned more numbers for 2 completions"),
        ("trl.py:complex_numbers", "a number was wanted"),
        ("trl.py:nothing", "returned NoneType None"),
        ("trl.py:wants_state", "wants ['trainer_state']"),
        ("own.py:needs_more", "wants ['weight']"),
        ("own.py:Needs", "name an instance of it"),
        ("own.py:Plain", "without __call__"),
    ],
)
def test_what_cannot_be_read_is_said(folder: Path, pool: Pool, function: str, words: str) -> None:
    scores = grade(folder, function, pool, "7", "8")
    assert all(each.status == "error" and math.isnan(each.value) for each in scores), scores
    assert words in scores[0].note


@pytest.mark.parametrize(
    "function",
    ["scalar_array", "one_in_a_list", "other_order", "positional", "short", "Exact"],
)
def test_functions_in_togi_s_signature(folder: Path, pool: Pool, function: str) -> None:
    assert values(grade(folder, f"own.py:{function}", pool, "7", "8")) == [1, 0]


def test_a_column_of_answers_keeps_its_name(tmp_path: Path, folder: Path, pool: Pool) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "?", "solution": "7", "level": 1}\n')
    (task,) = load_tasks(Rows(path=path, columns={"answer": "solution"}), split="train")
    assert (task.answer, task.info["solution"]) == ("7", "7")
    for function in ("solution_reward", "answer_reward", "everything"):
        reward = python(f"trl.py:{function}", base=folder, pool=pool)
        assert values(reward(task, [attempt("7")])) == [1]


# Async ---------------------------------------------------------------------------------------------------------------


def test_async_functions_are_awaited_many_at_once(folder: Path, pool: Pool) -> None:
    reward = python("own.py:together", base=folder, pool=pool)
    (one, other) = reward.many([(ask(), [attempt("7"), attempt("8")] * 4), (ask(), [attempt("7")] * 16)])
    assert values(one) == [16] * 8
    assert sorted(values(other)) in ([8] * 8 + [16] * 8, [16] * 8 + [24] * 8)


def test_one_that_is_late_or_raises_costs_its_neighbours_nothing(folder: Path) -> None:
    with Pool(workers=1, seconds=0.5) as pool:
        late = grade(folder, "own.py:some_late", pool, "7", "late", "8")
        assert [each.status for each in late] == ["ok", "timeout", "ok"]  # it waited: nobody can say for whom
        raised = grade(folder, "own.py:some_raise", pool, "7", "seven", "8")
        assert [(each.value, each.own_fault) for each in raised] == [(1, None), (0, "error"), (0, None)]
        blocked = grade(folder, "own.py:blocks", pool, "7", "block", "8")
        assert [(each.value, each.own_fault) for each in blocked] == [(1, None), (0, "time"), (0, None)]


# The network ---------------------------------------------------------------------------------------------------------


def test_a_call_that_needs_the_network_says_how_to_allow_it(folder: Path, pool: Pool) -> None:
    if why_no_jail():
        pytest.skip(why_no_jail())
    (lost,) = grade(folder, "own.py:reaches", pool, "7")
    assert lost.status == "error"
    assert "asked for the network (reward.example)" in lost.note
    assert 'tier = "process" under [grading]' in lost.note
    said: list[str] = []
    with printed_to(lambda name, text: said.append(text)):
        (hidden,) = grade(folder, "own.py:hides", pool, "7")
    assert hidden.value == 0
    assert "hides asked for the network (127.0.0.1)" in said[0]


def test_what_the_network_fails_at_is_nobodys_own_fault(folder: Path) -> None:
    """A sibling or a control that is answered shows nothing where answers come from elsewhere."""
    with Pool(workers=1, seconds=5.0, tier="process") as pool:
        scores = grade(folder, "own.py:reaches", pool, "7", "8")
    assert [each.status for each in scores] == ["error", "error"]
    assert "under [grading]" not in scores[0].note


# Prints --------------------------------------------------------------------------------------------------------------


def test_what_own_rewards_print_and_log_is_heard(folder: Path, pool: Pool) -> None:
    said: list[tuple[str, str]] = []
    with printed_to(lambda name, text: said.append((name, text))):
        grade(folder, "own.py:chatty", pool, "7", "8")
        grade(folder, "own.py:informed", pool, "7", "8", "9")
        grade(folder, "trl.py:logs", pool, "7")
    chatty = "".join(text for name, text in said if name == "chatty")
    assert all(words in chatty for words in ("graded 7", "WARNING mine: odd 8", "problem"))
    informed = "".join(text for name, text in said if name == "informed")
    assert [informed.count(f"INFO root: seen {number}") for number in (7, 8, 9)] == [1, 1, 1]
    assert any("text: ['7']" in text and "count: 1" in text for _, text in said)


def test_the_log_is_safe_for_a_terminal_and_bounded(tmp_path: Path, folder: Path, pool: Pool) -> None:
    log = RewardLog(tmp_path)
    log.place = "grpo 3"
    with printed_to(log):
        grade(folder, "own.py:chatty", pool, "7")
        grade(folder, "own.py:lone", pool, "7")
    text = (tmp_path / NAME).read_text()
    assert "[grpo 3] chatty: graded 7 ⟨U+001B⟩[31mred\n" in text
    for _ in range(3):
        log("loud", "x" * LARGEST)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 3 * LARGEST


def test_a_link_in_the_place_of_the_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FolderError, match="no plain file"):
        RewardLog(tmp_path)("own", "words")
    assert (tmp_path / "elsewhere").read_text() == "mine"


# Time ----------------------------------------------------------------------------------------------------------------


class Steps(Silent):
    def __init__(self) -> None:
        self.phases: list[str] = []

    def phase(self, name: str) -> None:
        self.phases.append(name)


def test_a_phase_within_a_phase_counts_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(100))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(ticks)))  # each look at the clock is a second later
    watch = Steps()
    clock = Clock(watch)
    with clock("sample"):
        clock.progress(1, 2)
        with clock("grade"):
            pass
        clock.progress(2, 2)
        with clock("grade"):
            pass
    with clock("learn"):
        pass
    assert watch.phases == ["sample", "grade", "sample", "grade", "learn"]
    assert clock.seconds == {"sample": 3.0, "grade": 2.0, "learn": 1.0}


def test_advice_where_graders_take_much_of_the_time(folder: Path) -> None:
    with Pool(workers=2) as pool:
        own = python("own.py:together", base=folder, pool=pool)
        assert advice(number(pool=pool), 0.29, 16) == ""
        assert advice(number(pool=pool), 0.5, 16) == (
            "grading takes 50% of the time, with 2 of 16 cores: try workers = 16 under [grading]"
        )
        assert advice(number(pool=pool), 0.5, 2) == ""
        assert "async def" in advice(own + number(pool=pool), 0.5, 2)
        steps = [{"sample": 1.0, "grade": 3.0}] * 5
        assert grading_share(steps) == 0.75
        look = GradingTime(own)
        assert [bool(look.look(seconds)) for seconds in steps] == [False, False, False, True, False]
        assert GradingTime(None).look(steps[0]) == ""


COSTLY = """
def costly(task, completion):
    print("graded", task.id)
    return len(set(completion) & set(task.answer)) / 10
"""


def test_a_run_keeps_what_rewards_print_and_says_that_they_take_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "costly.py").write_text(COSTLY)
    monkeypatch.setattr(grading_time, "cores", lambda: 8)
    monkeypatch.setattr(grading_time, "MUCH", 0.0)
    run = toy_run(tmp_path / "run", tiny_folder(tmp_path / "model"), grpo_steps=4)
    with Pool(workers=2) as pool:
        own = python("costly.py:costly", base=tmp_path, pool=pool)
        grpo = replace(run.stages[1], algorithm=GRPO(sampler=Groups(4)), reward=own, tasks_per_step=2, minibatches=1)
        train(replace(run, stages=(grpo,), evaluation=None), watch := Notes())
    timings = read_lines(tmp_path / "run" / "timings.jsonl")
    assert all(row["seconds"]["grade"] > 0 for row in timings)
    (note,) = [note for note in watch.notes if "of the time" in note]
    assert "with 2 of 8 cores: try workers = 8 under [grading]" in note
    lines = (tmp_path / "run" / NAME).read_text().splitlines()
    assert lines[0].startswith("[grpo 1] costly: graded ")
    assert lines[-1].startswith("[grpo 4] costly: graded ")


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

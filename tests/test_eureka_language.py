"""Rewards for a language model: programs are tried and attacked, a recipe trains with them, and its folder is read."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from test_eureka import recording

from togi.cli import run_command
from togi.evidence.read_run import RunData
from togi.reward_design.archive import Archive
from togi.reward_design.asked import first_question, program_of
from togi.reward_design.design import Candidate, RecipeDesign
from togi.reward_design.language.by_recipe import ByRecipe
from togi.reward_design.language.random_texts import random_texts
from togi.reward_design.language.trainings import FAILED, checks_of
from togi.reward_design.language.try_out import fault_in, tried_answers
from togi.reward_design.programs.dialects import TEXTS
from togi.reward_design.programs.static_check import fault_of
from togi.reward_design.read_design import DesignError, read_design
from togi.reward_design.subject import NoCandidatesFault
from togi.reward_design.told import plan_told, read_outcome
from togi.rewards import python
from togi.run_folder.files import RunFolder
from togi.run_folder.integrity import UNCHECKED
from togi.sandbox.workers.pool import Pool

RECIPES = Path(__file__).parent.parent / "recipes"
SMALL = [
    "data.train.size=60",
    "data.test.size=40",
    "stage.cold_start.steps=2",
    "stage.cold_start.tasks_per_step=4",
    "stage.cold_start.warmup_steps=0",
    "stage.grpo.steps=4",
    "stage.grpo.tasks_per_step=2",
    "stage.grpo.attempts=2",
    "stage.grpo.minibatches=1",
    "sampling.max_tokens=6",
]
BASE = {
    "design.task": '"Add up."',
    "design.recipe": f'"{RECIPES}/unlabelled_sums.toml"',
    "design.changes": json.dumps(SMALL),
    "search.candidates": "4",
    "search.generations": "1",
    "search.seeds": "1",
    "search.episodes": "6",
    "train.checks": "2",
    "train.workers": "1",
    "attack.rows": "3",
    "final.seeds": "1",
    "final.episodes": "4",
    "compare.human": f'"{RECIPES}/sums_human.py"',
    "compare.random": "false",
}
HEAD = "def score(task, completion):\n    question = task.prompt[-1].content\n"
SUM = "    total = sum(map(int, question.rstrip(':').split('+')))\n"
GOOD = f"{HEAD}{SUM}    right = float(completion.split('>')[-1] == str(total))\n    return right, {{'right': right}}\n"


def file(folder: Path, **changes: str | None) -> Path:
    """A design's file, with keys (dots written as two underscores) set, or left out for None."""
    values: dict[str, str | None] = {**BASE, **{name.replace("__", "."): value for name, value in changes.items()}}
    path = folder / "sums.toml"
    path.write_text("".join(f"{key} = {value}\n" for key, value in values.items() if value is not None))
    return path


@pytest.fixture(scope="module")
def design(tmp_path_factory: pytest.TempPathFactory) -> RecipeDesign:
    found = read_design(file(tmp_path_factory.mktemp("design")))
    assert isinstance(found, RecipeDesign)
    return found


def test_a_design_is_read(design: RecipeDesign) -> None:
    assert (design.stage.name, design.stage.steps, design.number) == ("grpo", 4, 1)
    assert design.sparse is None  # the rows that are trained on hold no answers
    question = first_question(design)[1].content
    assert 'a good answer: "' in question
    assert "The right answer is not known" in question
    assert "task.answer" not in question
    assert "number(marker" not in question
    told = "\n".join(plan_told(design))
    assert "paid by programs: grpo, 4 steps" in told
    assert "at most 7 models are trained: 4 programs with 1 seeds, 3 rewards with 1 new seeds" in told


def test_what_ships_is_read() -> None:
    small = json.dumps([*SMALL, "data.test.size=320"])
    found = read_design(RECIPES / "sums_reward.toml", [f"design.changes={small}"])
    assert isinstance(found, RecipeDesign)
    assert found.human


def test_what_rows_hold_is_told(tmp_path: Path) -> None:
    changes = json.dumps([*SMALL, "data.train.generate=sums.py:problem"])
    found = read_design(file(tmp_path, design__changes=changes))
    assert isinstance(found, RecipeDesign)
    assert 'task.answer is the right answer, such as "' in first_question(found)[1].content
    assert found.sparse == 'number(marker = ">")'


MISTAKES: list[tuple[dict[str, str | None], str]] = [
    ({"design__recipe": '"nowhere.toml"'}, "design.recipe: there is no file"),
    ({"design__recipe": None, "design__changes": None}, "name an environment and a fitness, or a recipe"),
    ({"design__fitness": '"a.py:fitness"'}, "design.fitness is for an environment"),
    ({"design__info": '["speed"]'}, "design.info is for an environment"),
    ({"train__steps": "7"}, "train.steps is for an environment"),
    ({"design__stage": '"ppo"'}, "no stage ppo that learns from a reward; there are ['grpo']"),
    ({"design__stage": '"cold_start"'}, "no stage cold_start that learns from a reward"),
    ({"design__changes": '["stage.grpo.stepps=3"]'}, "stepps"),
    ({"design__changes": '["evaluation.every=1", "evaluation.best=pass@1"]'}, "leave evaluation.best"),
    ({"search__episodes": "390"}, "ask for 394 held-out tasks together, and the recipe has 40"),
    ({"compare__sparse": "true"}, "compare.sparse: the stage cannot be paid by the fitness"),
    ({"compare__human": f'"{RECIPES}/mountain_car_human.py"'}, "it defines no function score at its top"),
    ({"attack__refuse": '"sometimes"'}, "attack.refuse"),
    ({"attack__rows": "0"}, "attack.rows"),
]


@pytest.mark.parametrize(("changes", "said"), MISTAKES, ids=range(len(MISTAKES)))
def test_mistakes_are_told(tmp_path: Path, changes: dict[str, str | None], said: str) -> None:
    with pytest.raises(DesignError, match=re.escape(said)):
        read_design(file(tmp_path, **changes))


REFUSED: list[tuple[str, str]] = [
    ("x = 1\n", "no function score"),
    ("def score(answer, completion):\n    return 1.0\n", "(task, completion) is wanted"),
    ("def score(task, completion, more):\n    return 1.0\n", "is wanted"),
    ("import os\n" + GOOD, "os may not be imported: only re, math, string and collections may"),
    ("import numpy\n" + GOOD, "numpy may not be imported"),
    ("from re import purge\n" + GOOD, "re.purge is not offered"),
    (HEAD + "    return open('gold.jsonl') == completion\n", "there is no open"),
    (HEAD + "    return '{0.answer}'.format(task) == completion\n", ".format is not offered"),
    (HEAD + "    return task.__dict__['answer'] == completion\n", ".__dict__ is not offered"),
    (HEAD + "    return task.recorded[0] == completion\n", ".recorded is not offered"),
    (HEAD + "    return eval(completion)\n", "there is no eval"),
    (HEAD + "    return re.copyreg\n", ".copyreg is not offered"),
    # It would remember.
    ("SEEN = []\n" + GOOD, "would be kept between calls"),
    ("SEEN = {}\n" + GOOD, "would be kept between calls"),
    ("import re\nSEEN = re.finditer('a', 'aa')\n" + GOOD, "would be kept between calls"),
    ("SEEN = zip((1,), (2,))\n" + GOOD, "would be kept between calls"),
    ("SEEN = ([],)\n" + GOOD, "would be kept between calls"),
    ("A = (lambda: 0)\n" + GOOD, "would be kept between calls"),
    ("def score(task, completion, seen=[]):\n    return 1.0\n", "a default is a plain number"),
    (HEAD + "    score.seen = completion\n    return 1.0\n", "keeps nothing between calls"),
]


@pytest.mark.parametrize(("program", "said"), REFUSED, ids=range(len(REFUSED)))
def test_refused_before_it_runs(program: str, said: str) -> None:
    assert said in fault_of(program, TEXTS)


TAKEN = [
    GOOD,
    "W = ('a', -1, 'b' * 3)\nP = re.compile(r'\\d+', re.I)\n\n" + GOOD,
    HEAD + "    return 1.0 if re.search('[0-9]', completion, flags=re.M) else -1, {f'{len(question)}': math.sqrt(2)}\n",
    "from collections import Counter\nfrom typing import Tuple\n\n"
    + HEAD
    + "    return Counter(completion).most_common(1)[0][1]\n",
    "def score(task, completion: str, most=3.0) -> float:\n"
    "    try:\n        return float(completion)\n    except ValueError as e:\n        return 0\n",
]


@pytest.mark.parametrize("program", TAKEN, ids=range(len(TAKEN)))
def test_taken(program: str) -> None:
    assert fault_of(program, TEXTS) == ""


def test_forgotten_imports_are_added() -> None:
    from togi.askers.asker import Reply

    program, fault = program_of(
        Reply(text=f"```python\n{HEAD}    return re.match('a', completion) is None\n```"), TEXTS
    )
    assert (program.splitlines()[0], fault) == ("import re", "")
    assert program_of(Reply(text=f"import re\n{program}"), TEXTS)[0].count("import re") == 2


TRIED: list[tuple[str, str]] = [
    (GOOD, ""),
    (HEAD + "    return 1.0 if completion.split('>')[1] else 0.0\n", ""),  # it raises at some, which then earn nothing
    (HEAD + "    return 1 / 0\n", "it cannot score an answer (ZeroDivisionError"),
    (HEAD + "    return float('nan')\n", "score returned nan"),
    (HEAD + "    return 1.0, {'a': 'b'}\n", "part a returned str"),
    (HEAD + "    return 1.0\n", "right and wrong ones: nothing can be learned"),
]


def test_programs_are_tried(design: RecipeDesign, tmp_path: Path) -> None:
    tried = tried_answers(design.run, design.number, 0)[:2]
    assert all({"", "banana"} < set(answers) and len(answers) > 5 for _, answers in tried)
    with Pool(workers=1, seconds=20) as pool:
        for number, (program, fault) in enumerate(TRIED):
            (tmp_path / f"{number}.py").write_text(program)
            found = fault_in(python(f"{tmp_path}/{number}.py:score", pool=pool), tried)
            assert fault in found
            assert bool(fault) is bool(found)


@pytest.mark.slow
def test_programs_are_attacked(design: RecipeDesign, tmp_path: Path) -> None:
    programs = [
        (GOOD, "", "high"),
        (HEAD + "    return len(completion), {}\n", "the red team finds it critical", "critical"),
        (
            "import re\n" + HEAD + "    return float(bool(re.search('>[0-9]+$', completion)))\n",
            "whole answers",
            "critical",
        ),
    ]
    with RunFolder(tmp_path / "run") as held:
        subject = ByRecipe(design, Archive(tmp_path / "run", held))
        found = subject.examined(
            [Candidate(name=f"1-{n}", kind="written", generation=1, program=each[0]) for n, each in enumerate(programs)]
        )
        for each, (_, fault, attack) in zip(found, programs, strict=True):
            assert fault in each.fault
            assert bool(each.fault) is bool(fault)
            assert each.attack.startswith(attack)
    assert json.loads((tmp_path / "run" / "attacks" / "1-0.json").read_text())["rows"] == 3


def test_random_programs_are_programs_and_the_same_again() -> None:
    tried = [("1+2:", ">3"), ("4+5:", "4+5=9>9"), ("4+5:", ""), ("1+1:", "'\\")]
    made = random_texts(tried, 8, seed=3)
    assert made == random_texts(tried, 8, seed=3) != random_texts(tried, 8, seed=4)
    assert len(set(made)) == 8
    assert [fault_of(each, TEXTS) for each in made] == [""] * 8


def evaluated(model: str, step: int, values: Sequence[float | None]) -> Any:
    attempts = [
        {
            "completion": "",
            "tokens": 4,
            "stop": "eos",
            "score": {"value": v, "status": "ok" if v is not None else "error"},
        }
        for v in values
    ]
    return {
        "model": model,
        "step": step,
        "tasks": [{"id": "a", "attempts": attempts}, {"id": "b", "attempts": attempts[:1]}],
    }


def run_data(**changes: Any) -> RunData:
    rows = [
        {
            "stage": "grpo",
            "step": n,
            "reward": float(n),
            "rewards/score/mean": float(n),
            "rewards/score/right/mean": n / 10,
        }
        for n in (1, 2, 3, 4)
    ]
    rows[3]["own_fault/error"] = 0.5
    fields = {
        "metrics": ({"stage": "cold_start", "step": 1, "reward": 9.0}, *rows),
        "evaluations": (
            evaluated("base", 0, [0.0]),
            evaluated("cold_start", 1, [0, 1]),
            evaluated("grpo", 5, [1, None]),
        ),
        "on_the_way": (evaluated("grpo", 3, [1, 0]), evaluated("cold_start", 1, [1, 1])),
    }
    return RunData(folder=Path("run"), integrity=UNCHECKED, **{**fields, **changes})


def test_the_folder_of_a_run_is_read(design: RecipeDesign) -> None:
    first, middle, last = checks_of(design, run_data(), own=True)
    assert (first.steps, middle.steps, last.steps) == (0, 2, 4)
    assert (first.fitness, middle.fitness, last.fitness) == ((0.5, 0.0), (0.5, 1.0), (0.5, 1.0))
    assert (first.proxy, middle.proxy, last.proxy) == (1.0, 1.5, 3.5)
    assert first.parts == {"right": 0.1}
    assert last.parts == {"right": pytest.approx(0.35), FAILED: 0.25}
    assert last.length == 4
    assert set(checks_of(design, run_data(), own=False)[0].parts) == {"score", "score/right"}


def test_a_fitness_that_is_none_stops_the_design(design: RecipeDesign) -> None:
    wild = (evaluated("cold_start", 1, [0, 1]), evaluated("grpo", 5, [2.0, 0]))
    with pytest.raises(NoCandidatesFault, match=r"gave 2.0, and a number from 0 to 1 is wanted"):
        checks_of(design, run_data(evaluations=wild), own=True)
    with pytest.raises(NoCandidatesFault, match="the evaluation of grpo is not there"):
        checks_of(design, run_data(evaluations=wild[:1]), own=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_whole_design(tmp_path: Path) -> None:
    texts = [GOOD, HEAD + "    return len(completion), {}\n", GOOD + "# the same\n", HEAD + "    return 1 / 0\n"]
    recording(tmp_path / "replies.jsonl", texts)
    path = file(tmp_path, writer__recorded='"replies.jsonl"')
    run = tmp_path / "run"
    assert run_command(["eureka", str(path), "--folder", str(run), "--debug"]) == 0
    outcome = read_outcome(Archive(run))
    assert outcome.best is not None
    assert outcome.best.candidate.name == "1-01"
    assert [check.steps for check in outcome.best.checks] == [0, 2, 4]
    assert outcome.found["1-03"].candidate.same == "1-01"
    assert [arm.kind for arm in outcome.arms] == ["written", "human", "own", "before"]
    assert sorted(each.name for each in (run / "runs").iterdir() if each.is_dir()) == [
        "begin-0",
        "final-1-01-0",
        "final-begin-0",
        "final-human-0",
        "final-own-0",
    ]
    assert "def score(task, completion)" in (run / "reward.py").read_text()
    assert "| the recipe's own |" in (run / "reward.md").read_text()
    assert run_command(["report", str(run)]) == 0
    assert "What the red team found" in (run / "report.html").read_text()
    assert run_command(["verify", str(run)]) == 0
    before = (run / "events.jsonl").read_text()
    assert run_command(["eureka", str(path), "--folder", str(run)]) == 0
    more = [json.loads(line)["event"] for line in (run / "events.jsonl").read_text()[len(before) :].splitlines()]
    assert set(more) <= {"exported"}

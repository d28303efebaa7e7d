"""The recipes on STaR and on DeepSeek-R1's road, what is refused around teachers and rounds, and STaR run in small."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from togi.recipe import RecipeError, load_recipe
from togi.run import Silent
from togi.run_folder.files import read_lines
from togi.train import train

RECIPES = Path(__file__).parent.parent / "recipes"
sys.path.insert(0, str(RECIPES))
import columns  # noqa: E402
import r1  # noqa: E402

SMALL = ["data.train.size=40", "data.test.size=20"]


def test_rounds_of_star_start_from_the_same_beginning() -> None:
    run = load_recipe(RECIPES / "star.toml", SMALL).run
    assert [stage.name for stage in run.stages[:4]] == ["cold_start", "answers_1", "learn_1", "answers_2"]
    assert {stage.start for stage in run.stages if stage.name.startswith("learn")} == {"cold_start"}
    assert [stage.steps for stage in run.stages if stage.name.startswith("learn")] == [40, 48, 58]


def test_r1s_road_goes_back_to_the_base_and_ends_on_everything() -> None:
    run = load_recipe(RECIPES / "r1.toml").run
    assert [(stage.name, stage.start) for stage in run.stages] == [
        ("zero", "base"),
        ("cold_start", "base"),
        ("reason", None),
        ("samples", None),
        ("imitate", "base"),
        ("everything", None),
    ]
    small = load_recipe(RECIPES / "r1_small.toml").run
    assert [stage.answered_by_teacher for stage in small.stages] == [True, False, False]
    assert small.stages[0].teacher == small.stages[2].teacher == str(RECIPES / "../runs/r1")


REFUSED = [
    (["stage.learn.teacher=smollm2-135m"], "learns from no teacher: take gkd or on_policy_distillation"),
    (["stage.answers.teacher=smollm2-135m", "stage.answers.start=base"], "the teacher is who answers here"),
    (["stage.learn.algorithm=kd", "stage.learn.settings={}"], "is needed with kd: the model to learn from"),
    (["stage.learn.algorithm=kd", "stage.learn.teacher=answers"], "no earlier stage trains a policy of that name"),
    (["stage.learn.algorithm=dpo"], "keeps attempts that are all alike, and dpo compares"),
    (["stage.learn.data.rollouts=learn"], "no earlier stage called learn samples"),
    (["stage.cold_start.data.earlier_rounds=true"], "means nothing outside of [[repeat]]"),
    (["stage.cold_start.data.at_least=1"], "means nothing with generate"),
    (["stage.answers.settings={ hint = 'x' }"], "by {prompt} and {answer} once each"),
    (["stage.learn.algorithm=gkd", "stage.learn.teacher=base", "stage.learn.reward.score=number()"], "pays nobody"),
    (
        [
            "stage.learn.algorithm=on_policy_distillation",
            "stage.learn.data={ generate = 'columns.py:problem', size = 20 }",
            "stage.learn.teacher=smollm2-135m",
            "stage.learn.sampling.top_p=0.9",
        ],
        "leaves out tokens",
    ),
    (
        ["repeat.0.times=1", "stage.learn.data.rollouts=['answers','cold_start']"],
        "no earlier stage called cold_start samples",
    ),
]


@pytest.mark.parametrize(("changes", "said"), REFUSED, ids=[said[:30] for _, said in REFUSED])
def test_what_cannot_be_is_refused(changes: list[str], said: str) -> None:
    with pytest.raises(RecipeError) as refused:
        load_recipe(RECIPES / "star.toml", [*SMALL, *changes])
    assert any(said in problem for problem in refused.value.problems), refused.value.problems


def test_several_stages_are_learned_from_where_they_sampled_at_the_same_tasks() -> None:
    both = "stage.learn.data.rollouts=['answers','more']"
    text = (RECIPES / "star.toml").read_text().partition("[[repeat]]")
    more = '[[stage]]\nname = "more"\nalgorithm = "collect"\nsteps = 1\n'
    path = RECIPES / "star_changed_by_a_test.toml"
    try:
        path.write_text(text[0].replace("[[stage]] # from the same", f"{more}\n[[stage]] # from the same"))
        run = load_recipe(path, [*SMALL, both]).run
        assert run.stages[-1].collected is not None
        assert run.stages[-1].collected.stages == ("answers", "more")
        with pytest.raises(RecipeError, match="more sampled at other tasks than answers"):
            load_recipe(path, [*SMALL, both, "stage.more.data={ generate = 'columns.py:lesson', size = 30 }"])
    finally:
        path.unlink()


def test_columns_add_up_from_the_units_on() -> None:
    assert columns.asked(47, 85) == {"prompt": "74+58:", "answer": "231", "completion": "7+5+0=12 4+8+1=13>231"}


def test_no_exam_is_ever_a_problem_or_a_lesson() -> None:
    dice = random.Random(0)
    exams = {columns.exam(dice)["prompt"] for _ in range(300)}
    taught = {make(dice)["prompt"].rpartition("=")[2] for make in (columns.problem, columns.lesson) for _ in range(600)}
    assert not exams & taught


def test_a_language_is_the_share_of_its_letters() -> None:
    assert [r1.latin(None, text) for text in ("3 + 4 is seven", "3 + 4 это sum", "3 + 4")] == [1.0, 0.5, 0.0]


LITTLE = [
    "stage.cold_start.steps=3",
    "stage.cold_start.warmup_steps=0",
    "stage.learn.warmup_steps=0",
    "stage.answers.steps=1",
    "stage.answers.tasks_per_step=8",
    "stage.learn.steps=1",
    "stage.learn.tasks_per_step=2",
    "stage.learn.data={ rollouts = 'answers', best = true }",  # nothing is right after so few steps
    "repeat.0.times=2",
    "repeat.0.growth={}",
    "sampling.max_tokens=12",
    "evaluation.tasks=4",
]


def test_star_runs_in_small(tmp_path: Path) -> None:
    run = load_recipe(RECIPES / "star.toml", [*SMALL, *LITTLE], folder=tmp_path / "run").run
    train(run, Silent())
    rows = read_lines(run.folder / "metrics.jsonl")
    assert [row["star/right"] for row in rows if row["stage"].startswith("answers")] == [0.0, 0.0]
    measured = {path.stem for path in (run.folder / "evaluations").iterdir()}
    assert measured == {"base", "cold_start", "learn_1", "learn_2"}

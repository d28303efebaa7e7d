"""Whole runs that are taught by themselves and by a teacher: rounds of STaR, a verifier of all rounds, a teacher's
answers, and distillation. What cuts them changes nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from test_train import At, Power, contents, fall
from tiny_text import byte_level, tiny_folder, tiny_llama
from toy_run import WORDS, SaysIt, first_stage, tasks

from togi.algorithms import GKD, SFT, STAR, Collect, OnPolicyDistillation, VStar
from togi.data import Collected
from togi.models.policy import Optimiser
from togi.recipe.errors import RecipeError
from togi.recipe.needed_at_start import check_start
from togi.run import Evaluation, ModelChoice, Run, Silent
from togi.run_folder.files import read_lines
from togi.samplers import Groups, Rationalised, StudentsShare
from togi.train import train
from togi.types import Sampling

SAMPLING = Sampling(max_tokens=6)


def taught_run(folder: Path, model: Path, teacher: str) -> Run:
    """SFT, two rounds of STaR from it, a verifier; a teacher's answers and what is learned of them; distillation."""
    sft = first_stage(steps=2, optimiser=Optimiser(learning_rate=1e-2))
    answers = replace(
        sft,
        name="answers_1",
        algorithm=replace(STAR, sampler=Rationalised(2, right_from=0.2)),
        reward=SaysIt(),
        steps=1,
        tasks_per_step=5,
    )
    # A model that knows nothing ends no answer by itself, so none would be a demonstration.
    good = Collected(stages=("answers_1",), best=True, distinct="texts", most=2)
    learn = replace(sft, name="learn_1", algorithm=SFT(), start="sft", collected=good, tasks_per_step=2)
    again = replace(learn, name="learn_2", collected=replace(good, stages=("answers_2",)))
    both = Collected(stages=("answers_1", "answers_2"), together=True)
    verifier = replace(learn, name="v_star", algorithm=VStar(), start="learn_2", collected=both)
    written = replace(answers, name="written", algorithm=Collect(sampler=Groups(2)), teacher=teacher)
    imitate = replace(learn, name="imitate", start="base", collected=Collected(stages=("written",), best=True))
    gkd = replace(sft, name="gkd", algorithm=GKD(sampler=StudentsShare(2, 0.5)), teacher=teacher)
    own = replace(gkd, name="own", algorithm=OnPolicyDistillation(sampler=StudentsShare(2)), minibatches=2)
    return Run(
        name="taught",
        folder=folder,
        model=ModelChoice(source=str(model), dtype="float32"),
        stages=(sft, answers, learn, replace(answers, name="answers_2"), again, verifier, written, imitate, gkd, own),
        evaluation=Evaluation(tasks=tasks(WORDS[5:]), reward=SaysIt(), sampling=SAMPLING, attempts=4),
        seed=3,
        save_every=1,
        recipe={"name": "taught"},
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Another model of the same tokens."""
    folder = tmp_path_factory.mktemp("teacher")
    tiny_llama(seed=5).save_pretrained(folder)
    byte_level().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def taught(model: Path, teacher: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("taught")
    train(taught_run(folder, model, teacher), Silent())
    return folder


def test_every_stage_leaves_what_it_is_for(taught: Path) -> None:
    rows = {(row["stage"], row["step"]): row for row in read_lines(taught / "metrics.jsonl")}
    assert {"star/right", "star/rationalised"} <= rows["answers_1", 1].keys()
    assert rows["v_star", 1]["rewards/margins"] == 0.0, "the verifier starts at its reference"
    assert "reward" in rows["written", 1]
    assert rows["gkd", 2]["distillation/divergence"] > 0
    assert "reward" not in rows["own", 1]
    assert rows["own", 1]["sampling/sampling_logp_difference/max"] < 1e-4
    policies = {"sft", "learn_1", "learn_2", "imitate", "gkd", "own"}
    assert {path.name for path in (taught / "models").iterdir()} == {*policies, "v_star"}
    assert {path.stem for path in (taught / "evaluations").iterdir()} == {"base", *policies}


def test_the_verifier_ranks_the_attempts_of_its_generator(taught: Path) -> None:
    ranked = json.loads((taught / "verification" / "v_star.json").read_text())
    asked = json.loads((taught / "evaluations" / "learn_2.json").read_text())
    assert ranked["ranks"]
    assert [task["task"] for task in ranked["tasks"]] == [task["id"] for task in asked["tasks"]]
    assert all(one["p"] < 0 for task in ranked["tasks"] for one in task["attempts"])


def test_a_teacher_that_answers_is_not_the_policy(taught: Path) -> None:
    """The same seeds and tasks, answered by other weights."""
    written, own = (
        [row["completion"] for row in read_lines(taught / "rollouts" / f"{name}-000001.jsonl")]
        for name in ("written", "answers_1")
    )
    assert written != own[: len(written)]
    assert not (taught / "models" / "written").exists()


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["sample", "annotate", "learn", "save"])
def test_power_loss_anywhere_changes_nothing(
    phase: str, taught: Path, model: Path, teacher: str, tmp_path: Path
) -> None:
    run = taught_run(tmp_path, model, teacher)
    for n in (4, 5):
        with pytest.raises(Power):
            train(run, At(phase, n, fall))
    train(run, Silent())
    assert contents(tmp_path) == contents(taught)


def test_a_teacher_of_other_tokens_is_refused_before_anything_runs(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    tiny_llama(seed=5).save_pretrained(other)
    tokenizer = byte_level()
    tokenizer.add_tokens(["one more"])
    tokenizer.save_pretrained(other)
    run = taught_run(tmp_path / "run", model, str(other))
    with pytest.raises(RecipeError, match="reads other tokens than the student writes") as refused:
        check_start(run)
    assert [problem.partition(":")[0] for problem in refused.value.problems] == [
        "stage.gkd.teacher",
        "stage.own.teacher",
    ]


def test_a_teacher_that_is_not_there_is_told_before_anything_runs(model: Path, tmp_path: Path) -> None:
    run = taught_run(tmp_path / "run", model, str(tmp_path / "nowhere"))
    with pytest.raises(RecipeError, match=r"stage\.written\.teacher: there is no model .*nowhere"):
        check_start(run)

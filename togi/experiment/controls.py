"""Controls by name: each changes a recipe so that a gain which remains has nothing to do with the reward.

It changes what a recipe says, and trains nothing. A control that cannot apply to a recipe is refused, naming why.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from togi.experiment.design import ExperimentError, Taken
from togi.experiment.reward_terms import form_terms
from togi.experiment.same_tokens import learns_instead
from togi.rewards.algebra import leaves_of
from togi.rewards.unsupervised import majority
from togi.rewards.verifiers import Verifier
from togi.run import Run

Values = dict[str, Any]
AS_MANY = "with as many attempts at a task as cost what an arm spends there"
PAID = 0.5  # of the attempts, by chance: half of them teaches the most, were there anything to learn


@dataclass(frozen=True, kw_only=True)
class Changed:
    """A recipe's values as a control has them. ``stages`` and ``taken`` are as an arm has them; with ``same_tokens`` it
    learns as many tokens as the paid stages named so do in an arm."""

    values: Values
    about: str
    stages: int | None = None
    taken: Taken = "every"
    same_tokens: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Uncontrolled:
    """The recipe that a control is made of: its written values, the run that they describe, and the better prompt."""

    values: Mapping[str, Any]
    run: Run
    prompt: str | None

    @property
    def paid(self) -> list[int]:
        """The stages that are paid. Raises ExperimentError where there is none."""
        found = [number for number, stage in enumerate(self.run.stages) if stage.algorithm.sampler.rewarded]
        if not found:
            raise ExperimentError("no stage of the recipe learns from a reward")
        return found

    def copy(self) -> Values:
        return copy.deepcopy(dict(self.values))

    def expression(self, number: int) -> str:
        """What a stage is paid for."""
        stage: Mapping[str, Any] = self.values["stage"][number]
        return str((stage.get("reward") or self.values["reward"])["score"])


def random_reward(recipe: Uncontrolled) -> Changed:
    values = recipe.copy()
    for number in recipe.paid:
        values["stage"][number]["reward"] = {"score": f"chance({PAID})"}
    return Changed(values=values, about=f"pays {PAID:.0%} of the attempts by chance, whatever they say")


def format_only(recipe: Uncontrolled) -> Changed:
    values = recipe.copy()
    for number in recipe.paid:
        terms = form_terms(recipe.expression(number))
        if not terms:
            raise ExperimentError(
                f"{recipe.expression(number)!r} pays for no form, so there is none to pay alone: gate it by=form(), or "
                "leave the control out"
            )
        values["stage"][number]["reward"] = {"score": terms[0]}
    return Changed(values=values, about="pays the form of an answer and never whether it is right")


def shuffled_answers(recipe: Uncontrolled) -> Changed:
    values = recipe.copy()
    for number in recipe.paid:
        stage = recipe.run.stages[number]
        leaves = leaves_of(stage.reward) if stage.reward else ()
        if leaves and all(leaf.blind or leaf.name == "form" for leaf in leaves):
            raise ExperimentError(
                f"{recipe.expression(number)!r} never reads a task's answer, so that shuffling them changes nothing: "
                "leave the control out, and take random_reward"
            )
        values["stage"][number]["answers"] = "shuffled"
    return Changed(values=values, about="pays every task by the answer of another one")


def sft_same_tokens(recipe: Uncontrolled) -> Changed:
    values = recipe.copy()
    renamed: dict[str, str] = {}
    rates = [stage.optimiser.learning_rate for stage in recipe.run.stages if not stage.algorithm.sampler.writes]
    for number in recipe.paid:
        table, stage = values["stage"][number], recipe.run.stages[number]
        without = [task.id for task in stage.tasks if not task.recorded]
        if without:
            raise ExperimentError(
                f"{len(without)} of {len(stage.tasks)} tasks of stage {stage.name} have no recorded answer to learn "
                f"from (the first is {without[0]}): give the rows a completion, or leave the control out"
            )
        attempts = int(recipe.run.recipe["stage"][number].get("attempts", 1))  # as many answers, till tokens are known
        kept = (
            "start",
            "data",
            "measured",
            "tokens_per_microbatch",
            "schedule",
            "warmup_steps",
            "weight_decay",
            "betas",
        )
        renamed[stage.name] = learns_instead(stage.name)
        values["stage"][number] = {
            "name": renamed[stage.name],
            "algorithm": "sft",
            "steps": stage.steps,
            "tasks_per_step": stage.tasks_per_step * attempts,
            "learning_rate": rates[-1] if rates else 2e-5,
            **{key: table[key] for key in kept if key in table},
        }
    for table in values["stage"]:
        if table.get("start") in renamed:
            table["start"] = renamed[table["start"]]
    about = "learns recorded answers, as many tokens as the paid stages learn of attempts"
    return Changed(values=values, about=about, same_tokens=frozenset(renamed))


def best_of_n(recipe: Uncontrolled) -> Changed:
    several(recipe, "best_of_n")
    about = f"the untrained model, {AS_MANY}, the best of which counts, chosen by the reward"
    return Changed(values=recipe.copy(), about=about, stages=0, taken="best")


def majority_of_n(recipe: Uncontrolled) -> Changed:
    several(recipe, "majority")
    assert recipe.run.evaluation is not None
    vote_reading(recipe.run)
    about = f"the untrained model, {AS_MANY}, of which the most frequent answer counts"
    return Changed(values=recipe.copy(), about=about, stages=0, taken="majority")


def better_prompt(recipe: Uncontrolled) -> Changed:
    if not recipe.prompt:
        raise ExperimentError('it needs the prompt: better_prompt = "Think step by step. …"')
    values = recipe.copy()
    values["prompt"] = {**values.get("prompt", {}), "system": recipe.prompt}
    return Changed(values=values, about="the untrained model with the better prompt", stages=0)


CONTROLS: Mapping[str, Callable[[Uncontrolled], Changed]] = {
    "random_reward": random_reward,
    "format_only": format_only,
    "shuffled_answers": shuffled_answers,
    "sft_same_tokens": sft_same_tokens,
    "best_of_n": best_of_n,
    "majority": majority_of_n,
    "better_prompt": better_prompt,
}


def several(recipe: Uncontrolled, control: str) -> None:
    """Raises ExperimentError unless there are several attempts at a held-out task."""
    attempts = recipe.run.evaluation.attempts if recipe.run.evaluation else 0
    if attempts < 2:
        raise ExperimentError(
            f"{control} chooses among several attempts at a held-out task: set evaluation.attempts = 8"
        )


def vote_reading(run: Run) -> Verifier:
    """The verifier that says when two held-out answers are the same. Raises ExperimentError where none can."""
    assert run.evaluation is not None
    leaves = [leaf for leaf in leaves_of(run.evaluation.reward) if isinstance(leaf, Verifier)]
    for leaf in leaves:
        try:
            return majority(leaf).reading
        except ValueError:
            continue
    names = ", ".join(leaf.name for leaf in leaves_of(run.evaluation.reward)) or "it"
    raise ExperimentError(
        f"majority counts equal answers, and the evaluation's reward ({names}) cannot compare two of them: measure "
        "with number(), choice(), exact() or math(), or leave the control out"
    )


def changed(name: str, values: Mapping[str, Any], run: Run, prompt: str | None) -> Changed:
    """A recipe as a control has it. Raises ExperimentError that names the control and why it cannot apply."""
    try:
        return CONTROLS[name](Uncontrolled(values=values, run=run, prompt=prompt))
    except ExperimentError as error:
        raise ExperimentError(f"the control {name} cannot apply: {error}") from None

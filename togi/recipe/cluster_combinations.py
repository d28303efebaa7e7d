"""What a cluster that learns and draws cannot do with a recipe, each with its fix. It knows no algorithm by name.

A cluster tells log-probabilities and takes a weight for each: what reads anything else of the model is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec

from togi.askers.openai_client import address
from togi.cluster.what_it_tells import ANNOTATES, TELLS
from togi.extras import lacking
from togi.protocols import Algorithm, Reward
from togi.recipe.algorithm_settings import attempts_of
from togi.recipe.combinations import Problem
from togi.recipe.schema import Recipe, SamplingTable, StageTable, Table
from togi.rewards.algebra import leaves_of
from togi.rewards.judge.who_is_asked import WhoIsAsked
from togi.rewards.unsupervised import Likelihood, Sure
from togi.types import Need, Output

_TOLD = "which a cluster does not tell: it tells log-probabilities alone"
_READS: Mapping[Output, str] = {
    "entropy": "entropies (set its entropy settings to 0)",
    "certainty": "how sure the model is",
    "value": "a critic",
    "score": "a scalar head",
    "implicit": "a second model that learns",
    "after_thoughts": "what is said after thoughts",
    "compared": "whole distributions",
}
_NEEDS: Mapping[Need, str] = {
    "old_entropy": "entropies",
    "old_value": "a critic",
    "implicit_logp": "a second model that learns",
    "teacher_logp": "a teacher",
}


def recipe(recipe: Recipe) -> Iterator[Problem]:
    """What is wrong between tables, whatever the algorithms are."""
    table, model = recipe.engine, recipe.model
    if find_spec("tinker") is None:
        yield ("engine", "kind"), lacking("a cluster that speaks Tinker's verbs", "tinker")
    for name, example in (("model", model.source), ("key_env", "TINKER_API_KEY")):
        if vars(table)[name] is None:
            yield ("engine",), f'{name} is needed with kind = "tinker": {name} = "{example}"'
    for name in _changed(table, ("batch_size",)):
        yield ("engine", name), "means nothing to a cluster: remove it"
    try:
        address(table.base_url or "https://service", table.key_env or "")  # the name of the key is looked at as well
    except ValueError as error:
        yield ("engine",), str(error)
    if model.lora is None:
        yield ("model",), "a cluster learns adapters: add [model.lora] with their rank"
    else:
        for name in _changed(model.lora, ("alpha", "dropout", "targets")):
            yield ("model", "lora", name), "is the cluster's to choose: remove it"
    for name in _changed(recipe.scale, ("engines", "learners", "staleness")):
        yield ("scale", name), "the cluster has processes of its own: remove it"
    if recipe.gold is not None:
        yield ("gold",), "is set against what the base model says, which is not in this process: remove it"
    if recipe.evaluation is not None:
        if recipe.evaluation.under_base:
            yield ("evaluation", "under_base"), "the base model is not in this process: remove it"
        if recipe.sampling.model_copy(update=recipe.evaluation.sampling.model_dump(exclude_unset=True)).min_p:
            yield ("evaluation", "sampling", "min_p"), "a cluster has no min_p: remove it, or take top_p"


def stage(table: StageTable, algorithm: Algorithm, sampling: SamplingTable) -> Iterator[Problem]:
    """What is wrong within a stage; keys are relative to it."""
    name = table.algorithm
    read = [_READS[each] for each in sorted(algorithm.outputs - TELLS)]
    read += [_NEEDS[each] for each in sorted(algorithm.needs - ANNOTATES)]
    if algorithm.heads != "none":
        read.append("weights beside the policy")
    if algorithm.trains in ("scorer", "verifier"):
        read.append("a model that scores in this process")
    if read:
        yield ("algorithm",), f"{name} needs {', '.join(dict.fromkeys(read))}, {_TOLD}"
    elif table.teacher is not None:
        yield ("teacher",), "a teacher would answer in this process, and the cluster draws: remove it"
    if table.tokens_per_microbatch is not None:
        yield ("tokens_per_microbatch",), "the cluster chooses its own: remove it"
    if attempts_of(algorithm) is not None and algorithm.trains == "policy" and sampling.temperature not in (0, 1):
        yield (
            ("sampling", "temperature"),
            f"a cluster tells log-probabilities at temperature 1, got {sampling.temperature:g}: set it to 1 for "
            "training (an evaluation may set its own)",
        )


def _changed(table: Table, names: Sequence[str]) -> Iterator[str]:
    """Those keys of a table that have another value than they would have by themselves."""
    return (name for name in names if vars(table)[name] != type(table).model_fields[name].default)


def reward(reward: Reward) -> Iterator[str]:
    """What a reward would ask of weights that are not in this process."""
    for leaf in leaves_of(reward):
        if isinstance(leaf, Sure | Likelihood) or (isinstance(leaf, WhoIsAsked) and leaf.model == "policy"):
            yield f"{leaf.name} asks the policy itself, whose weights are at the cluster: take another reward"

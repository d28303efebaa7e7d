"""Rewards: verifiers, lengths, your own functions, and the arithmetic that joins them; they know no model."""

from togi.rewards.algebra import Composable, Leaf, clip, gate, part_names
from togi.rewards.chance import chance
from togi.rewards.code import code
from togi.rewards.expression import REWARDS, parse_reward
from togi.rewards.judge import genrm, judge, preference, rubric
from togi.rewards.length_shaping import adaptive_length, brevity, concise, cosine, length_budget, overlong, repetition
from togi.rewards.novelty import novelty
from togi.rewards.potential_shaping import potential
from togi.rewards.reasoning_steps import ProcessModel, process, turns
from togi.rewards.reward_model import RewardModels, ensemble, reward_model
from togi.rewards.unsupervised import entropy, likelihood, majority, self_certainty
from togi.rewards.user_function import python
from togi.rewards.verifiers import (
    Verifier,
    bag_of,
    choice,
    exact,
    field,
    fields,
    follows,
    form,
    interval,
    json_schema,
    list_of,
    matches,
    math,
    number,
    quantity,
    scorer,
    set_of,
)

__all__ = [
    "REWARDS",
    "Composable",
    "Leaf",
    "ProcessModel",
    "RewardModels",
    "Verifier",
    "adaptive_length",
    "bag_of",
    "brevity",
    "chance",
    "choice",
    "clip",
    "code",
    "concise",
    "cosine",
    "ensemble",
    "entropy",
    "exact",
    "field",
    "fields",
    "follows",
    "form",
    "gate",
    "genrm",
    "interval",
    "json_schema",
    "judge",
    "length_budget",
    "likelihood",
    "list_of",
    "majority",
    "matches",
    "math",
    "novelty",
    "number",
    "overlong",
    "parse_reward",
    "part_names",
    "potential",
    "preference",
    "process",
    "python",
    "quantity",
    "repetition",
    "reward_model",
    "rubric",
    "scorer",
    "self_certainty",
    "set_of",
    "turns",
]

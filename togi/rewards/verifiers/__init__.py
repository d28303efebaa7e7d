"""Verifiers: rewards that compare a completion with the task's answer; they know no model and no other reward."""

from togi.rewards.verifiers.answers import choice, exact, form, math, number, scorer
from togi.rewards.verifiers.base import Answer, Verifier, completion_text, first_answer, need
from togi.rewards.verifiers.constraints import follows
from togi.rewards.verifiers.quantities import bag_of, interval, list_of, quantity, set_of
from togi.rewards.verifiers.texts import field, fields, json_schema, matches

__all__ = [
    "Answer",
    "Verifier",
    "bag_of",
    "choice",
    "completion_text",
    "exact",
    "field",
    "fields",
    "first_answer",
    "follows",
    "form",
    "interval",
    "json_schema",
    "list_of",
    "matches",
    "math",
    "need",
    "number",
    "quantity",
    "scorer",
    "set_of",
]

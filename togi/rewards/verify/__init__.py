"""Verifiers: rewards that compare a completion with the task's answer; they know no model and no other reward."""

from togi.rewards.verify.answers import choice, exact, form, math, number, scorer
from togi.rewards.verify.constraints import follows
from togi.rewards.verify.quantities import bag_of, interval, list_of, quantity, set_of
from togi.rewards.verify.texts import field, fields, json_schema, matches
from togi.rewards.verify.verifier import Answer, Verifier, completion_text, first_answer, need

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

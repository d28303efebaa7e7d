"""Whether weights that draw elsewhere are those that learn, tried on a fixed text and its likeliest tokens. It asks
nobody."""

from __future__ import annotations

import math
from collections.abc import Iterable

from togi.types import Sampling

TEXT = "The keeper of the tower walks down to the harbour and counts the boats."
LIKELIEST = Sampling(max_tokens=8, temperature=0, ignore_eos=True)
"""What is drawn after the text. Each token is a step of the model's, and all of training waits for them."""
_APART = 0.1
"""Nats a token that log-probabilities may differ by on average; arithmetic in bfloat16 makes a few hundredths."""


def difference(there: Iterable[float], here: Iterable[float]) -> str:
    """What is wrong with the log-probabilities of a completion that was drawn there, in words; "" where they are those
    that it has here, as far as both go."""
    apart = [abs(a - b) for a, b in zip(there, here, strict=False)]
    mean = math.fsum(apart) / len(apart) if apart else math.inf
    if mean <= _APART:
        return ""
    return (
        f"the log-probabilities of {len(apart)} tokens differ by {mean:.2g} nats on average, and at most {_APART:g} is "
        "right"
    )

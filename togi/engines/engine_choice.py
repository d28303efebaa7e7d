"""Which engine a run samples with, and what each cannot do. It loads nothing: recipes are checked without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from togi.types import Ability

Kind = Literal["native"]

DOES: Mapping[Ability, str] = {
    "begin": "goes on from the beginnings of answers",
    "mixture": "draws from the policy and its reference at once",
}
LACKS: Mapping[Kind, frozenset[Ability]] = {"native": frozenset()}
"""What an engine of each kind cannot do."""


@dataclass(frozen=True, kw_only=True)
class EngineChoice:
    """``batch_size`` is how many completions are drawn at once, ``mismatch_limit`` how far their log-probabilities may
    be from those of the same weights where they learn, in nats a token on average."""

    kind: Kind = "native"
    batch_size: int = 128
    mismatch_limit: float = 0.1

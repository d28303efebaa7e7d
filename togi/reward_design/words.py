"""What is called otherwise where agents are trained and where a language model is. It measures nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from togi.reward_design.design import Design, Kind, RecipeDesign

NAMES: Mapping[Kind, str] = {
    "written": "written by the model",
    "independent": "best of as many without reflection",
    "random": "best of as many random programs",
    "human": "written by a person",
}


@dataclass(frozen=True, kw_only=True)
class Words:
    """What the parts of a design are called: who learns, what it is measured on, what is paid, and where a reward comes
    from. ``length`` is how long one is, ``human`` is how its pay is compared with a person's, ``warning`` what the card
    says of its use."""

    learner: str
    measured: str
    paid: str
    length: str
    names: Mapping[Kind, str]
    human: str
    warning: str

    def named(self, kind: Kind) -> str:
        return self.names[kind]


AGENTS = Words(
    learner="agent",
    measured="episodes",
    paid="an episode",
    length="steps of an episode",
    names={**NAMES, "own": "the environment's own", "sparse": "the fitness at the end only"},
    human="Step by step",
    warning="Use it only for what resembles this environment, and look at what the agent does.",
)
MODELS = Words(
    learner="model",
    measured="held-out tasks",
    paid="an answer",
    length="tokens of an answer",
    names={**NAMES, "own": "the recipe's own", "sparse": "the fitness itself", "before": "none: before that stage"},
    human="Answer by answer",
    warning="Use it only for tasks that resemble these, attack it with togi redteam, and read what the model answers.",
)


def words_of(design: Design) -> Words:
    return MODELS if isinstance(design, RecipeDesign) else AGENTS

"""Which parts of a policy gradient go together. What is wrong by construction is refused, naming the way out."""

from __future__ import annotations

from togi.advantages import Average, sequence_mean
from togi.algorithms.policy_gradient.corrections import Correction, Uncorrected
from togi.algorithms.policy_gradient.surrogates import SURROGATES, Surrogate
from togi.algorithms.policy_gradient.token_choices import TokenChoice


def called(surrogate: Surrogate) -> str:
    """A surrogate's name in recipes, or that of its class."""
    names = (name for name, each in SURROGATES.items() if type(each) is type(surrogate))
    return next(names, type(surrogate).__name__)


def check_composition(
    surrogate: Surrogate, correction: Correction, tokens: TokenChoice, *, old_policy: str, per_token: bool
) -> None:
    """Raise ValueError for parts that do not go together. ``per_token``: credit gives each token its own advantage."""
    name, corrected = called(surrogate), not isinstance(correction, Uncorrected)
    if corrected and old_policy == "sampler":
        raise ValueError(
            'with old_policy = "sampler" the ratio corrects for the sampler already, and a correction would count it '
            'twice: set old_policy = "trainer", or correction = "none"'
        )
    if corrected and surrogate.one_action and correction.weight_level == "token":
        raise ValueError(
            f"{name} has one loss for a whole answer, which no weight of a token fits: "
            'set weight_level = "sequence" or "geometric"'
        )
    if surrogate.one_advantage and (per_token or tokens.drops):
        other = "credit gives each token its own" if per_token else "choice of tokens makes some of them 0"
        raise ValueError(
            f"{name} takes one advantage for all tokens of an answer, and this {other}: "
            'set surrogate = "ppo_clip", "gspo" or another that has a loss for each token'
        )
    if tokens.drops and not surrogate.rests:
        raise ValueError(
            f"{name} learns from tokens of advantage 0 too, so that leaving tokens out has no effect: "
            'set tokens = "all", or another surrogate'
        )


def check_average(surrogate: Surrogate, average: Average) -> None:
    """Raise ValueError where the loss of a whole answer would be divided by the answer's length."""
    if surrogate.one_action and average is sequence_mean:
        raise ValueError(
            f"{called(surrogate)} has one loss for a whole answer, and the mean over its tokens would make long "
            'answers count less: set average = "sequence_sum"'
        )


def check_updates(surrogate: Surrogate, updates: int) -> None:
    """Raise ValueError where a surrogate without a ratio would meet a policy that has moved on."""
    if updates > 1 and surrogate.on_policy:
        raise ValueError(
            f"{called(surrogate)} has no ratio, and is right for one update of a step's samples only: set "
            'minibatches = 1 and epochs = 1, or surrogate = "ppo_clip" in settings'
        )

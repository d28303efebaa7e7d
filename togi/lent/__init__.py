"""Togi's rewards and environments in the forms that other trainers take: ``for_trl.py`` and ``for_verifiers.py`` make
them, ``rows.py`` reads what those give. They know no engine and no run."""

from togi.lent.for_trl import trl_environment, trl_reward
from togi.lent.for_verifiers import verifiers_environment, verifiers_rubric

__all__ = ["trl_environment", "trl_reward", "verifiers_environment", "verifiers_rubric"]

"""Rewards for programs: found in a completion, run in a jail, compared outside of it."""

from togi.rewards.code.reward import code

__all__ = ["code"]

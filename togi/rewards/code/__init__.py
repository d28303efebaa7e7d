"""Rewards for programs: found in a completion, run in a jail, compared outside of it."""

from togi.rewards.code.code_reward import code

__all__ = ["code"]

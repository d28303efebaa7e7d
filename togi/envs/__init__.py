"""Environments: what answers the model. Knows no tokens, no engine and no algorithm."""

from togi.envs.chat import OneTurn

__all__ = ["OneTurn"]

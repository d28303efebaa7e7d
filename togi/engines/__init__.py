"""Engines draw completions; they know nothing of tasks, rewards or training."""

from togi.engines.model_mixture import Mixture
from togi.engines.native import NativeEngine

__all__ = ["Mixture", "NativeEngine"]

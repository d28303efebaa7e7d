"""Opens the engine that a run asks for: the only place that names one."""

from __future__ import annotations

from togi.engines.engine_choice import EngineChoice
from togi.engines.model_mixture import Mixture
from togi.engines.native import NativeEngine
from togi.models.load_model import Loaded
from togi.protocols import LocalEngine

NATIVE = EngineChoice()


def open_engine(loaded: Loaded, choice: EngineChoice = NATIVE, mixture: Mixture | None = None) -> LocalEngine:
    """An engine that draws from a loaded model, or from a ``mixture`` of it with another.

    Raises ValueError for a model that the engine cannot draw from.
    """
    model = loaded.model if mixture is None else mixture
    return NativeEngine(model, loaded.tokenizer, loaded.eos_ids, batch_size=choice.batch_size)

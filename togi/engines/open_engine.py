"""Opens the engine that a run asks for: the only place that names one."""

from __future__ import annotations

from togi.engines.engine_choice import EngineChoice
from togi.engines.model_mixture import Mixture
from togi.engines.native import NativeEngine
from togi.models.load_model import Loaded
from togi.models.packing import pretrained
from togi.protocols import LocalEngine
from togi.types import Prompt, Sampling

NATIVE = EngineChoice()


def open_engine(loaded: Loaded, choice: EngineChoice = NATIVE, mixture: Mixture | None = None) -> LocalEngine:
    """An engine that draws from a loaded model, or from a ``mixture`` of it with another.

    Raises ValueError for a model that the engine cannot draw from.
    """
    model = loaded.model if mixture is None else mixture
    return NativeEngine(model, loaded.tokenizer, loaded.eos_ids, batch_size=choice.batch_size)


def check_engine(loaded: Loaded, choice: EngineChoice = NATIVE) -> None:
    """Raises ValueError, naming the model, unless it can be drawn from; found out by a try of two tokens."""
    try:
        engine = open_engine(loaded, choice)
        engine.generate([Prompt(ids=(1, 1, 1), seeds=(0, 1))], Sampling(max_tokens=2, ignore_eos=True))
    except Exception as error:
        # The boundary to a foreign model's code, which raises what it likes where it is asked for something else.
        raise ValueError(
            f"{type(pretrained(loaded.model)).__name__} cannot be sampled: {error}. It can learn from recorded answers "
            "(sft, dpo and their like, without [evaluation]); to sample, take a model whose layers all attend, such as "
            "Llama, Qwen2, Qwen3, Gemma 2 or 3, Mistral, SmolLM or gpt-oss (see docs/models.md)"
        ) from error

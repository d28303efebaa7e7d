"""Opens the engine that a run asks for: the only place that names one."""

from __future__ import annotations

from togi.engines.engine_choice import EngineChoice
from togi.engines.model_mixture import Mixture
from togi.engines.native import NativeEngine
from togi.engines.server_engine import ServerEngine
from togi.engines.thinking_engine import ThinkingEngine
from togi.models.load_model import Loaded
from togi.models.packing import pretrained
from togi.protocols import HeardEngine, LocalEngine
from togi.types import Prompt, Sampling

NATIVE = EngineChoice()


def open_engine(loaded: Loaded, choice: EngineChoice = NATIVE, mixture: Mixture | None = None) -> LocalEngine:
    """An engine that draws from a loaded model, thinking before every token where it learned to, or from a ``mixture``
    of it with another.

    Raises ValueError for a model that the engine cannot draw from, and for an address or a key that cannot be used.
    """
    if choice.server is not None:
        assert mixture is None, "recipes refuse what an engine lacks"
        if loaded.thoughts is not None:
            raise ValueError(
                f"{loaded.source} thinks before every token, which a server cannot do: engine.kind = native"
            )
        return ServerEngine(loaded, choice.server, batch_size=choice.batch_size)
    if mixture is None:
        return open_heard(loaded, choice.batch_size)
    return NativeEngine(mixture, loaded.tokenizer, loaded.eos_ids, batch_size=choice.batch_size)


def open_heard(loaded: Loaded, batch_size: int) -> HeardEngine:
    """An engine that draws from a loaded model, as it thinks, and tells each token as it is drawn."""
    if loaded.thoughts is not None:
        return ThinkingEngine(loaded.model, loaded.thoughts, loaded.tokenizer, loaded.eos_ids, batch_size=batch_size)
    return NativeEngine(loaded.model, loaded.tokenizer, loaded.eos_ids, batch_size=batch_size)


def check_engine(loaded: Loaded, choice: EngineChoice = NATIVE) -> None:
    """Raises ValueError, naming the model, unless it can be drawn from; found out by a try of two tokens."""
    asked = [Prompt(ids=(1, 1, 1), seeds=(0, 1))], Sampling(max_tokens=2, ignore_eos=True)
    if choice.server is not None:
        open_engine(loaded, choice).generate(*asked)
        return
    try:
        open_engine(loaded, choice).generate(*asked)
    except Exception as error:
        # The boundary to a foreign model's code, which raises what it likes where it is asked for something else.
        raise ValueError(
            f"{type(pretrained(loaded.model)).__name__} cannot be sampled: {error}. It can learn from recorded answers "
            "(sft, dpo and their like, without [evaluation]); to sample, take a model whose layers all attend, such as "
            "Llama, Qwen2, Qwen3, Gemma 2 or 3, Mistral, SmolLM or gpt-oss (see docs/models.md)"
        ) from error

"""Opens the engine that a run asks for: the only place that names one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from togi.cluster.cluster_engine import ClusterEngine
from togi.cluster.tinker_service import open_cluster
from togi.engines.engine_choice import EngineChoice
from togi.engines.engine_process import Program
from togi.engines.engine_processes import EngineProcesses
from togi.engines.fleet import Fleet, Tell
from togi.engines.model_mixture import Mixture
from togi.engines.native import NativeEngine
from togi.engines.native_program import NativeProgram
from togi.engines.server_elsewhere import ServerElsewhere
from togi.engines.server_engine import ServerEngine
from togi.engines.server_weights import ServerWeights
from togi.engines.thinking_engine import ThinkingEngine
from togi.engines.vllm_program import vllm_program
from togi.launch.launcher import Launcher
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
    if choice.cluster is not None:
        assert mixture is None, "recipes refuse what an engine lacks"
        return ClusterEngine(loaded, open_cluster(choice.cluster), seconds=choice.cluster.seconds)
    if choice.server is not None or choice.beside is not None:
        assert mixture is None, "recipes refuse what an engine lacks"
        if loaded.thoughts is not None:
            raise ValueError(
                f"{loaded.source} thinks before every token, which only an engine in this process can: engine.kind = "
                "native, scale.engines = 0"
            )
        if choice.beside is not None:
            return choice.beside.engine(loaded, choice.batch_size)
        assert choice.server is not None
        at = choice.server
        weights = ServerWeights(base=at.model, folder=at.adapters, kept=at.kept)
        fleet = Fleet([ServerElsewhere(at)], weights, _untold)
        return ServerEngine(loaded, fleet, batch_size=choice.batch_size)
    if mixture is None:
        return open_heard(loaded, choice.batch_size)
    return NativeEngine(mixture, loaded.tokenizer, loaded.eos_ids, batch_size=choice.batch_size)


@contextmanager
def opened_beside(
    choice: EngineChoice, count: int, launcher: Launcher, folder: Path, tell: Tell, *, kept: int = 0
) -> Iterator[EngineChoice]:
    """The choice with ``count`` engines beside this process (0: as it is, but one of vLLM), which end with the block.
    They begin when they are drawn from; ``folder`` is for what they write, and ``tell`` hears what happens to them."""
    if choice.vllm is not None:
        count = max(1, count)
    if not count:
        yield choice
        return
    programs = partial(_program, choice, kept)
    processes = EngineProcesses(programs, launcher, folder, tell, count=count, seconds=choice.seconds, kept=kept)
    try:
        yield replace(choice, beside=processes)
    finally:
        processes.close()


def _program(choice: EngineChoice, kept: int, loaded: Loaded, folder: Path, count: int) -> Program:
    """What the engine processes of a choice run."""
    if choice.vllm is not None:
        return vllm_program(loaded, choice.vllm, folder, side_by_side=choice.batch_size, staleness=kept)
    return NativeProgram(loaded, folder, count=count, batch_size=choice.batch_size)


def _untold(kind: str, **details: object) -> None:
    """Hears nothing: a server that the user runs is neither begun nor given up by Togi."""


def open_heard(loaded: Loaded, batch_size: int) -> HeardEngine:
    """An engine that draws from a loaded model, as it thinks, and tells each token as it is drawn."""
    if loaded.thoughts is not None:
        return ThinkingEngine(loaded.model, loaded.thoughts, loaded.tokenizer, loaded.eos_ids, batch_size=batch_size)
    return NativeEngine(loaded.model, loaded.tokenizer, loaded.eos_ids, batch_size=batch_size)


def check_engine(loaded: Loaded, choice: EngineChoice = NATIVE) -> None:
    """Raises ValueError, naming the model, unless it can be drawn from; found out by a try of two tokens."""
    asked = [Prompt(ids=(1, 1, 1), seeds=(0, 1))], Sampling(max_tokens=2, ignore_eos=True)
    if choice.server is not None or choice.cluster is not None:
        open_engine(loaded, choice).generate(*asked)
        return
    try:
        open_engine(loaded, replace(choice, beside=None)).generate(*asked)
    except Exception as error:
        # The boundary to a foreign model's code, which raises what it likes where it is asked for something else.
        raise ValueError(
            f"{type(pretrained(loaded.model)).__name__} cannot be sampled: {error}. It can learn from recorded answers "
            "(sft, dpo and their like, without [evaluation]); to sample, take a model whose layers all attend, such as "
            "Llama, Qwen2, Qwen3, Gemma 2 or 3, Mistral, SmolLM or gpt-oss (see docs/models.md)"
        ) from error

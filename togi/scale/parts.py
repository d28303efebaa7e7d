"""All processes of a run, the one of the command included, and how much memory each holds. It starts none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from togi.evidence.before.machine_fitness import Size, memory_needed
from togi.launch.needs import Needs
from togi.run import Run
from togi.scale.started import engine, learner, needs_of

PROGRAM = 1e9
"""Bytes that a process takes before it holds a model."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A process of a run. ``here`` says that it is the one in which the command was given; ``memory`` are bytes."""

    name: str
    does: str
    needs: Needs
    memory: float
    here: bool = False


def parts_of(run: Run, size: Size, shape: Cached, *, cards: bool) -> list[Part]:
    """All processes of a run whose model is of that size, with or without cards."""
    needs = needs_of(run) if cards else replace(needs_of(run), cards=0)
    return [*_learners(run, size, needs), *_engines(run, size, shape, needs)]


@dataclass(frozen=True, kw_only=True)
class Cached:
    """What decides the memory of keys and values: numbers in a token of one layer, and tokens that are held at most."""

    numbers: int
    tokens: int


def cached(run: Run, config: Any, prompt: float) -> Cached:
    """The keys and values of as many answers as are drawn at once, each as long as it may be after a prompt so long."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    pairs = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    longest = max(stage.sampling.max_tokens for stage in run.stages)
    return Cached(numbers=2 * head * pairs, tokens=round(run.engine.batch_size * (prompt + longest)))


def engine_memory(size: Size, shape: Cached) -> float:
    """Bytes that an engine holds: weights, and keys and values where every answer is as long as allowed."""
    width = 2 if size.bfloat16 else 4
    return size.packed + width * (size.parameters + shape.numbers * shape.tokens * size.layers)


def _learners(run: Run, size: Size, needs: Needs) -> Iterator[Part]:
    """Learners divide weights, gradients and moments among them, and each has the activations of its own tokens. The
    first keeps the model whole beside its share; without cards all have it whole, with its gradients, in a step."""
    count = run.scale.learners
    width = 2 if size.bfloat16 else 4
    whole = width * size.parameters if count > 1 else 0
    step = whole + 4 * size.trained if count > 1 and not needs.cards else 0
    shard = replace(size, **{name: -(-vars(size)[name] // count) for name in ("parameters", "packed", "trained")})
    for rank in range(count):
        does = "learns" if rank or run.scale.engines or run.engine.server else "learns and samples"
        yield Part(
            name=learner(rank),
            does=does,
            needs=needs,
            memory=memory_needed(shard) + step + (0 if rank else whole) + PROGRAM,
            here=not rank,
        )


def _engines(run: Run, size: Size, shape: Cached, needs: Needs) -> Iterator[Part]:
    for number in range(1, run.scale.engines + 1):
        memory = engine_memory(size, shape) + PROGRAM
        yield Part(name=engine(number), does="samples", needs=needs, memory=memory)


def plain(part: Part) -> Mapping[str, Any]:
    """A part as JSON has it."""
    return {
        "name": part.name,
        "does": part.does,
        "cores": part.needs.cores,
        "cards": part.needs.cards,
        "memory_gb": round(part.memory / 1e9, 2),
        "here": part.here,
    }

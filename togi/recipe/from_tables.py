"""What single tables of a recipe stand for, key by key. It refuses nothing and knows no other table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from togi.engines.engine_choice import AtCluster, AtServer, EngineChoice, WithVLLM
from togi.models.lora_and_optimiser import Lora, Optimiser
from togi.recipe.schema import EngineTable, LoggingTable, LoraTable, SamplingTable, StageTable
from togi.run import Logging
from togi.types import Sampling


def engine_of(table: EngineTable, base: Path, *, kept: int = 0) -> EngineChoice:
    """The engine; vLLM's Python and the folder of a server's adapters are relative to ``base``. A server keeps so many
    versions of them as ``kept`` beside the newest."""
    choice = EngineChoice(batch_size=table.batch_size, mismatch_limit=table.mismatch_limit, seconds=table.seconds)
    if table.kind == "native":
        return choice
    if table.kind == "vllm":
        assert table.python is not None
        python = base / Path(table.python).expanduser()  # not resolved: a link says which environment is meant
        return replace(choice, vllm=WithVLLM(python=python, options=table.options))
    if table.kind == "tinker":
        assert table.model is not None
        url, key_env = table.base_url or "", table.key_env or ""
        cluster = AtCluster(model=table.model, key_env=key_env, base_url=url, seconds=table.seconds)
        return replace(choice, cluster=cluster)
    assert table.base_url is not None
    assert table.model is not None
    at = AtServer(
        base_url=table.base_url,
        model=table.model,
        key_env=table.key_env or "",
        seconds=table.seconds,
        adapters=base / Path(table.adapters).expanduser() if table.adapters else None,
        kept=kept,
    )
    return replace(choice, server=at)


def lora_of(table: LoraTable) -> Lora:
    return Lora(
        rank=table.rank,
        alpha=table.alpha,
        dropout=table.dropout,
        targets=table.targets or "all-linear",
        base=table.base,
    )


def logging_of(table: LoggingTable) -> Logging:
    return Logging(to=tuple(dict.fromkeys(table.to)), project=table.project, run_name=table.run_name or "")


def optimiser_of(table: StageTable) -> Optimiser:
    return Optimiser(
        learning_rate=table.learning_rate or 0.0,
        critic_learning_rate=table.critic_learning_rate,
        betas=table.betas,
        weight_decay=table.weight_decay,
        warmup_steps=table.warmup_steps,
        schedule=table.schedule,
        total_steps=table.steps * table.minibatches * table.epochs,
        clip_norm=table.clip_norm,
        tokens_per_microbatch=table.tokens_per_microbatch or Optimiser.tokens_per_microbatch,
    )


def sampling_of(table: SamplingTable) -> Sampling:
    return Sampling(
        max_tokens=table.max_tokens,
        temperature=table.temperature,
        top_p=table.top_p,
        top_k=table.top_k,
        min_p=table.min_p,
        stop=table.stop,
        ignore_eos=table.ignore_eos,
    )

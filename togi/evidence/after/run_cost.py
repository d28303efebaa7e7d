"""What a run has cost: time by phase, tokens, arithmetic, memory, and money at a price the user names. It only adds.

Arithmetic is estimated by the usual rule (Kaplan et al. 2020, arXiv 2001.08361, section 2.1): 2·N operations a token
for a forward pass and 6·N for learning from it, N being the parameters. Only completion tokens are logged, so prompts
are left out and the estimate is a lower one. Energy is not measured and therefore never shown as a number.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FORWARD, LEARN = 2, 6


@dataclass(frozen=True, kw_only=True)
class Cost:
    """``seconds`` by phase over all steps; ``idle_seconds`` in which engines beside the learner had nothing to draw,
    None where they draw no step ahead; ``flops`` None without a parameter count; ``money`` None without a price."""

    seconds: Mapping[str, float]
    total_seconds: float
    idle_seconds: float | None
    tokens: int
    evaluation_seconds: float
    evaluation_tokens: int
    flops: float | None
    flops_per_second: float | None
    sampling_tokens_per_second: float | None
    memory_gb: float | None
    money: float | None
    hourly_price: float | None


def cost(
    timings: Sequence[Mapping[str, Any]],
    *,
    sampled: Collection[str],
    evaluation_seconds: float = 0.0,
    evaluation_tokens: int = 0,
    parameters: int | None = None,
    hourly_price: float | None = None,
) -> Cost:
    """Add up the rows of ``timings.jsonl``. ``sampled`` names the stages whose completions the model wrote itself; what
    it drew there may be more than it learns from, or, in trees of attempts, less."""
    if hourly_price is not None and hourly_price < 0:
        raise ValueError(f"an hourly price cannot be negative, got {hourly_price}")
    seconds: dict[str, float] = {}
    written = learnt = 0
    sampling_seconds = 0.0
    for row in timings:
        for phase, spent in row["seconds"].items():
            seconds[phase] = seconds.get(phase, 0.0) + spent
        learnt += row["tokens"]
        if row["stage"] in sampled:
            written += row["drawn"]
            idle = row.get("engines_idle")  # beside the learner: sampling goes on in every phase
            busy = row["seconds"].get("sample", 0.0) if idle is None else sum(row["seconds"].values()) - idle
            sampling_seconds += max(0.0, busy)
    total = sum(seconds.values()) + evaluation_seconds
    flops = None
    if parameters is not None:
        flops = float(parameters * (LEARN * learnt + FORWARD * (written + evaluation_tokens)))
    idle_seconds = [row["engines_idle"] for row in timings if row.get("engines_idle") is not None]
    memory = [row["memory_gb"] for row in timings if row.get("memory_gb") is not None]
    return Cost(
        seconds=dict(sorted(seconds.items(), key=lambda item: -item[1])),
        total_seconds=total,
        idle_seconds=sum(idle_seconds) if idle_seconds else None,
        tokens=learnt,
        evaluation_seconds=evaluation_seconds,
        evaluation_tokens=evaluation_tokens,
        flops=flops,
        flops_per_second=flops / total if flops is not None and total > 0 else None,
        sampling_tokens_per_second=written / sampling_seconds if sampling_seconds > 0 else None,
        memory_gb=max(memory, default=None),
        money=None if hourly_price is None else total / 3600 * hourly_price,
        hourly_price=hourly_price,
    )

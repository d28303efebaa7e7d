"""A run's time, tokens, arithmetic, memory and money, in words and bars. It measures nothing."""

from __future__ import annotations

from typing import Any

from togi.evidence.after.run_cost import Cost, cost
from togi.evidence.read_run import RunData
from togi.report.plots import bar
from togi.report.stage_sentences import sampled
from togi.short_values import MISSING, duration, mapping, percent, text


def cost_view(data: RunData, hourly_price: float | None) -> dict[str, Any]:
    parameters = mapping((data.manifest or {}).get("model")).get("parameters")
    spent = cost(
        data.timings,
        sampled=[stage for stage in data.stages if sampled(data, stage)],
        evaluation_seconds=sum(one["seconds"] for one in data.evaluations),
        evaluation_tokens=sum(one["tokens"] for one in data.evaluations),
        parameters=parameters if isinstance(parameters, int) else None,
        hourly_price=hourly_price,
    )
    phases = dict(spent.seconds)
    if spent.evaluation_seconds:
        phases["evaluate"] = phases.get("evaluate", 0.0) + spent.evaluation_seconds
    return {
        "facts": [*cost_facts(spent, bool(data.timings)), *learners(data)],
        "phases": [
            (text(phase), bar(seconds / spent.total_seconds), duration(seconds), percent(seconds / spent.total_seconds))
            for phase, seconds in sorted(phases.items(), key=lambda item: -item[1])
            if seconds > 0
        ],
    }


def cost_facts(spent: Cost, logged: bool) -> list[tuple[str, str]]:
    graded, idle = spent.seconds.get("grade", 0.0), spent.idle_seconds
    speed, memory, flops = spent.sampling_tokens_per_second, spent.memory_gb, spent.flops
    rows = [
        ("Time in logged steps and evaluations", duration(spent.total_seconds) if spent.total_seconds else MISSING),
        ("Completion tokens learned from", f"{spent.tokens:,}" if logged else MISSING),
        ("Completion tokens of evaluations", f"{spent.evaluation_tokens:,}" if spent.evaluation_tokens else MISSING),
        ("Grading", percent(graded / spent.total_seconds) + " of the time" if graded else MISSING),
        ("Sampling speed in training", MISSING if speed is None else f"{speed:,.0f} tokens a second"),
        ("Most memory held", MISSING if memory is None else f"{memory:.2f} GB"),
        ("Arithmetic, at least", MISSING if flops is None else f"{power(flops)} operations (2·N and 6·N a token)"),
        ("Energy", "not measured"),
    ]
    if idle is not None:
        rows[4:4] = [
            (
                "The learner waited for groups",
                f"{percent(spent.seconds.get('wait', 0.0) / spent.total_seconds)} of the time",
            ),
            ("Engines had nothing to draw", f"{percent(min(1.0, idle / spent.total_seconds))} of the time"),
        ]
    if spent.money is not None:
        rows.append(("Cost", f"{spent.money:.2f} at {spent.hourly_price:g} an hour"))
    return rows


def learners(data: RunData) -> list[tuple[str, str]]:
    """How many processes learned, where they were several; the last number where it changed on the way."""
    counts = [event.get("count") for event in data.events if event.get("event") == "learners"]
    return [("Learned by", f"{text(counts[-1])} processes together")] if counts else []


def power(value: float) -> str:
    """1.7 × 10¹⁴"""
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits} × 10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"

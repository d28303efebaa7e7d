"""Run data -> everything the template shows, already in words and pictures. It reads no file and writes no HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from togi.evidence.after.evaluation_summary import Summary, summary
from togi.evidence.read_run import Json, RunData, planned_stages
from togi.harmless_text import shortened
from togi.report.alarms_section import watching
from togi.report.cost_section import cost_view
from togi.report.curves import Figure, MetricRow, figures, held_out_course, metric_table, smoothed
from togi.report.engines_section import engines_view
from togi.report.examples import TrainingGroup, examples, training_groups
from togi.report.lineage_section import lineage_views
from togi.report.over_optimisation_section import course_view
from togi.report.plots import Line, histogram, legend, line_chart, number, share as percent_tick
from togi.report.preference_sentences import preferences
from togi.report.preference_tables import diversity_view, reward_model_view, win_rows
from togi.report.process_models_section import steps_view
from togi.report.results_table import TINTS, counts_passes, results, with_interval
from togi.report.reward_cards_section import card_view
from togi.report.stage_sentences import observations, sampled
from togi.report.thoughts_section import thoughts_view
from togi.report.verdict_sentences import UNSAFE, verdict
from togi.report.verifiers_section import verifiers_view
from togi.short_values import MISSING, mapping, pairs, percent, text

EVENTS = 200


@dataclass(frozen=True, kw_only=True)
class StageView:
    name: str
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    figures: tuple[Figure, ...]
    smooth: int
    metrics: tuple[MetricRow, ...]
    groups: tuple[TrainingGroup, ...]


def context(data: RunData, hourly_price: float | None = None) -> dict[str, Any]:
    """The template's variables. Missing values are the words ``not recorded``, never a guess."""
    summaries = [summary(one) for one in data.evaluations]
    later = [summary(one) for one in data.later]
    manifest = data.manifest or {}
    found = preferences(data)
    curves = pass_curves(summaries)
    ks = sorted({(x, f"{2**x:g}") for curve in curves for x in curve.x})
    return {
        "name": text(manifest.get("name") or (data.recipe or {}).get("name") or data.folder.name),
        "started": text(manifest.get("started")),
        "finished": data.finished,
        "verdict": verdict(data, summaries, found),
        "results": results(summaries),
        "later": results(later),
        "setting": setting(summaries, data),
        "passes": counts_passes(summaries),
        "pass_chart": line_chart(
            "pass@k", curves, y_number=percent_tick, y_span=(0.0, 1.0), x_ticks=ks, x_name="attempts k"
        ),
        "pass_legend": legend(curves),
        "models": [text(one.model) for one in summaries],
        "pass_table": pass_table(summaries),
        "facts": facts(data),
        "data": data_rows(manifest),
        "lineages": lineage_views(manifest),
        "recipe": None if data.recipe_text is None else shortened(data.recipe_text, 40_000),
        "stages": [stage_view(data, name) for name in data.stages],
        "reward_models": [reward_model_view(one) for one in found.agreements],
        "verifiers": verifiers_view(data.verifications),
        "stepwise": steps_view(data.steps),
        "thoughts": [thoughts_view(one) for one in data.thoughts],
        "watching": watching(data),
        "courses": [course_view(data, one) for one in found.stages],
        "wins": win_rows(data.evaluations, TINTS),
        "diversity": diversity_view(data.evaluations, found.change),
        "graded": any(one.graded for one in summaries),
        "examples": examples(data.evaluations, graded=any(one.graded for one in summaries)),
        "cards": [card_view(card) for card in data.cards],
        "parts": parts_table(summaries),
        "lengths": length_figures(summaries),
        "unscored": unscored_table(summaries),
        "engines": engines_view(data.events),
        "cost": cost_view(data, hourly_price),
        "versions": pairs(manifest.get("versions")),
        "machine": pairs(manifest.get("machine")),
        "identity": identity(data),
        "events": [event_row(event) for event in data.events[-EVENTS:]],
        "more_events": max(0, len(data.events) - EVENTS),
        "chain": chain(data),
        "head": data.integrity.chain.head,
        "distrust": data.distrust,
        "problems": data.problems,
    }


def setting(summaries: Sequence[Summary], data: RunData) -> str:
    """How the held-out numbers were measured."""
    if not summaries:
        return ""
    one, sampling = summaries[-1], data.evaluations[-1]["sampling"]
    temperature, limit = text(sampling.get("temperature")), text(sampling.get("max_tokens"))
    right = f" An attempt is right when its score is at least {one.pass_mark:g}." if counts_passes(summaries) else ""
    tasks = f"{one.tasks} held-out tasks × {one.attempts} attempts"
    return f"{tasks} at temperature {temperature}, at most {limit} tokens.{right}"


def pass_curves(summaries: Sequence[Summary]) -> list[Line]:
    """pass@k over log2 k, one curve a model, with bands."""
    lines = []
    for dash, (one, tint) in enumerate(zip(summaries, TINTS, strict=False)):
        ks = sorted(one.pass_at)
        known = [one.pass_at[k] for k in ks]
        bands = [(max(0.0, i.low), min(1.0, i.high)) for i in known if i.low == i.low]
        x = [float(k.bit_length() - 1) for k in ks]
        band = bands if len(bands) == len(ks) else ()
        y = [i.point for i in known]
        lines.append(Line(name=text(one.model), tint=tint, x=x, y=y, band=band, dots=True, dash=dash))
    return lines


def pass_table(summaries: Sequence[Summary]) -> list[tuple[str, list[str]]]:
    ks = sorted({k for one in summaries for k in one.pass_at})
    return [(f"pass@{k}", [with_interval(one.pass_at.get(k)) for one in summaries]) for k in ks]


def parts_table(summaries: Sequence[Summary]) -> list[tuple[str, list[str]]]:
    """Mean of each named part of the evaluation's reward, one column a model."""
    names = sorted({name for one in summaries for name in one.parts})
    return [
        (text(name), [f"{one.parts[name]:.3f}" if name in one.parts else MISSING for one in summaries])
        for name in names
    ]


def length_figures(summaries: Sequence[Summary]) -> list[tuple[str, str, Markup]]:
    high = max((length for one in summaries for length in one.lengths), default=0) + 1
    return [
        (
            text(one.model),
            f"mean {one.length_mean:.1f} tokens",
            histogram(text(one.model), one.lengths, tint, high=high),
        )
        for one, tint in zip(summaries, TINTS * len(summaries), strict=False)
    ]


def unscored_table(summaries: Sequence[Summary]) -> list[tuple[str, list[str]]]:
    """Attempts by status: what was scored, which of those earned 0 by their own fault, what was not, and what the means
    would be had all of the last been wrong."""
    faults = sorted({fault for one in summaries for fault in one.own_faults})
    statuses = sorted({status for one in summaries for status in one.unscored})
    rows = [("scored", [str(one.scored) for one in summaries])]
    rows += [
        (f"of these 0 by own fault: {text(fault)}", [str(one.own_faults.get(fault, 0)) for one in summaries])
        for fault in faults
    ]
    rows += [
        (f"no score: {text(status)}", [str(one.unscored.get(status, 0)) for one in summaries]) for status in statuses
    ]
    if statuses:
        rows.append(
            ("mean score, those left out", [_mean(one.reward.point if one.reward else None) for one in summaries])
        )
        rows.append(("mean score, those as wrong", [_mean(one.reward_as_wrong) for one in summaries]))
    return rows


def _mean(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3f}"


def data_rows(manifest: Json) -> list[tuple[str, str, str]]:
    """Each data set once: who used it, how many tasks it has, its digest."""
    users: dict[tuple[str, str], list[str]] = {}
    for name, entry in mapping(manifest.get("data")).items():
        found = (text(mapping(entry).get("size")), text(mapping(entry).get("digest")))
        users.setdefault(found, []).append(text(name))
    return [(", ".join(names), size, digest) for (size, digest), names in users.items()]


def facts(data: RunData) -> list[tuple[str, str]]:
    """What was trained, in a few lines."""
    manifest, recipe = data.manifest or {}, data.recipe or {}
    model = {**mapping(recipe.get("model")), **mapping(manifest.get("model"))}
    parameters = model.get("parameters")
    truth = mapping(recipe.get("gold")).get("score")
    rows = [
        ("Model", text(model.get("source"))),
        ("Parameters", number(float(parameters)) if isinstance(parameters, int | float) else MISSING),
        ("Model digest", text(model.get("digest"))),
        ("Trained weights", trained_weights(model)),
        ("Arithmetic", text(manifest.get("dtype") or model.get("dtype"))),
        ("Reward", rewards(recipe)),
        *([("Environment", answering)] if (answering := environments(recipe)) else []),
        *([("Truth behind the reward", text(truth))] if truth else []),
        ("System message", text(mapping(recipe.get("prompt")).get("system") or ("none" if recipe else None))),
        ("Template", text(mapping(recipe.get("prompt")).get("template"))),
        ("Seed", text(manifest.get("seed", recipe.get("seed")))),
        ("Sandbox of graders", sandbox(mapping(manifest.get("sandbox")).get("graders"))),
        ("Sandbox of programs", sandbox(mapping(manifest.get("sandbox")).get("programs"))),
    ]
    return rows if recipe or manifest else [(label, MISSING) for label, _ in rows]


def trained_weights(model: Mapping[str, Any]) -> str:
    """All, or adapters: how many numbers they have, and their settings."""
    adapters = model.get("lora")
    if not adapters:
        return "all"
    count, whole = model.get("trainable"), model.get("parameters")
    if not (isinstance(count, int) and isinstance(whole, int) and whole):
        return f"low-rank adapters ({text(adapters)})"
    return (
        f"low-rank adapters: {number(count)} of {number(whole)} parameters, {percent(count / whole)} ({text(adapters)})"
    )


def rewards(recipe: Json) -> str:
    """What pays: the run's reward, and those of stages that name their own."""
    own = mapping(recipe.get("reward")).get("score")
    named = {str(s.get("name")): mapping(s.get("reward")).get("score") for s in planned_stages(recipe)}
    of_stages = [f"{name}: {score}" for name, score in named.items() if score]
    return text("; ".join([*([str(own)] if own else []), *of_stages]) or None, 600)


def environments(recipe: Json) -> str:
    """What answers the model: the run's environment, and those of stages and the evaluation; empty where none does."""
    own = mapping(recipe.get("env")).get("use")
    named = {str(s.get("name")): mapping(s.get("env")).get("use") for s in planned_stages(recipe)}
    named["evaluation"] = mapping(mapping(recipe.get("evaluation")).get("env")).get("use")
    found = [*([str(own)] if own else []), *(f"{name}: {use}" for name, use in named.items() if use)]
    return text("; ".join(found), 600) if found else ""


def sandbox(tier: Any) -> str:
    """What keeps foreign code in."""
    return "none: what runs there can do what you can do" if tier in UNSAFE else text(tier)


STAGE_FACTS = (
    ("algorithm", "algorithm"),
    ("start", "starts from"),
    ("reward", "reward"),
    ("steps", "steps planned"),
    ("tasks_per_step", "tasks a step"),
    ("attempts", "attempts a task"),
    ("learning_rate", "learning rate"),
    ("minibatches", "updates a step"),
    ("settings", "settings"),
)


def stage_view(data: RunData, name: str) -> StageView:
    rows = sorted((row for row in data.metrics if row["stage"] == name), key=lambda row: int(row["step"]))
    plan: Json = next((stage for stage in planned_stages(data.recipe) if stage.get("name") == name), {})
    plan = {**plan, "reward": mapping(plan.get("reward")).get("score")}
    known = [(label, text(plan[key])) for key, label in STAGE_FACTS if plan.get(key) not in (None, {})]
    course = [record for record in data.on_the_way if record["model"] == name]
    earlier = data.stages[: data.stages.index(name)]
    before = sum(row["stage"] in earlier for row in data.metrics)
    known.append(("steps done", str(rows[-1]["step"]) if rows else "0"))
    return StageView(
        name=text(name),
        facts=tuple(known),
        notes=tuple(observations(data, name)),
        figures=(*held_out_course(course, before), *figures(rows, sampled(data, name))),
        smooth=smoothed(len(rows)),
        metrics=tuple(metric_table(rows)),
        groups=tuple(training_groups(data, name)),
    )


def identity(data: RunData) -> list[tuple[str, str]]:
    manifest = data.manifest or {}
    rows = [
        ("Recipe digest", text(manifest.get("recipe_digest"))),
        ("Seed", text(manifest.get("seed"))),
        ("Code", text(manifest.get("code"))),
        ("Started", text(manifest.get("started"))),
    ]
    for name, files in mapping(manifest.get("files")).items():
        rows += [(f"{text(file)} of {text(name)}", text(digest)) for file, digest in mapping(files).items()]
    ends = [event for event in data.events if event.get("event") == "finished"]
    rows.append(("Finished", text(ends[-1].get("time")) if ends else "not finished"))
    digests = [event for event in data.events if event.get("event") == "stage_done"]
    return rows + [(f"Weights after {text(one.get('name'))}", text(one.get("model"))) for one in digests]


def event_row(event: Json) -> tuple[str, str, str]:
    rest = {key: value for key, value in event.items() if key not in ("time", "event", "hash", "before")}
    return text(event.get("time")), text(event.get("event")), ", ".join(f"{k}: {text(v, 120)}" for k, v in rest.items())


def chain(data: RunData) -> str:
    chain = data.integrity.chain
    if not chain.events:
        return MISSING
    count = len(chain.events)
    return f"unbroken, {count} event{'s' * (count > 1)}" if chain.broken is None else f"broken at line {chain.broken}"

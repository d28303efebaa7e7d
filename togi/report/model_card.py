"""A model card for the weights of a run: what the run folder proves, and nothing else. It reads no file.

What nobody can know from a run, what the model is for and under which terms it may be used, is left to its owner, on
lines that say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from togi.evidence.after.evaluation_summary import Summary, summary
from togi.evidence.read_run import RunData, planned_stages
from togi.models.model_source import HUB_ID
from togi.report.cost_section import cost_view
from togi.report.lineage_section import lineage_views
from togi.report.markdown import listed, plain, table
from togi.report.page import data_rows, environments, facts, setting
from togi.report.preference_sentences import preferences
from togi.report.results_table import results
from togi.report.stage_sentences import observations
from togi.report.verdict_sentences import verdict
from togi.short_values import MISSING, mapping, pairs, text

TO_FILL = "**To be filled in by the owner:**"
HELD_OUT = ("evaluation", "choice")  # data sets of a run that no stage learns from
STAGE = ("algorithm", "steps", "tasks_per_step", "attempts", "learning_rate")
HEADS = ("stage", "algorithm", "steps", "tasks a step", "attempts a task", "learning rate")


def model_card(data: RunData, stage: str, *, library: str = "transformers", license_id: str = "") -> str:
    """The card of the model that ``stage`` of a run ended with, as the text of a README.md; ``library``
    loads what is written, ``license_id`` is the hub's name of the license that its owner gives it."""
    told = up_to(data, stage)
    summaries = [summary(one) for one in told.evaluations]
    name = " ".join(text((told.manifest or {}).get("name") or told.folder.name).split())
    parts = [
        f"---\n{metadata(told, name, summaries, library=library, license_id=license_id).to_yaml()}\n---",
        f"# {plain(name)}",
        *(part for title, body in sections(told, stage, summaries) if body for part in (f"## {title}", body)),
    ]
    return "\n\n".join(parts) + "\n"


def up_to(data: RunData, stage: str) -> RunData:
    """What a run's data say of one of its models: of the stages it was made by, and their evaluations."""
    way = made_by(data, stage)
    kept = {
        name: entry for name, entry in mapping((data.manifest or {}).get("data")).items() if name in (*way, *HELD_OUT)
    }
    return replace(
        data,
        manifest=None if data.manifest is None else {**data.manifest, "data": kept},
        metrics=tuple(row for row in data.metrics if row["stage"] in way),
        timings=tuple(row for row in data.timings if row["stage"] in way),
        alarms=tuple(row for row in data.alarms if row["stage"] in way),
        evaluations=tuple(one for one in data.evaluations if one["model"] in ("base", *way)),
    )


def made_by(data: RunData, stage: str) -> list[str]:
    """The stages that made a model, the first one first."""
    # A run that was built in Python has no plan to read: its stages followed each other.
    return data.way_to(stage)[::-1] or data.stages[: data.stages.index(stage) + 1]


def metadata(data: RunData, name: str, summaries: list[Summary], *, library: str, license_id: str) -> ModelCardData:
    """What a hub reads: the base and the data where they have a name there, and the last results with intervals."""
    measured = summaries[-1] if summaries else None
    found = list(_results(data, measured)) if measured and measured.model != "base" else []
    return ModelCardData(
        license=license_id or None,
        base_model=_base(data),
        datasets=sorted(set(_hub_data(data.recipe or {}))) or None,
        library_name=library,
        pipeline_tag="text-generation",
        tags=["togi", *_algorithms(data)],
        model_name=name,
        eval_results=found or None,
    )


def _base(data: RunData) -> str | None:
    source = str(mapping((data.recipe or {}).get("model")).get("source") or "")
    return source if HUB_ID.fullmatch(source) and not Path(source).exists() else None


def _hub_data(value: Any) -> Iterator[str]:
    """The hub's data sets that a recipe names, wherever it does."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == "hub" and isinstance(inner, str) and HUB_ID.fullmatch(inner):
                yield inner
            else:
                yield from _hub_data(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _hub_data(inner)


def _algorithms(data: RunData) -> list[str]:
    named = {str(row["stage"]) for row in data.metrics}
    used = [str(stage.get("algorithm")) for stage in planned_stages(data.recipe) if stage.get("name") in named]
    return sorted({name for name in used if name.isidentifier()})


def _results(data: RunData, one: Summary) -> Iterator[EvalResult]:
    tested = mapping(mapping((data.recipe or {}).get("data")).get("test"))
    hub = tested.get("hub")
    known = {"pass@1": one.pass_at_1, "mean score": one.reward}
    for metric, found in known.items():
        if found is None:
            continue
        band = (
            f"95% interval {found.low:.3f} to {found.high:.3f} over {one.tasks} tasks" if found.low == found.low else ""
        )
        yield EvalResult(
            task_type="text-generation",
            dataset_type=str(hub) if isinstance(hub, str) else "held-out-tasks",
            dataset_name=str(hub) if isinstance(hub, str) else "held-out tasks of the run",
            metric_type=metric.replace(" ", "_"),
            metric_name=f"{metric} ({band})" if band else metric,
            metric_value=round(found.point, 4),
        )


def sections(data: RunData, stage: str, summaries: list[Summary]) -> Iterator[tuple[str, str]]:
    """Title and body of each part of the card; an empty body has no part."""
    said = verdict(data, summaries, preferences(data))
    manifest = data.manifest or {}
    source = text(mapping(manifest.get("model")).get("source"))
    yield "In short", f"Made from {plain(source)} with Togi. {plain(said.headline)}"
    yield (
        "Intended use",
        f"> {TO_FILL} what this model is for, who may use it, under which license (that of its base model "
        "holds too), and what it must not be used for. Nothing of this can be read from a training run.",
    )
    yield "How it was trained", "\n\n".join(filter(None, _training(data, stage)))
    yield "Data", _data(data)
    yield "Evaluation", "\n\n".join(filter(None, _evaluation(data, summaries, said.sentences)))
    yield "What is not certain", listed([*said.uncertain, *data.distrust])
    yield "Limits", listed(_limits(summaries))
    yield "Environment", _environment(data)
    spent = [row for row in cost_view(data, None)["facts"] if row[1] != MISSING]
    yield "Cost", table(("what", "of the stages above"), spent)


def _training(data: RunData, stage: str) -> Iterator[str]:
    way = made_by(data, stage)
    plans = {str(plan.get("name")): plan for plan in planned_stages(data.recipe)}
    yield table(HEADS, ([name, *(_cell(plans.get(name, {}), key) for key in STAGE)] for name in way))
    yield table(("what", "value"), [row for row in facts(data) if row[1] != MISSING])
    notes = [f"{name}: {note}" for name in way for note in observations(data, name)]
    yield listed(notes)


def _cell(plan: Mapping[str, Any], key: str) -> str:
    return "–" if plan.get(key) is None else text(plan[key])


def _data(data: RunData) -> str:
    rows = [(used, size, digest) for used, size, digest in data_rows(data.manifest or {})]
    hubs = sorted(set(_hub_data(data.recipe or {})))
    named = f"\n\nFrom the hub: {plain(', '.join(hubs))}." if hubs else ""
    origins = [
        (f"{'← ' * row.depth}{row.name}", row.rows, "; ".join(row.left_out), row.license)
        for view in lineage_views(data.manifest or {})
        for row in view.rows
    ]
    made = "\n\n" + table(("rows", "how many", "left out", "licence as stated"), origins) if origins else ""
    return table(("used by", "tasks", "SHA-256 of the tasks"), rows) + named + made


def _evaluation(data: RunData, summaries: list[Summary], sentences: tuple[str, ...]) -> Iterator[str]:
    shown = results(summaries)
    if shown is None:
        yield "Nothing was measured on held-out tasks."
        return
    yield plain(setting(summaries, data))
    rows = [
        [row.name, row.single, row.band, *(cells[number] for _, cells in shown.rest)]
        for number, row in enumerate(shown.rows)
    ]
    yield table(("model", shown.lead, "95% interval", *(plain(head) for head, _ in shown.rest)), rows)
    if len(summaries) > 1:
        yield (
            f"The control is {plain(text(summaries[0].model))}, the model before training, asked the same tasks with "
            "the same settings. Intervals are over tasks."
        )
    yield listed(sentences)


def _limits(summaries: list[Summary]) -> Iterator[str]:
    if summaries:
        yield (
            "It was measured on the tasks above and nothing else: not on other tasks, other languages, or what it "
            "answers to people who mean harm."
        )
        yield "The evaluation asked the trained weights in the arithmetic named above; other types round otherwise."
    yield "What its base model gets wrong outside of these tasks, it may still get wrong, or more often."


def _environment(data: RunData) -> str:
    manifest = data.manifest or {}
    rows = [
        *((f"version of {name}", value) for name, value in pairs(manifest.get("versions"))),
        *pairs(manifest.get("machine")),
        ("code", text(manifest.get("code"))),
        ("recipe", text(manifest.get("recipe_digest"))),
        *([("environment", found)] if (found := environments(data.recipe or {})) else []),
        ("begun", text(manifest.get("started"))),
        ("head of the run's events", data.integrity.chain.head),
    ]
    return table(("what", "value"), [row for row in rows if row[1] != MISSING])

"""``togi eval``: a run's base and trained model on the same held-out tasks with the same seeds, and how that is shown.

It knows no recipe: the run says which tasks, how they are sampled and what they are paid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from togi.evidence.after.evaluation_file import EvaluationRecord, write_evaluation
from togi.evidence.after.evaluation_summary import Comparison, Summary, compare, summary
from togi.evidence.during.reward_log import RewardLog
from togi.rewards.printed_output import printed_to
from togi.run import BASE, Run, open_model, open_play
from togi.run_folder.files import append_event, mark, refuse_links
from togi.run_folder.integrity import refuse_changed
from togi.run_folder.manifest import MANIFEST, RECIPE, read_manifest, run_dtype
from togi.run_folder.resume import steps_taken
from togi.statistics import Interval


def pick_model(folder: Path, stages: Sequence[str], model: str = "last") -> str:
    """The stage whose saved model is meant: ``last`` is the latest of ``stages`` that has one in ``folder/models``."""
    saved = [stage for stage in stages if (folder / "models" / stage).is_dir()]
    if not saved:
        raise ValueError(f"{folder}: no stage has ended yet, so there is no trained model to evaluate; train it first")
    if model == "last":
        return saved[-1]
    if model not in saved:
        raise ValueError(f"{folder}: no saved model {model!r}; there is {', '.join(saved)}")
    return model


def evaluate_run(run: Run, stage: str) -> tuple[EvaluationRecord, EvaluationRecord]:
    """Evaluate the run's base and the saved model of ``stage``; write ``evaluations/eval-{base,STAGE}.json``.

    Each model is opened only after the one before was dropped, so two are never in memory together. ``ValueError``
    when the run's recipe holds no task out.
    """
    if run.evaluation is None:
        raise ValueError(f"{run.folder}: its recipe has no [evaluation]: nothing says which tasks are held out")
    refuse_links(run.folder)
    manifest = read_manifest(run.folder)
    refuse_changed(run.folder, MANIFEST, RECIPE, f"models/{stage}")
    taken = {name: steps_taken(run, name) for name in (BASE, stage)}
    from togi.evidence.after.play_evaluation import evaluate  # once the folder is found sound: it brings torch

    dtype = run_dtype(manifest)
    records: list[EvaluationRecord] = []
    log = RewardLog(run.folder)
    for name in (BASE, stage):
        log.place = f"eval-{name}"
        with printed_to(log):
            record = evaluate(
                open_play(run, open_model(run, name, dtype)),
                run.evaluation.tasks,
                run.evaluation.attempts,
                model=f"eval-{name}",
                step=taken[name],
                sampling=run.evaluation.sampling,
            )
        written = write_evaluation(run.folder, record)
        place = str(written.relative_to(run.folder))
        append_event(run.folder, "evaluated", model=record["model"], files={place: mark(written)})
        records.append(record)
    return records[0], records[1]


def percent(interval: Interval | None) -> str:
    """``41.0% (35.2–46.9)``; without an interval where one task gives none, a dash where nothing could be counted."""
    if interval is None:
        return "–"
    if math.isnan(interval.low):
        return f"{100 * interval.point:.1f}%"
    return f"{100 * interval.point:.1f}% ({100 * interval.low:.1f}–{100 * interval.high:.1f})"


def in_words(comparison: Comparison) -> str:
    """One sentence that says what changed, by how much, and whether that is certain."""
    points = 100 * comparison.difference.point
    low, high = 100 * comparison.difference.low, 100 * comparison.difference.high
    band = f"95% interval {low:+.1f} to {high:+.1f} points, {comparison.tasks} tasks, p = {comparison.p:.2g}"
    if math.isnan(low):
        band = "one task gives no interval"
    names = f"{comparison.after} against {comparison.before}"
    if comparison.verdict == "improved":
        return f"{names}: pass@{comparison.k} rose by {points:.1f} points ({band})."
    if comparison.verdict == "worsened":
        return f"{names}: pass@{comparison.k} fell by {-points:.1f} points ({band})."
    return f"{names}: no evidence of a difference in pass@{comparison.k}, {points:+.1f} points ({band})."


def table(records: Sequence[EvaluationRecord]) -> Table:
    """Evaluations side by side for a terminal; the caption compares each with the first."""
    summaries = [summary(record) for record in records]
    result = Table(title=f"Held-out evaluation: {summaries[0].tasks} tasks × {summaries[0].attempts} attempts")
    result.add_column("")
    for one in summaries:
        result.add_column(one.model, justify="right")
    for k in sorted({k for one in summaries for k in one.pass_at}):
        result.add_row(f"pass@{k}", *(percent(one.pass_at.get(k)) for one in summaries))
    result.add_row("mean reward", *(f"{one.reward.point:.3f}" if one.reward else "–" for one in summaries))
    result.add_row("well-formed", *(_share(one.well_formed) for one in summaries))
    result.add_row("cut short", *(_share(one.truncated) for one in summaries))
    result.add_row("mean length", *(f"{one.length_mean:.0f} tokens" for one in summaries))
    if any(one.own_faults for one in summaries):
        result.add_row("own fault, earned 0", *(_counts(one.own_faults) for one in summaries))
    result.add_row("without a score", *(_counts(one.unscored) for one in summaries))
    if any(one.unscored for one in summaries):
        for name, value in (("pass@1", _pass_bound), ("mean reward", _reward_bound)):
            result.add_row(f"{name}, those as wrong", *map(value, summaries))
    result.caption = "\n".join(in_words(compare(records[0], record)) for record in records[1:])
    return result


def _share(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}%"


def _counts(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "0"


def _pass_bound(one: Summary) -> str:
    return _share(one.pass_as_wrong.get(1))


def _reward_bound(one: Summary) -> str:
    return "–" if one.reward_as_wrong is None else f"{one.reward_as_wrong:.3f}"

"""Runs side by side: held-out results paired by task with those of the first run, curves, and what sets them apart.

What cannot be compared is said, and not compared. It reads run folders and plays nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from togi.evidence.after.eval_command import percent
from togi.evidence.after.evaluation_file import EvaluationRecord
from togi.evidence.after.evaluation_summary import Comparison, Summary, compare, compare_scores, summary
from togi.evidence.read_run import RunData, read_run
from togi.harmless_text import visible
from togi.progress import sparkline
from togi.report.curves import SAMPLED_ONLY, TINTS, WANTED, Figure, values
from togi.report.filled_page import page_of
from togi.report.forest import Difference, Forest, forest
from togi.report.plots import Line, Number, legend, line_chart, number, share
from togi.report.results_table import scores
from togi.report.stage_sentences import sampled
from togi.short_values import MISSING, mapping, text

MOST = len(TINTS)
BARS = 8  # of a curve in a cell
HEADS = ("model", "held-out result", "against the first", "steps", "reward on the way")
WORDS = {"improved": "better", "worsened": "worse", "unclear": "no evidence of a difference"}
UNSAID = ("name", "relative_to", "logging")  # keys of a recipe that say nothing of what was trained


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One run beside the first: ``against`` is the paired difference, or why there is none."""

    name: str
    data: RunData
    record: EvaluationRecord | None
    summary: Summary | None
    against: Comparison | str


def compared(folders: Sequence[Path]) -> list[Compared]:
    """The runs with their last evaluated models. Raises ValueError for fewer than two runs, and for too many."""
    if not 2 <= len(folders) <= MOST:
        raise ValueError(f"compare takes 2 to {MOST} run folders, got {len(folders)}")
    twice = {folder.name for folder in folders if [one.name for one in folders].count(folder.name) > 1}
    names = [str(folder) if folder.name in twice else folder.name for folder in folders]
    if len(set(names)) < len(names):
        raise ValueError("a run is named twice: name each run folder once")
    runs = [read_run(folder) for folder in folders]
    records = [_last(data, name) for data, name in zip(runs, names, strict=True)]
    return [
        Compared(
            name=name,
            data=data,
            record=record,
            summary=summary(record) if record else None,
            against="" if number == 0 else _against(runs[0], records[0], data, record),
        )
        for number, (name, data, record) in enumerate(zip(names, runs, records, strict=True))
    ]


def _last(data: RunData, name: str) -> EvaluationRecord | None:
    """The last model that was measured, under the run's name."""
    return EvaluationRecord(**{**data.evaluations[-1], "model": name}) if data.evaluations else None


def _against(
    first: RunData, before: EvaluationRecord | None, data: RunData, after: EvaluationRecord | None
) -> Comparison | str:
    if before is None or after is None:
        return f"{(data if after is None else first).folder} has no held-out result"
    if _paid(first) != _paid(data):
        return "not comparable: the held-out answers were paid by another reward"
    try:
        graded = summary(before).graded or summary(after).graded
        return compare_scores(before, after) if graded else compare(before, after)
    except ValueError as error:
        return f"not comparable: {error}"


def _paid(data: RunData) -> Any:
    """What says how held-out answers are paid: the reward, the environment, and the files that they stand in."""
    recipe, files = data.recipe or {}, mapping((data.manifest or {}).get("files"))
    own = mapping(recipe.get("evaluation"))
    return [
        own.get("reward") or recipe.get("reward"),
        own.get("env") or recipe.get("env"),
        sorted(str(digest) for digest in mapping(files.get("evaluation")).values()),
    ]


def lead(one: Compared) -> str:
    """pass@1, or the mean score where scores are more than right or wrong, with its interval."""
    if one.summary is None:
        return MISSING
    if one.summary.graded:
        reward = one.summary.reward
        return MISSING if reward is None else f"mean score {reward.point:.3f} ({scores(reward)})"
    return f"pass@1 {percent(one.summary.pass_at_1)}"


def difference(one: Compared) -> str:
    """The paired difference in short."""
    found = one.against
    if isinstance(found, str):
        return found.partition(":")[0]
    scale, unit, digits = (1.0, "", 3) if found.k is None else (100.0, " points", 1)
    point, low, high = (
        f"{scale * value:+.{digits}f}"
        for value in (found.difference.point, found.difference.low, found.difference.high)
    )
    return f"{point}{unit} ({low} to {high})"


def sentences(runs: Sequence[Compared]) -> list[str]:
    """What the comparison shows, a sentence a run, and what is not as it was written."""
    said = []
    for one in runs[1:]:
        found = one.against
        if isinstance(found, str):
            said.append(f"{one.name} against {runs[0].name}: {found}.")
            continue
        word = WORDS[found.verdict]
        left = f", {found.left_out} left out" if found.left_out else ""
        said.append(
            f"{one.name} against {runs[0].name}: {word}, {difference(one)}, paired over {found.tasks} tasks{left}, "
            f"p = {found.p:.2g}. Tasks better {found.better}, worse {found.worse}, the same {found.same}."
        )
    said += [f"{one.name}: {line}" for one in runs for line in one.data.distrust]
    return said


def _row(one: Compared) -> list[str]:
    rows = [row for row in one.data.metrics if sampled(one.data, row["stage"])]
    rewards = [value for value in values(rows, "reward") if value is not None]
    model = one.data.evaluations[-1]["model"] if one.data.evaluations else MISSING
    ends = f"{rewards[0]:.3f} {sparkline(in_parts(rewards))} {rewards[-1]:.3f}" if rewards else MISSING
    return [text(model), lead(one), difference(one), str(len(one.data.metrics)), ends]


def in_parts(series: Sequence[float], most: int = BARS) -> list[float]:
    """The means of at most so many parts of a series, as equal as can be: all of it in the room of a cell."""
    return [float(np.mean(part)) for part in np.array_split(series, min(most, len(series)))]


def table(runs: Sequence[Compared]) -> Table:
    """The runs for a terminal, a row each."""
    result = Table(title="Runs compared")
    for head in ("run", *HEADS):
        result.add_column(head)
    for one in runs:
        result.add_row(visible(one.name), *map(visible, _row(one)))
    result.caption = visible("\n".join(sentences(runs)))
    return result


def page(runs: Sequence[Compared]) -> str:
    """The runs as one HTML page in the report's style."""
    values_of = {
        "names": [text(one.name) for one in runs],
        "heads": HEADS,
        "rows": [(text(one.name), _row(one)) for one in runs],
        "sentences": sentences(runs),
        "forest_of": _forest(runs),
        "differences": list(differences(runs)),
        "figures": [figure for entry in WANTED if (figure := _curves(runs, *entry))],
    }
    return page_of("comparison.html", values_of)


def _forest(runs: Sequence[Compared]) -> Forest | None:
    """The differences from the first run on one scale, where all are of one kind."""
    found = [
        (one, one.against, tint) for one, tint in zip(runs, TINTS, strict=False) if isinstance(one.against, Comparison)
    ]
    kinds = {against.k for _, against, _ in found}
    if len(kinds) != 1:
        return None
    shown, what = (number, "mean score") if kinds == {None} else (share, "pass@1")
    rows = [
        Difference(
            name=text(one.name),
            tint=tint,
            interval=against.difference,
            single=difference(one),
            claim=WORDS[against.verdict],
        )
        for one, against, tint in found
    ]
    return forest(f"{what} less that of {text(runs[0].name)}", rows, shown)


def differences(runs: Sequence[Compared]) -> Iterator[tuple[str, list[str]]]:
    """The recipe's keys in which the runs differ, with the value of each."""
    flat = [dict(_leaves(one.data.recipe or {})) for one in runs]
    for key in dict.fromkeys(key for recipe in flat for key in recipe):
        found = [recipe.get(key) for recipe in flat]
        if key.partition(".")[0] not in UNSAID and any(value != found[0] for value in found):
            yield text(key), ["left out" if value is None else text(value) for value in found]


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a recipe by its dotted name; stages by their names."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{key}.{item.get('name', number)}")
    else:
        yield key, value


def _curves(runs: Sequence[Compared], name: str, title: str, shown: Number) -> Figure | None:
    lines = []
    for dash, (one, tint) in enumerate(zip(runs, TINTS, strict=False)):
        rows = [row if name not in SAMPLED_ONLY or sampled(one.data, row["stage"]) else {} for row in one.data.metrics]
        y = values(rows, name)
        if any(value is not None for value in y):
            steps = [float(step) for step in range(1, len(y) + 1)]
            lines.append(Line(name=text(one.name), tint=tint, x=steps, y=y, dash=dash))
    if not lines:
        return None
    return Figure(title=title, name=name, now="", svg=line_chart(title, lines, y_number=shown), legend=legend(lines))

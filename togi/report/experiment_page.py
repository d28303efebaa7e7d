"""The folder of an experiment -> one HTML page: the answer first, then what it rests on. It trains and decides
nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from togi.evidence.experiment.answers_changed import Change
from togi.evidence.experiment.compare_arms import Compared
from togi.experiment.more_tasks import more_tasks
from togi.experiment.outcome import SHARES, Cell, Outcome, read_outcome, scale_of
from togi.experiment.outcome_ability import ability_of, changes_of, forgotten
from togi.experiment.outcome_cost import account_of, cost_of_all, energy_told, money_of
from togi.experiment.outcome_told import (
    ANSWERING,
    NONE,
    about,
    answer,
    caveats,
    cost_cells,
    cost_heads,
    cost_rows,
    difference,
    energy,
    heads,
    rows,
    shared,
    with_interval,
)
from togi.experiment.plan_told import span
from togi.experiment.sweep.search_told import search_told, trial_heads, trial_rows
from togi.report import write_report
from togi.report.curves import SAMPLED_ONLY, WANTED, Figure, values
from togi.report.filled_page import page_of
from togi.report.forest import Difference, Forest, forest
from togi.report.plots import Line, legend, line_chart, number, share
from togi.report.results_table import TINTS
from togi.report.search_section import search_figures
from togi.report.stage_sentences import sampled
from togi.run import BASE
from togi.run_folder.files import write_text
from togi.short_values import duration, text
from togi.statistics import Interval, over_seeds
from togi.statistics.profiles import performance_profile

TONES = {"go": "good", "stop": "bad", "not decided": ""}
MOST = len(TINTS)
# Metrics that say how a single run learns, and nothing of what sets arms apart.
UNSAID = ("learning_rate", "grad_norm", "sampling/sampling_logp_difference/mean", "clip_ratio/region_mean", "kl_coef")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is decided of one arm."""

    arm: str
    decision: str
    tone: str
    sentence: str


def write_experiment_report(folder: Path) -> Path:
    """Write ``folder/report.html``, and the report of each finished cell beside it; gives the path of the first."""
    outcome = read_outcome(folder)
    for cell in outcome.cells:
        if cell.data is not None:
            write_report(folder / cell.place)
    path = folder / "report.html"
    write_text(path, page(outcome))
    return path


def page(outcome: Outcome) -> str:
    """The experiment as text."""
    tints = dict(zip([BASE, *_shown(outcome)], TINTS, strict=False))
    plan = outcome.plan
    return page_of(
        "experiment.html",
        {
            "name": text(plan["name"]),
            "question": text(plan["question"]),
            "answers": answers(outcome),
            "unclaimed": outcome.unclaimed if outcome.found is None else "",
            "caveats": caveats(outcome),
            "measure": text(plan["measure"]),
            "search": list(search_told(outcome)),
            "trial_heads": [text(head) for head in trial_heads(outcome)],
            "trials": [(text(name), [text(cell) for cell in cells]) for name, cells in trial_rows(outcome)],
            "search_figures": list(search_figures(outcome)),
            "differences": differences(outcome, tints),
            "abilities": abilities(outcome),
            "changes": changes(changes_of(outcome)),
            "forgotten": changes(forgotten(outcome)),
            "more": [(text(name), line) for name, line in more_tasks(outcome).items()],
            "heads": heads(outcome),
            "rows": [(text(name), cells) for name, cells in rows(outcome)],
            "cost_rows": [(text(name), cells) for name, cells in cost_rows(outcome)],
            "answering": ANSWERING,
            "about": [(text(name), text(what)) for name, what in about(outcome)],
            "figures": [*profile(outcome, tints), *curves(outcome, tints)],
            "cells": cell_rows(outcome),
            "decided": decided(outcome),
            "shared": shared(outcome),
            "cost_heads": cost_heads(outcome),
            "costs": costs(outcome),
            "phases": phases(outcome),
            "explained": account_of(outcome).why,
            "head": outcome.chain.head,
        },
    )


def _shown(outcome: Outcome) -> list[str]:
    """The arms that have a tint of their own: as many as can be told apart, controls last."""
    arms = outcome.plan["arms"]
    return sorted(arms, key=lambda name: bool(arms[name]["control"]))[: MOST - 1]


def answers(outcome: Outcome) -> list[Answer]:
    if outcome.found is None:
        return []
    said = zip(outcome.found.arms, answer(outcome), strict=True)
    return [
        Answer(
            arm=text(one.compared.arm),
            decision=outcome.decision(one),
            tone=TONES[outcome.decision(one)],
            sentence=line.partition(". ")[2],
        )
        for one, line in said
    ]


def differences(outcome: Outcome, tints: dict[str, str]) -> Forest | None:
    """Each arm's difference with its interval, arms before controls."""
    scale = scale_of(outcome)
    found = [
        Difference(
            name=text(one.arm),
            tint=tints.get(one.arm, TINTS[-1]),
            interval=one.found,
            single=difference(one.found, scale),
            claim=one.claim,
        )
        for one in _compared(outcome)
    ]
    title = f"{text(outcome.plan['measure'])} less that of {text(outcome.plan['against'])}"
    return forest(title, found, share if scale.bounds == SHARES else number)


def _compared(outcome: Outcome) -> list[Compared]:
    if outcome.found is None:
        return []
    return [*(one.compared for one in outcome.found.arms), *outcome.found.controls]


def abilities(outcome: Outcome) -> list[tuple[str, list[str], Figure]]:
    """For each arm whether it can do more than its start: in words, and as pass@k of both."""
    found = []
    for name, one in ability_of(outcome).items():
        ks = [float(at.k.bit_length() - 1) for at in one.curve]
        lines = [
            Line(
                name=title,
                tint=tint,
                x=ks,
                y=[interval.point for interval in each],
                band=_shown_band(each),
                dots=True,
                dash=dash,
            )
            for dash, (title, tint, each) in enumerate(
                ((BASE, "s0", [at.start for at in one.curve]), (text(name), "s1", [at.arm for at in one.curve]))
            )
        ]
        ticks = [(k, f"{2**k:g}") for k in ks]
        svg = line_chart("pass@k", lines, y_number=share, y_span=(0.0, 1.0), x_ticks=ticks, x_name="attempts k")
        figure = Figure(title=f"pass@k over k: {text(name)}", name="pass", now="", svg=svg, legend=legend(lines))
        found.append((text(name), list(one.sentences), figure))
    return found


def changes(found: Mapping[str, Sequence[Change]]) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """For each arm a row a measure: of the untrained model, of the arm, the difference, and what it says."""
    return [
        (
            text(name),
            [
                (
                    text(each.name),
                    [
                        with_interval(each.start, each.scale),
                        with_interval(each.arm, each.scale),
                        difference(each.found, each.scale),
                        each.said,
                    ],
                )
                for each in made
            ],
        )
        for name, made in found.items()
    ]


def _shown_band(each: Sequence[Interval]) -> list[tuple[float, float]]:
    """The intervals, or none where they are not known or say nothing anywhere."""
    band = [(interval.low, interval.high) for interval in each]
    return band if all(math.isfinite(low) for low, _ in band) and any(pair != SHARES for pair in band) else []


def curves(outcome: Outcome, tints: dict[str, str]) -> Iterator[Figure]:
    """Metrics over the steps of the whole run: each seed a thin line, their mean a thick one with its interval."""
    for name, title, shown in WANTED:
        if name in UNSAID:
            continue
        lines: list[Line] = []
        named: list[Line] = []
        for dash, (arm, tint) in enumerate(tints.items()):
            series = [_series(cell, name) for cell in outcome.of_arm(arm) if cell.data is not None]
            series = [each for each in series if any(value is not None for value in each)]
            if not series:
                continue
            lines += [_line(each, f"{tint} raw", arm, hints=False) for each in series]
            named.append(_mean_line(series, tint, arm, dash))
        if named:
            everything = [value for line in lines for value in line.y if value is not None]
            lines += [_within(line, min(everything), max(everything)) for line in named]
            svg = line_chart(title, lines, y_number=shown)
            yield Figure(title=title, name=name, now="", svg=svg, legend=legend(named))


def _series(cell: Cell, name: str) -> list[float | None]:
    assert cell.data is not None
    data = cell.data
    kept = [row if name not in SAMPLED_ONLY or sampled(data, row["stage"]) else {} for row in data.metrics]
    return values(kept, name)


def _line(series: Sequence[float | None], tint: str, name: str, *, hints: bool = True) -> Line:
    return Line(name=text(name), tint=tint, x=[float(step + 1) for step in range(len(series))], y=series, hints=hints)


def _mean_line(series: Sequence[Sequence[float | None]], tint: str, name: str, dash: int) -> Line:
    """The mean over the seeds that have a step, and its interval where three or more do."""
    steps = max(map(len, series))
    columns = [[row[step] for row in series if step < len(row)] for step in range(steps)]
    known = [[value for value in column if value is not None] for column in columns]
    means = [float(np.mean(column)) if column else None for column in known]
    bands: list[tuple[float, float]] = []
    if min(map(len, known)) >= 3:
        found = [over_seeds(np.array(column)[:, None]) for column in known]
        bands = [(each.low, each.high) for each in found if math.isfinite(each.low)]
    return Line(
        name=text(name),
        tint=tint,
        x=[float(step + 1) for step in range(steps)],
        y=means,
        band=bands if len(bands) == steps else (),
        dash=dash,
    )


def _within(line: Line, low: float, high: float) -> Line:
    """The line with its band cut off where no seed ever was."""
    band = [(max(low, start), min(high, end)) for start, end in line.band]
    return Line(name=line.name, tint=line.tint, x=line.x, y=line.y, band=band, dash=line.dash)


def profile(outcome: Outcome, tints: dict[str, str]) -> Iterator[Figure]:
    """For each bar the share of seeds and tasks that score above it; nothing where there is a single task."""
    tables = {name: outcome.scores[name] for name in tints if name in outcome.scores}
    whole = {name: table[~np.isnan(table).any(1)] for name, table in tables.items()}
    whole = {name: table for name, table in whole.items() if len(table) and table.shape[1] > 1}
    if not whole:
        return
    every = np.unique(np.concatenate([table.ravel() for table in whole.values()]))
    bars = [float(bar) for bar in np.linspace(every[0], every[-1], 25)[:-1]] if len(every) > 1 else []
    lines = []
    for dash, (name, table) in enumerate(whole.items()):
        found = performance_profile(table, bars) if bars else []
        band = [(each.low, each.high) for each in found if math.isfinite(each.low)] if len(table) >= 3 else []
        lines.append(
            Line(
                name=text(name),
                tint=tints[name],
                x=bars,
                y=[each.point for each in found],
                band=band if len(band) == len(bars) else (),
                dash=dash,
                hints=False,
            )
        )
    if bars:
        title = f"Share of seeds and tasks that score above a bar ({text(outcome.plan['measure'])})"
        ticks = [(bar, number(bar, 2)) for bar in np.linspace(bars[0], bars[-1], 5).tolist()]
        svg = line_chart(title, lines, y_number=share, y_span=(0.0, 1.0), x_ticks=ticks, x_name="bar")
        yield Figure(title=title, name="profile", now="", svg=svg, legend=legend(lines))


def cell_rows(outcome: Outcome) -> list[tuple[str, str | None, list[str]]]:
    """Each cell with the link to its report, its mean, and what it cost or why it has no score."""
    scale = scale_of(outcome)
    found = []
    for cell in outcome.cells:
        mean = NONE
        if cell.numbers:
            score = float(np.mean(list(cell.numbers.values())))
            mean = f"{100 * score:.1f}%" if scale.bounds == SHARES else f"{score:.3f}"
        link = f"{cell.place}/report.html" if cell.data is not None else None
        found.append(
            (
                text(cell.place),
                link,
                [cell.state, mean, *cost_cells(outcome, cell.cost), text(cell.why) if cell.why else ""],
            )
        )
    return found


def decided(outcome: Outcome) -> list[tuple[str, str]]:
    """What was decided before anything ran."""
    plan = outcome.plan
    first = outcome.chain.events[0] if outcome.chain.events else {}
    budget = ", ".join(f"{name} {value}" for name, value in plan["budget"].items())
    return [
        ("Question", text(plan["question"])),
        ("Measure", text(plan["measure"])),
        ("Smallest effect that matters", f"{plan['smallest_effect']:g}"),
        ("Rule", f"go if {text(plan['rule'])} than {text(plan['against'])}"),
        ("Level", f"{100 * plan['level']:g}%"),
        ("Seeds", ", ".join(map(str, plan["seeds"]))),
        ("Differs between seeds", ", ".join(plan["vary"])),
        ("Budget", budget or "none"),
        ("Decided", text(first.get("time"))),
        ("Digest of the plan", text(first.get("plan"))),
    ]


def costs(outcome: Outcome) -> list[tuple[str, str]]:
    spent = cost_of_all(outcome)
    judge, price = spent.judge, money_of(outcome, spent)
    rows = [
        ("Time of all processes", duration(spent.total_seconds)),
        ("Completion tokens learned from", f"{spent.learned:,}"),
        ("Completion tokens of measurements", f"{spent.measured:,}"),
        ("Most memory of one cell", NONE if spent.memory_gb is None else f"{spent.memory_gb:.2f} GB"),
    ]
    if told := energy_told(outcome):
        rows.append(("Energy", text(told) if spent.joules is None else f"{energy(spent)}, {text(told)}"))
    if judge.replies:
        rows.append(("Judges", f"{judge.prompt_tokens:,} tokens read, {judge.completion_tokens:,} written"))
    if price is not None:
        rows.append(("Price", text(price.told) + "".join(f"; not in it: {what}" for what in price.left_out)))
    return rows


def phases(outcome: Outcome) -> list[tuple[str, list[str]]]:
    """A row a phase: what was forecast, what it took, and why they differ."""
    found = account_of(outcome).phases
    return [
        (
            phase.name,
            [NONE if phase.expected is None else span(phase.expected.seconds), duration(phase.seconds), phase.why],
        )
        for phase in found
        if phase.seconds >= 0.05 or phase.expected is not None
    ]

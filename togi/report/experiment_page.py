"""The folder of an experiment -> one HTML page: the answer first, then what it rests on. It trains and decides
nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from togi.evidence.experiment.answers_changed import Change
from togi.evidence.experiment.compare_arms import Compared
from togi.experiment.more_tasks import more_tasks
from togi.experiment.outcome import SHARES, Outcome, read_outcome, scale_of
from togi.experiment.outcome_ability import Covered, ability_of, changes_of, forgotten
from togi.experiment.outcome_cost import account_of
from togi.experiment.outcome_told import (
    ANSWERING,
    NONE,
    about,
    answer,
    caveats,
    cost_heads,
    cost_rows,
    difference,
    heads,
    rows,
    shared,
    with_interval,
)
from togi.experiment.seed_spread import seed_spread
from togi.experiment.sweep.search_told import search_told, searched_keys, trial_heads, trial_rows
from togi.report import write_page
from togi.report.curves import Figure
from togi.report.experiment_costs import cell_rows, costs, phases
from togi.report.experiment_curves import curves, profile
from togi.report.filled_page import page_of
from togi.report.forest import Difference, Forest, forest
from togi.report.plots import Line, legend, line_chart, number, share
from togi.report.results_table import TINTS
from togi.report.search_section import search_figures
from togi.run import BASE
from togi.run_folder.files import write_text
from togi.short_values import text
from togi.statistics import Interval

TONES = {"go": "good", "stop": "bad", "not decided": ""}
MOST = len(TINTS)
MOST_COVERED = 12  # tasks that are named under an arm's pass@k


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
            write_page(cell.data)
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
            "effects": effects(outcome),
            "differences": differences(outcome, tints),
            "abilities": abilities(outcome),
            "changes": changes(changes_of(outcome)),
            "forgotten": changes(forgotten(outcome)),
            "spreads": [(text(name), line) for name, line in seed_spread(outcome).items()],
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
    """The arms that have a tint of their own: as many as can be told apart, controls last, and of a grid first those
    with the most first values."""
    arms = outcome.plan["arms"]

    def order(name: str) -> tuple[bool, int]:
        return bool(arms[name]["control"]), sum(level > 0 for level in arms[name].get("levels", ()))

    return sorted(arms, key=order)[: MOST - 1]


def answers(outcome: Outcome) -> list[Answer]:
    if outcome.found is None:
        return []
    said = zip(outcome.answers, answer(outcome), strict=True)
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
    title = f"{text(outcome.plan['measure'])} less that of {text(outcome.plan['against'])}"
    return _forest(outcome, title, [(one, tints.get(one.arm, TINTS[-1])) for one in _compared(outcome)])


def effects(outcome: Outcome) -> Forest | None:
    """What each value that a grid varies did, with its interval."""
    title = f"{text(outcome.plan['measure'])} less that of a setting's first value, over all other settings"
    return _forest(outcome, title, [(one.compared, TINTS[1]) for one in outcome.effects])


def _forest(outcome: Outcome, title: str, compared: Sequence[tuple[Compared, str]]) -> Forest | None:
    scale = scale_of(outcome)
    found = [
        Difference(
            name=text(one.arm),
            tint=tint,
            interval=one.found,
            single=difference(one.found, scale),
            claim=one.claim,
        )
        for one, tint in compared
    ]
    return forest(title, found, share if scale.bounds == SHARES else number)


def _compared(outcome: Outcome) -> list[Compared]:
    if outcome.found is None:
        return []
    arms = [one.compared for one in outcome.answers if one not in outcome.effects]
    return [*arms, *outcome.found.controls]


@dataclass(frozen=True, kw_only=True)
class Able:
    """Whether an arm can do more than its start: in words, as pass@k of both, and the tasks that only one solved."""

    arm: str
    start: str
    sentences: Sequence[str]
    figure: Figure
    covered: Sequence[tuple[str, list[str]]]
    left_out: int


def abilities(outcome: Outcome) -> list[Able]:
    """Of each arm what it can do more than its start."""
    found = []
    for name, grown in ability_of(outcome).items():
        one = grown.ability
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
                (
                    (text(grown.start), "s0", [at.start for at in one.curve]),
                    (text(name), "s1", [at.arm for at in one.curve]),
                )
            )
        ]
        ticks = [(k, f"{2**k:g}") for k in ks]
        svg = line_chart("pass@k", lines, y_number=share, y_span=(0.0, 1.0), x_ticks=ticks, x_name="attempts k")
        figure = Figure(title=f"pass@k over k: {text(name)}", name="pass", now="", svg=svg, legend=legend(lines))
        found.append(
            Able(
                arm=text(name),
                start=text(grown.start),
                sentences=one.sentences,
                figure=figure,
                covered=[covered_row(each, len(one.coverage)) for each in grown.covered[:MOST_COVERED]],
                left_out=max(0, len(grown.covered) - MOST_COVERED),
            )
        )
    return found


def covered_row(one: Covered, seeds: int) -> tuple[str, list[str]]:
    """What is asked; right answers before and after; and in how many seeds only one of the two found any."""
    turned = [f"{word} in {count} of {seeds}" for word, count in (("gained", one.gained), ("lost", one.lost)) if count]
    before, after = (f"{right} of {tried}" for right, tried in (one.before, one.after))
    return text(one.asked), [before, after, ", ".join(turned), str(one.surely or NONE)]


def changes(found: Mapping[str, Sequence[Change]]) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """For each arm a row a measure: of what it is compared with, of the arm, the difference, and what it says."""
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
        *searched_keys(outcome),
        ("Decided", text(first.get("time"))),
        ("Digest of the plan", text(first.get("plan"))),
    ]

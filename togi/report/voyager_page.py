"""The folder of a Voyager -> one HTML page: the answer first, then how far each life got, the skills that were kept
with where each was used, and every try. It asks and plays nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from togi.agents.voyager.archive import Archive
from togi.agents.voyager.findings import Arms, Outcome, Told, read_outcome, used
from togi.agents.voyager.schema import ARMS
from togi.agents.voyager.told import (
    answer,
    claim,
    counted,
    disagreement_told,
    moved_told,
    number,
    shares,
    state_told,
    tier_cells,
    tier_means,
)
from togi.report.curves import Figure
from togi.report.filled_page import page_of
from togi.report.forest import Difference, Forest, forest
from togi.report.plots import Line, legend, line_chart, number as plain
from togi.report.results_table import TINTS
from togi.run_folder.files import write_text
from togi.run_folder.integrity import read_chain, refuse_any_change
from togi.short_values import text

LISTED = 100
"""Skills and goals that are shown of a life; the folder has all."""
Rows = list[tuple[str, list[str]]]


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A skill as the page shows it, with the skills that it calls below it."""

    label: str
    description: str
    source: str
    goal: str
    used: tuple[str, ...]
    calls: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One life: the skills that it kept, and its goals with what was tried."""

    name: str
    skills: tuple[Branch, ...]
    goals: tuple[tuple[str, bool, tuple[tuple[str, str], ...]], ...]
    more: int


def write_voyager_report(folder: Path) -> Path:
    """Write ``folder/report.html`` and give its path. Raises FolderError for another folder, and for one
    that was changed."""
    refuse_any_change(folder, read_chain(folder))
    path = folder / "report.html"
    write_text(path, page(read_outcome(Archive(folder)), folder))
    return path


def page(outcome: Outcome, folder: Path) -> str:
    """All lives as text."""
    return page_of(
        "voyager.html",
        {
            "name": text(outcome.plan["name"]),
            "answer": text(answer(outcome)),
            "moved": text(moved_told(outcome)) if outcome.moved else "",
            "counted": [text(line) for line in counted(outcome)],
            "disagreement": text(disagreement_told(outcome)) if outcome.disagreement.asked else "",
            "arms": _numbers(outcome.arms, number),
            "differences": _forest("Items of the first less those of", outcome.arms, share=False),
            "moved_arms": _numbers(outcome.moved, shares),
            "moved_differences": _forest("Goals reached with the first less those with", outcome.moved, share=True),
            "figures": list(_figures(outcome)),
            "tier_heads": [f"tier {tier}" for tier in outcome.tiers],
            "tiers": [(each.lived.name, tier_cells(outcome, each)) for each in outcome.lives()],
            "tier_means": [(text(ARMS[arm]), tier_means(outcome, arm)) for arm in outcome.of],
            "tree": _tree(outcome),
            "lives": [_shown(each) for each in outcome.told],
            "question": text(outcome.lines[0].request.messages[-1].content) if outcome.lines else "",
            "about": list(_about(outcome.plan["tables"])),
            "head": read_chain(folder).head,
        },
    )


def _numbers(arms: Sequence[Arms], told: Any) -> Rows:
    return [(text(ARMS[arm.arm]), [told(arm)]) for arm in arms]


def _forest(title: str, arms: Sequence[Arms], *, share: bool) -> Forest | None:
    found = [
        Difference(
            name=text(ARMS[arm.arm]),
            tint=TINTS[1],
            interval=arm.difference,
            single=(_points if share else _items)(arm.difference.point),
            claim=claim(arm, share=share),
        )
        for arm in arms
        if arm.difference is not None
    ]
    return forest(title, found, _points if share else _items)


def _points(value: float, digits: int = 3) -> str:
    return f"{100 * value:+.0f} points"


def _items(value: float, digits: int = 3) -> str:
    return f"{value:+.1f}"


def _figures(outcome: Outcome) -> Iterator[Figure]:
    """Different items over prompts: the mean of each arm's lives."""
    lines = []
    for place, arm in enumerate(outcome.of):
        rows = [each.unique(outcome.prompts) for each in outcome.lives(arm)]
        means = np.mean(rows, axis=0).tolist()
        x = [float(at) for at in range(1, outcome.prompts + 1)]
        lines.append(Line(name=text(ARMS[arm]), tint=TINTS[place % len(TINTS)], x=x, y=means, dash=place))
    svg = line_chart("Different items over prompts", lines, y_number=plain, x_name="prompt")
    yield Figure(title="Different items over prompts", name="items", now="", svg=svg, legend=legend(lines))


def _tree(outcome: Outcome) -> Rows:
    """Of each tier its items, and in how many lives each was had."""
    lives = outcome.lives()
    rows = []
    for tier in outcome.tiers:
        names = [item for item, at in outcome.plan["items"].items() if at == tier]
        had = {item: sum(item in each.first_seen for each in lives) for item in names}
        told = ", ".join(f"{text(item)} {count}/{len(lives)}" for item, count in had.items() if count)
        missing = ", ".join(text(item) for item, count in had.items() if not count)
        rows.append((f"tier {tier}", [told, missing]))
    return rows


def _shown(told: Told) -> Shown:
    goals = tuple(
        (
            text(goal[0].goal.told),
            goal[-1].reached,
            tuple((text(state_told(one)), one.source or one.reply) for one in goal),
        )
        for goal in told.goals[:LISTED]
    )
    return Shown(
        name=told.lived.name,
        skills=tuple(_branch(told, place) for place in range(min(len(told.skills), LISTED))),
        goals=goals,
        more=max(0, len(told.goals) - LISTED),
    )


def _branch(told: Told, place: int) -> Branch:
    skill = told.skills[place]
    return Branch(
        label=text(skill.label),
        description=text(skill.description),
        source=skill.source,
        goal=text(skill.goal),
        used=tuple(text(each) for each in used(skill, told)),
        calls=tuple(text(name) for name in skill.called),
    )


def _about(tables: Any) -> Iterator[tuple[str, str]]:
    for table, values in tables.items():
        for name, value in values.items():
            if value not in (None, "", {}, 0, 0.0, []):
                told = ", ".join(map(str, value)) if isinstance(value, list) else value
                yield f"{table}.{name}", text(told)

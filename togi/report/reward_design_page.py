"""The folder of a reward design -> one HTML page: the answer first, then every program with what it did. It trains and
asks nothing."""

from __future__ import annotations

import base64
import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from togi.report.curves import Figure
from togi.report.filled_page import page_of
from togi.report.forest import Difference, Forest, forest
from togi.report.plots import Line, legend, line_chart, number, share
from togi.report.results_table import TINTS
from togi.reward_design.archive import FRAMES, Archive
from togi.reward_design.design import Check
from togi.reward_design.findings import Standing
from togi.reward_design.language.read_recipe import OF_AGENTS
from togi.reward_design.told import (
    HEADS,
    Outcome,
    answer,
    candidate_rows,
    claim,
    counted,
    interval,
    read_outcome,
    share as percent,
    state_told,
)
from togi.run_folder.files import write_text
from togi.run_folder.integrity import named_files, read_chain, refuse_any_change
from togi.short_values import text
from togi.statistics import Interval

PARTS = len(TINTS)
COMPARED = 500  # lines of a program


@dataclass(frozen=True, kw_only=True)
class Changed:
    """A line of a program beside its parent's: ``kind`` says whether it is new, gone or the same."""

    kind: str
    line: str


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A candidate as the page shows it. ``changed`` is empty where it has no parent."""

    name: str
    fitness: str
    state: str
    hacked: bool
    parent: str
    parent_program: str
    program: str
    changed: tuple[Changed, ...]
    figures: tuple[Figure, ...]


def write_design_report(folder: Path) -> Path:
    """Write ``folder/report.html`` and give its path. Raises FolderError for a folder that holds no
    design, and for one that was changed."""
    refuse_any_change(folder, read_chain(folder))
    path = folder / "report.html"
    write_text(path, page(read_outcome(Archive(folder)), folder))
    return path


def page(outcome: Outcome, folder: Path) -> str:
    """The design as text."""
    tables = outcome.plan["tables"]
    assert isinstance(tables, dict)
    return page_of(
        "reward_design.html",
        {
            "name": text(outcome.name),
            "task": text(tables["design"]["task"]),
            "answer": text(answer(outcome)),
            "tone": _tone(outcome),
            "counted": [text(line) for line in counted(outcome)],
            "arms": [
                (
                    text(outcome.words.named(arm.kind)),
                    [text(arm.candidate), f"{percent(arm.fitness.point)}{interval(arm)}"],
                )
                for arm in outcome.arms
            ],
            "differences": _differences(outcome),
            "heads": HEADS,
            "generations": list(_generations(outcome)),
            "programs": [
                shown(each, outcome.found) for each in outcome.of("written", "independent", "random", "human")
            ],
            "frames": frames(folder),
            "words": outcome.words,
            "attacks": list(attacks(outcome)),
            "about": list(_about(outcome.plan, tables)),
            "question": text(outcome.lines[0].request.messages[-1].content) if outcome.lines else "",
            "head": read_chain(folder).head,
        },
        pictures=True,
    )


def _tone(outcome: Outcome) -> str:
    if outcome.best is None or not outcome.arms:
        return ""
    own = next((arm for arm in outcome.arms if arm.kind == "own"), None)
    return "good" if own is not None and own.p <= 0.05 and own.difference and own.difference.point > 0 else ""


def _differences(outcome: Outcome) -> Forest | None:
    found = [
        Difference(
            name=text(outcome.words.named(arm.kind)),
            tint=TINTS[1],
            interval=_within(arm.difference),
            single=points(arm.difference.point),
            claim=claim(arm),
        )
        for arm in outcome.arms
        if arm.difference is not None
    ]
    return forest("Fitness with the written reward less that with", found, points)


def points(value: float, digits: int = 3) -> str:
    return f"{100 * value:+.0f} points"


def _within(one: Interval) -> Interval:
    """Cut off where no difference of two fitnesses can be."""
    if math.isnan(one.low):
        return one
    return Interval(point=one.point, low=max(-1.0, one.low), high=min(1.0, one.high), level=one.level)


def _generations(outcome: Outcome) -> Iterator[tuple[str, list[tuple[str, list[str]]]]]:
    written = outcome.of("written")
    for generation in sorted({each.candidate.generation for each in written}):
        rows = candidate_rows([each for each in written if each.candidate.generation == generation])
        yield f"Generation {generation}", _plain(rows)
    for kind, title in (("independent", "Without reflection"), ("random", "Random programs")):
        if rows := candidate_rows([each for each in outcome.found.values() if each.candidate.kind == kind]):
            yield title, _plain(rows)


def _plain(rows: Sequence[tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
    return [(text(name), [text(cell) if cell else "" for cell in cells]) for name, cells in rows]


def shown(each: Standing, found: Mapping[str, Standing]) -> Shown:
    """One candidate, with what changed since its parent."""
    parent = found.get(each.candidate.parent)
    program, before = each.candidate.program or "", (parent.candidate.program or "") if parent else ""
    return Shown(
        name=text(each.candidate.name),
        fitness="" if each.fitness is None else percent(each.fitness),
        state=text(state_told(each)) if state_told(each) else "",
        hacked=each.hacked,
        parent=text(each.candidate.parent) if parent else "",
        parent_program=before,
        program=program,
        changed=tuple(changed(before, program)) if parent else (),
        figures=tuple(figures(each)),
    )


def changed(before: str, after: str) -> Iterator[Changed]:
    """The lines of a program, with those that its parent had and it has not. Of long programs all lines are new: what
    a model writes must not decide how long they are compared."""
    old, new = before.splitlines(), after.splitlines()
    old = old if max(len(old), len(new)) <= COMPARED else []
    for what, start, end, first, last in difflib.SequenceMatcher(None, old, new).get_opcodes():
        if what != "equal":
            yield from (Changed(kind="gone", line=line) for line in old[start:end])
        yield from (Changed(kind="same" if what == "equal" else "new", line=line) for line in new[first:last])


def attacks(outcome: Outcome) -> Iterator[tuple[str, list[str]]]:
    """What the red team found of each program that it attacked, and what came of it."""
    for each in outcome.of("written", "independent", "random"):
        if each.candidate.attack and not each.candidate.same:
            became = "not trained with" if each.candidate.fault else "hacked" if each.hacked else "trained with"
            yield text(each.candidate.name), [text(each.candidate.attack), became]


def figures(each: Standing) -> Iterator[Figure]:
    """The fitness of each agent, and the reward with its parts, over steps of training."""
    if len(each.checks) < 2:
        return
    agents = [_line("one of them", "s2 raw", agent.checks, _fitness(agent.checks)) for agent in each.sound]
    mean = _line("fitness", "s2", each.checks, _fitness(each.checks))
    svg = line_chart("Fitness", [*agents, mean], y_number=share, y_span=(0.0, 1.0))
    yield Figure(title="Fitness", name="fitness", now="", svg=svg)
    lines = [_line("reward", TINTS[0], each.checks, [check.proxy for check in each.checks])]
    for dash, name in enumerate(sorted({name for check in each.checks for name in check.parts})[: PARTS - 1], start=1):
        values = [check.parts.get(name, 0.0) for check in each.checks]
        lines.append(_line(name, TINTS[dash], each.checks, values, dash))
    svg = line_chart("Reward", lines, y_number=number)
    yield Figure(title="What is paid", name="reward", now="", svg=svg, legend=legend(lines))


def _fitness(checks: Sequence[Check]) -> list[float]:
    return [float(np.mean(check.fitness)) for check in checks]


def _line(name: str, tint: str, checks: Sequence[Check], values: Sequence[float], dash: int = 0) -> Line:
    return Line(name=text(name), tint=tint, x=[float(check.steps) for check in checks], y=values, dash=dash)


def frames(folder: Path) -> list[tuple[str, Markup]]:
    """Pictures of the trained agent, each with the step it was taken at."""
    return [
        (
            f"step {int(path.stem)}",
            Markup('<img alt="" src="data:image/png;base64,{}">').format(base64.b64encode(path.read_bytes()).decode()),
        )
        for path in named_files(folder, f"{FRAMES}/*.png")
        if path.stem.isdecimal()
    ]


def _about(plan: Mapping[str, object], tables: Mapping[str, Mapping[str, object]]) -> Iterator[tuple[str, str]]:
    about = plan["about"]
    assert isinstance(about, dict)
    yield from ((name, text(said)) for name, said in about.items())
    of_agents = "Environment" in about
    for table in ("search", "train", "attack", "final", "writer"):
        useless = OF_AGENTS.get(table, set()) if not of_agents else set(tables[table]) if table == "attack" else set()
        for name, value in tables[table].items():
            if name not in useless and value not in (None, "", {}, 0, 0.0, []):
                yield f"{table}.{name}", text(value)

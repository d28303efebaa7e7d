"""The folder of SayCan -> one HTML page: the answer first, then how far chances can be trusted, then every choice of
one seed with what words and chances said. It plays and asks nothing."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from togi.agents.saycan.archive import Archive
from togi.agents.saycan.arms import shares, worth
from togi.agents.saycan.chances import Chances, Reliability
from togi.agents.saycan.episodes import Decision, Episode
from togi.agents.saycan.findings import Outcome, Standing, answer, claim, counted, read_outcome, share, told
from togi.agents.saycan.world import DONE
from togi.report.curves import Figure
from togi.report.filled_page import page_of
from togi.report.forest import Difference, Forest, forest
from togi.report.plots import Line, legend, line_chart, share as percent
from togi.report.results_table import TINTS
from togi.run_folder.files import write_text
from togi.run_folder.integrity import read_chain, refuse_any_change
from togi.short_values import text
from togi.statistics import Interval

MOST = 6
"""Skills that are shown of a choice: the chosen one, and those that stand highest."""
HEADS = ("carried out", "plan right", "could not be done", "could and failed", "plans ended")
CHOICE = ("words", "chance", "product", "")
Rows = list[tuple[str, list[str]]]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One choice: which it was, what came of it, and its table."""

    title: str
    rows: Rows


@dataclass(frozen=True, kw_only=True)
class Asked:
    """An instruction: its plans by arm, and the choices of the first arm that asks the model."""

    text: str
    family: str
    solved: bool
    plans: Rows
    steps: tuple[Step, ...]


def write_saycan_report(folder: Path) -> Path:
    """Write ``folder/report.html`` and give its path. Raises FolderError for another folder, and for one
    that was changed."""
    refuse_any_change(folder, read_chain(folder))
    path = folder / "report.html"
    write_text(path, page(read_outcome(Archive(folder)), folder))
    return path


def page(outcome: Outcome, folder: Path) -> str:
    """The whole as text."""
    tables = outcome.plan["tables"]
    return page_of(
        "saycan.html",
        {
            "name": text(outcome.name),
            "model": text(tables["saycan"]["model"]),
            "answer": text(answer(outcome), 1000),
            "tone": "good" if _best(outcome) else "",
            "counted": [text(line) for line in counted(outcome)],
            "differences": _differences(outcome.standings),
            "heads": HEADS,
            "arms": [(told(each.arm), _cells(each)) for each in outcome.standings],
            "families": _families(outcome.standings),
            "arm_names": [told(each.arm) for each in outcome.standings],
            "figures": _reliability_figures(outcome.chances),
            "trust": list(_trust(outcome.chances)),
            "choice": CHOICE,
            "asked": list(_asked(outcome)),
            "frames": frames(outcome, folder),
            "about": list(_about(tables)),
            "prompt": outcome.plan["prompt"],
            "head": read_chain(folder).head,
        },
        pictures=True,
    )


def frames(outcome: Outcome, folder: Path) -> tuple[str, list[tuple[str, Markup]]] | None:
    """An instruction, and what the world looked like before and after each of its skills."""
    found = Archive(folder).frames()
    if found is None:
        return None
    instruction, pictures = found
    decisions = next(iter(outcome.episodes.values()))[0][instruction].decisions if outcome.episodes else ()
    names = [*outcome.plan["skills"], DONE]
    captions = ["at the beginning", *(f"{names[each.chosen]}{_mark(each)}" for each in decisions)]
    shown = [
        (text(caption), Markup('<img alt="" src="data:image/png;base64,{}">').format(b64encode(picture).decode()))
        for caption, picture in zip(captions, pictures, strict=False)
    ]
    return text(outcome.plan["instructions"][instruction]["text"]), shown


def _best(outcome: Outcome) -> bool:
    """Whether the first arm surely carries out more than words alone and than chances alone."""
    others = {each.arm: each for each in outcome.standings[1:]}
    alone = [others[arm] for arm in ("llm", "affordance") if arm in others]
    return len(alone) == 2 and all(one.p <= 0.05 and one.difference and one.difference.point > 0 for one in alone)


def _differences(standings: Sequence[Standing]) -> Forest | None:
    found = [
        Difference(
            name=told(each.arm),
            tint=TINTS[1],
            interval=_within(each.difference),
            single=f"{100 * each.difference.point:+.0f} points",
            claim=claim(each),
        )
        for each in standings
        if each.difference is not None
    ]
    first = told(standings[0].arm) if standings else ""
    return forest(f"Carried out: {first}, less", found, lambda value, digits=3: f"{100 * value:+.0f} points")


def _within(one: Interval) -> Interval:
    """Cut off where no difference of two shares can be."""
    low, high = (max(-1.0, min(1.0, bound)) for bound in (one.low, one.high))
    return Interval(point=one.point, low=low, high=high, level=one.level)


def _cells(each: Standing) -> list[str]:
    return [
        share(each.solved),
        share(each.planned),
        f"{each.impossible} of {each.chosen}",
        str(each.failed),
        f"{each.ended} of {each.episodes}",
    ]


def _families(standings: Sequence[Standing]) -> Rows:
    names = list(standings[0].by_family) if standings else []
    return [(text(name), [f"{100 * each.by_family[name][1]:.0f}%" for each in standings]) for name in names]


def _reliability_figures(chances: Sequence[Chances]) -> list[Figure]:
    if not chances:
        return []
    return [
        _figure("As trained", "raw", [each.raw for each in chances]),
        _figure("Fitted", "fitted", [each.fitted for each in chances]),
    ]


def _figure(title: str, name: str, seeds: Sequence[Reliability]) -> Figure:
    lines = [
        Line(
            name=f"seed {number}",
            tint=TINTS[1 + number % (len(TINTS) - 1)],
            x=[each.said for each in seed.bins],
            y=[each.seen for each in seed.bins],
        )
        for number, seed in enumerate(seeds)
    ]
    lines.append(Line(name="as said", tint=TINTS[0], x=[0.0, 1.0], y=[0.0, 1.0], dash=1))
    ticks = [(value, percent(value)) for value in (0.0, 0.5, 1.0)]
    svg = line_chart(title, lines, y_number=percent, y_span=(0.0, 1.0), x_ticks=ticks)
    return Figure(
        title=f"{title}: succeeded, over the chance that was said", name=name, now="", svg=svg, legend=legend(lines)
    )


def _trust(chances: Sequence[Chances]) -> Iterator[tuple[str, list[str]]]:
    for number, each in enumerate(chances):
        yield (
            f"seed {number}",
            [
                f"{each.base:.3f}",
                f"{each.raw.brier:.3f}",
                f"{each.fitted.brier:.3f}",
                f"{each.raw.error:.3f}",
                f"{each.fitted.error:.3f}",
            ],
        )


def _asked(outcome: Outcome) -> Iterator[Asked]:
    """Every instruction, as it was played with the first seed."""
    names = [*outcome.plan["skills"], DONE]
    played = {arm: seeds[0] for arm, seeds in outcome.episodes.items()}
    lead = next((arm for arm in played if arm != "affordance" and arm != "generated"), None)
    for number, instruction in enumerate(outcome.plan["instructions"]):
        shown = played[lead][number].decisions if lead else ()
        first = next(iter(played.values()), None)
        yield Asked(
            text=text(instruction["text"]),
            family=text(instruction["family"]),
            solved=first is not None and first[number].solved,
            plans=[(told(arm), _plan(episodes[number], names)) for arm, episodes in played.items()],
            steps=tuple(_steps(shown, names)),
        )


def _plan(episode: Episode, names: Sequence[str]) -> list[str]:
    steps = [f"{names[each.chosen]}{_mark(each)}" for each in episode.decisions]
    state = "carried out" if episode.solved else "plan right, not carried out" if episode.planned else "no"
    return [text("; ".join(steps), 600), state]


def _mark(each: Decision) -> str:
    if not each.possible[each.chosen]:
        return " [cannot be done]"
    return "" if each.succeeded else " [failed]"


def _steps(decisions: Sequence[Decision], names: Sequence[str]) -> Iterator[Step]:
    for number, each in enumerate(decisions, start=1):
        both = worth("product", each.words, each.chances, each.possible)
        words, product = shares(each.words), shares(both)
        order = [each.chosen, *(int(at) for at in np.argsort(-both) if at != each.chosen)][:MOST]
        rows = [
            (
                text(names[at]),
                [
                    f"{100 * words[at]:.1f}%",
                    f"{100 * each.chances[at]:.1f}%",
                    f"{100 * product[at]:.1f}%",
                    "chosen" if at == each.chosen else "",
                ],
            )
            for at in order
        ]
        yield Step(title=text(f"{number}. {names[each.chosen]}{_mark(each)}"), rows=rows)


def _about(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for table in ("saycan", "skills"):
        for name, value in tables[table].items():
            if value is not None and name != "prompt":
                yield f"{table}.{name}", text(", ".join(value) if isinstance(value, list) else value)

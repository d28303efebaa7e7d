"""What came of an experiment, read from its folder alone: scores by arm, seed and task, costs, failures, and the
claims.

It trains nothing and shows nothing. A cell that failed, or was changed since, has no scores: it is told, and what it
could have been is bounded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from togi.evidence.experiment.claim_sentences import Scale
from togi.evidence.experiment.main_effects import main_effects
from togi.evidence.experiment.verdict import ArmVerdict, Verdict, verdict
from togi.evidence.read_run import RunData, read_run
from togi.experiment.design import Varied
from togi.experiment.grid import settings
from togi.experiment.held_out_numbers import Measured, Reading, Tallies, measured, tallies_of
from togi.experiment.job_cost import JobCost, job_cost, together
from togi.experiment.jobs import CELLS, SHARED, TRIALS, cell_name, other_name
from togi.experiment.ledger import NUMBERS, Ended, endings, fault_of, read_plan
from togi.experiment.sweep.sweep_design import SEARCHED, Trial
from togi.experiment.sweep.trials import Chosen, chose_nothing, chosen_in, trials_in, with_choice
from togi.run import BASE
from togi.run_folder.integrity import Chain, check, read_chain
from togi.run_folder.links import EVENTS
from togi.statistics.intervals import Array

State = Literal["done", "failed", "stopped", "begun", "not run", "changed"]
Decision = Literal["go", "stop", "not decided"]
SHARES = (0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """An arm with a seed: its number at each held-out task, None where it has none, and ``why`` not; and how many of
    its scored attempts there were right. ``measured`` says how the numbers came about, where it is a run. ``start`` is
    the model that its last stage began with, as far as measured. ``base`` are the numbers of the untrained model,
    ``base_tokens`` what a task cost it, ``cost`` what the cell cost beside what it shares."""

    arm: str
    seed: int
    state: State
    why: str = ""
    numbers: Mapping[str, float] | None = None
    tallies: Tallies = field(default_factory=dict)
    start: str = BASE
    start_tallies: Tallies = field(default_factory=dict)
    base: Mapping[str, float] | None = None
    base_tokens: float | None = None
    cost: JobCost = field(default_factory=JobCost)
    measured: Measured | None = None
    data: RunData | None = None

    @property
    def place(self) -> str:
        return cell_name(self.arm, self.seed)


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """A beginning that several cells share: its run, its cost, and how many jobs took it over."""

    place: str
    takers: int
    cost: JobCost


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """An arm with a seed, or the untrained model, measured on ``other`` held-out tasks: the mean score of each, None
    where it has none, and what that cost."""

    other: str
    arm: str
    seed: int
    numbers: Mapping[str, float] | None
    cost: JobCost

    @property
    def place(self) -> str:
        return other_name(self.other, self.arm, self.seed)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """``scores`` are tables [seeds, tasks] by arm, "base" among them where the untrained model was measured; ``found``
    is None where they carry no claim, and ``unclaimed`` says why. ``effects`` are of what a grid varies. Of a sweep:
    its trials, what was chosen, and what ``searching`` cost."""

    folder: Path
    plan: Mapping[str, Any]
    chain: Chain
    cells: tuple[Cell, ...]
    beginnings: tuple[Beginning, ...]
    elsewhere: tuple[Elsewhere, ...]
    ended: Mapping[str, Ended]
    scores: Mapping[str, Array]
    found: Verdict | None
    effects: tuple[ArmVerdict, ...] = ()
    unclaimed: str = ""
    trials: tuple[Trial, ...] = ()
    chosen: Chosen | None = None
    searching: JobCost = field(default_factory=JobCost)

    def of_arm(self, arm: str) -> list[Cell]:
        return [cell for cell in self.cells if cell.arm == arm]

    @property
    def missing(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.numbers is None]

    @property
    def changes(self) -> list[str]:
        """What was decided otherwise on the way."""
        told = [event.get("changes", []) for event in self.chain.events if event.get("event") == "changed"]
        return [str(change) for changes in told for change in changes]

    @property
    def spent_budget(self) -> str:
        """What of the budget was spent before all was run; empty where nothing was."""
        kinds = [event for event in self.chain.events if event.get("event") in ("budget_spent", "finished")]
        return str(kinds[-1].get("why", "")) if kinds else ""

    @property
    def answers(self) -> list[ArmVerdict]:
        """What is decided: on what a grid varies, not on each of its arms, and on every other arm."""
        if self.found is None:
            return []
        arms = self.plan["arms"]
        return [*self.effects, *(one for one in self.found.arms if not arms[one.compared.arm].get("levels"))]

    def decision(self, one: ArmVerdict) -> Decision:
        """What the rule, decided beforehand, makes of a claim."""
        claim = one.compared.claim
        if self.plan["rule"] == "no worse":
            good = claim in ("better", "equivalent") or one.compared.not_worse
            return "go" if good else "stop" if claim == "worse" else "not decided"
        if claim == "better":
            return "not decided" if one.evidence == "none" else "go"
        return "stop" if claim in ("worse", "equivalent") else "not decided"


def read_outcome(folder: Path) -> Outcome:
    """Read an experiment's folder, finished or not. Raises ExperimentError where it holds none."""
    chain = read_chain(folder)
    ended, chosen = endings(chain), chosen_in(chain)
    plan = with_choice(read_plan(folder), SEARCHED, chosen)
    cells = tuple(_cells(folder, plan, ended))
    scores = dict(_tables(plan, cells))
    found, why = _claims(plan, scores)
    if found is None and (searched := chose_nothing(chain) if chosen is None else chosen.nothing_better):
        why = searched
    return Outcome(
        folder=folder,
        plan=plan,
        chain=chain,
        cells=cells,
        beginnings=tuple(_beginnings(folder, ended)),
        elsewhere=tuple(_elsewhere(folder, plan, ended)),
        ended=ended,
        scores=scores,
        found=found,
        effects=_effects(plan, scores),
        unclaimed=why,
        trials=tuple(trials_in(chain)),
        chosen=chosen,
        searching=together(_cost(folder, f"{TRIALS}/{path.name}", ended) for path in (folder / TRIALS).glob("*")),
    )


def _cells(folder: Path, plan: Mapping[str, Any], ended: Mapping[str, Ended]) -> list[Cell]:
    """All cells in the order of the plan. What chooses among attempts is read last: the arms say how many there may
    be."""
    reading = Reading(folder=folder, measure=plan["measure"])
    read: dict[str, list[Cell]] = {}
    for arm, table in sorted(plan["arms"].items(), key=lambda item: item[1]["taken"] != "every"):
        if table["taken"] != "every" and reading.tokens is None:
            reading.tokens = _most_tokens(plan, read)
        read[arm] = [_cell(folder, arm, table, seed, ended, reading) for seed in plan["seeds"]]
    return [cell for arm in plan["arms"] for cell in read[arm]]


def _most_tokens(plan: Mapping[str, Any], read: Mapping[str, Sequence[Cell]]) -> float | None:
    """What the arms spend on a task, the mean over seeds of the one that spends most; None where none was measured."""
    spent = [
        [cell.measured.tokens for cell in cells if cell.measured is not None]
        for arm, cells in read.items()
        if not plan["arms"][arm]["control"]
    ]
    return max((float(np.mean(each)) for each in spent if each), default=None)


def _cell(
    folder: Path, arm: str, table: Mapping[str, Any], seed: int, ended: Mapping[str, Ended], reading: Reading
) -> Cell:
    job = cell_name(arm, seed)
    place, how = folder / job, ended.get(job)
    if how is None:
        return Cell(arm=arm, seed=seed, state="not run", why="it was not run")
    cost = _cost(folder, job, ended)
    if how.how != "done":
        return Cell(arm=arm, seed=seed, state=how.how, why=how.why or "it has not finished", cost=cost)
    # Its files are hashed once, which takes a while: gigabytes of weights.
    found = check(place) if place.is_dir() and not (place / NUMBERS).exists() else None
    if fault := fault_of(folder, job, how, found):
        return Cell(arm=arm, seed=seed, state="changed", why=f"it was changed after it was done: {fault}", cost=cost)
    if (place / NUMBERS).exists():
        return Cell(
            arm=arm,
            seed=seed,
            state="done",
            numbers=_of_function(place / NUMBERS, reading.measure),
            cost=cost,
        )
    data = read_run(place, found)
    by_model = {record["model"]: record for record in data.evaluations}
    same = table["taken"] != "every" or table.get("stages") != 0  # what is called base there is untrained, and no arm
    base = measured(reading, arm, by_model[BASE], "every") if BASE in by_model and same else None
    last, why = None, "nothing was measured"
    start = data.grown[-1][0] if data.grown else None
    if data.evaluations:
        try:
            last, why = measured(reading, arm, data.evaluations[-1], table["taken"]), ""
        except ValueError as error:
            why = str(error)
    return Cell(
        arm=arm,
        seed=seed,
        state="done",
        why=why,
        numbers=None if last is None else last.numbers,
        tallies=tallies_of(data.evaluations[-1]) if data.evaluations else {},
        start=BASE if start is None else start["model"],
        start_tallies={} if start is None else tallies_of(start),
        base=None if base is None else base.numbers,
        base_tokens=None if base is None else base.tokens,
        cost=cost,
        measured=last,
        data=data,
    )


def _elsewhere(folder: Path, plan: Mapping[str, Any], ended: Mapping[str, Ended]) -> Iterator[Elsewhere]:
    reading = Reading(folder=folder, measure="score")
    for other in plan.get("others", {}):
        for arm in (BASE, *plan["arms"]):
            for seed in plan["seeds"]:
                job = other_name(other, arm, seed)
                if (how := ended.get(job)) is None:
                    continue
                numbers = None
                found = check(folder / job) if how.how == "done" and (folder / job).is_dir() else None
                if found is not None and not fault_of(folder, job, how, found):
                    record = read_run(folder / job, found).evaluations[0]
                    numbers = measured(reading, arm, record, "every").numbers
                yield Elsewhere(other=other, arm=arm, seed=seed, numbers=numbers, cost=job_cost(folder / job, how))


def _cost(folder: Path, job: str, ended: Mapping[str, Ended]) -> JobCost:
    """What a job cost, of a run or of a function."""
    how = ended.get(job)
    if how is None or not (folder / job / NUMBERS).exists():
        return job_cost(folder / job, how)
    return JobCost(seconds={"measure": how.seconds}, machine=how.machine, joules=how.joules, unmetered=how.unmetered)


def _of_function(path: Path, measure: str) -> dict[str, float]:
    value = json.loads(path.read_bytes().decode())[measure]
    values = value if isinstance(value, list) else [value]
    return {str(number): float("nan") if each is None else float(each) for number, each in enumerate(values)}


def _tables(plan: Mapping[str, Any], cells: Sequence[Cell]) -> Iterator[tuple[str, Array]]:
    """A table [seeds, tasks] an arm, nan where there is no score."""
    tasks = list(dict.fromkeys(task for cell in cells for task in (cell.numbers or {})))
    if not tasks:
        return
    seeds = plan["seeds"]
    known = {seed: cell.base for cell in reversed(cells) if cell.base for seed in [cell.seed]}
    if known:
        rows = [_row(known.get(seed), tasks) for seed in seeds]
        measured = [row for row in rows if not np.isnan(row).all()]
        # What is untrained and asked alike is one measurement; it differs by sampling, and where it is made new.
        differ = "sampling" in plan["vary"] or any(not np.array_equal(row, measured[0]) for row in measured)
        yield BASE, np.array(rows if differ else measured[:1])
    for arm in plan["arms"]:
        own = {cell.seed: cell.numbers for cell in cells if cell.arm == arm}
        yield arm, np.array([_row(own[seed], tasks) for seed in seeds])


def _row(numbers: Mapping[str, float] | None, tasks: Sequence[str]) -> Array:
    return np.array([(numbers or {}).get(task, float("nan")) for task in tasks])


def _claims(plan: Mapping[str, Any], scores: Mapping[str, Array]) -> tuple[Verdict | None, str]:
    """What the scores prove, or why nothing can be claimed."""
    against = plan["against"]
    if against not in scores:
        return None, f"{'the untrained model' if against == BASE else against} has no score yet"
    named = [name for name in plan["arms"] if name in scores and np.isfinite(scores[name]).any()]
    lost = [name for name in plan["arms"] if name not in named]
    if not [name for name in named if name != against and not plan["arms"][name]["control"]]:
        return None, "no arm has a score yet"
    controls = [name for name in named if plan["arms"][name]["control"] and name != against]
    tables = {name: scores[name] for name in dict.fromkeys([against, *named])}
    untrained = [BASE] if BASE in tables and len(tables[BASE]) == 1 else []
    try:
        found = verdict(
            tables,
            reference=against,
            margin=plan["smallest_effect"],
            controls=controls,
            untrained=untrained,
            level=plan["level"],
            bounds=SHARES if plan["measure"].startswith("pass@") else None,
        )
    except ValueError as error:
        return None, str(error)
    return found, f"no score of {', '.join(lost)}" if lost else ""


def _effects(plan: Mapping[str, Any], scores: Mapping[str, Array]) -> tuple[ArmVerdict, ...]:
    """What each value of a grid did; nothing where no arm of a grid has a score."""
    levels = {name: arm["levels"] for name, arm in plan["arms"].items() if arm.get("levels")}
    if not levels or not any(np.isfinite(scores[name]).any() for name in levels if name in scores):
        return ()
    return main_effects(
        scores,
        settings([Varied(**each) for each in plan["grid"]], levels),
        margin=plan["smallest_effect"],
        level=plan["level"],
        bounds=SHARES if plan["measure"].startswith("pass@") else None,
    )


def _beginnings(folder: Path, ended: Mapping[str, Ended]) -> Iterator[Beginning]:
    sources = [
        Path(str(event.get("source"))).name
        for path in sorted(path for kind in (CELLS, SHARED, TRIALS) for path in (folder / kind).glob("*"))
        if (path / EVENTS).exists()
        for event in read_chain(path).events
        if event.get("event") == "adopted"
    ]
    for path in sorted((folder / SHARED).glob("*")):
        place = f"{SHARED}/{path.name}"
        yield Beginning(place=place, takers=sources.count(path.name), cost=job_cost(path, ended.get(place)))


def scale_of(outcome: Outcome) -> Scale:
    return Scale(bounds=SHARES if outcome.plan["measure"].startswith("pass@") else None)

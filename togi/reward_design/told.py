"""What a reward design is and what it showed, in sentences and rows. It measures nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from togi.reward_design.archive import REPLIES, Archive
from togi.reward_design.design import Design, Kind
from togi.reward_design.findings import SMALLEST, Arm, Standing, arms, executable, ranked, standings
from togi.reward_design.search import chosen
from togi.transcript import Line, asked_told, read_transcript

NAMES: Mapping[Kind, str] = {
    "written": "written by the model",
    "independent": "best of as many without reflection",
    "random": "best of as many random programs",
    "own": "the environment's own",
    "human": "written by a person",
    "sparse": "the fitness at the end only",
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """All that a folder shows: how each candidate stands, the last comparison, and what was asked of whom."""

    name: str
    plan: Mapping[str, object]
    found: Mapping[str, Standing]
    arms: tuple[Arm, ...]
    lines: tuple[Line, ...]

    @property
    def best(self) -> Standing | None:
        """The best program that was written with reflection."""
        return next(iter(ranked(self.of("written"))), None)

    def of(self, *kinds: Kind) -> list[Standing]:
        return [each for each in self.found.values() if each.candidate.kind in kinds]


def read_outcome(archive: Archive) -> Outcome:
    """What is known so far. Raises FolderError for a folder that holds no design."""
    plan = archive.plan()
    tables = plan["tables"]
    candidates = archive.candidates()
    found = standings(candidates, archive.trained(final=False), int(tables["search"]["seeds"]))
    compared = arms(chosen(found, candidates), archive.trained(final=True), int(tables["final"]["seeds"]))
    lines = tuple(read_transcript(archive.path / REPLIES))
    return Outcome(name=str(plan["name"]), plan=plan, found=found, arms=tuple(compared), lines=lines)


def plan_told(design: Design) -> list[str]:
    """What would be asked and trained, at most."""
    file = design.file
    search, final, total = file.search, file.final, file.search.candidates * file.search.generations
    extra = total - search.candidates if file.compare.independent else 0
    programs = total + extra + (total if file.compare.random else 0)
    arms_ = 1 + file.compare.own + file.compare.sparse + (design.human is not None) + file.compare.random + bool(extra)
    asked = file.writer.recorded or (f"{file.writer.model} at {file.writer.base_url}" if file.writer.base_url else "")
    return [
        f"task: {file.design.task}",
        f"environment: {design.environment} (seen: {design.observation}; done: {design.action})",
        f"{total + extra} questions of {asked or file.writer.model}, of at most {file.writer.max_tokens} tokens each",
        f"at most {programs * search.seeds + arms_ * final.seeds} agents of {file.train.steps} steps "
        f"({file.train.algorithm.upper()}): {programs} programs with {search.seeds} seeds, {arms_} rewards with "
        f"{final.seeds} new seeds",
    ]


def answer(outcome: Outcome) -> str:
    """The result in a sentence or two."""
    if outcome.best is None:
        return "No program that was written could be trained with: nothing can be said of this task."
    if not outcome.arms or outcome.arms[0].kind != "written":
        return "The last comparison is not done yet."
    first, *others = outcome.arms
    said = (
        f"Agents that learn from the best written program ({first.candidate}) solve the task to "
        f"{share(first.fitness.point)}{interval(first)}, with seeds that nothing was chosen by."
    )
    if not first.fitness.point:
        said = f"No written program teaches the task: new agents of the best one ({first.candidate}) never solve it."
    better = [NAMES[each.kind] for each in others if surely(each) and each.difference and each.difference.point > 0]
    worse = [NAMES[each.kind] for each in others if surely(each) and each.difference and each.difference.point < 0]
    open_ = [NAMES[each.kind] for each in others if not surely(each)]
    said += f" That is more than with these rewards: {'; '.join(better)}." if better else ""
    said += f" It is less than with these: {'; '.join(worse)}." if worse else ""
    return said + (f" No difference is shown from: {'; '.join(open_)}." if open_ else "")


def surely(arm: Arm) -> bool:
    return arm.p <= 0.05


def claim(arm: Arm) -> str:
    """What the difference of the first arm from another one says."""
    if arm.difference is None or math.isnan(arm.p):
        return (
            "the same in every episode" if arm.difference and arm.difference.seeds > 1 else "one seed shows no spread"
        )
    if surely(arm):
        return f"the written one is {'better' if arm.difference.point > 0 else 'worse'} (p = {arm.p:.2g})"
    within = arm.difference.p_within <= 0.05
    return f"equal within {SMALLEST:g}" if within else f"no difference shown (p = {arm.p:.2g})"


def share(value: float) -> str:
    return f"{100 * value:.0f}%"


def interval(arm: Arm) -> str:
    low, high = arm.fitness.low, arm.fitness.high
    return "" if math.isnan(low) else f" ({share(low)} to {share(high)})"


def counted(outcome: Outcome) -> list[str]:
    """What was found of all programs, in sentences."""
    written = outcome.of("written", "independent")
    usable, total = executable(written)
    said = [f"{usable} of {total} programs of the model could be used."] if total else []
    hacked = [each.candidate.name for each in outcome.found.values() if each.hacked]
    if hacked:
        said.append(
            f"With {len(hacked)} programs the reward rose in training and the fitness did not: {', '.join(hacked)}. "
            "Agents found something else to be paid for."
        )
    humans = [each.human for each in written if each.human is not None]
    if humans:
        said.append(
            f"Step by step, the model's rewards correlate with the person's by {min(humans):.2f} to {max(humans):.2f}."
        )
    return [*said, *asked_told(outcome.lines)]


def candidate_rows(found: Sequence[Standing]) -> list[tuple[str, list[str]]]:
    """A row a candidate: fitness, reward from first to last check, gap, correlation with the human reward, state."""
    return [
        (
            each.candidate.name,
            [
                "" if each.fitness is None else share(each.fitness),
                _rise(each),
                "" if each.gap is None else f"{each.gap:.2f}",
                "" if each.human is None else f"{each.human:.2f}",
                each.candidate.parent,
                state_told(each),
            ],
        )
        for each in found
    ]


HEADS = ("fitness", "reward, first to last", "gap", "with human", "from", "state")


def state_told(each: Standing) -> str:
    if each.fault:
        return f"{'cannot be used' if each.state == 'unusable' else 'failed in training'}: {each.fault}"
    stopped = f"stopped after {len(each.agents)} of {each.seeds} agents" if each.state == "stopped" else ""
    return ", ".join(filter(None, ("hacked" if each.hacked else "", stopped)))


def _rise(each: Standing) -> str:
    return f"{each.checks[0].proxy:.4g} → {each.checks[-1].proxy:.4g}" if each.checks else ""

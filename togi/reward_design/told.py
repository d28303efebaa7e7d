"""What a reward design is and what it showed, in sentences and rows. It measures nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from togi.reward_design.archive import REPLIES, Archive
from togi.reward_design.design import AgentDesign, Design, Kind, RecipeDesign, Trained
from togi.reward_design.findings import SMALLEST, Arm, Standing, arms, executable, ranked, standings
from togi.reward_design.search import chosen
from togi.reward_design.words import AGENTS, MODELS, Words, words_of
from togi.transcript import Line, asked_told, read_transcript


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """All that a folder shows: how each candidate stands, the last comparison, and what was asked of whom."""

    name: str
    plan: Mapping[str, object]
    found: Mapping[str, Standing]
    arms: tuple[Arm, ...]
    lines: tuple[Line, ...]

    @property
    def words(self) -> Words:
        tables = self.plan["tables"]
        assert isinstance(tables, dict)
        return AGENTS if tables["design"].get("recipe") is None else MODELS

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
    listed, final = chosen(found, candidates), archive.trained(final=True)
    if listed and listed[0][0] == "written" and (before := _before(listed[0][1], final)):
        listed, final = [*listed, ("before", "before")], {**final, **before}
    compared = arms(listed, final, int(tables["final"]["seeds"]))
    lines = tuple(read_transcript(archive.path / REPLIES))
    return Outcome(name=str(plan["name"]), plan=plan, found=found, arms=tuple(compared), lines=lines)


def _before(name: str, final: Mapping[tuple[str, int], Trained]) -> dict[tuple[str, int], Trained]:
    """What the models that learned from a candidate were before, where that was measured."""
    return {
        ("before", seed): replace(each, candidate="before", checks=each.checks[:1])
        for (candidate, seed), each in final.items()
        if candidate == name and len(each.checks) > 1
    }


def plan_told(design: Design) -> list[str]:
    """What would be asked and trained, at most."""
    file, words = design.file, words_of(design)
    search, final, total = file.search, file.final, file.search.candidates * file.search.generations
    extra = total - search.candidates if file.compare.independent else 0
    programs = total + extra + (total if file.compare.random else 0)
    sparse = bool(design.sparse) if isinstance(design, RecipeDesign) else file.compare.sparse
    arms_ = 1 + sum(map(bool, (file.compare.own, sparse, design.human, file.compare.random, extra)))
    asked = file.writer.recorded or (f"{file.writer.model} at {file.writer.base_url}" if file.writer.base_url else "")
    return [
        f"task: {file.design.task}",
        *(f"{name.lower()}: {said}" for name, said in design.about.items()),
        f"{total + extra} questions of {asked or file.writer.model}, of at most {file.writer.max_tokens} tokens each",
        f"at most {programs * search.seeds + arms_ * final.seeds} {words.learner}s are trained{_steps(design)}: "
        f"{programs} programs with {search.seeds} seeds, {arms_} rewards with {final.seeds} new seeds",
    ]


def _steps(design: Design) -> str:
    train = design.file.train
    return f", each {train.steps} steps ({train.algorithm.upper()})" if isinstance(design, AgentDesign) else ""


def answer(outcome: Outcome) -> str:
    """The result in a sentence or two."""
    if outcome.best is None:
        return "No program that was written could be trained with: nothing can be said of this task."
    if not outcome.arms or outcome.arms[0].kind != "written":
        return "The last comparison is not done yet."
    first, *others = outcome.arms
    words = outcome.words
    said = (
        f"{words.learner.capitalize()}s that learn from the best written program ({first.candidate}) solve the task to "
        f"{share(first.fitness.point)}{interval(first)}, with seeds that nothing was chosen by."
    )
    if not first.fitness.point:
        said = (
            f"No written program teaches the task: new {words.learner}s of the best one ({first.candidate}) never "
            "solve it."
        )
    clear = [(words.named(each.kind), each.difference.point) for each in others if surely(each) and each.difference]
    better, worse = [name for name, point in clear if point > 0], [name for name, point in clear if point < 0]
    open_ = [words.named(each.kind) for each in others if not surely(each)]
    said += f" That is more than with these rewards: {'; '.join(better)}." if better else ""
    said += f" It is less than with these: {'; '.join(worse)}." if worse else ""
    return said + (f" No difference is shown from: {'; '.join(open_)}." if open_ else "")


def surely(arm: Arm) -> bool:
    return arm.p <= 0.05


def claim(arm: Arm) -> str:
    """What the difference of the first arm from another one says."""
    if arm.difference is None or math.isnan(arm.p):
        return "the same everywhere" if arm.difference and arm.difference.seeds > 1 else "one seed shows no spread"
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
    refused = [each for each in written if each.candidate.fault and each.candidate.attack]
    if refused:
        said.append(f"The red team refused {len(refused)} of them before anything was trained.")
    twice = [each.candidate.name for each in written if each.candidate.same]
    if twice:
        said.append(f"{len(twice)} had been written before, and are not trained with again: {', '.join(twice)}.")
    hacked = [each.candidate.name for each in outcome.found.values() if each.hacked]
    if hacked:
        said.append(
            f"With {len(hacked)} programs the reward rose in training and the fitness did not: {', '.join(hacked)}. "
            f"{outcome.words.learner.capitalize()}s found something else to be paid for."
        )
    humans = [each.human for each in written if each.human is not None]
    if humans:
        said.append(
            f"{outcome.words.human}, the writer's rewards correlate with the person's by {min(humans):.2f} to "
            f"{max(humans):.2f}."
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
    if each.candidate.same:
        return f"the same program as {each.candidate.same}"
    if each.fault:
        return f"{'cannot be used' if each.state == 'unusable' else 'failed in training'}: {each.fault}"
    stopped = f"stopped after {len(each.agents)} of {each.seeds}" if each.state == "stopped" else ""
    attack = f"red team: {each.candidate.attack}" if each.candidate.attack else ""
    return ", ".join(filter(None, ("hacked" if each.hacked else "", stopped, attack)))


def _rise(each: Standing) -> str:
    return f"{each.checks[0].proxy:.4g} → {each.checks[-1].proxy:.4g}" if each.checks else ""

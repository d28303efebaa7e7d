"""Runs a reward design in its folder: the command's work. It decides nothing of the search."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from togi.reward_design.archive import CARD, FRAMES, REPLIES, REWARD, Archive
from togi.reward_design.design import AgentDesign, Design, RecipeDesign
from togi.reward_design.findings import Arm
from togi.reward_design.search import COMMENTS, Search
from togi.reward_design.seeds import SEEDS
from togi.reward_design.subject import Subject
from togi.reward_design.told import (
    HEADS,
    Outcome,
    answer,
    candidate_rows,
    claim,
    counted,
    interval,
    read_outcome,
    share,
)
from togi.run_folder.files import RunFolder
from togi.sandbox.box import AnyTier
from togi.transcript import Transcript
from togi.writer import find_writer

Tell = Callable[[str], None]


def run_design(
    design: Design, folder: Path, *, tell: Tell = print, one_generation: bool = False, tier: AnyTier = "auto"
) -> Outcome:
    """Do what is left of a design, and give what it shows. Raises ValueError."""
    with RunFolder(folder) as held:
        archive = Archive(folder, held)
        archive.decide(design)
        model, open_writer = find_writer(design.file.writer, design.recorded, folder / REPLIES)
        subject = subject_of(design, archive, tier)
        search = Search(design, archive, subject, Transcript(folder / REPLIES, open_writer, model=model), tell)
        done = search.run(one_generation=one_generation)
        outcome = read_outcome(archive)
        if done and outcome.best is not None:
            archive.add_text(REWARD, reward_file(outcome), "exported")
            archive.add_text(CARD, card(outcome), "exported")
            best = outcome.best.candidate.original
            if not (folder / FRAMES).exists() and (why := subject.keep_pictures(archive, best)):
                tell(f"no pictures: {why}")
        if not done:
            tell(f"Stopped after a generation. Write what you think to {folder / COMMENTS}; the same command goes on")
        return outcome


def subject_of(design: Design, archive: Archive, tier: AnyTier) -> Subject:
    """What the design trains. The libraries of the one are not imported for the other."""
    if isinstance(design, RecipeDesign):
        from togi.reward_design.language.by_recipe import ByRecipe

        return ByRecipe(design, archive, tier)
    from togi.reward_design.training.in_environment import InEnvironment

    assert isinstance(design, AgentDesign)
    return InEnvironment(design, tier)


def reward_file(outcome: Outcome) -> str:
    """The best program as a Python file of its own."""
    best = outcome.best
    assert best is not None
    assert best.candidate.program is not None
    lines = [f"A reward for: {_task(outcome)}", "", answer(outcome), "", f"Its card is {CARD}, beside this file."]
    quoted = "\n".join(f"# {line}".rstrip() for line in "\n".join(lines).splitlines())
    return f"{quoted}\n\n{best.candidate.program}"


def card(outcome: Outcome) -> str:
    """What is known of the best program, as Markdown."""
    best = outcome.best
    assert best is not None
    numbers = [
        f"| {outcome.words.named(arm.kind)} | {share(arm.fitness.point)}{interval(arm)} | {claimed(arm)} |"
        for arm in outcome.arms
    ]
    (row,) = (cells for _, cells in candidate_rows([best]))
    about = [f"- {head}: {cell}" for head, cell in zip(HEADS, row, strict=True) if cell]
    return "\n".join(
        [
            f"# The reward of {outcome.name}",
            "",
            f"Task: {_task(outcome)}",
            "",
            answer(outcome),
            "",
            f"| reward | fitness of new {outcome.words.learner}s | the written one against it |",
            "|---|---|---|",
            *numbers,
            "",
            f"The program is candidate {best.candidate.name}, of generation {best.candidate.generation}.",
            "",
            *about,
            "",
            *(f"{line}\n" for line in counted(outcome)),
            "The fitness is measured outside of the training; no program sees it. The program was chosen by the "
            f"fitness of other {outcome.words.learner}s than those above. {_seeds(outcome)} {outcome.words.warning}",
            "",
        ]
    )


def claimed(arm: Arm) -> str:
    return claim(arm) if arm.difference else ""


def _seeds(outcome: Outcome) -> str:
    """Which seeds were chosen by: whoever sets the training by hand on the same ones has seen them before."""
    tables = outcome.plan["tables"]
    assert isinstance(tables, dict)
    search, final = tables["search"], tables["final"]
    return (
        f"Programs were chosen with {search['seeds']} seeds, numbers {search['seed'] * SEEDS} and the next; the "
        f"comparison has {final['seeds']} others."
    )


def _task(outcome: Outcome) -> str:
    tables = outcome.plan["tables"]
    assert isinstance(tables, dict)
    return re.sub(r"\s+", " ", str(tables["design"]["task"]))

"""Runs a reward design in its folder: the command's work. It decides nothing of the search."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from togi.reward_design.archive import CARD, FRAMES, REPLIES, REWARD, Archive
from togi.reward_design.design import Design
from togi.reward_design.search import COMMENTS, Search
from togi.reward_design.told import (
    HEADS,
    NAMES,
    Outcome,
    answer,
    candidate_rows,
    claim,
    counted,
    interval,
    read_outcome,
    share,
)
from togi.reward_design.training.frames import keep_frames
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
        search = Search(design, archive, Transcript(folder / REPLIES, open_writer, model=model), tell, tier)
        done = search.run(one_generation=one_generation)
        outcome = read_outcome(archive)
        if done and outcome.best is not None:
            archive.add_text(REWARD, reward_file(outcome), "exported")
            archive.add_text(CARD, card(outcome), "exported")
            if not (folder / FRAMES).exists() and (why := keep_frames(design, archive, outcome.best.candidate.name, 0)):
                tell(f"no pictures: {why}")
        if not done:
            tell(f"Stopped after a generation. Write what you think to {folder / COMMENTS}; the same command goes on")
        return outcome


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
        f"| {NAMES[arm.kind]} | {share(arm.fitness.point)}{interval(arm)} | {claim(arm) if arm.difference else ''} |"
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
            "| reward | fitness of new agents | the written one against it |",
            "|---|---|---|",
            *numbers,
            "",
            f"The program is candidate {best.candidate.name}, of generation {best.candidate.generation}.",
            "",
            *about,
            "",
            *(f"{line}\n" for line in counted(outcome)),
            "The fitness is measured outside of the training, by playing the agents; no program sees it. The program "
            "was chosen by the fitness of other agents than those above. Use it only for what resembles this "
            "environment, and look at what the agent does.",
            "",
        ]
    )


def _task(outcome: Outcome) -> str:
    tables = outcome.plan["tables"]
    assert isinstance(tables, dict)
    return re.sub(r"\s+", " ", str(tables["design"]["task"]))

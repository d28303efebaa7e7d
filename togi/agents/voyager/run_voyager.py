"""Runs a Voyager in its folder: the command's work. All lives are lived side by side, so that a model is asked for all
of them at once; what was tried already is not asked again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from togi.agents.voyager.archive import REPLIES, TASKS, Archive, lives, plan_of
from togi.agents.voyager.asked import skill_question
from togi.agents.voyager.attempt import Attempt, Lived
from togi.agents.voyager.findings import Outcome, read_outcome
from togi.agents.voyager.library import Embed, Library, Skill, meanings
from togi.agents.voyager.life import Asking, Life
from togi.agents.voyager.play_skill import again
from togi.agents.voyager.read_voyager import Voyage
from togi.agents.voyager.told import state_told
from togi.askers.asker import Asker, Request
from togi.run_folder.files import RunFolder
from togi.transcript import Transcript
from togi.types import Message
from togi.writer import find_writer

Tell = Callable[[str], None]


def run_voyager(voyage: Voyage, folder: Path, *, tell: Tell = print, embed: Embed = meanings) -> Outcome:
    """Do what is left, and give what it shows. Raises ValueError."""
    with RunFolder(folder) as held:
        archive = Archive(folder, held)
        archive.decide(voyage)
        model, open_writer = find_writer(voyage.file.writer, voyage.recorded, folder / REPLIES)
        transcript = Transcript(folder / REPLIES, open_writer, model=model)
        all_lives = lives(plan_of(voyage))
        for wanted in (False, True):  # in new worlds, once the libraries are whole
            opened = [_life(voyage, archive, lived, embed, tell) for lived in all_lives if bool(lived.goals) is wanted]
            side_by_side([life.run() for life in opened], transcript)
        archive.vouch_for_replies()
        if not (folder / TASKS).exists():
            archive.add_tasks(list(_tasks(voyage, archive, all_lives)))
        return read_outcome(archive)


def _life(voyage: Voyage, archive: Archive, lived: Lived, embed: Embed, tell: Tell) -> Life:
    file = voyage.file

    def keep(attempt: Attempt, skill: Skill | None) -> None:
        archive.add(attempt, skill)
        tell(f"{lived.name}, prompt {attempt.number + 1}: {attempt.goal.told}: {state_told(attempt)}")

    def draw(messages: tuple[Message, ...], vote: int) -> Request:
        writer = file.writer
        return Request(
            messages=messages,
            tokens=False,
            max_tokens=writer.max_tokens,
            temperature=writer.temperature,
            vote=vote,
        )

    taken = archive.skills(Lived(arm=lived.arm, seed=lived.seed, place=0).name) if lived.goals else voyage.skills
    return Life(
        lived,
        table=file.life.model_copy(update={"tries": file.transfer.tries}) if lived.goals else file.life,
        make=voyage.make,
        prompts=voyage.prompts,
        draw=draw,
        embed=embed,
        skills=(*voyage.skills, *taken) if lived.goals else taken,
        seed=file.voyager.seed,
        known=archive.attempts(lived.name),
        keep=keep,
    )


def side_by_side(asking: Sequence[Asking], asker: Asker) -> None:
    """Let all go on until none asks any more; what they want to know is asked together. Raises ValueError where nothing
    of it is answered."""
    waiting: list[tuple[Asking, Request]] = []
    for each in asking:
        _on(each, None, waiting)
    while waiting:
        replies = asker.ask([request for _, request in waiting])
        if all(reply.status != "ok" for reply in replies):
            raise ValueError(
                f"the writer did not answer any of {len(replies)} questions ({replies[0].note or replies[0].status}). "
                "What was tried so far is kept: mend this, and the same command goes on"
            )
        asked, waiting = waiting, []
        for (each, _), reply in zip(asked, replies, strict=True):
            _on(each, reply, waiting)


def _on(asking: Asking, reply: Any, waiting: list[tuple[Asking, Request]]) -> None:
    try:
        waiting.append((asking, asking.send(reply)))
    except StopIteration:
        return


def _tasks(voyage: Voyage, archive: Archive, all_lives: Sequence[Lived]) -> Iterator[Mapping[str, Any]]:
    """Every goal that a life set out for, as a row that a model can be trained on: see skill_writing.py."""
    for lived in all_lives:
        kept = {each.label: each for each in archive.skills(lived.name)}
        library = Library(lambda texts: [], () if lived.arm == "no_library" else voyage.skills)
        world, calls = voyage.make(0), list[Any]()
        for attempt in archive.attempts(lived.name) if not lived.goals else ():
            if attempt.number == 0:
                world = voyage.make(attempt.world_seed)
            if attempt.turn == 1:
                shown = [each for each in library.newest if each.label in attempt.shown]
                question = skill_question(voyage.prompts, world, attempt.goal, shown, None)
                yield {
                    "prompt": [{"role": each.role, "content": each.content} for each in question],
                    "goal": asdict(attempt.goal),
                    "seed": attempt.world_seed,
                    "before": list(calls),
                    "skills": library.sources,
                }
            again(world, attempt.calls)
            calls += attempt.calls
            if attempt.kept in kept:
                library.skills.append(kept.pop(attempt.kept))

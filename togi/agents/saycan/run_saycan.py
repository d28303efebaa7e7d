"""Runs SayCan in its folder: the command's work. Skills of a seed are trained, their values measured, and every arm
plays; what is there already is not done again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from togi.agents.saycan.archive import RESULTS, Archive
from togi.agents.saycan.chances import Chances, measure_chances
from togi.agents.saycan.episodes import Playing, play
from togi.agents.saycan.findings import Outcome, read_outcome, results
from togi.agents.saycan.frames import keep_frames
from togi.agents.saycan.read_saycan import SayCan
from togi.agents.saycan.scores import Speaker, Words, open_speaker
from togi.agents.saycan.skills import Skills, load_skills, train_skills
from togi.agents.saycan.world import DONE
from togi.run_folder.files import RunFolder

Tell = Callable[[str], None]


def run_saycan(
    saycan: SayCan, folder: Path, *, tell: Tell = print, speaker: Callable[[str], Speaker] = open_speaker
) -> Outcome:
    """Do what is left, and give what it shows. ``speaker`` opens the model by its source. Raises ValueError."""
    table = saycan.file.saycan
    with RunFolder(folder) as held:
        archive = Archive(folder, held)
        archive.decide(saycan)
        names = [*saycan.skills, DONE]
        words = Words(lambda: speaker(table.model), saycan.template, names, archive.words(), archive.keep_words)
        how = Playing(
            make=saycan.make,
            words=words,
            kind=table.score,
            longest=table.longest,
            done=table.done,
            lines=table.lines,
        )
        for seed in range(table.seeds):
            skills, chances = _skills(saycan, archive, seed, tell)
            for arm in table.arms:
                if archive.episodes(arm, seed) is None:
                    played = play(how, saycan.instructions, arm, seed, skills, chances.line)
                    archive.keep_episodes(arm, seed, played)
                    solved, right = sum(each.solved for each in played), sum(each.planned for each in played)
                    tell(f"seed {seed}, {arm}: {solved} of {len(played)} carried out, {right} plans are right")
            if seed == 0 and archive.frames() is None:
                keep_frames(saycan, archive, skills)
        outcome = read_outcome(archive)
        if not (folder / RESULTS).exists():
            archive.keep_results(results(outcome))
        return outcome


def _skills(saycan: SayCan, archive: Archive, seed: int, tell: Tell) -> tuple[Skills, Chances]:
    """The skills of a seed, trained where they are not there."""
    how = saycan.training(seed)
    known = archive.chances(seed)
    if known is not None:
        return load_skills(archive.skills_file(seed), saycan.make, how.horizon), known
    skills = train_skills(saycan.make, how, lambda line: tell(f"seed {seed}, skills: {line}"))
    chances = measure_chances(
        skills, saycan.make(), saycan.file.skills.states, seed, lambda line: tell(f"seed {seed}, {line}")
    )
    archive.keep_skills(seed, skills.save, chances)
    return skills, chances

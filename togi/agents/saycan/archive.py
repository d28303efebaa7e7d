"""The folder of the command: what was decided, the skills of each seed, what the model said, every episode. It plays
nothing.

Each file is written whole and vouched for by an event, so that a run which is killed anywhere goes on from what is
there: no skill is trained twice, and the model is not asked again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from togi.agents.saycan.arms import Arm
from togi.agents.saycan.chances import Bin, Chances, Line, Reliability
from togi.agents.saycan.episodes import Decision, Episode
from togi.agents.saycan.read_saycan import SayCan
from togi.file_sha256 import file_sha256
from togi.find_function import files_of
from togi.run_folder.decided import hold_to
from togi.run_folder.files import Json, RunFolder, digest, dumps, read_lines, read_object, write_text
from togi.run_folder.integrity import named_files

OF = "togi saycan"
PLAN, WORDS, RESULTS, FRAMES = "saycan.json", "words.jsonl", "results.json", "frames"


class Archive:
    """One folder. Reading needs no lock; writing goes through ``held``, by one process."""

    def __init__(self, path: Path, held: RunFolder | None = None) -> None:
        self.path, self._held = path, held

    def decide(self, saycan: SayCan) -> None:
        """Write down what is decided, or make sure that it is what was decided. Raises FolderError."""
        assert self._held is not None
        hold_to(self.path, self._held, PLAN, plan_of(saycan))

    def plan(self) -> Json:
        """What was decided. Raises FolderError for a folder that holds nothing of the kind."""
        return read_object(self.path / PLAN, OF)

    def skills_file(self, seed: int) -> Path:
        return self.path / f"skills-{seed}.safetensors"

    def keep_skills(self, seed: int, save: Callable[[Path], None], chances: Chances) -> None:
        """Keep the skills of a seed, and after them what says that they are whole."""
        assert self._held is not None
        save(self.skills_file(seed))
        name = f"chances-{seed}.json"
        mark = write_text(self.path / name, dumps(asdict(chances)) + "\n")
        self._held.event(
            "trained", files={name: mark, self.skills_file(seed).name: file_sha256(self.skills_file(seed))}
        )

    def chances(self, seed: int) -> Chances | None:
        """How far the values of a seed can be trusted; None where its skills are not trained."""
        if not named_files(self.path, f"chances-{seed}.json"):
            return None
        row = read_object(self.path / f"chances-{seed}.json", OF)
        return Chances(
            line=Line(**row["line"]),
            states=row["states"],
            base=row["base"],
            raw=_reliability(row["raw"]),
            fitted=_reliability(row["fitted"]),
        )

    def words(self) -> list[Json]:
        """What the model said, in whole lines; what a kill left of another goes."""
        assert self._held is not None
        path = self.path / WORDS
        if path.exists():
            self._held.cut({WORDS: path.read_bytes().rfind(b"\n") + 1})
        return read_lines(path)

    def keep_words(self, row: Mapping[str, Any]) -> None:
        assert self._held is not None
        self._held.append(WORDS, dict(row))

    def keep_episodes(self, arm: Arm, seed: int, episodes: Sequence[Episode]) -> None:
        assert self._held is not None
        name = _episodes(arm, seed)
        mark = write_text(self.path / name, "".join(dumps(asdict(each)) + "\n" for each in episodes))
        self._held.event("played", files={name: mark}, logs=self._held.grown())

    def episodes(self, arm: Arm, seed: int) -> list[Episode] | None:
        """What an arm played with a seed; None where it has not."""
        if not named_files(self.path, _episodes(arm, seed)):
            return None
        return [
            Episode(**{**row, "decisions": tuple(_decision(each) for each in row["decisions"])})
            for row in read_lines(self.path / _episodes(arm, seed))
        ]

    def keep_frames(self, instruction: int, pictures: Sequence[bytes]) -> None:
        """Keep pictures of an instruction, by its number."""
        assert self._held is not None
        folder = self.path / FRAMES
        folder.mkdir(exist_ok=True)
        paths = [folder / f"{instruction}-{number}.png" for number in range(len(pictures))]
        for path, picture in zip(paths, pictures, strict=True):
            path.write_bytes(picture)
        self._held.event("drawn", files=self._held.marks(*paths))

    def frames(self) -> tuple[int, list[bytes]] | None:
        """Which instruction there are pictures of, and these; None where there are none."""
        found = {}
        for path in named_files(self.path, f"{FRAMES}/*.png"):
            instruction, _, number = path.stem.partition("-")
            if instruction.isdecimal() and number.isdecimal():
                found[int(instruction), int(number)] = path.read_bytes()
        return (min(found)[0], [found[key] for key in sorted(found)]) if found else None

    def keep_results(self, results: Mapping[str, Any]) -> None:
        self._write(RESULTS, json.dumps(json.loads(dumps(results)), indent=1) + "\n", "finished")

    def _write(self, name: str, text: str, kind: str) -> None:
        assert self._held is not None
        self._held.event(kind, files={name: write_text(self.path / name, text)})


def plan_of(saycan: SayCan) -> Json:
    """All that decides what comes out, with the digests of the user's files."""
    return {
        "name": saycan.name,
        "tables": saycan.file.model_dump(mode="json"),
        "skills": list(saycan.skills),
        "instructions": [
            {"text": each.text, "family": each.family, "setting": digest(each.setting)} for each in saycan.instructions
        ],
        "prompt": saycan.template,
        "files": {path.name: file_sha256(path) for path in files_of(saycan.world)},
    }


def _episodes(arm: Arm, seed: int) -> str:
    return f"episodes/{arm}-{seed}.jsonl"


def _decision(row: Json) -> Decision:
    lists = {name: tuple(value) for name, value in row.items() if isinstance(value, list)}
    return Decision(**{**row, **lists})


def _reliability(row: Json) -> Reliability:
    return Reliability(bins=tuple(Bin(**each) for each in row["bins"]), error=row["error"], brier=row["brier"])

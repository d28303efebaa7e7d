"""The folder of a reward design: what was decided, every candidate, all that was trained. It trains nothing.

Each file is written whole and vouched for by an event, so that a run which is killed anywhere goes on from what is
there: nobody is asked again, and nothing is trained twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save

from togi.file_sha256 import file_sha256
from togi.reward_design.design import Candidate, Check, Design, Trained
from togi.run_folder.decided import hold_to
from togi.run_folder.files import RunFolder, dumps, read_object, write_text
from togi.run_folder.integrity import named_files

OF = "togi eureka"
DESIGN, CANDIDATES, TRAININGS, FINAL, GENERATIONS = "design.json", "candidates", "trainings", "final", "generations"
PROGRAMS, ATTACKS, RUNS = "programs", "attacks", "runs"
REPLIES, REWARD, CARD, FRAMES = "replies.jsonl", "reward.py", "reward.md", "frames"
MAY_CHANGE = (
    "train.workers",
    "train.seconds",
    "writer.concurrency",
    "writer.seconds",
    "writer.most_",
    "writer.recorded",
)
"""What decides nothing of the result, and may be otherwise when a design goes on."""


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What a generation was asked: the candidates that each question was written from, and a person's comment."""

    number: int
    parents: tuple[str, ...]
    comment: str


class Archive:
    """The folder of one design. Reading needs no lock; writing goes through ``folder``, held by one process."""

    def __init__(self, path: Path, folder: RunFolder | None = None) -> None:
        self.path, self._folder = path, folder

    def decide(self, design: Design) -> None:
        """Write down what is decided, or make sure that it is what was decided. Raises FolderError."""
        assert self._folder is not None
        hold_to(self.path, self._folder, DESIGN, plan_of(design), may_change=MAY_CHANGE)

    def plan(self) -> dict[str, Any]:
        """What was decided. Raises FolderError for a folder that holds no design."""
        return read_object(self.path / DESIGN, OF)

    def add_generation(self, generation: Generation) -> None:
        self._write(f"{GENERATIONS}/{generation.number}.json", asdict(generation), "asked")

    def generation(self, number: int) -> Generation | None:
        place = f"{GENERATIONS}/{number}.json"
        if not named_files(self.path, place):
            return None
        row = read_object(self.path / place, OF)
        return Generation(number=int(row["number"]), parents=tuple(row["parents"]), comment=str(row["comment"]))

    def add(self, candidate: Candidate) -> None:
        self._write(f"{CANDIDATES}/{candidate.name}.json", asdict(candidate), "written")

    def candidates(self) -> dict[str, Candidate]:
        """Every candidate by its name, in the order of their names."""
        found = {}
        for path in named_files(self.path, f"{CANDIDATES}/*.json"):
            row = read_object(path, OF)
            found[row["name"]] = Candidate(**row)
        return found

    def add_program(self, candidate: Candidate) -> None:
        """Keep a program as a file of its own, where it is not kept yet: a recipe pays by it."""
        name = f"{PROGRAMS}/{candidate.name}.py"
        if candidate.program is not None and not named_files(self.path, name):
            self.add_text(name, candidate.program, "kept")

    def add_attack(self, candidate: str, card: Mapping[str, Any]) -> None:
        """Keep all that the red team found of a candidate."""
        self._write(f"{ATTACKS}/{candidate}.json", card, "attacked")

    def add_trained(self, trained: Trained, weights: Mapping[str, Any], *, final: bool) -> None:
        """Keep what was shown, and of the last ones the weights."""
        name = f"{FINAL if final else TRAININGS}/{trained.candidate}-{trained.seed}"
        if final and weights:
            self.add_bytes(f"{name}.safetensors", save(dict(weights)), "kept")
        self._write(f"{name}.json", asdict(trained), "trained")

    def trained(self, *, final: bool) -> dict[tuple[str, int], Trained]:
        """All that was trained, by its candidate and number."""
        found = {}
        for path in named_files(self.path, f"{FINAL if final else TRAININGS}/*.json"):
            row = read_object(path, OF)
            checks = tuple(Check(**{**each, "fitness": tuple(each["fitness"])}) for each in row["checks"])
            found[row["candidate"], int(row["seed"])] = Trained(**{**row, "checks": checks})
        return found

    def weights(self, candidate: str, seed: int) -> dict[str, Any]:
        """Those of a last agent; none where it could not be trained."""
        place = f"{FINAL}/{candidate}-{seed}.safetensors"
        return dict(load_file(self.path / place)) if named_files(self.path, place) else {}

    def add_text(self, name: str, text: str, kind: str) -> Path:
        assert self._folder is not None
        self._folder.event(kind, files={name: write_text(self.path / name, text)})
        return self.path / name

    def add_bytes(self, name: str, content: bytes, kind: str) -> None:
        assert self._folder is not None
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self._folder.event(kind, files={name: file_sha256(path)})

    def vouch_for_replies(self) -> None:
        """Note what was answered so far."""
        assert self._folder is not None
        if told := self._folder.seal(REPLIES):
            self._folder.event("answered", logs=told)

    def _write(self, name: str, row: Mapping[str, Any], kind: str) -> None:
        self.add_text(name, dumps(row) + "\n", kind)


def plan_of(design: Design) -> dict[str, Any]:
    """All that decides what comes out, with the digests of the user's files."""
    return {
        "name": design.name,
        "tables": design.file.model_dump(mode="json"),
        "told": dict(design.told),
        "about": dict(design.about),
        "prompts": dict(design.prompts),
        "human": design.human,
        **design.decided,
    }

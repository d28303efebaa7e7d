"""The loop of Eureka with a writer and agents that are made up: who is asked what, what is trained, and what a kill
costs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from togi.askers.asker import Reply, Request
from togi.report.reward_design_page import write_design_report
from togi.reward_design.archive import Archive
from togi.reward_design.design import Candidate, Check, Design, Kind, Trained
from togi.reward_design.read_design import read_design
from togi.reward_design.search import Search
from togi.reward_design.subject import Job, Made
from togi.reward_design.told import read_outcome
from togi.run_folder.files import FolderError, RunFolder
from togi.run_folder.integrity import check
from togi.transcript import Transcript, read_transcript

pytest.importorskip("stable_baselines3")
HERE = Path(__file__).parent


def program(fitness: float, *, reward: str = "next_obs[0]") -> str:
    """A reward whose agents will have this fitness."""
    return (
        f"```python\ndef compute_reward(obs, action, next_obs, info):\n    fitness_{round(100 * fitness)} = 0\n"
        f"    return {reward}, {{'place': {reward}}}\n```"
    )


class Killed(BaseException):
    pass


class Writer:
    """Answers with the next text; keeps what it was asked."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts, self.asked = list(texts), list[Request]()

    def ask(self, questions: Sequence[Request]) -> list[Reply]:
        self.asked += questions
        return [Reply(text=self.texts.pop(0)) if self.texts else Reply(status="error", note="down") for _ in questions]


class Trainer:
    """Finds nothing wrong but a constant, trains in no time, and is killed before a job that is named."""

    def __init__(self) -> None:
        self.examined_programs: list[str] = []
        self.jobs: list[tuple[str, int, bool]] = []
        self.killed_at: tuple[str, int, bool] | None = None

    def check(self) -> None: ...

    def examined(self, written: Sequence[Candidate]) -> Iterator[Candidate]:
        for each in written:
            self.examined_programs.append(each.name)
            yield replace(each, fault="it pays 1 for every step" if "return 1" in (each.program or "") else "")

    def random_programs(self, count: int) -> list[str]:
        return [
            f"def compute_reward(obs, action, next_obs, info):\n    return {n} * obs[0], {{}}\n"
            for n in range(2, count + 2)
        ]

    def there_before(self) -> list[tuple[Kind, str | None]]:
        return [("own", None), ("sparse", None)]

    def trained(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Made]]:
        for candidate, number, final in jobs:
            if (candidate.name, number, final) == self.killed_at:
                raise Killed
            self.jobs.append((candidate.name, number, final))
            made = agent(candidate, number)
            yield (candidate, number, final), (replace(made, checks=made.checks[-1:]) if final else made, {})

    def keep_pictures(self, archive: Archive, candidate: str) -> str:
        return ""


def agent(candidate: Candidate, number: int) -> Trained:
    found = re.search(r"fitness_(\d+)", candidate.program or "")
    fitness = int(found[1]) / 100 if found else 0.0
    checks = tuple(
        Check(steps=at, fitness=(fitness * at / 100,) * 2, proxy=float(at), parts={"place": float(at)}, length=20.0)
        for at in (0, 50, 100)
    )
    return Trained(candidate=candidate.name, seed=number, checks=checks)


@pytest.fixture
def trainer() -> Trainer:
    return Trainer()


def design(folder: Path, *changes: str) -> Design:
    (folder / "line.toml").write_text(
        f"""
[design]
task = "Reach place 1."
environment = "{HERE}/line_world.py:make"
fitness = "{HERE}/line_world.py:fitness"
[search]
candidates = 2
seeds = 2
[final]
seeds = 2
[compare]
random = false
independent = false
"""
    )
    return read_design(folder / "line.toml", changes)


def run(folder: Path, trainer: Trainer, writer: Writer, *changes: str, one_generation: bool = False) -> bool:
    with RunFolder(folder / "run") as held:
        archive = Archive(folder / "run", held)
        decided = design(folder, *changes)
        archive.decide(decided)
        transcript = Transcript(folder / "run" / "replies.jsonl", lambda: writer, model="m")
        return Search(decided, archive, trainer, transcript, tell=lambda line: None).run(one_generation=one_generation)


def test_the_better_is_written_from_and_chosen(tmp_path: Path, trainer: Trainer) -> None:
    writer = Writer([program(0.2), program(0.4), program(0.9), "no code"])
    assert run(tmp_path, trainer, writer, "search.parents=1")
    second = writer.asked[2].messages[-1].content
    assert writer.asked[0].messages == writer.asked[1].messages
    assert [request.vote for request in writer.asked] == [0, 1, 4, 5]
    assert "fitness_40" in second
    assert "fitness: 0, 0.2, 0.4 (mean 0.2, least 0, most 0.4)" in second
    assert "part place: 0, 50, 100" in second
    outcome = read_outcome(Archive(tmp_path / "run"))
    assert outcome.best is not None
    assert (outcome.best.candidate.name, outcome.best.candidate.parent) == ("2-01", "1-02")
    assert outcome.found["2-02"].state == "unusable"
    assert [(arm.kind, arm.candidate, arm.fitness.point) for arm in outcome.arms] == [
        ("written", "2-01", 0.9),
        ("own", "own", 0.0),
        ("sparse", "sparse", 0.0),
    ]
    assert {job for job in trainer.jobs if job[2]} == {(n, s, True) for n in ("2-01", "own", "sparse") for s in (0, 1)}


def test_parents_are_of_all_generations(tmp_path: Path, trainer: Trainer) -> None:
    writer = Writer([program(0.8), program(0.1), program(0.2), program(0.3), program(0.0), program(0.0)])
    run(tmp_path, trainer, writer, "search.generations=3")
    assert ["fitness_80" in request.messages[-1].content for request in writer.asked[4:]] == [True, False]
    assert "fitness_30" in writer.asked[5].messages[-1].content


def test_who_cannot_win_any_more_is_not_trained_on(tmp_path: Path, trainer: Trainer) -> None:
    run(
        tmp_path,
        trainer,
        Writer([program(1.0), program(0.5), program(0.0), program(1.0)]),
        "search.seeds=4",
        "search.parents=1",
    )
    count = {name: sum(job[0] == name and not job[2] for job in trainer.jobs) for name in ("1-01", "1-02", "2-01")}
    # After three agents the others stand at 3, and 1.5 + 1 and 0 + 2 of the fourth and third cannot reach that.
    assert count == {"1-01": 4, "1-02": 3, "2-01": 1}
    assert read_outcome(Archive(tmp_path / "run")).found["2-01"].state == "stopped"


def test_a_generation_without_a_usable_program_is_told_what_was_wrong(tmp_path: Path, trainer: Trainer) -> None:
    bad = program(0.5).replace("    return", "    open('x')\n    return")
    writer = Writer([bad, "I cannot.", program(0.6), program(0.7)])
    assert run(tmp_path, trainer, writer)
    told = writer.asked[2].messages[-1].content
    assert "line 3: there is no open" in told
    assert "fitness_50" in told
    best = read_outcome(Archive(tmp_path / "run")).best
    assert best is not None
    assert best.candidate.name == "2-02"


def test_nothing_but_talk_is_asked_for_anew(tmp_path: Path, trainer: Trainer) -> None:
    writer = Writer(["I cannot."] * 4)
    assert run(tmp_path, trainer, writer)
    assert writer.asked[3].messages == writer.asked[0].messages
    outcome = read_outcome(Archive(tmp_path / "run"))
    assert outcome.best is None
    assert [arm.kind for arm in outcome.arms] == ["own", "sparse"]


def test_a_program_that_teaches_nothing_is_not_trained(tmp_path: Path, trainer: Trainer) -> None:
    run(tmp_path, trainer, Writer([program(0.5, reward="1"), program(0.5)] * 2))
    assert ("1-01", 0, False) not in trainer.jobs


def test_a_program_that_was_written_before_is_not_trained_with_again(tmp_path: Path, trainer: Trainer) -> None:
    same = program(0.5).replace("fitness_50 = 0", "fitness_50 = 0  # as before")
    writer = Writer([program(0.5), same, same, program(0.4), program(0.5), program(0.6)])
    assert run(tmp_path, trainer, writer, "compare.independent=true", "search.parents=2")
    found = read_outcome(Archive(tmp_path / "run"))
    assert [found.found[name].candidate.same for name in ("1-01", "1-02", "2-01", "i-01")] == [
        "",
        "1-01",
        "1-01",
        "1-01",
    ]
    assert found.found["i-01"].fitness == found.found["1-01"].fitness == 0.5
    assert {name for name, _, _ in trainer.jobs} == {"1-01", "2-02", "i-02", "own", "sparse"}
    assert trainer.examined_programs == ["1-01", "2-02", "i-02"]
    assert [(arm.kind, arm.candidate) for arm in found.arms[:2]] == [("written", "1-01"), ("independent", "i-02")]
    assert len({each.parent for each in Archive(tmp_path / "run").candidates().values() if each.generation == 2}) == 1


def test_a_writer_that_is_down_stops_the_design_and_loses_nothing(tmp_path: Path, trainer: Trainer) -> None:
    with pytest.raises(ValueError, match="did not answer any of 2 questions"):
        run(tmp_path, trainer, Writer([program(0.2), program(0.4)]))
    done = list(trainer.jobs)
    writer = Writer([program(0.9), program(0.1)])
    assert run(tmp_path, trainer, writer)
    assert len(writer.asked) == 2
    assert len(set(trainer.jobs)) == len(trainer.jobs) > len(done)


@pytest.mark.parametrize(
    "killed_at", [("1-01", 0, False), ("1-02", 1, False), ("2-01", 0, False), ("i-01", 1, False), ("2-01", 1, True)]
)
def test_a_kill_costs_nothing_that_was_done(tmp_path: Path, trainer: Trainer, killed_at: tuple[str, int, bool]) -> None:
    texts = [program(0.5), program(0.4), program(0.9), program(0.7), program(0.1), program(0.2)]
    writer = Writer(texts)
    changes = ("compare.independent=true", "compare.random=true")
    trainer.killed_at = killed_at
    with pytest.raises(Killed):
        run(tmp_path, trainer, writer, *changes)
    trainer.killed_at = None
    assert run(tmp_path, trainer, writer, *changes)
    assert len(writer.asked) == len(read_transcript(tmp_path / "run" / "replies.jsonl")) == 6
    assert len(set(trainer.jobs)) == len(trainer.jobs)
    assert check(tmp_path / "run").faults == ()
    outcome = read_outcome(Archive(tmp_path / "run"))
    assert [arm.kind for arm in outcome.arms] == ["written", "independent", "random", "own", "sparse"]
    assert outcome.arms[0].candidate == "2-01"
    assert outcome.arms[1].candidate == "1-01"


def test_a_person_comments_between_generations(tmp_path: Path, trainer: Trainer) -> None:
    writer = Writer([program(0.2), program(0.4), program(0.9), program(0.1)])
    assert not run(tmp_path, trainer, writer, one_generation=True)
    assert len(writer.asked) == 2
    (tmp_path / "run" / "comments.txt").write_text("It rolls back too early.")
    assert run(tmp_path, trainer, writer, one_generation=True)
    assert "A person who looked at this says:\nIt rolls back too early." in writer.asked[2].messages[-1].content


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("search.candidates=3",), "tables.search.candidates: 2 -> 3"),
        (("train.steps=7",), "tables.train.steps"),
        (('design.task="Other."',), "tables.design.task"),
    ],
)
def test_what_was_decided_stays(tmp_path: Path, trainer: Trainer, changes: tuple[str, ...], said: str) -> None:
    run(tmp_path, trainer, Writer([program(0.2)] * 4))
    with pytest.raises(FolderError, match=re.escape(said)):
        run(tmp_path, trainer, Writer([]), *changes)
    assert run(tmp_path, trainer, Writer([]), "train.workers=1", "train.seconds=9.0")


def test_a_file_that_no_event_names_counts_for_nothing(tmp_path: Path, trainer: Trainer) -> None:
    run(tmp_path, trainer, Writer([program(0.2), program(0.4)]), one_generation=True)
    place = tmp_path / "run" / "trainings"
    added = (place / "1-01-0.json").read_text().replace("1-01", "2-01").replace("0.2", "1.0")
    (place / "2-01-0.json").write_text(added)
    assert run(tmp_path, trainer, Writer([program(0.3), program(0.1)]))
    assert ("2-01", 0, False) in trainer.jobs
    assert read_outcome(Archive(tmp_path / "run")).found["2-01"].fitness == 0.3


def test_a_changed_file_is_refused(tmp_path: Path, trainer: Trainer) -> None:
    run(tmp_path, trainer, Writer([program(0.2)] * 4))
    path = tmp_path / "run" / "trainings" / "1-01-0.json"
    path.write_text(path.read_text().replace("0.2", "1.0"))
    with pytest.raises(FolderError, match="changed after it was written"):
        run(tmp_path, trainer, Writer([]))
    with pytest.raises(FolderError, match="changed after it was written"):
        write_design_report(tmp_path / "run")

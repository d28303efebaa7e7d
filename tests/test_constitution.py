"""Constitutions: the file and its errors, chains of critique and revision, and what is learned of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from tiny_text import byte_level

from togi import batch
from togi.algorithms import SFT
from togi.envs.constitution import Constitution, Principle, drawn_order, read_principles
from togi.records import rollout_metrics, rollout_rows
from togi.rollout import Episodes
from togi.samplers import Revised
from togi.tokenization import Chat
from togi.types import Message, Prompt, Role, Sampling, Stop, Task, Turn

FILE = """# What we want.
[short]
critique: What is too long?
revision: Shorten it.
    Only the answer.   # not a comment here
question: Which is shorter?

[kind]
question: Which is kinder?
critique: What is unkind?
revision: Say it kindly.
"""
SHORT = Principle(id="short", critique="What is too long?", revision="Shorten it.", question="Which is shorter?")
KIND = Principle(id="kind", critique="What is unkind?", revision="Say it kindly.", question="Which is kinder?")


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_is_read_with_comments_continued_lines_and_parts_in_any_order(tmp_path: Path) -> None:
    continued = replace(SHORT, revision="Shorten it. Only the answer.   # not a comment here")
    assert read_principles(write(tmp_path / "c.txt", FILE)) == (continued, KIND)


def test_the_constitution_that_is_shipped_can_be_read() -> None:
    principles = read_principles(Path(__file__).parent.parent / "recipes" / "constitution.txt")
    assert [principle.id for principle in principles] == ["form", "length", "fresh", "topic"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no principle: write its id"),
        ("# only a comment\n", "holds no principle"),
        ("critique: a\n", "line 1: this stands before any principle"),
        (FILE + "[short]\n", "line 12: there is a principle short already"),
        ("[a]\ncritique: x\ncritique: y\n", "line 3: principle a has a critique already"),
        ("[a]\ncritic: x\n", "line 2: got 'critic: x', wanted 'critique: ...'"),
        ("[a]\n  x\n", "line 2: an indented line goes on with a part, and none was begun"),
        ("[a]\ncritique: x\nrevision:\n", "line 1: principle a has no revision and no question"),
        ("[a b]\n", r"line 1: got '\[a b\]', wanted an id"),
        ("[]\n", r"line 1: got '\[\]', wanted an id"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=rf"c\.txt.*{said}"):
        read_principles(write(tmp_path / "c.txt", text))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.txt cannot be read"):
        read_principles(tmp_path / "nowhere.txt")
    (tmp_path / "bytes.txt").write_bytes(b"[a]\ncritique: \xff")
    with pytest.raises(ValueError, match=r"bytes\.txt cannot be read"):
        read_principles(tmp_path / "bytes.txt")


def test_rounds_and_principles_are_checked_before_anything_is_played() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Constitution(principles=(SHORT,), rounds=0)
    with pytest.raises(ValueError, match="at least one principle"):
        Constitution(principles=())


CHAT = Chat(byte_level(), frozenset({2}))
ROOM = 1000


@dataclass
class Scripted:
    """An engine that says its lines in order, one a turn, whoever asks; it keeps the contexts it was asked in."""

    lines: Sequence[str | tuple[str, Stop]]
    asked: list[str] = field(default_factory=list)
    version: int = 0

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, progress: Callable[[int, int], None] | None = None
    ) -> list[list[Turn]]:
        return [[self._turn(prompt, len(self.asked)) for _ in prompt.seeds] for prompt in prompts]

    def _turn(self, prompt: Prompt, number: int) -> Turn:
        self.asked.append(CHAT.decode(prompt.ids))
        if len(prompt.ids) >= ROOM:
            return Turn(prompt=prompt.ids, completion=(), text="", stop="context")
        line = self.lines[number % len(self.lines)]
        text, stop = (line, "eos") if isinstance(line, str) else line
        ids = CHAT.completion(text) if stop == "eos" else CHAT.completion(text)[:-1]
        return Turn(prompt=prompt.ids, completion=ids, text=text, stop=stop, logp=(-1.0,) * len(ids))

    def sync(self, policy: object) -> None: ...


def tasks(role: Role = "user", count: int = 1) -> Iterator[Task]:
    return iter([Task(id=f"t{i}", prompt=(Message(role=role, content="Greet me."),)) for i in range(count)])


def play_of(engine: Scripted, rounds: int, principles: tuple[Principle, ...] = (SHORT,)) -> Episodes:
    env = Constitution(principles=principles, rounds=rounds)
    return Episodes(engine=engine, chat=CHAT, env=env, reward=None, sampling=Sampling())


def test_the_chain_is_exact_and_each_revision_revises_the_one_before() -> None:
    engine = Scripted(["Hello, hello.", "It repeats.", "Hello.", "Still long.", "Hi."])
    play = play_of(engine, 2)
    [group] = Revised()(tasks(), 1, play)
    written = group.scores[0].note
    assert written == (
        "[assistant] Hello, hello.\n"
        "[user] Critique request (short): What is too long?\n"
        "[assistant] It repeats.\n"
        "[user] Revision request (short): Shorten it.\n"
        "[assistant] Hello.\n"
        "[user] Critique request (short): What is too long?\n"
        "[assistant] Still long.\n"
        "[user] Revision request (short): Shorten it.\n"
        "[assistant] Hi."
    )
    # What the model saw last holds all that was said before, in order.
    said = [line.partition("] ")[2] for line in written.splitlines()]
    places = [engine.asked[-1].index(line) for line in said[:-1] if said.count(line) == 1]
    assert places == sorted(places)
    assert len(engine.asked) == 5


def test_the_final_revision_is_learned_as_the_answer_to_the_first_prompt_and_nothing_else_is() -> None:
    play = play_of(Scripted(["Hello.", "Long.", "Hi."]), 1)
    groups = Revised()(tasks(), 1, play)
    [sample] = SFT().credit(batch.samples(groups), {})
    prompt = CHAT.prompt((Message(role="user", content="Greet me."),))
    assert tuple(sample.ids) == prompt + CHAT.completion("Hi.")
    assert (sample.recorded, sample.reward) == (True, 0.0)
    assert np.flatnonzero(sample.mask).tolist() == list(range(len(prompt), len(sample.ids)))
    [row] = rollout_rows(groups, [sample], [], CHAT.show, {})
    assert row["completion"] == "Hi."
    assert "Critique request (short)" in row["score"]["note"]
    assert "reward" not in rollout_metrics(groups)


def test_raw_text_is_continued_without_a_template() -> None:
    engine = Scripted([" Hello.", " Long.", " Hi."])
    [group] = Revised()(tasks("text"), 1, play_of(engine, 1))
    assert engine.asked[1] == "Greet me. Hello.\n\nCritique request (short): What is too long?\n\nCritique:"
    assert engine.asked[2].endswith(" Long.\n\nRevision request (short): Shorten it.\n\nRevision:")
    assert group.trajectories[0].turns[0].text == " Hi."


def test_principles_are_drawn_by_task_and_answer_alone() -> None:
    many = tuple(replace(SHORT, id=f"p{i}") for i in range(5))
    first = drawn_order(many, "t0", "Hello.")
    assert first == drawn_order(many[::-1], "t0", "Hello.")
    assert sorted(principle.id for principle in first) == [principle.id for principle in many]
    assert len({drawn_order(many, "t0", f"answer {i}")[0].id for i in range(40)}) == 5
    assert len({drawn_order(many, f"t{i}", "Hello.")[0].id for i in range(40)}) == 5


def test_a_chain_meets_every_principle_before_one_comes_again() -> None:
    [group] = Revised()(tasks(), 1, play_of(Scripted(["Hello."]), 3, (SHORT, KIND)))
    named = [line for line in group.scores[0].note.splitlines() if "Critique request" in line]
    ids = ["short" if "(short)" in line else "kind" for line in named]
    assert ids == [ids[0], ids[1], ids[0]]
    assert ids[0] != ids[1]


def test_counts_say_how_often_revising_changed_anything() -> None:
    lines = ["Hello.", "Hello, you.", "Hi.", *"---", "Hello. ", "Hello.", "Hey.", *"---", "Hello.", "Hello?", "Hi."]
    play = play_of(Scripted(lines), 2)
    Revised()(tasks(count=3), 3, play)
    # The engine's lines go to the three tasks in turns: one keeps its answer, one ends with another, one comes back.
    assert play.counts == {
        "revision/empty": 0.0,
        "revision/cut": 0.0,
        "revision/unfinished": 0.0,
        "revision/rounds_changed": pytest.approx(4 / 3),
        "revision/unchanged": 2 / 3,
    }


@pytest.mark.parametrize(
    ("last", "name", "why"),
    [("  ", "empty", "empty"), (("Hi, and", "length"), "cut", "half-way")],
)
def test_an_unusable_revision_is_counted_and_shown_but_never_learned(
    last: str | tuple[str, Stop], name: str, why: str
) -> None:
    play = play_of(Scripted(["Hello.", "Hello.", "-", "-", "Hi.", last]), 1)
    good, bad = Revised()(tasks(count=2), 2, play)
    assert good.scores[0].status == "ok"
    assert (bad.scores[0].status, math.isnan(bad.scores[0].value)) == ("abstain", True)
    assert why in bad.scores[0].note
    assert len(bad.trajectories[0].turns) == 3
    assert play.counts[f"revision/{name}"] == 0.5
    assert play.counts["revision/rounds_changed"] == 1.0
    assert [sample.task for sample in batch.samples([good, bad])] == ["t0"]
    assert "reward" not in rollout_metrics([good, bad])


def test_an_empty_revision_ends_the_chain() -> None:
    engine = Scripted(["Hello.", "-", ""])
    with pytest.raises(ValueError, match=r"none of the step's 1 chains ended in a revision to learn from \(1 empty\)"):
        Revised()(tasks(), 1, play_of(engine, 4))
    assert len(engine.asked) == 3


def test_a_chain_that_fills_the_context_is_data() -> None:
    engine = Scripted(["Hello.", "Hello.", "word " * ROOM, "-", "Hi."])
    play = play_of(engine, 1)
    full, good = Revised()(tasks(count=2), 2, play)
    assert full.scores[0].status == "abstain"
    assert "context was full" in full.scores[0].note
    assert good.scores[0].status == "ok"
    assert play.counts["revision/unfinished"] == 0.5


def test_several_chains_of_one_task_stay_in_one_group() -> None:
    play = play_of(Scripted(["Hello."]), 1)
    [group] = Revised(3)(tasks(), 1, play)
    assert len(group.trajectories) == len(group.scores) == 3
    with pytest.raises(ValueError, match="at least 1"):
        Revised(0)

"""STaR's sampler: the likeliest answers, hints for tasks not solved, and no trace of a hint in what is learned."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from tiny_text import byte_level

from togi.envs import OneTurn
from togi.rewards import number
from togi.rollout import Episodes
from togi.samplers import Rationalised
from togi.samplers.rationalised import NOTE
from togi.tokenization import Chat
from togi.types import Message, Prompt, Reading, Sampling, Stop, Task, Turn

CHAT = Chat(byte_level(), frozenset({2}))
_ENDS: Stop = "eos"
HINT = "(Hint: the answer is"


@dataclass
class Answering:
    """An engine that answers by what stands in its prompt; keeps how it was asked."""

    answer: Callable[[str], str | tuple[str, Stop]]
    asked: list[tuple[str, int, float]] = field(default_factory=list)
    version: int = 0

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, progress: Callable[[int, int], None] | None = None
    ) -> list[list[Turn]]:
        return [[self._turn(prompt, sampling) for _ in prompt.seeds] for prompt in prompts]

    def _turn(self, prompt: Prompt, sampling: Sampling) -> Turn:
        context = CHAT.decode(prompt.ids)
        self.asked.append((context, len(prompt.seeds), sampling.temperature))
        answer = self.answer(context)
        text, stop = (answer, _ENDS) if isinstance(answer, str) else answer
        ids = CHAT.completion(text) if stop == "eos" else CHAT.completion(text)[:-1]
        return Turn(prompt=prompt.ids, completion=ids, text=text, stop=stop, logp=(-1.0,) * len(ids))

    def read(self, turns: Sequence[Turn]) -> list[Reading]:
        return []

    def sync(self, policy: object) -> None: ...


def tasks(*answers: object) -> Iterator[Task]:
    asked = [Message(role="system", content="Add."), Message(role="user", content="What is it?")]
    return iter([Task(id=f"t{i}", prompt=tuple(asked), answer=answer) for i, answer in enumerate(answers)])


def play_of(engine: Answering) -> Episodes:
    return Episodes(engine=engine, chat=CHAT, env=OneTurn, reward=number(), sampling=Sampling())


def test_only_tasks_that_were_not_solved_are_asked_with_a_hint() -> None:
    """F1.star_filter: first pass right, wrong, right; the hint makes the second right."""
    engine = Answering(lambda context: "it is 5" if "is 5.)" in context or HINT not in context else "so 7")
    play = play_of(engine)
    groups = Rationalised()(tasks("5", "7", "5"), 3, play)
    assert [[score.value for score in group.scores] for group in groups] == [[1.0], [0.0], [1.0], [1.0]]
    assert [context.count(HINT) for context, _, _ in engine.asked] == [0, 0, 0, 1]
    assert engine.asked[-1][0].count("the answer is 7.)") == 1
    assert {temperature for _, _, temperature in engine.asked} == {0.0}  # one attempt is the likeliest answer
    assert groups[3].task == groups[1].task
    assert groups[3].scores[0].note == NOTE
    assert play.counts == pytest.approx({"star/right": 2 / 3, "star/rationalised": 1 / 3, "star/told": 0.0})


def test_a_rationalised_answer_is_one_to_the_tasks_own_prompt() -> None:
    groups = Rationalised()(tasks("7"), 1, play_of(Answering(lambda context: "so 7" if HINT in context else "5")))
    (tried,), (hinted,) = (group.trajectories for group in groups)
    assert hinted.turns[0].prompt == tried.turns[0].prompt == CHAT.prompt(groups[1].task.prompt)
    assert hinted.turns[0].completion == CHAT.completion("so 7")
    assert not hinted.turns[0].logp  # nobody drew it from this prompt


NOT_KEPT: dict[str, str | tuple[str, Stop]] = {
    "wrong": "it is 6",
    "repeats the hint": "(HINT: the answer is 7.) So 7",
    "cut": ("so 7", "length"),
    "empty": " ",
}


@pytest.mark.parametrize("answer", NOT_KEPT.values(), ids=NOT_KEPT)
def test_what_is_not_an_answer_of_its_own_does_not_join(answer: str | tuple[str, Stop]) -> None:
    play = play_of(Answering(lambda context: answer if HINT in context else "5"))
    [group] = Rationalised()(tasks("7"), 1, play)
    assert [score.value for score in group.scores] == [0.0]
    assert play.counts["star/rationalised"] == 0.0
    assert play.counts["star/told"] == float("HINT" in str(answer))


def test_without_hints_nobody_is_asked_again() -> None:
    engine = Answering(lambda context: "5")
    groups = Rationalised(3, rationalise=False)(tasks("7", "5"), 2, play_of(engine))
    assert [len(group.scores) for group in groups] == [3, 3]
    assert len(engine.asked) == 6
    assert {temperature for _, _, temperature in engine.asked} == {1.0}  # several are drawn


def test_a_task_without_an_answer_has_no_hint() -> None:
    class Wrong:
        def __call__(self, task: Task, trajectories: Sequence[object]) -> list[object]:
            return number()(Task(id="", prompt=(), answer="1"), trajectories)  # type: ignore[arg-type, return-value]

    engine = Answering(lambda context: "5")
    play = Episodes(engine=engine, chat=CHAT, env=OneTurn, reward=Wrong(), sampling=Sampling())  # type: ignore[arg-type]
    [group] = Rationalised()(tasks(None), 1, play)
    assert len(group.scores) == len(engine.asked) == 1


HINTS = [
    "{prompt}\n\n(Hint: the answer is {answer}.)",
    "Somebody told me: {answer}!\n{prompt}",
    "{answer}={prompt}",
    "{prompt} [key {answer}] Explain why this is so.",
]


@pytest.mark.parametrize("hint", HINTS)
def test_no_hint_is_in_anything_that_is_learned(hint: str) -> None:
    """Whatever is asked, hinted and answered: what joins a group was never written after a hint's words."""
    dice = random.Random(hint)
    said = hint.replace("{prompt}", "\0").replace("{answer}", "42").split("\0")
    pieces = [*said, " 42 ", "so ", "41 ", "What is it?"]

    def answer(context: str) -> str:
        return "".join(dice.choices(pieces, k=dice.randint(0, 4)))

    for _ in range(60):
        groups = Rationalised(dice.randint(1, 3), hint=hint)(tasks("42", "42"), 2, play_of(Answering(answer)))
        for group in groups:
            own = CHAT.prompt(group.task.prompt)
            for trajectory, score in zip(group.trajectories, group.scores, strict=True):
                assert [turn.prompt for turn in trajectory.turns] == [own]
                if score.note == NOTE:
                    assert score.value == 1.0
                    text = trajectory.turns[0].text
                    assert not any(piece.strip() in text for piece in said if len(piece.split()) > 1)


FAULTS = ["no place", "{prompt}", "{answer}", "{prompt} {answer} {answer}", "{prompt}{prompt}{answer}"]


@pytest.mark.parametrize("hint", FAULTS)
def test_a_hint_names_both_places_once(hint: str) -> None:
    with pytest.raises(ValueError, match=r"by \{prompt\} and \{answer\} once each"):
        Rationalised(hint=hint)


def test_braces_in_a_prompt_or_an_answer_are_only_characters() -> None:
    task = Task(id="t", prompt=(Message(role="user", content="{answer} {x}?"),), answer="{prompt}")
    assert Rationalised(hint="{answer}: {prompt}").hinted(task, CHAT).prompt[-1].content == "{prompt}: {answer} {x}?"

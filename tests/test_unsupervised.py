"""Rewards without a label: hand-computed values, and that they never see the task's answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_model
from tiny_text import byte_level

from togi.advantages import group_mean_std
from togi.engines.native import NativeEngine
from togi.protocols import Engine
from togi.rewards import choice, entropy, exact, form, likelihood, majority, math, number, parse_reward, self_certainty
from togi.rewards.algebra import Surroundings
from togi.tokenization import Chat
from togi.types import Prompt, Reading, Sampling, Score, Task, Trajectory, Turn

TASK = Task(id="t", prompt=(), answer="not a number at all")


def said(*texts: str) -> list[Trajectory]:
    return [
        Trajectory(turns=(Turn(prompt=(1,), completion=(2,), text=text, stop="eos"),), stop="eos") for text in texts
    ]


def answers(*values: object) -> list[Trajectory]:
    return said(*(f"<think>x</think><answer>{value}</answer>" for value in values))


def marks(scores: list[Score]) -> list[float]:
    return [score.value for score in scores]


def test_majority_pays_the_plurality() -> None:
    scores = majority()(TASK, answers(7, 7, 3, 7, 3, 5))
    assert marks(scores) == [1, 1, 0, 1, 0, 0]
    assert [score.parts["majority_share"] for score in scores] == [0.5] * 6
    advantage = group_mean_std(marks(scores), [0] * 6, eps=1e-6)
    np.testing.assert_allclose(advantage, np.array([1, 1, -1, 1, -1, -1]) * 0.912869, atol=2e-6)


def test_answers_that_cannot_be_read_have_no_vote_and_earn_nothing() -> None:
    texts = [f"<answer>{value}</answer>" for value in ("4 or 5", "7", "none", "4 or 5", "none", "7", "4 or 5")]
    scores = majority()(TASK, said(*texts, "<think>endless"))
    assert marks(scores) == [0, 1, 0, 0, 0, 1, 0, 0]
    assert scores[0].parts["majority_share"] == 0.25
    assert marks(majority()(TASK, said("<think>a", "<think>b"))) == [0, 0]


def test_the_same_answer_in_other_words_is_one_vote_more() -> None:
    assert marks(majority()(TASK, answers("1,000", "5", "1000.0", "2000/2", "5"))) == [1, 0, 1, 1, 0]
    assert marks(majority(choice())(TASK, answers("B", "(B)", "A"))) == [1, 1, 0]
    assert marks(majority(exact())(TASK, answers("North  East", "north east", "west"))) == [1, 1, 0]


WRITTEN = {
    "number": (number(), ["42", "42.0", "-42", "0.5", "1/2", "50%", "007", "7", "4 2", "1e3", "1000", "-0", "0", "٧"]),
    "near": (number(tolerance=0.5), ["42", "42.4", "43", "42.0"]),
    "choice": (choice(), ["B", "(B)", "b", "A", "F", "A or B", "B."]),
    "exact": (exact(), ["North  East", "north east", "NORTH", "Straße", "STRASSE", "ﬁn", "fin", " ", "7", "7.0"]),
    "case": (exact(case=True), ["North", "north", "North  "]),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_answers_written_alike_are_those_that_the_grader_finds_equal(name: str) -> None:
    """Where ways of writing say which answers are the same, nobody asks the grader: it must say so, too."""
    reading, texts = WRITTEN[name]
    for one in texts:
        written = reading.canonical(one)
        for other in texts:
            if written is None or (also := reading.canonical(other)) is None:
                continue
            score = reading(replace(TASK, answer=one), answers(other))[0]
            assert score.status == "ok"
            assert (written == also) == (score.value == 1.0), (one, other)


def test_many_different_plain_answers_are_compared_without_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    many = number.many
    monkeypatch.setattr(number, "many", lambda self, what: asked.append(len(what[0][1])) or many(self, what))
    assert marks(majority()(TASK, answers(*range(64), 7))) == [0.0] * 7 + [1.0] + [0.0] * 56 + [1.0]
    assert asked == []
    assert marks(majority()(TASK, answers(7, "14/2", 8))) == [1.0, 1.0, 0.0]
    assert asked == [1]  # only the fraction


def test_a_tie_pays_what_drawing_lots_would_pay_on_average_in_any_order() -> None:
    tied = [7, 7, 3, 3, 5]
    for order in permutations(range(5)):
        scores = marks(majority()(TASK, answers(*(tied[i] for i in order))))
        assert scores == [0.0 if tied[i] == 5 else 0.5 for i in order]
    assert marks(majority()(TASK, answers(1, 2, 3, 4))) == [0.25] * 4


def test_the_tasks_own_answer_changes_nothing() -> None:
    attempts = answers(7, 7, 3)
    for answer in ("3", "7", None, ["a"]):
        assert marks(majority()(Task(id="t", prompt=(), answer=answer), attempts)) == [1, 1, 0]


def test_what_does_not_compare_answers_is_refused() -> None:
    with pytest.raises(ValueError, match="does not compare two answers"):
        majority(form())


def test_majority_in_an_expression(tmp_path: Path) -> None:
    reward = parse_reward("majority(choice()) + 0.1 * form()", tmp_path)
    [score, *_] = reward(TASK, answers("A", "A", "B"))
    assert score.parts["majority_share"] == pytest.approx(2 / 3)


def test_boxed_answers_vote_by_what_they_mean() -> None:
    pytest.importorskip("math_verify")
    assert marks(majority(math())(TASK, said(r"\boxed{\frac12}", r"\boxed{0.5}", r"\boxed{2}"))) == [1, 1, 0]


TOKENIZER = byte_level()
CHAT = Chat(TOKENIZER, frozenset())


@dataclass
class Heard:
    """An engine that says what it is told to of each token, whatever the turn, and remembers what it was asked."""

    said: Callable[[Turn], Reading]
    asked: list[Turn] = field(default_factory=list)
    version: int = 0

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, progress: Callable[[int, int], None] | None = None
    ) -> list[list[Turn]]:
        raise AssertionError("rewards draw nothing")

    def read(self, turns: Sequence[Turn]) -> list[Reading]:
        self.asked += turns
        return [self.said(turn) for turn in turns]

    def sync(self, policy: object) -> None: ...


def around(engine: Engine) -> Surroundings:
    return Surroundings(engine=engine, chat=CHAT, folder=Path(), dtype=torch.float64)


def constant(**numbers: tuple[float, ...]) -> Callable[[Turn], Reading]:
    given = {name: numbers.get(name, (0.0, 0.0, 0.0)) for name in ("logp", "entropy", "certainty")}
    return lambda turn: Reading(**given)


def test_self_certainty_is_the_mean_over_tokens() -> None:
    reward = self_certainty().opened(around(Heard(constant(certainty=(0.641684, 2.0, 0.0), entropy=(0.6, 0.0, 0.0)))))
    [score] = reward(TASK, said("abc"))
    assert score.value == score.parts["self_certainty"] == pytest.approx(2.641684 / 3)
    assert score.parts["entropy_nats"] == pytest.approx(0.2)


@pytest.mark.parametrize(("form", "value"), [("mean", -0.533333), ("sum", -1.6), ("sequence", -1.75)])
def test_the_forms_of_entropy(form: str, value: float) -> None:
    engine = Heard(constant(entropy=(0.5, 1.0, 0.1), logp=(-0.2, -1.5, -0.05)))
    [score] = entropy(form).opened(around(engine))(TASK, said("abc"))
    assert score.value == pytest.approx(value, abs=1e-6)
    assert score.parts["entropy_nats"] == pytest.approx(0.533333, abs=1e-6)


def test_all_turns_of_all_attempts_are_read_at_once() -> None:
    turn = said("a")[0].turns[0]
    engine = Heard(lambda turn: Reading(logp=(0.0,), entropy=(float(turn.version),), certainty=(0.0,)))
    two = Trajectory(turns=(replace(turn, version=1), replace(turn, version=4)), stop="eos")
    one = Trajectory(turns=(replace(turn, version=9),), stop="eos")
    [[first], [second, third]] = entropy().opened(around(engine)).many([(TASK, [two]), (TASK, [one, two])])
    assert marks([first, second, third]) == [-2.5, -9.0, -2.5]
    assert len(engine.asked) == 5


def test_an_attempt_without_a_token_abstains_and_an_unopened_reward_says_so() -> None:
    silent = Heard(lambda turn: Reading(logp=(), entropy=(), certainty=()))
    [score] = self_certainty().opened(around(silent))(TASK, said(""))
    assert score.status == "abstain"
    with pytest.raises(ValueError, match="call opened"):
        self_certainty()(TASK, said("a"))
    with pytest.raises(ValueError, match="form is one of mean, sum, sequence"):
        entropy("certainty")


def spoken(text: str) -> Trajectory:
    turn = Turn(prompt=(5, 6), completion=CHAT.completion(text), text=text, stop="eos", logp=(), temperature=0.5)
    return Trajectory(turns=(turn,), stop="eos")


@pytest.mark.parametrize("answer", ["42", "日本", "x > y", "<|im_end|>"])
@pytest.mark.parametrize("thought", ["<think>a and b</think>\n", "", "äöü 日本🙂 <answer>no</answer> "])
def test_the_reference_stands_where_the_answer_stood(answer: str, thought: str) -> None:
    turn = spoken(f"{thought}<answer>17</answer>").turns[0]
    found = CHAT.referenced(turn, answer, "answer")
    assert found is not None
    ids = found.turn.prompt + found.turn.completion
    assert CHAT.show(ids[2:]) == f"{thought}<answer>{answer}</answer>"
    assert CHAT.decode(found.turn.completion).endswith(f"{answer}</answer>") or "<|" in answer
    assert CHAT.show(found.turn.completion[found.tokens :]) in ("</answer>", "/answer>")
    kept = ids[: len(turn.prompt)] + turn.completion
    same = next(i for i, (a, b) in enumerate(zip(ids, kept, strict=False)) if a != b)
    assert len(CHAT.decode(ids[2:same])) >= len(thought) - 1  # nothing of the thought is encoded anew
    assert found.turn.temperature == 0.5


def test_without_a_thought_the_reference_stands_at_the_start() -> None:
    found = CHAT.referenced(spoken("<think>a</think><answer>17</answer>").turns[0], "42", "answer", thought=False)
    assert found is not None
    assert CHAT.decode((found.turn.prompt + found.turn.completion)[2:]) == "<answer>42</answer>"
    assert CHAT.referenced(spoken("no tag").turns[0], "42", "answer") is None


def test_likelihood_is_the_mean_probability_less_that_without_a_thought() -> None:
    """Of three answer tokens after the thought .9, .6 and .8, without it .5, .2 and .3; closing tags are sure."""

    def likely(turn: Turn) -> Reading:
        probability = [0.9, 0.6, 0.8] if b"think" in CHAT.decode(turn.prompt).encode() else [0.5, 0.2, 0.3]
        logp = [float(np.log(p)) for p in probability] + [0.0] * (len(turn.completion) - 3)
        return Reading(logp=tuple(logp), entropy=(), certainty=())

    task = Task(id="t", prompt=(), answer="#### 123")
    place = CHAT.referenced(spoken("<think>a</think><answer>7</answer>").turns[0], "123", "answer")
    assert place is not None
    assert place.tokens == 3
    attempts = [spoken("<think>a</think><answer>7</answer>"), spoken("<think>a</think> 7")]
    right, without = likelihood().opened(around(Heard(likely)))(task, attempts)
    assert right.value == pytest.approx(0.433333, abs=1e-6)
    assert right.parts == pytest.approx(
        {"likelihood": 0.433333, "parsed": 1.0, "likelihood_unthought": 1 / 3}, abs=1e-6
    )
    assert (without.value, without.parts["parsed"]) == (0.0, 0.0)
    [plain, _] = likelihood(debias=False).opened(around(Heard(likely)))(task, attempts)
    assert plain.value == pytest.approx(0.766667, abs=1e-6)
    [product, _] = likelihood(form="product", debias=False).opened(around(Heard(likely)))(task, attempts)
    assert product.value == pytest.approx(0.432, abs=1e-6)


def test_likelihood_needs_an_answer_and_never_pays_below_zero() -> None:
    engine = Heard(lambda turn: Reading(logp=(-3.0 if len(turn.prompt) > 9 else -0.1,) * 9, entropy=(), certainty=()))
    reward = likelihood().opened(around(engine))
    [score] = reward(Task(id="t", prompt=(), answer=None), [spoken("<answer>7</answer>")])
    assert score.status == "unparseable"
    [score] = reward(Task(id="t", prompt=(), answer=7), [spoken("<think>long and wrong</think><answer>7</answer>")])
    assert score.value == 0.0


def test_likelihood_of_a_real_forward_is_the_probability_of_writing_the_answer() -> None:
    model = tiny_model(len(TOKENIZER))
    attempt = spoken("<think>ab</think><answer>5</answer>")
    engine = NativeEngine(model, TOKENIZER, frozenset())
    reward = likelihood(form="product", debias=False).opened(around(engine))
    [score] = reward(Task(id="t", prompt=(), answer="23"), [attempt])
    place = CHAT.referenced(attempt.turns[0], "23", "answer")
    assert place is not None
    ids = torch.tensor([place.turn.prompt + place.turn.completion])
    with torch.no_grad():
        logp = (model(ids).logits[0] / 0.5).log_softmax(-1)[:-1].gather(1, ids[0, 1:, None])[:, 0]
    assert score.value == pytest.approx(float(logp[len(place.turn.prompt) - 1 :].sum().exp()), rel=1e-6)

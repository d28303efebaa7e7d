"""The algorithm genrm: what becomes a question, what each token weighs, and which chains are learned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from judge_doubles import attempts

from togi.algorithms import ALGORITHMS
from togi.algorithms.scorers.genrm import KEYS, SOLUTION, Chains, GenRM, Verdicts, _opening, verdict_of
from togi.batch import collate
from togi.recipe.algorithm_settings import attempts_of, configured, settings_of
from togi.rewards.judge.judge_prompts import VERIFY, verification_prompt
from togi.types import Group, Message, Outputs, Question, Sample, Task, Trajectory, Turn


def said(*texts: str) -> tuple[tuple[Message, ...], ...]:
    return tuple((Message(role="assistant", content=text),) for text in texts)


LONG = "First I add 3 and 4, which is 7, so I say 8"
TASK = Task(
    id="t@1",
    prompt=(Message(role="user", content="What is 3 + 4?"),),
    answer="7",
    recorded=said("7", "8", "It is 7.", "7", LONG),
    worth=(1.0, 0.0, 1.0, 1.0, 0.0),
)


class Played:
    """A play that writes the chains it is given, and counts."""

    def __init__(self, chains: Sequence[Trajectory] = ()) -> None:
        self.chains, self.counts = tuple(chains), dict[str, float]()

    @property
    def chat(self) -> Played:
        return self

    def attempts(self, questions: Sequence[Question]) -> list[tuple[Trajectory, ...]]:
        return [self.chains[: question.attempts] for question in questions]

    def of(self, task: Task) -> Played:
        return self

    def recorded(self, prompt: Sequence[Message], answer: Sequence[Message]) -> tuple[Turn, ...]:
        return attempts(answer[0].content)[0].turns


def shown(groups: Sequence[Group]) -> list[tuple[str, str, float]]:
    return [
        (g.task.id, t.turns[0].text, s.value) for g in groups for t, s in zip(g.trajectories, g.scores, strict=True)
    ]


def test_attempts_become_questions_and_right_ones_solutions_too() -> None:
    groups = Verdicts()(iter([TASK]), 1, Played())  # type: ignore[arg-type]
    assert shown(groups) == [
        ("verification 1 of t@1", "Yes", 1.0),
        ("verification 2 of t@1", "Yes", 1.0),
        ("verification 3 of t@1", "No", 0.0),
        ("verification 4 of t@1", "No", 0.0),
        ("solution of t@1", "7", 1.0),
        ("solution of t@1", "It is 7.", 1.0),
    ]
    for group, text in zip(groups, ("7", "It is 7.", "8", LONG), strict=False):
        assert group.task.prompt == verification_prompt(TASK, attempts(text)[0], reason=False)
    assert groups[-1].task.prompt == TASK.prompt
    assert len(Verdicts(most=1)(iter([TASK]), 1, Played())) == 3  # type: ignore[arg-type]


def test_an_answer_never_enters_a_question() -> None:
    task = Task(id="t@1", prompt=TASK.prompt, answer="CANARY", recorded=said("x"), worth=(0.0,))
    assert not any("CANARY" in message.content for q in Verdicts(master_keys=9).questions(task) for message in q.prompt)


def test_master_keys_are_labelled_no() -> None:
    questions = Verdicts(most=1, master_keys=9).questions(TASK)
    opening = "First I add"
    expected = {verification_prompt(TASK, attempts(key)[0], reason=False) for key in (*KEYS, opening)}
    assert {question.prompt for question in questions[2:]} == expected
    assert {question.answer for question in questions[2:]} == {"No"}
    assert len(Verdicts(most=1, master_keys=2).questions(TASK)) == 4
    assert Verdicts(master_keys=2).questions(TASK) == Verdicts(master_keys=2).questions(TASK)


def test_an_answer_of_worth_one_half_is_right() -> None:
    questions = Verdicts().questions(replace(TASK, recorded=said("x", "y"), worth=(0.5, 0.499)))
    assert [question.answer for question in questions] == ["Yes", "No"]


def test_a_quarter_of_eight_words_is_an_opening_and_nothing_of_seven() -> None:
    assert _opening("one two three four five six seven eight") == "one two"
    assert _opening("one two three four five six seven") == ""


def test_tasks_that_nobody_judged_are_refused() -> None:
    with pytest.raises(ValueError, match="t has no answers that were found right or wrong"):
        Verdicts().questions(Task(id="t", prompt=TASK.prompt, recorded=said("7")))
    for most, keys in ((0, 0), (1, -1)):
        with pytest.raises(ValueError, match="most is at least 1"):
            Verdicts(most=most, master_keys=keys)


def chain(text: str, stop: str = "eos") -> Trajectory:
    turn = Turn(prompt=(1,), completion=(5,), text=text, stop=stop, logp=(-1.0,))  # type: ignore[arg-type]
    return Trajectory(turns=(turn,), stop=stop)  # type: ignore[arg-type]


def test_chains_whose_verdict_is_true_are_learned() -> None:
    chains = [
        chain("3 + 4 = 7.\nVerdict: Yes"),
        chain("Hm.\nVerdict: No"),
        chain("Yes"),
        chain("So\nVerdict: Y", "length"),
    ]
    play = Played(chains)
    sampler = Chains(n=4, most=1)
    groups = sampler(iter([TASK]), 1, play)  # type: ignore[arg-type]
    right, wrong, solution = groups
    assert right.task.prompt == verification_prompt(TASK, attempts("7")[0], reason=True)
    assert [score.note for score in right.scores[1:3]] == [
        "No is not the true verdict",
        "the chain ends without a verdict",
    ]
    assert [score.status for score in right.scores] == ["ok", "abstain", "abstain", "abstain"]
    assert [score.value for score in wrong.scores if score.status == "ok"] == [0.0]
    assert wrong.scores[1].status == "ok"
    assert solution.task.id == "solution of t@1"
    assert play.counts == {"verification/agreed": 2 / 8, "verification/unread": 4 / 8}
    assert all(turn.logp == () for group in groups for each in group.trajectories for turn in each.turns)


@pytest.mark.parametrize(
    ("text", "stop", "verdict"),
    [
        ("It is.\nVerdict: Yes", "eos", "Yes"),
        ("It is.\nVerdict: No.", "eos", "No"),
        ("It is.\nVerdict: Yes", "length", None),
        ("Verdict: Yes\nVerdict: No", "eos", None),
        ("It is.\nVerdict: maybe", "eos", None),
        ("Yes", "eos", None),
        ("", "eos", None),
    ],
)
def test_the_verdict_of_a_chain(text: str, stop: str, verdict: str | None) -> None:
    assert verdict_of(chain(text, stop)) == verdict


def sample(task: str, reward: float, length: int, group: int) -> Sample:
    ids = np.arange(length + 1)
    return Sample(
        ids=ids, mask=ids > 0, logp=np.zeros(length + 1, np.float32), reward=reward, group=group, trajectory=0,
        task=task, stop="eos", recorded=True,
    )  # fmt: skip


def test_each_kind_is_a_mean_of_its_own() -> None:
    """NLL(Yes | correct) + NLL(No | wrong) + λ NLL(solution | x), each a token mean, by hand."""
    samples = [
        sample("verification 1 of t", 1.0, 2, 0),
        sample("verification 2 of t", 1.0, 2, 1),
        sample("verification 3 of t", 0.0, 2, 2),
        sample(f"{SOLUTION}t", 1.0, 4, 3),
        sample(f"{SOLUTION}u", 1.0, 2, 4),
    ]
    credited = GenRM().credit(samples, {})
    assert [each.weight for each in credited] == pytest.approx([1 / 4, 1 / 4, 1 / 2, 1 / 18, 1 / 18])
    batch = collate(credited)
    nll = torch.tensor([0.5, 0.7, 1.2, 0.9, 0.3])
    logp_BT = torch.where(batch.mask_BT, -nll[:, None], 0.0)
    found = GenRM().loss(Outputs(logp_BT=logp_BT), batch)
    assert float(found.value) == pytest.approx((0.5 + 0.7) / 2 + 1.2 + (4 * 0.9 + 2 * 0.3) / 6 / 3, abs=1e-6)
    means = {name: mean.total / mean.count for name, mean in found.metrics.items()}
    assert means == pytest.approx({"nll/verdict": (0.5 + 0.7 + 1.2) / 3, "nll/solution": (4 * 0.9 + 2 * 0.3) / 6})
    assert [each.weight for each in GenRM(solution=0).credit(samples, {})][3:] == [0, 0]
    assert GenRM().credit([], {}) == []


def test_settings_of_a_recipe() -> None:
    algorithm = configured(ALGORITHMS["genrm_cot"], {"master_keys": 2, "solution": 0.5}, attempts=8, max_tokens=64)
    assert algorithm == GenRM(sampler=Chains(n=8, master_keys=2), solution=0.5)
    assert attempts_of(ALGORITHMS["genrm"]) is None
    assert settings_of(ALGORITHMS["genrm"]) == {
        "solution": 1 / 3, "most": 4, "master_keys": 0, "correct_from": 0.5, "template": VERIFY,
    }  # fmt: skip
    with pytest.raises(ValueError, match="weight of solutions"):
        GenRM(solution=math.nan)

"""Algorithms without a verifier: credit against hand-computed numbers, and gradients against exact ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from tiny_text import byte_level
from torch import Tensor

from togi import batch as batching
from togi.algorithms import RLPR, EntropyMinimisation, PPOClip, VeriFree
from togi.rollout import Episodes
from togi.samplers import Groups, Referenced
from togi.tokenization import Chat
from togi.types import Batch, Group, Mean, Memory, Outputs, Question, Sample, Sampling, Score, Task, Trajectory, Turn

REWARDS = [0.432, 0.1, 0.3, 0.168]


def sample(
    ids: Sequence[int], prompt: int, reward: float, trajectory: int, *, group: int = 0, recorded: bool
) -> Sample:
    zeros = np.zeros(len(ids), np.float32)
    return Sample(
        ids=np.array(ids), mask=np.arange(len(ids)) >= prompt, logp=zeros, reward=reward, group=group,
        trajectory=trajectory, task="t", stop="eos", recorded=recorded,
    )  # fmt: skip


def step(rewards: Sequence[float], thoughts: Sequence[int]) -> list[Sample]:
    """Attempts of a prompt, a thought and an answer, each with its reference after the same thought."""
    found = []
    for i, (reward, thought) in enumerate(zip(rewards, thoughts, strict=True)):
        found.append(sample([0, thought, 4, 1], 2, reward, i, recorded=True))
        found.append(sample([0, thought, 3], 1, reward, i, recorded=False))
    return found


def table_outputs(table: Tensor, batch: Batch, entropy: bool = False) -> Outputs:
    logp_BTV = table.log_softmax(-1)[batch.ids_BT[:, :-1]]
    logp = logp_BTV.gather(-1, batch.ids_BT[:, 1:, None]).squeeze(-1)
    entropies = -(logp_BTV.exp() * logp_BTV).sum(-1)
    logp_BT, entropy_BT = (torch.nn.functional.pad(x, (1, 0)).where(batch.mask_BT, 0.0) for x in (logp, entropies))
    return Outputs(logp_BT=logp_BT, entropy_BT=entropy_BT if entropy else None)


def table() -> Tensor:
    return torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()


def credited(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    found = VeriFree().credit(samples, {})
    return [one for one in found if not one.recorded], [one for one in found if one.recorded]


def test_verifree_credits_thoughts_against_their_siblings_and_references_by_their_reward() -> None:
    thoughts, references = credited(step(REWARDS, [1, 2, 3, 1]))
    advantages = [float(one.advantage[1]) for one in thoughts if one.advantage is not None]
    np.testing.assert_allclose(advantages, [0.242667, -0.2, 0.0666667, -0.109333], atol=1e-6)
    weights = [float(one.advantage[2]) for one in references if one.advantage is not None]
    np.testing.assert_allclose(weights, REWARDS, atol=1e-6)
    assert {one.weight for one in thoughts + references} == {0.25}
    assert [one.mask.tolist() for one in thoughts] == [[False, True, False]] * 4


def test_what_an_attempt_shares_with_its_reference_by_luck_is_no_thought() -> None:
    reference = sample([0, 1, 4, 1], 2, 0.5, 0, recorded=True)
    attempt = sample([0, 1, 4, 1, 2], 1, 0.5, 0, recorded=False)
    thoughts, _ = credited([reference, attempt, *step([0.1], [2])[1:]])
    assert thoughts[0].mask.tolist() == [False, True, False, False, False]
    melted = sample([0, 1, 2, 4, 1], 3, 0.5, 0, recorded=True)  # the tag was encoded otherwise than it was sampled
    [thought], _ = credited([melted, sample([0, 1, 3, 4], 1, 0.5, 0, recorded=False)])
    assert thought.mask.tolist() == [False, True, False, False]


def test_an_attempt_without_an_answer_is_all_thought_and_worth_nothing() -> None:
    lone = sample([0, 1, 2, 3], 1, 0.0, 1, recorded=False)
    thoughts, references = credited([*step([0.4], [1]), lone])
    assert thoughts[1].mask.tolist() == [False, True, True, True]
    assert thoughts[1].advantage is not None
    assert thoughts[1].advantage[1] == pytest.approx(-0.4)
    assert len(references) == 1


def test_verifree_follows_the_exact_gradient_of_the_probability_of_the_answer() -> None:
    """Thoughts of one token, all pairs of attempts weighted by their probability."""
    weights = table()
    p = weights.log_softmax(-1).exp()
    likely = {z: p[z, 4] * p[4, 1] for z in range(5)}
    objective = torch.stack([p[0, z] * likely[z] for z in range(5)]).sum()
    (exact,) = torch.autograd.grad(objective, weights, retain_graph=True)
    mean = torch.zeros_like(exact)
    for pair in product(range(5), repeat=2):
        samples = VeriFree().credit(step([float(likely[z].detach()) for z in pair], pair), {})
        batch = batching.collate([one for one in samples if one.weight])
        (gradient,) = torch.autograd.grad(VeriFree().loss(table_outputs(weights, batch), batch).value, weights)
        mean += (p[0, pair[0]] * p[0, pair[1]]).detach() * gradient
    torch.testing.assert_close(-mean, exact, atol=1e-6, rtol=1e-5)


def test_verifree_clips_the_ratios_of_later_updates() -> None:
    """Every token is half as likely again: a gain counts at most 1.2 times, a loss in full."""
    rows = [
        replace(each, old_logp=np.where(each.mask, -1.0, 0).astype(np.float32)) for each in step([0.5, 0.1], [1, 2])
    ]
    batch = batching.collate(VeriFree().credit(rows, {}))
    assert batch.old_logp_BT is not None
    logp_BT = (batch.old_logp_BT + np.log(1.5)).where(batch.mask_BT, 0.0).requires_grad_()
    loss = VeriFree().loss(Outputs(logp_BT=logp_BT), batch)
    thoughts, references = -1.2 * 0.4 + 1.5 * 0.4, -1.2 * (0.5 + 0.1) * 2
    assert loss.value.item() == pytest.approx((thoughts + references) / 2)
    loss.value.backward()
    assert logp_BT.grad is not None
    # Rows: two thoughts, then two references. What was clipped has no gradient any more.
    assert logp_BT.grad[1, 1] == pytest.approx(1.5 * 0.4 / 2)
    assert int((logp_BT.grad != 0).sum()) == 1
    assert loss.metrics["clip_ratio/high_mean"] == Mean(total=5, count=6)
    wide = VeriFree(surrogate=PPOClip(clip_high=1.0)).loss(Outputs(logp_BT=logp_BT.detach()), batch)
    assert wide.value.item() == pytest.approx((-1.5 * 0.4 + 1.5 * 0.4 - 1.5 * 1.2) / 2)


def test_verifree_refuses_rewards_that_are_no_probability() -> None:
    with pytest.raises(ValueError, match="likelihood"):
        VeriFree().credit(step([0.5, 1.001], [1, 2]), {})


def test_a_sure_answer_of_a_lone_attempt_is_learned_and_its_thought_is_not() -> None:
    [thought], [reference] = credited(step([1.0], [1]))
    assert (thought.weight, reference.weight) == (0.0, 1.0)
    assert reference.advantage is not None
    assert reference.advantage.tolist() == [0, 0, 1, 1]


def test_references_come_with_the_attempts_and_are_recorded() -> None:
    chat = Chat(byte_level(), frozenset())
    task = Task(id="t", prompt=(), answer=42)
    texts = ("<think>ab</think><answer>7</answer>", "<think>endless")
    turns = [
        Turn(prompt=(5, 6), completion=(i := chat.completion(text)), text=text, stop="eos", logp=(-1.0,) * len(i))
        for text in texts
    ]
    group = Group(
        task=task,
        trajectories=tuple(Trajectory(turns=(turn,), stop="eos") for turn in turns),
        scores=(Score(value=0.3), Score(value=0.0)),
    )

    class Fixed(Episodes):
        given = group

        def __call__(self, questions: Sequence[Question]) -> list[Group]:
            assert list(questions) == [Question(task=task, attempts=2)]
            return [self.given]

    play = Fixed(engine=None, chat=chat, env=None, reward=None, sampling=Sampling())  # type: ignore[arg-type]
    [found] = Referenced(2)(iter([task]), 1, play)
    assert (found.trajectories, found.scores) == (group.trajectories, group.scores)
    failed = replace(group, trajectories=tuple(replace(one, error="gone") for one in group.trajectories))
    play.given = failed
    assert Referenced(2)(iter([task]), 1, play)[0].references == (None, None)
    play.given = replace(group, task=replace(task, answer=None))
    assert Referenced(2)(iter([task]), 1, play)[0].references == (None, None)
    reference, attempt, endless = batching.samples([found])
    assert [one.recorded for one in (reference, attempt, endless)] == [True, False, False]
    assert [(one.reward, one.trajectory) for one in (reference, attempt, endless)] == [(0.3, 0), (0.3, 0), (0.0, 1)]
    assert chat.decode(reference.ids[reference.mask].tolist()) == "42</answer>"
    assert chat.decode(reference.ids[2:].tolist()) == "<think>ab</think><answer>42</answer>"
    [thought, _], _ = credited([reference, attempt, endless])
    assert chat.decode(thought.ids[thought.mask].tolist()) == "<think>ab</think><answer>"


def test_entropy_is_minimised_by_its_own_gradient_whatever_was_paid() -> None:
    weights, algorithm = table(), EntropyMinimisation()
    attempts = [sample([0, 1, 3], 1, 9.0, 0, recorded=False), sample([0, 2], 1, -9.0, 1, recorded=False)]
    batch = batching.collate(algorithm.credit(attempts, {}))
    loss = algorithm.loss(table_outputs(weights, batch, entropy=True), batch)
    logp = weights.log_softmax(-1)
    entropy = -(logp.exp() * logp).sum(-1)
    expected = ((entropy[0] + entropy[1]) / 2 + entropy[0]) / 2
    torch.testing.assert_close(loss.value, expected)
    assert loss.metrics["entropy"].total / loss.metrics["entropy"].count == pytest.approx(
        float((2 * entropy[0] + entropy[1]).detach()) / 3
    )
    torch.testing.assert_close(torch.autograd.grad(loss.value, weights), torch.autograd.grad(expected, weights))


def groups(*rewards: Sequence[float]) -> list[Sample]:
    return [
        sample([0, 1, 2], 1, reward, i, group=number, recorded=False)
        for number, row in enumerate(rewards)
        for i, reward in enumerate(row)
    ]


def test_rlpr_leaves_out_prompts_whose_rewards_spread_less_than_usual() -> None:
    algorithm, memory = RLPR(), Memory()
    flat: Memory = {}
    assert len(algorithm.credit(groups([0.5, 0.5]), flat)) == 2
    assert flat["rlpr/dropped"] == 0
    first = algorithm.credit(groups([0.0, 0.2], [0.0, 0.4]), memory)  # standard deviations .1 and .2
    assert {one.group for one in first} == {0, 1}
    assert memory == pytest.approx({"rlpr/std": 0.15, "rlpr/dropped": 0.0})
    second = algorithm.credit(groups([0.0, 0.2], [0.0, 0.4], [0.5, 0.5]), memory)
    assert {one.group for one in second} == {1}
    assert memory == pytest.approx({"rlpr/std": 0.99 * 0.15 + 0.01 * 0.1, "rlpr/dropped": 2 / 3})
    assert {one.group for one in replace(algorithm, beta=0.0).credit(groups([0.0, 0.2]), memory)} == {0}
    assert algorithm.credit([], memory) == []


def test_more_votes_than_are_learned_from() -> None:
    tried = []

    def play(questions: Sequence[Question]) -> list[Group]:
        [n] = {question.attempts for question in questions}
        tried.append(n)
        turn = Turn(prompt=(1,), completion=(2,), text="", stop="eos")
        many = tuple(Trajectory(turns=(replace(turn, version=i),), stop="eos") for i in range(n))
        return [Group(task=task, trajectories=many, scores=tuple(Score(value=i) for i in range(n)))
                for task in [question.task for question in questions]]  # fmt: skip

    tasks = [Task(id=str(i), prompt=()) for i in range(2)]
    found = Groups(2, votes=5)(iter(tasks), 2, play)  # type: ignore[arg-type]
    assert tried == [5]
    for group in found:
        assert [one.turns[0].version for one in group.trajectories] == [0, 1]
        assert [score.value for score in group.scores] == [0, 1]
    with pytest.raises(ValueError, match="of which 8 are learned from; got 4"):
        Groups(8, votes=4)

"""Groups to samples to batches: what is trained on is exactly what was sampled."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from togi.batch import collate, minibatches, samples, trajectories
from togi.types import Group, Sample, Score, Stop, Task, Trajectory, Turn

PAD = EOS = 0


def turn(prompt: list[int], completion: list[int], **fields: Any) -> Turn:
    logp = tuple(-0.5 - i for i in range(len(completion)))
    plain = Turn(prompt=tuple(prompt), completion=tuple(completion), text="", stop="eos", logp=logp)
    return replace(plain, **fields)


def group(*attempts: tuple[list[Turn], Score], stop: Stop = "eos", task: str = "t") -> Group:
    return Group(
        task=Task(id=task, prompt=()),
        trajectories=tuple(Trajectory(turns=tuple(turns), stop=stop) for turns, _ in attempts),
        scores=tuple(score for _, score in attempts),
    )


def sample(length: int, *, group: int = 0, trajectory: int = 0, weight: float = 1.0) -> Sample:
    mask = np.arange(length) > 0
    zeros = np.zeros(length, np.float32)
    return Sample(
        ids=np.arange(length), mask=mask, logp=zeros, reward=1.0, group=group, trajectory=trajectory,
        task="t", stop="eos", weight=weight, advantage=zeros,
    )  # fmt: skip


def test_ids_are_those_sampled_and_the_end_token_is_trained_on_though_it_is_also_padding() -> None:
    [one] = samples([group(([turn([5, 0, 6], [7, 0, EOS])], Score(value=1.0)))])
    assert one.ids.tolist() == [5, 0, 6, 7, 0, EOS]
    assert one.mask.tolist() == [False, False, False, True, True, True]
    np.testing.assert_allclose(one.logp, [0, 0, 0, -0.5, -1.5, -2.5])
    assert (one.reward, one.group, one.trajectory, one.task, one.stop) == (1.0, 0, 0, "t", "eos")


def test_turns_that_continue_each_other_are_one_sample_without_the_environments_tokens() -> None:
    turns = [turn([1, 2], [3], version=4), turn([1, 2, 3, 8, 8], [9, 10], version=5)]
    [one] = samples([group((turns, Score(value=2.0)))])
    assert one.ids.tolist() == [1, 2, 3, 8, 8, 9, 10]
    assert one.mask.tolist() == [False, False, True, False, False, True, True]
    np.testing.assert_allclose(one.logp, [0, 0, -0.5, 0, 0, -0.5, -1.5])
    assert one.version == 4
    [paid] = samples([group((turns, Score(value=2.0, dense=(1.0, 2.0, 3.0))))])
    assert paid.dense is not None
    assert paid.dense.tolist() == [0, 0, 1, 0, 0, 2, 3]


@pytest.mark.parametrize(
    "second", [turn([1, 2, 4, 8], [9]), turn([1, 2], [9]), turn([1, 2, 3, 8], [9], temperature=0.7)]
)
def test_a_rewritten_history_or_another_temperature_begins_a_new_sample(second: Turn) -> None:
    score = Score(value=2.0, dense=(0.5, 0.25), steps=(0.75,), step_ends=(0,))
    first, last = samples([group(([turn([1, 2], [3]), second], score))])
    assert first.ids.tolist() == [1, 2, 3]
    assert last.ids.tolist() == [*second.prompt, 9]
    assert (first.group, first.trajectory) == (last.group, last.trajectory)
    assert first.dense is not None
    assert first.dense.tolist() == [0.0, 0.0, 0.5]
    assert first.steps is None
    assert last.dense is not None
    assert last.dense.tolist() == [0.0] * len(second.prompt) + [0.25]
    assert last.steps is not None
    assert last.steps[-1] == 0.75
    assert np.isnan(last.steps[:-1]).all()
    assert last.temperature == second.temperature


def test_what_was_not_scored_is_absent() -> None:
    scored = ([turn([1], [2])], Score(value=1.0))
    lost = ([turn([1], [3])], Score(value=math.nan, status="timeout"))
    found = samples([group(lost), group(scored, lost, scored)])
    assert [(each.group, each.trajectory, each.ids.tolist()) for each in found] == [(1, 0, [1, 2]), (1, 2, [1, 2])]


def test_dense_rewards_go_on_where_a_rewritten_history_begins() -> None:
    turns = [turn([1], [2, 3]), turn([7], [4]), turn([8, 9], [5, 6])]
    found = samples([group((turns, Score(value=0.0, dense=(0.1, 0.2, 0.3, 0.4, 0.5))))])
    np.testing.assert_allclose(np.concatenate([one.dense for one in found]), [0, 0.1, 0.2, 0, 0.3, 0, 0, 0.4, 0.5])  # type: ignore[misc]


@pytest.mark.parametrize(("known", "recorded"), [((True, True), False), ((True, False), False), ((False, False), True)])
def test_an_answer_is_recorded_when_no_turn_of_it_was_sampled(known: tuple[bool, bool], recorded: bool) -> None:
    first, second = turn([1], [2]), turn([1, 2, 3], [4])
    turns = [one if sampled else replace(one, logp=()) for one, sampled in zip((first, second), known, strict=True)]
    [found] = samples([group((turns, Score(value=0.0)))])
    assert found.recorded == recorded


def test_recorded_answers_have_no_log_probabilities() -> None:
    [one] = samples([group(([turn([1], [2, 3], logp=())], Score(value=0.0)))])
    assert one.logp.tolist() == [0, 0, 0]
    assert one.mask.tolist() == [False, True, True]


def test_an_empty_completion_has_nothing_to_train_on_but_still_counts_as_an_attempt() -> None:
    found = samples([group(([turn([1, 2], [])], Score(value=0.0)), ([turn([1, 2], [3])], Score(value=1.0)))])
    assert not found[0].mask.any()
    attempts = trajectories(found)
    assert attempts.reward_S.tolist() == [0, 1]
    assert attempts.length_S.tolist() == [0, 1]


def test_a_token_without_context_is_never_trained_on() -> None:
    [one] = samples([group(([turn([], [4, 5])], Score(value=1.0)))])
    assert one.mask.tolist() == [False, True]
    assert one.logp.tolist() == [0, -1.5]


def test_statistics_count_a_trajectory_once() -> None:
    rewritten = [turn([1, 2], [3]), turn([7], [8, 9])]
    found = samples([
        group((rewritten, Score(value=3.0)), ([turn([1], [2])], Score(value=1.0))),
        group(([turn([1], [2])], Score(value=5.0)), stop="length"),
    ])  # fmt: skip
    attempts = trajectories(found)
    assert attempts.reward_S.tolist() == [3, 1, 5]
    assert attempts.group_S.tolist() == [0, 0, 1]
    assert attempts.length_S.tolist() == [3, 1, 1]
    assert attempts.truncated_S.tolist() == [False, False, True]
    assert attempts.index.tolist() == [0, 0, 1, 2]


def test_collate_pads_on_the_right() -> None:
    found = samples([group(([turn([1, 2], [3])], Score(value=1.0)), ([turn([1], [4, 5, 6])], Score(value=0.0)))])
    batch = collate(found)
    assert batch.ids_BT.tolist() == [[1, 2, 3, 0], [1, 4, 5, 6]]
    assert batch.mask_BT.tolist() == [[False, False, True, False], [False, True, True, True]]
    torch.testing.assert_close(batch.logp_BT, torch.tensor([[0, 0, -0.5, 0], [0, -0.5, -1.5, -2.5]]))
    assert batch.old_logp_BT is None
    assert batch.ref_logp_BT is None
    assert [row.ids.tolist() for row in batch.samples] == [[1, 2, 3], [1, 4, 5, 6]]


def test_collate_refuses_nothing() -> None:
    with pytest.raises(ValueError, match="no samples"):
        collate([])


def test_minibatches_keep_order_and_scale_weights_by_their_number() -> None:
    parts = minibatches([sample(n) for n in (2, 3, 4, 5, 6)], 2, "sample")
    assert [[len(each.ids) for each in part] for part in parts] == [[2, 3], [4, 5, 6]]
    assert {each.weight for part in parts for each in part} == {2.0}


def test_minibatches_do_not_split_a_group_when_asked() -> None:
    rows = [sample(n, group=g) for n, g in ((2, 0), (3, 0), (4, 0), (5, 1))]
    assert [[each.group for each in part] for part in minibatches(rows, 2, "group")] == [[0, 0, 0], [1]]
    assert [len(part) for part in minibatches(rows, 2, "sample")] == [2, 2]


def test_minibatches_leave_out_what_weighs_nothing_and_are_never_empty() -> None:
    rows = [sample(2), sample(3, weight=0.0)]
    [[one]] = minibatches(rows, 4, "sample")
    assert len(one.ids) == 2
    assert one.weight == 1.0
    assert minibatches(rows[1:], 4, "sample") == []


def test_minibatches_refuse_less_than_one() -> None:
    assert [len(part) for part in minibatches([sample(3), sample(2)], 1, "sample")] == [2]
    with pytest.raises(ValueError, match="at least 1"):
        minibatches([], 0, "sample")

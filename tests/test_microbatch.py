"""A step is cut into micro-batches by its distinct tokens: every sample once, and groups together where they fit."""

from __future__ import annotations

import numpy as np
import pytest
from test_policy import samples

from togi.models.microbatch import microbatches
from togi.models.trie import packed_length
from togi.types import Sample


@pytest.mark.parametrize("budget", [1, 20, 40, 10_000])
def test_every_sample_is_in_one_microbatch(budget: int) -> None:
    made = samples()
    parts = microbatches(made, budget)
    assert sorted(i for part in parts for i in part) == list(range(len(made)))
    for part in parts:
        assert len(part) == 1 or packed_length([made[i] for i in part]) <= max(budget, 16)  # twice the longest prompt


def test_groups_stay_together_when_they_fit() -> None:
    made = samples()
    largest = max(packed_length([s for s in made if s.group == g]) for g in range(3))
    for part in microbatches(made, largest):
        groups = {made[i].group for i in part}
        assert len(part) == 4 * len(groups)


def sample(ids: str, group: int = 0) -> Sample:
    """A letter a token."""
    mask = np.arange(len(ids)) > 0
    return Sample(
        ids=np.array([ord(letter) for letter in ids]), mask=mask, logp=np.zeros(len(ids), np.float32), reward=0.0,
        group=group, trajectory=0, task="", stop="eos",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("budget", "unit", "parts"),
    [
        (12, "sample", [[0, 1, 2, 3]]),  # "pab" and "pacd" have 5 tokens, "xyz" 3, and the last group 4
        (8, "sample", [[0, 1, 2], [3]]),
        (7, "sample", [[0, 1], [2, 3]]),
        (5, "sample", [[0, 1], [2], [3]]),
        (4, "sample", [[0], [1], [2], [3]]),
        (3, "group", [[0, 1], [2], [3]]),
        (12, "group", [[0, 1, 2, 3]]),
    ],
)
def test_parts_are_filled_to_the_budget(budget: int, unit: str, parts: list[list[int]]) -> None:
    made = [sample("pab"), sample("pacd"), sample("xyz", 1), sample("qrst", 2)]
    assert microbatches(made, budget, unit) == parts  # type: ignore[arg-type]


def test_what_shares_most_stays_together_when_a_group_is_split() -> None:
    made = [sample("aaaz"), sample("bbby"), sample("aaax"), sample("bbbw")]
    assert microbatches(made, 5) == [[2, 0], [3, 1]]
    assert microbatches(made, 10) == [[0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("prompt", "budget", "parts"),
    [
        (20, 10, [[0, 1, 2, 3]]),  # 28 tokens: less than two prompts
        (5, 10, [[0, 1], [2, 3]]),  # 9 tokens each, of which 5 are computed twice
        (3, 10, [[0, 1, 2], [3]]),
        (3, 5, [[0], [1], [2], [3]]),  # two attempts would have 7 tokens, and two prompts have 6
    ],
)
def test_a_long_prompt_is_not_computed_for_few_tokens(prompt: int, budget: int, parts: list[list[int]]) -> None:
    assert microbatches([sample("p" * prompt + 2 * letter) for letter in "abcd"], budget) == parts

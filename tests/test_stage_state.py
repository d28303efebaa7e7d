"""What a stage annotates its samples with, and which updates it makes of a step."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from toy_run import SaysIt, first_stage

from togi.algorithms import DPO, GRPO, KTO, ONLINE_DPO, PPO, RLOO, SFT, Collect, RewardModel, VeriFree
from togi.models.policy import Optimiser
from togi.protocols import Algorithm
from togi.stage_state import Workshop, needs_of
from togi.types import Need, Sample

STAGE = first_stage(steps=1, optimiser=Optimiser())
FREE = GRPO(kl=0)


@pytest.mark.parametrize(
    ("algorithm", "changes", "wanted"),
    [
        (FREE, {}, set()),
        (FREE, {"minibatches": 2}, {"old_logp"}),
        (FREE, {"epochs": 2}, {"old_logp"}),
        (FREE, {"gold": SaysIt()}, {"ref_logp"}),
        (FREE, {"gold": SaysIt(), "minibatches": 3, "epochs": 2}, {"old_logp", "ref_logp"}),
        (GRPO(), {}, {"ref_logp"}),
        (RLOO(), {}, {"ref_logp", "old_logp"}),
        (PPO(kl=0), {}, {"old_value"}),
        (VeriFree(), {}, set()),
        (VeriFree(), {"minibatches": 2}, {"old_logp"}),
        (SFT(), {"minibatches": 2, "epochs": 2}, set()),
        (DPO(), {"minibatches": 2, "gold": SaysIt()}, {"ref_logp"}),
        (ONLINE_DPO, {"minibatches": 2}, {"ref_logp", "old_logp"}),
        (KTO(), {}, {"ref_logp", "old_logp"}),
        (RewardModel(), {"epochs": 2}, set()),
        (Collect(), {"minibatches": 2, "gold": SaysIt()}, set()),
    ],
)
def test_several_updates_and_a_truth_call_for_more(
    algorithm: Algorithm, changes: dict[str, object], wanted: set[Need]
) -> None:
    assert needs_of(replace(STAGE, algorithm=algorithm, **changes)) == wanted  # type: ignore[arg-type]


def samples(count: int) -> list[Sample]:
    ids, mask = np.array([0, 1]), np.array([False, True])
    return [
        Sample(ids=ids, mask=mask, logp=mask * 0.0, reward=0, group=i, trajectory=0, task="", stop="eos", weight=1.0)
        for i in range(count)
    ]


def orders(step: int, *, seed: int = 1, **changes: int) -> list[list[int]]:
    """The groups of each update."""
    shop = SimpleNamespace(stage=replace(STAGE, **changes), seed=seed)  # type: ignore[arg-type]
    parts = Workshop.updates(shop, samples(8), step)  # type: ignore[arg-type]
    return [[sample.group for sample in part] for part in parts]


def test_every_epoch_but_the_first_has_an_order_of_its_own() -> None:
    first, second, third = orders(4, epochs=3)
    assert first == list(range(8))
    assert sorted(second) == sorted(third) == first
    assert len({tuple(each) for each in (first, second, third, orders(5, epochs=2)[1])}) == 4
    assert orders(4, epochs=3) == [first, second, third]
    assert orders(4, epochs=2, seed=2)[1] != second


def test_every_epoch_is_cut_into_minibatches() -> None:
    parts = orders(4, epochs=2, minibatches=2)
    assert [len(part) for part in parts] == [4, 4, 4, 4]
    assert parts[0] + parts[1] == list(range(8))
    assert parts[2] + parts[3] == orders(4, epochs=2)[1]

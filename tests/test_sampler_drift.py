"""How far sampler and trainer are apart: what is told of it, of whom, and when a run stops for it."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from togi.batch import collate
from togi.models.sampler_drift import Disagreement, Drift, effective_share
from togi.types import Sample


def sample(*logp: float, attempt: int = 0, **changes: object) -> Sample:
    """An attempt whose tokens were sampled with these log-probabilities, behind a prompt of one token."""
    sampled = np.array([0.0, *logp], np.float32)
    mask = np.array([False, *[True] * len(logp)])
    return replace(
        Sample(
            ids=np.arange(len(mask)),
            mask=mask,
            logp=sampled,
            reward=0,
            group=0,
            trajectory=attempt,
            task="",
            stop="eos",
        ),
        **changes,  # type: ignore[arg-type]
    )


def drift(*pairs: tuple[Sample, list[float]]) -> Drift:
    """Each sample with what the trainer says of its tokens by now."""
    found = Drift()
    for one, now in pairs:
        found.add(torch.tensor([[0.0, *now]]), collate([one]))
    return found


def test_effective_share_to_the_number() -> None:
    """Weights 1, 1, 2: (1 + 1 + 2)^2 / (3 (1 + 1 + 4))."""
    log_weight = np.log([1.0, 1.0, 2.0])
    assert effective_share(log_weight) == pytest.approx(16 / 18)
    assert effective_share(log_weight + 2000) == pytest.approx(16 / 18)
    assert effective_share(np.array([0.0, -math.inf])) == 0.5


def test_the_difference_is_told_by_mean_quantile_and_largest() -> None:
    told = drift((sample(-1, -2), [-1.1, -2]), (sample(-1, -1, attempt=1), [-0.7, -1])).means()
    apart = np.abs([0.1, 0, 0.3, 0])
    where = "sampling/sampling_logp_difference/"
    assert told[f"{where}mean"] == pytest.approx(apart.mean(), rel=1e-5)
    assert told[f"{where}p99"] == pytest.approx(np.quantile(apart, 0.99), rel=1e-5)
    assert told[f"{where}max"] == pytest.approx(0.3, rel=1e-5)


def test_a_token_is_far_off_where_one_probability_is_more_than_twice_the_other() -> None:
    told = drift((sample(-1, -2, -3, -4), [-1.6, -1.3, -3.8, -4])).means()
    assert told["sampling/sampling_logp_difference/far"] == 0.5


def test_effective_size_counts_tokens_and_whole_attempts() -> None:
    told = drift((sample(-1, -2), [-1.5, -1.5]), (sample(-1, attempt=1), [-2])).means()
    assert told["sampling/effective_sample_size/tokens"] == pytest.approx(effective_share(np.array([-0.5, 0.5, -1])))
    assert told["sampling/effective_sample_size/attempts"] == pytest.approx(effective_share(np.array([0, -1.0])))


def test_what_older_weights_drew_is_no_disagreement() -> None:
    found = drift((sample(-1, age=3), [-4.0]), (sample(-1, attempt=1), [-1.0]))
    found.check(0.01)
    told = found.means()
    assert told["sampling/sampling_logp_difference/max"] == 0
    assert told["sampling/effective_sample_size/tokens"] < 0.6


def test_what_older_weights_drew_is_told_apart() -> None:
    old = np.array([0, -1, -1], np.float32)  # held against those that drew it, as a replayed group is
    told = drift(
        (sample(-1, -1, age=3, old_logp=old), [-1.1, -2.0]),
        (sample(-3, attempt=1, age=1), [-2.8]),
        (sample(-1, attempt=2), [-1.05]),
    ).means()
    where = "sampling/stale_logp_difference/"
    apart = np.array([0.1, 1.0, 0.2])
    assert told[f"{where}mean"] == pytest.approx(apart.mean(), rel=1e-5)
    assert told[f"{where}p99"] == pytest.approx(np.quantile(apart, 0.99), rel=1e-5)
    assert told[f"{where}far"] == pytest.approx(1 / 3)
    assert told["sampling/sampling_logp_difference/mean"] == pytest.approx(0.05, rel=1e-5)
    assert not any(name.startswith(where) for name in drift((sample(-1), [-1.0])).means())


def test_what_another_process_heard_of_counts_alike() -> None:
    one, other = (sample(-1, -1, age=1), [-1.5, -1.0]), (sample(-2, attempt=1, age=2), [-2.9])
    joint = drift(one)
    joint.hear(drift(other).told())
    assert joint.means() == pytest.approx(drift(one, other).means())


def test_the_difference_is_that_of_the_weights_that_sampled_and_the_size_that_of_now() -> None:
    told = drift((sample(-1, -1, old_logp=np.array([0, -1, -1.5], np.float32)), [-1, -3])).means()
    assert told["sampling/sampling_logp_difference/mean"] == 0.25
    assert told["sampling/effective_sample_size/tokens"] == pytest.approx(effective_share(np.array([0.0, -2])))


def test_recorded_text_tells_nothing() -> None:
    assert drift((sample(0, 0), [-1.0, -1.0])).means() == {}


@pytest.mark.parametrize(("apart", "limit", "stops"), [(0.2, 0.1, True), (0.05, 0.1, False), (math.nan, 0.1, True)])
def test_a_disagreement_beyond_the_limit_stops(apart: float, limit: float, stops: bool) -> None:
    found = drift((sample(-1, -1), [-1 + apart, -1 + apart]))
    why = r"differ by .* nats on average .*0.1 is allowed.* mismatch_limit"
    with pytest.raises(Disagreement, match=why) if stops else nullcontext():
        found.check(limit)

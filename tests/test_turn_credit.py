"""Credit for turns: GiGPO, MT-GRPO and PPO over turns against numbers worked by hand, and by their properties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from togi import advantages as adv
from togi.advantages import group_centred
from togi.algorithms import GRPO, MTGRPO, PPO, GiGPO
from togi.types import Memory, Sample

PROMPT = 9


def attempt(
    states: Sequence[int],
    reward: float,
    number: int,
    *,
    group: int = 0,
    paid: Sequence[float] = (),
    tokens: int = 2,
    named: bool = True,
) -> Sample:
    """An episode whose turns of ``tokens`` tokens were taken in these states; ``paid`` is what each turn earned."""
    ids, mask, dense = [PROMPT], [False], [0.0]
    for turn, state in enumerate(states):
        ids += [100 + state] + [7] * tokens
        mask += [False] + [True] * tokens
        dense += [0.0] * tokens + [paid[turn] if paid else 0.0]
    mask_T = np.array(mask)
    dense_T = np.array(dense, np.float32)
    if paid:  # as turns() gives it: nobody is paid twice
        dense_T[-1] -= sum(paid)
    return Sample(
        ids=np.array(ids),
        mask=mask_T,
        logp=np.zeros(len(ids), np.float32),
        reward=reward,
        group=group,
        trajectory=number,
        task="t",
        stop="eos",
        dense=dense_T if paid else None,
        state_keys=tuple(f"s{state}" for state in states) if named else (),
    )


def turn_advantages(sample: Sample, tokens: int = 2) -> list[float]:
    """The advantage of each turn, which all its tokens have."""
    assert sample.advantage is not None
    each = sample.advantage[sample.mask].reshape(-1, tokens)
    assert (each == each[:, :1]).all()
    assert not sample.advantage[~sample.mask].any()
    return [float(value) for value in each[:, 0]]


SOME = [attempt([0, 1, 2], 1.0, 0), attempt([0, 0, 1], 0.0, 1), attempt([0, 3], 0.0, 2)]
PLAIN = GiGPO(gamma=0.9, kl=0.0, baseline=group_centred)


def test_gigpo_compares_attempts_and_turns_in_equal_states() -> None:
    memory = Memory()
    found = [turn_advantages(each) for each in PLAIN.credit(SOME, memory)]
    wanted = [[1.2742, 1.1167, 0.6667], [-0.5358, -0.5358, -0.7833], [-0.5358, -0.3333]]
    for got, want in zip(found, wanted, strict=True):
        assert_allclose(got, want, atol=5e-5)
    assert memory == {"gigpo/alone": 2 / 8}


def test_without_names_a_state_is_what_was_shown_last() -> None:
    """The first state comes with the whole prompt, so that a later visit to it is another one."""
    some = [attempt([0, 1, 2], 1.0, 0, named=False), attempt([0, 2, 1], 0.0, 1, named=False)]
    found = [turn_advantages(each) for each in replace(PLAIN, gamma=1.0).credit(some, {})]
    assert_allclose(found, [[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]])


def test_gigpo_without_turns_is_grpo() -> None:
    alone = [turn_advantages(each) for each in replace(PLAIN, step_weight=0.0).credit(SOME, {})]
    whole = [turn_advantages(each) for each in GRPO(kl=0.0, baseline=group_centred).credit(SOME, {})]
    assert alone == whole


def test_equal_states_of_other_tasks_are_not_compared() -> None:
    others = [replace(each, group=1) for each in SOME]
    found = PLAIN.credit([*SOME, *others], {})
    assert [turn_advantages(each) for each in found[:3]] == [turn_advantages(each) for each in PLAIN.credit(SOME, {})]


def test_an_attempt_that_became_two_samples_is_credited_as_one() -> None:
    """The history was rewritten after its first turn; the reward still flows back through both parts."""
    whole = [attempt([0, 1], 1.0, 0), attempt([0, 1], 0.0, 1)]
    parts = [attempt([0], 1.0, 0), attempt([1], 1.0, 0), attempt([0, 1], 0.0, 1)]
    found = [value for each in PLAIN.credit(parts, {}) for value in turn_advantages(each)]
    together = [value for each in PLAIN.credit(whole, {}) for value in turn_advantages(each)]
    assert found == pytest.approx(together)


TOOLS = [
    attempt([0, 1], 2.0, 0, paid=[1.0, 1.0]),
    attempt([0, 1], 1.0, 1, paid=[1.0, 0.0]),
    attempt([0, 1], 0.0, 2, paid=[0.0, 0.0]),
    attempt([0, 1], 0.0, 3, paid=[0.0, 0.0]),
]


def test_mt_grpo_adds_the_turn_and_the_end() -> None:
    found = [turn_advantages(each) for each in MTGRPO().credit(TOOLS, {})]
    assert_allclose([turns[0] for turns in found], [2.3656, 0.366, -1.3658, -1.3658], atol=5e-4)
    assert_allclose([turns[1] for turns in found], [1.4997, -0.4999, -0.4999, -0.4999], atol=5e-4)


def test_mt_grpo_to_go() -> None:
    found = [turn_advantages(each) for each in MTGRPO(combine="to_go").credit(TOOLS, {})]
    assert_allclose([turns[0] for turns in found], [1.3054, 0.2611, -0.7833, -0.7833], atol=5e-4)
    assert_allclose([turns[1] for turns in found], [1.4997, -0.4999, -0.4999, -0.4999], atol=5e-4)


def test_mt_grpo_of_single_turns_is_grpo() -> None:
    some = [attempt([0], reward, number) for number, reward in enumerate([1.0, 0.0, 0.5])]
    for combine in ("added", "to_go"):
        mine = MTGRPO(combine=combine).credit(some, {})  # type: ignore[arg-type]
        for got, want in zip(mine, GRPO(kl=0.0).credit(some, {}), strict=True):
            assert_allclose(got.advantage, want.advantage)  # type: ignore[arg-type]


def test_attempts_of_different_length_are_compared_at_the_same_place() -> None:
    some = [attempt([0, 1], 2.0, 0, paid=[1.0, 1.0]), attempt([0], 0.0, 1, paid=[0.0])]
    first, second = (turn_advantages(each) for each in MTGRPO(baseline=group_centred).credit(some, {}))
    assert_allclose(first, [0.5, 0.5])  # nobody else's first turn was followed by another: only the ends compare
    assert_allclose(second, [-0.5])


def test_gae_over_turns() -> None:
    last = [True, False, True, True]
    got = adv.turn_gae([0, 0, 0, 1], [0.4, 0.6, 9.0, 0.5], last, gamma=0.95, lam=0.9)
    assert_allclose(got, [0.4286, 0.3025, 0.3025, 0.5], atol=5e-5)


def test_gae_over_turns_and_then_tokens() -> None:
    last = [False, False, True, False, True]
    got = adv.bilevel_gae([0, 0, 0, 0, 1], [0.3, 0.4, 0.5, 0.6, 0.7], last, gamma=0.9, lam=0.95)
    assert_allclose(got, [0.5438, 0.4672, 0.3865, 0.385, 0.3], atol=5e-5)


def test_gae_over_turns_of_one_token_is_gae() -> None:
    reward, value, every = [0.1, -0.2, 0.3, 1.0], [0.4, 0.2, 0.5, 0.1], [True] * 4
    for rule in (adv.turn_gae, adv.bilevel_gae):
        got = rule(reward, value, every, gamma=0.9, lam=0.8, bootstrap=0.25)
        assert_allclose(got, adv.gae(reward, value, every, gamma=0.9, lam=0.8, bootstrap=0.25))


@pytest.mark.parametrize("actions", ["turns", "both"])
def test_ppo_credits_turns(actions: str) -> None:
    sample = attempt([0, 1], 1.0, 0, paid=[0.0, 1.0])
    values = np.array([0.0, 0, 0.4, 0.2, 0, 0.6, 0.1], np.float32)
    ppo = PPO(actions=actions, kl=0.0, whiten=False, gamma=0.95, lam=0.9)  # type: ignore[arg-type]
    (got,) = ppo.credit([replace(sample, value=values)], {})
    assert got.advantage is not None
    assert got.returns is not None
    if actions == "turns":
        later = 1 - 0.6
        first = 0.95 * 0.6 - 0.4 + 0.95 * 0.9 * later
        assert_allclose(got.advantage, [0, 0, first, first, 0, later, later], atol=1e-6)
        assert_allclose(got.returns, [0, 0, first + 0.4, first + 0.4, 0, 1, 1], atol=1e-6)
    else:
        end = 1 - 0.1
        second = 0.1 - 0.6 + 0.9 * end
        turn = 0.95 * 0.1 - 0.2 + 0.95 * 0.9 * end
        first = 0.2 - 0.4 + 0.9 * turn
        assert_allclose(got.advantage, [0, 0, first, turn, 0, second, end], atol=1e-6)
        assert_allclose(got.returns[-1], 1, atol=1e-6)


def test_an_attempt_that_wrote_nothing_breaks_nothing() -> None:
    silent = replace(attempt([0], 0.0, 3, tokens=1), mask=np.zeros(3, bool))
    for algorithm in (PLAIN, MTGRPO()):
        assert len(algorithm.credit([*SOME, silent], {})) == 4

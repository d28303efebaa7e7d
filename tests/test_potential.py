"""Potential-based shaping: the theorem on random decision processes, and the credit it gives along an attempt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from tiny_text import byte_level

from togi import batch as batching
from togi.algorithms import ALGORITHMS, ReinforcePP
from togi.rewards import parse_reward
from togi.rewards.algebra import Composable, Leaf, Surroundings
from togi.rewards.potential_shaping import Potential, differences, potential
from togi.sandbox.workers.pool import Pool
from togi.tokenization import Chat
from togi.types import Group, Message, Score, Task, Trajectory, Turn

STATES, ACTIONS, GAMMA = 6, 3, 0.9
END = STATES - 1
TASK = Task(id="t", prompt=(Message(role="user", content="?"),), answer="x")


def test_differences() -> None:
    got = differences([0.2, 0.5, 0.1, 0.0], 0.9)
    assert_allclose(got, [0.25, -0.41, -0.1], atol=1e-12)
    assert_allclose(sum(0.9**t * f for t, f in enumerate(got)), -0.2, atol=1e-12)


# The theorem ---------------------------------------------------------------------------------------------------------


def optimal(chance_SAS: np.ndarray, reward_SAS: np.ndarray) -> np.ndarray:
    """The value of each action under the best policy [S, A], by value iteration; nothing is earned after the end."""
    q_SA = np.zeros((STATES, ACTIONS))
    for _ in range(400):
        value_S = q_SA.max(1)
        value_S[END] = 0.0
        q_SA = (chance_SAS * (reward_SAS + GAMMA * value_S)).sum(2)
    return q_SA[:END]


def process(dice: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    shape = (STATES, ACTIONS, STATES)
    return dice.dirichlet(np.full(STATES, 0.3), shape[:2]), dice.normal(size=shape)


@pytest.mark.parametrize("seed", range(20))
def test_no_potential_changes_an_optimal_policy(seed: int) -> None:
    dice = np.random.default_rng(seed)
    chance, reward = process(dice)
    phi = 10 * dice.normal(size=STATES)
    phi[END] = 0.0
    shaped = np.array([[differences_of(phi, s) for _ in range(ACTIONS)] for s in range(STATES)])
    plain, changed = optimal(chance, reward), optimal(chance, reward + shaped)
    assert_allclose(changed, plain - phi[:END, None], atol=1e-9)
    assert (changed.argmax(1) == plain.argmax(1)).all()


def differences_of(phi: np.ndarray, state: int) -> list[float]:
    """What moving from a state to each other one is paid; ends are told apart from states of the same potential."""
    return [GAMMA * after - phi[state] for after in phi]


def changed_by(bonus_S: np.ndarray) -> int:
    """In how many of 20 processes a bonus for reaching states changes the best policy."""
    count = 0
    for seed in range(20):
        chance, reward = process(np.random.default_rng(seed))
        count += bool((optimal(chance, reward + bonus_S).argmax(1) != optimal(chance, reward).argmax(1)).any())
    return count


def test_a_bonus_that_is_no_difference_changes_it() -> None:
    assert changed_by(np.array([0.0, 3.0, 0, 0, 0, 0])) > 10


def test_a_potential_of_the_end_changes_it() -> None:
    phi = np.array([0.0, 0, 0, 0, 0, 5])
    assert changed_by(GAMMA * phi) > 10


# Along an attempt ----------------------------------------------------------------------------------------------------


class Letters:
    """A chat whose tokens are characters."""

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))

    def step_ends(self, completion: Sequence[int], separator: str) -> tuple[int, ...]:
        ends = [i for i, token in enumerate(completion) if chr(token) == separator]
        return (*[end for end in ends if end != len(completion) - 1], len(completion) - 1)


@dataclass(frozen=True)
class Count(Leaf):
    """How many x stand in all turns; a text with "!" gets no score."""

    name: str = "count"

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        texts = ["".join(turn.text for turn in trajectory.turns) for trajectory in trajectories]
        return [Score(value=float(t.count("x")), status="error" if "!" in t else "ok") for t in texts]


def written(*texts: str) -> Trajectory:
    turns = [
        Turn(prompt=(1,), completion=tuple(map(ord, text)), text=text, stop="eos", logp=(-1.0,) * len(text))
        for text in texts
    ]
    return Trajectory(turns=tuple(turns), stop="eos")


def ready(gamma: float = 1.0, by: Composable | None = None) -> Potential:
    return replace(potential(by or Count(), gamma), chat=Letters())  # type: ignore[arg-type]


def test_each_step_is_credited_with_its_progress() -> None:
    (score,) = ready()(TASK, [written("ax\nb\nxx\nx")])
    #                                  a  x  \n b  \n x  x  \n x
    assert score.dense == pytest.approx([0, 0, 1, 0, 0, 0, 0, 2, -3])
    assert (score.value, dict(score.parts)) == (0, {"potential": 3})


def test_turns_are_steps_too_and_credit_runs_over_all_of_them() -> None:
    (score,) = ready()(TASK, [written("xb", "x\na")])
    assert score.dense == pytest.approx([0, 1, 0, 1, -2])


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_the_discounted_sum_is_less_the_potential_of_the_start(gamma: float) -> None:
    for trajectory in (written("ax\nb\nxx\nx"), written("xx"), written("xb", "x\na", "x")):
        (plain,) = ready(gamma)(TASK, [trajectory])
        (raised,) = ready(gamma, Count() + 0.25)(TASK, [trajectory])
        for score, start in ((plain, 0.0), (raised, 0.25)):
            assert sum(gamma**t * f for t, f in enumerate(score.dense)) == pytest.approx(-start)


def test_what_a_token_returns_falls_by_the_potential_before_it() -> None:
    """Through the true path of an algorithm that reads dense rewards: R less what was credited already."""
    trajectory = written("ax\nb\nx")
    reward = ready() * 1.0 + Count("final")
    group = Group(task=TASK, trajectories=(trajectory,), scores=tuple(reward(TASK, [trajectory])))
    samples = batching.samples([group])
    algorithm = replace(ALGORITHMS["reinforce_pp"], kl=0.0)  # type: ignore[type-var]
    assert isinstance(algorithm, ReinforcePP)
    (rewards,) = algorithm.token_rewards(samples, batching.trajectories(samples), np.array([2.0]))
    returns = np.cumsum(rewards[::-1])[::-1]
    assert_allclose(returns, [2, 2, 2, 1, 1, 1])


def test_a_beginning_without_a_score_leaves_the_attempt_without_one() -> None:
    lost, good = ready()(TASK, [written("a!\nb"), written("x\nb")])
    assert (lost.status, good.status) == ("error", "ok")
    assert ready()(TASK, [Trajectory(turns=(), stop="error")])[0].dense == ()


def test_a_potential_of_one_s_own_is_written_in_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def progress(task, completion):\n    return completion.count('x') / 2\n")
    with Pool(workers=1) as pool:
        reward = parse_reward('0.5 * potential(python("mine.py:progress"), gamma=0.9)', tmp_path, pool)
        opened = reward.opened(Surroundings(engine=None, chat=Letters(), folder=tmp_path, dtype=None))  # type: ignore[arg-type]
        (score,) = opened(TASK, [written("x\nb")])
    assert score.dense == pytest.approx([0, 0.5 * 0.9 * 0.5, -0.25])


def test_steps_of_a_real_tokenizer() -> None:
    chat = Chat(byte_level(), frozenset())
    (turn,) = chat.recorded(TASK.prompt, (Message(role="assistant", content="hello x\n\nworld xx\nend"),))
    trajectory = Trajectory(turns=(turn,), stop="eos")
    (score,) = replace(ready(), chat=chat)(TASK, [trajectory])
    paid = [(at, f) for at, f in enumerate(score.dense) if f]
    assert [f for _, f in paid] == [1, 2, -3]
    assert len(score.dense) == len(turn.completion) == paid[-1][0] + 1
    assert [chat.decode(turn.completion[: at + 1]).strip()[-1] for at, _ in paid[:2]] == ["x", "x"]


def test_mistakes_are_refused() -> None:
    with pytest.raises(ValueError, match="gamma"):
        potential(Count(), 0)
    with pytest.raises(ValueError, match="separator"):
        potential(Count(), separator="")
    with pytest.raises(ValueError, match="call opened"):
        potential(Count())(TASK, [written("a")])

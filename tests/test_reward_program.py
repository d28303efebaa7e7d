"""Reward programs: what is refused before they run, what is refused of what they give, and what is taken."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from togi.reward_design.programs.dialects import STEPS
from togi.reward_design.programs.reward_program import ProgramFault, RewardProgram
from togi.reward_design.programs.static_check import fault_of
from togi.reward_design.training.jailed import pay, try_out
from togi.reward_design.training.packed import pack, unpack

HEAD = "def compute_reward(obs, action, next_obs, info):\n"


def body(*lines: str, before: str = "") -> str:
    return before + HEAD + "".join(f"    {line}\n" for line in lines)


REFUSED: list[tuple[str, str]] = [
    # It is no program, or no reward.
    ("reward = (", "not Python"),
    ("def compute_reward(obs:\n", "not Python (line 1)"),
    ("\0", "not Python"),
    ("x = 1\n", "no function compute_reward"),
    ("def helper():\n    def compute_reward(obs, action, next_obs, info):\n        return 0, {}\n", "no function"),
    ("def compute_reward(obs, action):\n    return 0.0, {}\n", "(obs, action, next_obs, info) is wanted"),
    ("def compute_reward(*anything):\n    return 0.0, {}\n", "is wanted"),
    ("def compute_reward(obs, action, next_obs, info, more):\n    return 0.0, {}\n", "is wanted"),
    ("(" * 300 + ")" * 300, "not Python"),
    ("x = 1\n" * 4000 + body("return 0.0, {}"), "at most 20,000"),
    # It reaches for what is outside.
    (body("return 0.0, {}", before="import os\n"), "os may not be imported"),
    (body("return 0.0, {}", before="import numpy.ctypeslib\n"), "may not be imported"),
    (body("return 0.0, {}", before="from . import secrets\n"), "may not be imported"),
    (body("return 0.0, {}", before="from typing import sys\n"), "typing.sys is not offered"),
    (body("return 0.0, {}", before="from numpy import load\n"), "numpy.load is not offered"),
    (body("return 0.0, {}", before="from numpy import *\n"), "numpy.* is not offered"),
    (body("import inspect", "return 0.0, {}"), "inspect may not be imported"),
    (body("open('fitness.py')", "return 0.0, {}"), "there is no open"),
    (body("return __import__('os'), {}"), "__import__ is not offered"),
    (body("return eval('1'), {}"), "there is no eval"),
    (body("return getattr(obs, 'tofile'), {}"), "there is no getattr"),
    (body("obs.tofile('x')", "return 0.0, {}"), ".tofile is not offered"),
    (body("obs.dump('x')", "return 0.0, {}"), ".dump is not offered"),
    (body("return np.fromfile('x'), {}", before="import numpy as np\n"), ".fromfile is not offered"),
    (body("return np.random, {}", before="import numpy as np\n"), ".random is not offered"),
    # It reaches for what calls it.
    (body("return obs.__class__.__base__, {}"), "is not offered"),
    (body("return (lambda: 0).__globals__, {}"), ".__globals__ is not offered"),
    (
        body("try:", "    1 / 0", "except ZeroDivisionError as e:", "    return e.__traceback__.tb_frame, {}"),
        "is not offered",
    ),
    (body("return '{0.__class__}'.format(obs), {}"), ".format is not offered"),
    (body("return [x for x in obs if x].gi_frame, {}"), ".gi_frame is not offered"),
    (body("return fitness(obs), {}"), "there is no fitness"),
    (body("return globals()['x'], {}"), "there is no globals"),
    # It would remember.
    (body("global seen", "return 0.0, {}"), "keeps nothing between calls"),
    (body("compute_reward.seen = obs", "return 0.0, {}"), "keeps nothing between calls"),
    ("def compute_reward(obs, action, next_obs, info, seen=[]):\n    return 0.0, {}\n", "a default is a plain number"),
    (body("return 0.0, {}", before="class State:\n    last = 0\n"), "ClassDef has no use"),
    (body("return 0.0, {}", before="while True:\n    pass\n"), "may only name constants"),
    (body("return float(np.add(obs, obs, where=obs > 9)[0]), {}"), "write np.where"),
    (body("return float(np.add(obs, obs, **{'where': obs > 9})[0]), {}"), "name each argument"),
    (body("with obs as o:", "    return 0.0, {}"), "With has no use"),
    ("async " + body("return 0.0, {}"), "AsyncFunctionDef has no use"),
    (body("yield 0.0"), "Yield has no use"),
    ("@staticmethod\n" + body("return 0.0, {}"), "decorators have no use"),
    # It would fail when it is reached.
    (body("return np.sqr(2), {}", before="import numpy as np\n"), "did you mean"),
    (body("return height, {}"), "there is no height"),
]


@pytest.mark.parametrize(("program", "said"), REFUSED, ids=range(len(REFUSED)))
def test_refused_before_it_runs(program: str, said: str) -> None:
    assert said in fault_of(program, STEPS)


TAKEN = [
    body("return float(next_obs[0]), {'x': 1.0}"),
    body("return np.tanh(obs[0]) + math.sin(obs[1]), {}"),
    body("import numpy as np", "d = np.linalg.norm(next_obs - obs)", "return -d, {'d': d}"),
    body("return sqrt(2) + pi, {'a': 1}", before="from math import sqrt, pi\n"),
    body("return norm(obs), {'a': 1}", before="from numpy.linalg import norm\n"),
    body("return la.norm(obs), {'a': 1}", before="import numpy.linalg as la\n"),
    body("return np.float64(-1.5), {'a': np.float32(2)}", before="import numpy as np\n"),
    body("return action ** 2, {'force': action}"),
    body("parts = {'a': obs[0], 'b': -abs(action[0])}", "return sum(parts.values()), parts"),
    body("return info.get('speed', 0.0), {f'part {1}': True}"),
    "GOAL = 0.45\n\ndef far(x):\n    return abs(GOAL - x)\n\n" + body("return -far(next_obs[0]), {'far': far(obs[0])}"),
    '"""Typed."""\nfrom typing import Dict, Tuple\nimport numpy as np\n'
    "def compute_reward(obs: np.ndarray, action: np.ndarray, next_obs: np.ndarray, info: Dict[str, float], w=-1.0)"
    " -> Tuple[float, Dict[str, float]]:\n    return float(np.clip(w * next_obs[0], -1, 1)), {}\n",
    body("return float(isinstance(obs, (np.ndarray, list))), {}"),
    "import numpy as np\n"
    "def compute_reward(obs: np.ndarray[int] | None, action, next_obs, info):\n    return 1.0, {}\n",
    body("try:", "    x = 1 / 0", "except ZeroDivisionError:", "    x = 0", "return x, {}"),
]


@pytest.mark.parametrize("program", TAKEN, ids=range(len(TAKEN)))
def test_taken(program: str) -> None:
    assert fault_of(program, STEPS) == ""
    total, parts = RewardProgram(program)(np.array([0.5, 0.1]), np.array([0.3]), np.array([0.6, 0.2]), {"speed": 2.0})
    assert math.isfinite(total)
    assert all(isinstance(value, float) for value in parts.values())


FAULTS: list[tuple[str, str]] = [
    (body("return float('nan'), {}"), "the reward is nan"),
    (body("return 0.0, {'a': float('inf')}"), "part a is inf"),
    (body("return 10 ** 400, {}"), "no float"),
    (body("return -1e300, {}"), "the reward is -1e+300"),
    (body("return 1j, {}"), "the reward is complex"),
    (body("return obs, {}"), "of shape (2,), and one number is wanted"),
    (body("return None, {}"), "the reward is NoneType"),
    (body("return '1', {}"), "the reward is str"),
    (body("return 1.0"), "it returned float"),
    (body("return 1.0, [1.0]"), "it returned tuple"),
    (body("return 1.0, {}, {}"), "it returned tuple"),
    (body("pass"), "it returned NoneType"),
    (body("return 1.0, {2: 1.0}"), "a part is named by a text"),
    (body("return 1.0, {str(i): 1.0 for i in range(99)}"), "99 parts"),
    (body("return obs[7], {}"), "line 2: IndexError"),
    (body("return 1 / 0, {}"), "line 2: ZeroDivisionError"),
    (body("return compute_reward(obs, action, next_obs, info)"), "RecursionError"),
    (body("return float(np.ndarray(8)[0]), {}"), "make one with np.array"),
    (body("n = np.ndarray", "return n(1, 'O', np.array([4096])).sum(), {}"), "make one with np.array"),
    ("x = 1 / 0\n" + body("return 0.0, {}"), "line 1: ZeroDivisionError"),
]


@pytest.mark.parametrize(("program", "said"), FAULTS, ids=range(len(FAULTS)))
def test_what_it_gives_is_read_strictly(program: str, said: str) -> None:
    assert fault_of(program, STEPS) == ""
    with pytest.raises(ProgramFault) as found:
        RewardProgram(program)(np.zeros(2), np.zeros(1), np.ones(2), {})
    assert said in str(found.value)


def steps(count: int = 6) -> dict[str, Any]:
    before = np.arange(2.0 * count).reshape(count, 2)
    return {
        "before": pack(before),
        "actions": pack(np.ones((count, 1))),
        "after": pack(before + 1),
        "info": pack(np.arange(float(count)).reshape(count, 1)),
        "names": ["speed"],
    }


TRIED: list[tuple[str, str]] = [
    (body("return next_obs[0], {}"), ""),
    (body("return info['speed'], {}"), ""),
    (body("return 1.0, {'x': obs[0]}"), "it pays 1 for every step"),
    (body("seen.append(1)", "return len(seen), {}", before="seen = []\n"), "it pays 1 for every step"),
    (body("return info['height'], {}"), "KeyError"),
]


@pytest.mark.parametrize(("program", "said"), TRIED, ids=range(len(TRIED)))
def test_tried_on_steps(program: str, said: str) -> None:
    fault = try_out(program, steps())["fault"]
    assert said in fault if said else fault == ""


@pytest.mark.parametrize(
    "program",
    [
        body("seen.append(1)", "return len(seen), {}", before="seen = []\n"),
        body("seen[0] += 1", "return seen[0], {}", before="seen = np.zeros(1)\n"),
        body("seen.append(1)", "return len(seen), {}", before="x = (seen := [])\n"),
        body("for one in seen:", "    return one, {}", "return -1, {}", before="seen = map(float, range(1, 9))\n"),
        body(
            "return f(), {}", before="def made(seen):\n    return lambda: seen.append(1) or len(seen)\nf = made([])\n"
        ),
    ],
    ids=["list", "array", "walrus", "iterator", "closure"],
)
def test_nothing_is_kept_between_calls(program: str) -> None:
    assert fault_of(program, STEPS) == ""
    paid = RewardProgram(program)
    assert [paid(np.zeros(2), np.zeros(1), np.zeros(2), {})[0] for _ in range(3)] == [1.0] * 3


def test_a_program_cannot_change_what_is_seen() -> None:
    seen = np.zeros(2)
    RewardProgram(body("next_obs[0] = 9", "obs[0] = 9", "info['a'] = 9", "return 0.0, {}"))(seen, np.ones(1), seen, {})
    assert seen.tolist() == [0, 0]


def test_paid_by_episode() -> None:
    paid = pay(body("return next_obs[0], {'a': obs[0], **({'b': 1.0} if obs[0] > 5 else {})}"), steps(), [2, 4])
    assert unpack(paid["rewards"]).tolist() == [1, 3, 5, 7, 9, 11]
    assert paid["names"] == ["a", "b"]
    assert unpack(paid["sums"]).tolist() == [[2, 0], [4 + 6 + 8 + 10, 3]]


@pytest.mark.parametrize("kind", ["float32", "float64", "int64", "bool"])
def test_arrays_pass_the_wall(kind: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(kind)
    assert (unpack(pack(array)) == array).all()
    assert unpack(pack(array)).dtype == array.dtype


@pytest.mark.parametrize(
    "packed",
    [
        {},
        {"kind": "object", "shape": [1], "data": ""},
        {"kind": "float64", "shape": [2], "data": "AAAA"},
        {"kind": "float64", "shape": [-1], "data": ""},
        {"kind": "float64", "shape": 3, "data": ""},
    ],
)
def test_what_is_no_array_is_refused(packed: Any) -> None:
    with pytest.raises(ValueError):
        unpack(packed)

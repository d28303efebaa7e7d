"""Wrong programs that know how graders work: the code reward pays none of them, and weaker graders pay several."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from togi.rewards.code import code
from togi.rewards.code.wrong_programs import Attack, programs
from togi.sandbox.box import Box
from togi.sandbox.tiers.choose_tier import TIERS, open_box
from togi.types import Score, Task, Trajectory, Turn

RIGHT = """
import math

def solve(n):
    return [3, "three", 2.5, [1, 2], (1, "a"), {"a": 1}, None, {1, 2}][n % 8] if n < 8 else n * n
"""
OUTPUTS = [3, "three", 2.5, [1, 2], {"tuple": [1, "a"]}, {"a": 1}, {"set": [1, 2]}, 64, 81, 100]
CALLS = {"function": "solve", "inputs": [[n] for n in (0, 1, 2, 3, 4, 5, 7, 8, 9, 10)], "outputs": OUTPUTS}
SCRIPT = {"stdin": ["3\n"], "stdout": ["9\n"]}
ASSERTS = "assert solve(8) == 64\nassert solve(1) == 'three'\n"
ATTACKS = programs("solve", visible=[((8,), 64)])


def graded(box: Box, answer: object, sources: Sequence[str]) -> list[Score]:
    reward = code(pay="fraction", seconds=2.0, memory_mb=256, box=box)
    task = Task(id="train:1", prompt=(), answer=answer)
    texts = [f"```python\n{source}\n```" for source in sources]
    turns = [Turn(prompt=(1,), completion=(2,), text=text, stop="eos") for text in texts]
    return reward(task, [Trajectory(turns=(turn,), stop="eos") for turn in turns])


def jail(tier: str) -> Box:
    try:
        return open_box(tier)  # type: ignore[arg-type]
    except ValueError as error:
        pytest.skip(str(error))


def test_attacks_are_many_different_and_explained() -> None:
    assert len(ATTACKS) >= 40
    assert len({attack.name for attack in ATTACKS}) == len({attack.source for attack in ATTACKS}) == len(ATTACKS)
    assert all(attack.why and "NAME" not in attack.source for attack in ATTACKS)
    for attack in ATTACKS:
        compile(attack.source, attack.name, "exec")
    with pytest.raises(ValueError, match="function"):
        programs("a b")


@pytest.mark.parametrize("tier", ["bubblewrap", pytest.param("landlock", marks=pytest.mark.slow)])
def test_no_attack_is_paid(tier: str) -> None:
    box = jail(tier)
    *scores, right = graded(box, CALLS, [*(attack.source for attack in ATTACKS), RIGHT])
    assert (right.value, right.note) == (1.0, "")
    # The program that knows one example passes the one test it knows, and that alone.
    paid = {
        attack.name: score.value
        for attack, score in zip(ATTACKS, scores, strict=True)
        if score.value or score.status != "ok"
    }
    assert paid == {"visible_examples": 0.1}


@pytest.mark.slow
@pytest.mark.parametrize("tier", [tier for tier in TIERS if tier not in ("process", "subset")])
def test_no_attack_on_a_script_is_paid(tier: str) -> None:
    box = jail(tier)
    ending = "\nprint(solve(int(input())))\n"
    sources = [attack.source + ending for attack in programs("solve")]
    *scores, right = graded(box, SCRIPT, [*sources, "print(int(input()) ** 2)"])
    assert right.value == 1.0
    assert {a.name for a, s in zip(programs("solve"), scores, strict=True) if s.value or s.status != "ok"} == set()


# Graders that are easier to fool, so that the suite is known to be able to find something -----------------------------


def run(folder: Path, source: str) -> tuple[int, str]:
    """Exit code and output of a program that has no jail: not for harmful ones."""
    path = folder / "program.py"
    path.write_text(source, encoding="utf-8")
    with (folder / "out.txt").open("w+", encoding="utf-8") as out:
        try:
            done = subprocess.run(
                [sys.executable, path.name], cwd=folder, stdout=out, stderr=subprocess.DEVNULL, timeout=5, check=False
            )
        except subprocess.TimeoutExpired:
            return -1, ""
        out.seek(0)
        return done.returncode, out.read()


def by_exit_code(folder: Path, source: str) -> bool:
    return run(folder, source + ASSERTS)[0] == 0


def by_word(folder: Path, source: str) -> bool:
    return "PASS" in run(folder, source + ASSERTS + "print('PASS')\n")[1]


def by_secret(folder: Path, source: str) -> bool:
    """As OpenAI's harness does: the program is a text that is run in the process that judges it."""
    secret = os.urandom(8).hex()
    harness = (
        f"def judge():\n    secret, result = {secret!r}, []\n    try:\n        exec({source + ASSERTS!r}, {{}})\n"
        "        result.append('passed')\n    except BaseException:\n        result.append('failed')\n"
        "    print(secret, *result)\n\njudge()\n"
    )
    said = run(folder, harness)[1]
    return f"{secret} passed" in said or (secret in said and "failed" not in said)


def by_loop(folder: Path, source: str) -> bool:
    """Tests as data beside the program, with room for the rounding of floats."""
    loop = (
        "\nfor arguments, expected in [((2,), 2.5), ((8,), 64)]:\n    result = solve(*arguments)\n"
        "    if abs(result - expected) > 1e-6:\n        raise SystemExit(1)\n"
    )
    return run(folder, source + loop)[0] == 0


def by_unittest(folder: Path, source: str) -> bool:
    case = (
        "class Case(unittest.TestCase):\n    def test(self):\n        self.assertEqual(solve(8), 64)\n"
        "        self.assertEqual(solve(1), 'three')\n"
    )
    return run(folder, f"{source}\nimport unittest\n\n{case}\nunittest.main()\n")[0] == 0


def fooled(grader: Callable[[Path, str], bool], folder: Path, attacks: Sequence[Attack]) -> set[str]:
    return {attack.name for attack in attacks if grader(folder, attack.source)}


@pytest.mark.parametrize(
    ("grader", "names"),
    [
        (by_exit_code, {"exit_zero", "raise_exit", "at_exit", "except_hook", "always_equal", "mock_any"}),
        (by_word, {"print_pass", "always_equal", "lying_class", "read_tests"}),
        (by_secret, {"frame_secrets", "always_equal", "mock_any"}),
        (by_loop, {"frame_answers", "not_a_number", "equal_float", "exit_zero"}),
        (by_unittest, {"patch_unittest", "skip", "always_equal"}),
    ],
)
def test_weaker_graders_are_fooled(grader: Callable[[Path, str], bool], names: set[str], tmp_path: Path) -> None:
    assert grader(tmp_path, RIGHT)
    assert not grader(tmp_path, "def solve(n):\n    return n\n")
    assert fooled(grader, tmp_path, [attack for attack in ATTACKS if attack.name in names]) == names

"""Programs that only look right, given to whatever grades programs. It knows no grader."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from togi.evidence.redteam.ask_reward import Grading
from togi.evidence.redteam.attacked_rows import Row
from togi.evidence.redteam.hollow_answers import Probe
from togi.rewards.algebra import leaves_of
from togi.rewards.code import code
from togi.rewards.code.wrong_programs import programs as cunning
from togi.types import Score

FENCE = re.compile(r"```(?:python)?\n(.*?)```", re.DOTALL)


def programs(row: Row, grading: Grading) -> Iterator[tuple[Probe, Score]]:
    """Each cunning program in the place of the right one; nothing where the right answer is no program."""
    source = code_of(row.gold)
    function = function_of(source)
    if function is None:
        return
    jailed = any(isinstance(leaf, code) for leaf in leaves_of(grading.reward))
    for attack in cunning(function):
        if attack.harmful and not jailed:
            continue
        probe = Probe(family="code", name=attack.name, text=row.gold.replace(source, attack.source), free=True)
        yield probe, grading.each([(row.task, probe.text)])[0]


def code_of(text: str) -> str:
    """What stands in the last block of code, or all of a text without one."""
    blocks = FENCE.findall(text)
    return str(blocks[-1]) if blocks else text


def function_of(source: str) -> str | None:
    """The name of the last function a program defines at its top; None when it is no program, or defines none."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return None
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return names[-1] if names else None

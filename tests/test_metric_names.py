"""docs/metrics.md names exactly the metrics that the code logs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
MAKERS = (
    "records.py",
    "stage_state.py",
    "models/policy.py",
    "models/step_sums.py",
    "models/sampler_drift.py",
    "evidence/during/step_measures.py",
    "samplers",
    "algorithms",
)
RESULTS = ("dict[str, float]", "Mapping[str, float]", "dict[str, Mean]", "Loss")


def functions() -> Iterator[ast.FunctionDef]:
    """Functions that return metrics, and those that add them to a tally."""
    for place in MAKERS:
        path = ROOT / "togi" / place
        for file in [path] if path.suffix else sorted(path.rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.FunctionDef) and node.returns is not None:
                    returned = ast.unparse(node.returns)
                    if returned in RESULTS or (node.name == "add" and returned == "None"):
                        yield node


def name_of(node: ast.expr | None) -> str | None:
    """A literal name; the changing part of an f-string as ``{}``."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(piece.value) if isinstance(piece, ast.Constant) else "{}" for piece in node.values)
    return None


def logged() -> set[str]:
    found = set()
    for function in functions():
        for node in ast.walk(function):
            keys: list[ast.expr | None] = []
            if isinstance(node, ast.Dict):
                keys = list(node.keys)
            elif isinstance(node, ast.DictComp):
                keys = [node.key]
            elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
                keys = [node.slice]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "_add":
                keys = [node.args[0]]
            found |= {name for key in keys if (name := name_of(key)) is not None}
    return found | remembered()


def remembered() -> set[str]:
    """What algorithms keep from step to step, all of which is logged."""
    stores = (
        node
        for file in sorted((ROOT / "togi" / "algorithms").rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "memory"
    )
    return {name for node in stores if (name := name_of(node.slice)) is not None}


def documented() -> set[str]:
    text = (ROOT / "docs" / "metrics.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE)
    assert len(rows) == len(set(rows))
    return {re.sub(r"\{.*?\}", "{}", name) for name in rows}


def test_every_logged_name_is_documented_and_no_other() -> None:
    names = logged()
    assert {"reward", "loss", "rewards/{}/mean", "dynamic/rounds", "clip_ratio/low_mean"} <= names
    assert names == documented()

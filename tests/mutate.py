"""Which faults would no test see? ``python tests/mutate.py [FILES of togi/]`` makes them one at a time, and says.

Only the tests that reach the changed function run, shortest first, in a child of a process that has imported and
collected all of them once, so that most mutants cost a fraction of a second. Mutants that no test can tell from the
original stand in ``EQUIVALENT`` with the reason.
"""

from __future__ import annotations

import ast
import builtins
import gc
import importlib.machinery
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from mutants import Mutant, mutants

ROOT = Path(__file__).parent.parent
EQUIVALENT = ROOT / "tests" / "equivalent_mutants.tsv"

TESTS: dict[str, str] = {
    "losses/policy.py": "losses",
    "losses/preference.py": "preference_losses",
    "losses/reward_model.py": "preference_losses",
    "advantages.py": "advantages pass_at_k prime",
    "batch.py": "batch steps algorithms unsupervised_algorithms",
    "models/trie.py": "packing",
    "models/projection.py": "packing",
    "models/packing.py": "packing",
    "models/microbatch.py": "microbatch",
    "models/optimiser.py": "optimiser",
    "engines/sampling.py": "token_sampling",
    "samplers/dynamic.py": "hyperparameters samplers",
    "samplers/greedy.py": "hyperparameters samplers ppo",
    "samplers/group.py": "hyperparameters samplers unsupervised_algorithms",
    "samplers/nash.py": "hyperparameters nash_md",
    "samplers/referenced.py": "hyperparameters unsupervised_algorithms",
    "samplers/rejection.py": "hyperparameters preference",
    "samplers/revised.py": "hyperparameters constitution",
    "samplers/steps.py": "hyperparameters steps",
    "algorithms/answers.py": "preference",
    "algorithms/bco.py": "hyperparameters preference",
    "algorithms/dpo.py": "hyperparameters preference",
    "algorithms/dpo_variants.py": "hyperparameters preference",
    "algorithms/entropy_minimisation.py": "hyperparameters unsupervised_algorithms",
    "algorithms/exo.py": "hyperparameters preference",
    "algorithms/genrm.py": "hyperparameters genrm",
    "algorithms/grpo.py": "hyperparameters algorithms",
    "algorithms/ipo.py": "hyperparameters preference",
    "algorithms/kto.py": "hyperparameters preference",
    "algorithms/nash_md.py": "hyperparameters nash_md",
    "algorithms/nca.py": "hyperparameters preference",
    "algorithms/pass_at_k.py": "hyperparameters pass_at_k algorithms",
    "algorithms/policy_gradient.py": "hyperparameters algorithms ppo",
    "algorithms/ppo.py": "hyperparameters ppo",
    "algorithms/preference.py": "hyperparameters preference",
    "algorithms/prime.py": "hyperparameters prime",
    "algorithms/process_reward_model.py": "hyperparameters steps",
    "algorithms/reference_free.py": "hyperparameters preference",
    "algorithms/reinforce.py": "hyperparameters algorithms",
    "algorithms/remax.py": "hyperparameters ppo algorithms",
    "algorithms/reward_model.py": "hyperparameters reward_model",
    "algorithms/rloo.py": "hyperparameters algorithms",
    "algorithms/rlpr.py": "hyperparameters unsupervised_algorithms",
    "algorithms/rso.py": "hyperparameters preference",
    "algorithms/sft.py": "hyperparameters algorithms",
    "algorithms/single.py": "hyperparameters preference",
    "algorithms/sppo.py": "hyperparameters preference",
    "algorithms/verifree.py": "hyperparameters unsupervised_algorithms",
}
"""Source files under togi/ and the test files (tests/test_NAME.py) that answer for them."""


def forked(work: Callable[[], int], limit: float) -> int:
    """Its exit status in a child; below 0 when it takes more processor seconds than ``limit``."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, limit)
        try:
            os._exit(work())
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Session:
    """A pytest plugin: instead of running the collected tests once, it runs those that reach it for each mutant."""

    def __init__(self, path: Path, tree: ast.Module, todo: Sequence[Mutant], out: Path) -> None:
        self.path, self.tree, self.todo, self.out = path, tree, todo, out

    def pytest_runtestloop(self, session: Any) -> bool:
        gc.unfreeze()  # what is frozen is not among the objects
        self.functions = [
            each
            for each in gc.get_objects()
            if type(each) is FunctionType and each.__code__.co_filename == str(self.path)
        ]
        assert self.functions, f"{self.path} was imported from elsewhere"
        gc.freeze()
        reached = self._reached(session.items)
        for mutant in self.todo:
            assert mutant.function is not None
            covers = sorted((t, i) for i, (t, at) in enumerate(reached) if mutant.function.lineno in at)
            items = [session.items[i] for _, i in covers]
            status = forked(
                lambda mutant=mutant, items=items: self._survives(mutant, items), 10 + 5 * sum(t for t, _ in covers)
            )
            with self.out.open("a") as file:
                file.write(json.dumps([mutant.name, status != 0]) + "\n")
        return True

    def _reached(self, items: Sequence[Any]) -> list[tuple[float, list[int]]]:
        """Seconds of each test, and the lines of the functions it calls."""
        file = self.out.with_suffix(".reached")

        def work() -> int:
            found, at = [], set[int]()
            builtins.__reached__ = at.add  # type: ignore[attr-defined]
            for node in ast.walk(self.tree):
                if isinstance(node, ast.FunctionDef):
                    node.body[:0] = ast.parse(f"__reached__({node.lineno})").body
            self._put()
            for item, following in zip(items, [*items[1:], None], strict=True):
                at.clear()
                start = time.perf_counter()
                if not passes(item, following):
                    print("fails without a mutant:", item.nodeid, file=sys.__stderr__)
                    return 1
                found.append((time.perf_counter() - start, sorted(at)))
            file.write_text(json.dumps(found))
            return 0

        if forked(work, 1200) != 0:
            raise SystemExit(f"the tests of {self.path} do not pass as they are")
        return [(seconds, lines) for seconds, lines in json.loads(file.read_text())]

    def _survives(self, mutant: Mutant, items: Sequence[Any]) -> int:
        mutant.apply()
        self._put()
        return 0 if all(passes(*pair) for pair in zip(items, [*items[1:], None], strict=True)) else 1

    def _put(self) -> None:
        put(compile(ast.fix_missing_locations(self.tree), str(self.path), "exec"), self.functions)


def passes(item: Any, following: Any) -> bool:
    from _pytest.runner import runtestprotocol

    return not any(report.failed for report in runtestprotocol(item, log=False, nextitem=following))


def put(module: CodeType, functions: Sequence[FunctionType]) -> None:
    """Give the file's functions the code that they have in the compiled module."""
    codes: dict[tuple[str, int], CodeType] = {}

    def collect(code: CodeType) -> None:
        for inner in code.co_consts:
            if isinstance(inner, CodeType):
                codes[inner.co_qualname, inner.co_firstlineno] = inner
                collect(inner)

    collect(module)
    for each in functions:
        new = codes.get((each.__code__.co_qualname, each.__code__.co_firstlineno))
        if new is not None and new.co_freevars == each.__code__.co_freevars:
            each.__code__ = new


def from_scratch(path: Path, tree: ast.Module, mutant: Mutant, files: Sequence[str]) -> int:
    """For what is evaluated once, when the module is imported: defaults of fields and constants."""
    import pytest

    mutant.apply()
    code, own = (
        compile(ast.fix_missing_locations(tree), str(path), "exec"),
        importlib.machinery.SourceFileLoader.get_code,
    )

    def get_code(self: Any, name: str) -> CodeType | None:
        return code if Path(self.path) == path else own(self, name)

    importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[assignment,method-assign]
    return int(any(pytest.main([*ARGUMENTS, "-x", file]) for file in files))


ARGUMENTS = ["-q", "-o", "addopts=", "-m", "not slow and not model", "-p", "no:cacheprovider", "-p", "no:timeout",
             "-p", "no:xdist", "--hypothesis-seed=0", "--no-header"]  # fmt: skip


def tried(name: str, out: Path) -> list[tuple[str, bool]]:
    """Every mutant of a file, and whether a test fails for it."""
    path = ROOT / "togi" / name
    source = path.read_text()
    tree = ast.parse(source)
    files = [str(ROOT / "tests" / f"test_{each}.py") for each in TESTS[name].split()]
    every = mutants(source, tree)

    def session() -> int:
        import pytest

        return int(
            pytest.main([*ARGUMENTS, *files], [Session(path, tree, [each for each in every if each.function], out)])
        )

    def quiet(work: Callable[[], int]) -> int:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        return work()

    if forked(lambda: quiet(session), 36000) != 0:
        raise SystemExit(f"{name}: the tests could not be run")
    with out.open("a") as file:
        for mutant in every:
            if not mutant.function:
                status = forked(lambda mutant=mutant: quiet(lambda: from_scratch(path, tree, mutant, files)), 300)
                file.write(json.dumps([mutant.name, status != 0]) + "\n")
                file.flush()
    return [(each, killed) for each, killed in map(json.loads, out.read_text().splitlines())]


def main(names: Sequence[str]) -> int:
    import hypothesis, peft, pytest, scipy.stats, torch, transformers  # noqa: E401, F401, I001

    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    known = {line.rsplit("\t", 1)[0] for line in EQUIVALENT.read_text().splitlines()} if EQUIVALENT.exists() else set()
    alive = total = 0
    for name in names or TESTS:
        with tempfile.TemporaryDirectory() as folder:
            found = tried(name, Path(folder) / "tried.jsonl")
        left = [each for each, killed in found if not killed]
        new = [each for each in left if f"{name}\t{each}" not in known]
        print(f"{name}: {len(found)} mutants, {len(left) - len(new)} equivalent, {len(new)} survive", flush=True)
        for each in new:
            print(f"{name}\t{each}", flush=True)
        alive, total = alive + len(new), total + len(found) - (len(left) - len(new))
    print(f"{total - alive} of {total} are killed ({100 * (1 - alive / max(total, 1)):.1f}%)")
    return int(alive > 0.02 * total)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

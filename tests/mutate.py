"""Which faults would no test see? ``python tests/mutate.py [FILES of togi/]`` makes them one at a time, and says.

Only the tests that reach the changed function run, shortest first, in a child of a process that has imported and
collected all of them once, so that most mutants cost a fraction of a second. Mutants that no test can tell from the
original stand in ``EQUIVALENT`` with the reason, and are not tried.
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
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from mutants import Mutant, mutants

ROOT = Path(__file__).parent.parent
EQUIVALENT = ROOT / "tests" / "equivalent_mutants.tsv"

TESTS: dict[str, str] = {
    "losses/policy.py": "losses policy_surrogates",
    "losses/sequence.py": "losses policy_surrogates",
    "losses/off_policy.py": "policy_surrogates",
    "losses/preference.py": "preference_losses",
    "losses/reward_model.py": "preference_losses",
    "losses/distillation.py": "distillation",
    "advantages.py": "advantages pass_at_k prime policy_surrogates",
    "branch_credit.py": "trees",
    "losses/thoughts.py": "quiet_star",
    "batch.py": "batch reasoning_steps algorithms unsupervised_algorithms",
    "models/trie.py": "packing",
    "models/projection.py": "packing architectures",
    "models/compared_projection.py": "distillation",
    "models/packing.py": "packing architectures",
    "models/logit_form.py": "packing architectures",
    "models/after_thoughts.py": "quiet_star",
    "models/grown_trie.py": "quiet_star",
    "models/microbatch.py": "microbatch",
    "models/optimiser.py": "optimiser",
    "engines/kept_sequences.py": "kept_sequences",
    "engines/token_sampling.py": "token_sampling",
    "models/sampler_drift.py": "sampler_drift",
    "samplers/beta_counts.py": "task_order",
    "samplers/budgeted.py": "hyperparameters budgeted",
    "samplers/dynamic.py": "hyperparameters samplers",
    "samplers/entropy_tree.py": "hyperparameters trees",
    "samplers/segment_tree.py": "hyperparameters trees",
    "samplers/tree.py": "trees",
    "samplers/valued_steps.py": "hyperparameters trees",
    "samplers/greedy.py": "hyperparameters samplers ppo",
    "samplers/group.py": "hyperparameters samplers unsupervised_algorithms",
    "samplers/opponent.py": "hyperparameters nash_md",
    "samplers/with_reference_answer.py": "hyperparameters unsupervised_algorithms",
    "samplers/rationalised.py": "hyperparameters star",
    "samplers/students_share.py": "hyperparameters distillation",
    "samplers/rejection.py": "hyperparameters preference",
    "samplers/replay.py": "replay",
    "samplers/revised.py": "hyperparameters constitution",
    "samplers/reasoning_steps.py": "hyperparameters reasoning_steps",
    "samplers/task_order.py": "task_order",
    "algorithms/preference/compared_answers.py": "preference",
    "algorithms/preference/bco.py": "hyperparameters preference",
    "algorithms/preference/dpo.py": "hyperparameters preference",
    "algorithms/preference/dpo_variants.py": "hyperparameters preference",
    "algorithms/policy_gradient/entropy_minimisation.py": "hyperparameters unsupervised_algorithms",
    "algorithms/distillation/gkd.py": "hyperparameters distillation",
    "algorithms/distillation/on_policy_distillation.py": "hyperparameters distillation",
    "algorithms/preference/exo.py": "hyperparameters preference",
    "algorithms/scorers/genrm.py": "hyperparameters genrm",
    "algorithms/policy_gradient/branches_of_attempts.py": "trees",
    "algorithms/policy_gradient/branching.py": "hyperparameters trees",
    "algorithms/policy_gradient/spo.py": "hyperparameters trees",
    "algorithms/policy_gradient/tree_po.py": "hyperparameters trees",
    "algorithms/policy_gradient/tree_rl.py": "hyperparameters trees",
    "algorithms/policy_gradient/vine_ppo.py": "hyperparameters trees",
    "algorithms/policy_gradient/gigpo.py": "hyperparameters turn_credit",
    "algorithms/policy_gradient/mt_grpo.py": "hyperparameters turn_credit",
    "algorithms/policy_gradient/turns_of_attempts.py": "turn_credit",
    "algorithms/policy_gradient/grpo.py": "hyperparameters algorithms",
    "algorithms/preference/ipo.py": "hyperparameters preference",
    "algorithms/preference/kto.py": "hyperparameters preference",
    "algorithms/policy_gradient/nash_md.py": "hyperparameters nash_md",
    "algorithms/preference/nca.py": "hyperparameters preference",
    "algorithms/policy_gradient/pass_at_k.py": "hyperparameters pass_at_k algorithms",
    "algorithms/policy_gradient/base.py": "hyperparameters algorithms ppo policy_surrogates",
    "algorithms/policy_gradient/ppo.py": "hyperparameters ppo",
    "algorithms/policy_gradient/composition.py": "policy_surrogates",
    "algorithms/policy_gradient/corrections.py": "hyperparameters policy_surrogates",
    "algorithms/policy_gradient/gdpo.py": "hyperparameters policy_surrogates",
    "algorithms/policy_gradient/opo.py": "hyperparameters policy_surrogates",
    "algorithms/policy_gradient/surrogates/of_sequences.py": "hyperparameters policy_surrogates algorithms",
    "algorithms/policy_gradient/surrogates/of_tokens.py": "hyperparameters policy_surrogates algorithms",
    "algorithms/policy_gradient/token_choices.py": "hyperparameters policy_surrogates",
    "algorithms/preference/base.py": "hyperparameters preference",
    "algorithms/policy_gradient/prime.py": "hyperparameters prime",
    "algorithms/scorers/process_reward_model.py": "hyperparameters reasoning_steps",
    "algorithms/preference/reference_free.py": "hyperparameters preference",
    "algorithms/policy_gradient/rae.py": "hyperparameters players",
    "algorithms/policy_gradient/reinforce.py": "hyperparameters algorithms",
    "algorithms/policy_gradient/remax.py": "hyperparameters ppo algorithms",
    "algorithms/scorers/reward_model.py": "hyperparameters reward_model",
    "algorithms/policy_gradient/rloo.py": "hyperparameters algorithms",
    "algorithms/policy_gradient/rlpr.py": "hyperparameters unsupervised_algorithms",
    "algorithms/preference/rso.py": "hyperparameters preference",
    "algorithms/self_taught/quiet_star.py": "hyperparameters quiet_star",
    "algorithms/sft.py": "hyperparameters algorithms",
    "algorithms/preference/single_answers.py": "hyperparameters preference",
    "algorithms/preference/sppo.py": "hyperparameters preference",
    "algorithms/policy_gradient/verifree.py": "hyperparameters unsupervised_algorithms",
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


@dataclass(eq=False)
class Source:
    """A file under togi/, the mutants to try, and what is known of them: whether a test fails."""

    name: str
    todo: list[Mutant]
    tree: ast.Module
    found: dict[str, bool] = field(default_factory=dict)
    functions: list[FunctionType] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return ROOT / "togi" / self.name

    def compiled(self) -> CodeType:
        return compile(ast.fix_missing_locations(self.tree), str(self.path), "exec")


class Session:
    """A pytest plugin: instead of running the collected tests once, it runs those that reach it for each mutant."""

    def __init__(self, sources: Sequence[Source], out: Path) -> None:
        self.sources, self.out = sources, out

    def pytest_runtestloop(self, session: Any) -> bool:
        gc.unfreeze()  # what is frozen is not among the objects
        functions = [each for each in gc.get_objects() if type(each) is FunctionType]
        for source in self.sources:
            source.functions = [each for each in functions if each.__code__.co_filename == str(source.path)]
            assert source.functions, f"{source.path} was imported from elsewhere"
        gc.freeze()
        reached = self._reached(session.items)
        for source in self.sources:
            for mutant in source.todo:
                if not mutant.function:
                    continue
                at = [source.name, mutant.function.lineno]
                covers = sorted((seconds, i) for i, (seconds, lines) in enumerate(reached) if at in lines)
                items = [session.items[i] for _, i in covers]
                status = forked(
                    lambda source=source, mutant=mutant, items=items: self._survives(source, mutant, items),
                    10 + 5 * sum(seconds for seconds, _ in covers),
                )
                if status != ANOTHER_CLOSURE:
                    with self.out.open("a") as file:
                        file.write(json.dumps([source.name, mutant.name, status != 0]) + "\n")
        return True

    def _reached(self, items: Sequence[Any]) -> list[tuple[float, list[list[Any]]]]:
        """Seconds of each test, and the functions it calls: their files and lines."""
        file = self.out.with_suffix(".reached")

        def work() -> int:
            found, at = [], set[tuple[str, int]]()
            builtins.__reached__ = at.add  # type: ignore[attr-defined]
            for source in self.sources:
                for node in ast.walk(source.tree):
                    if isinstance(node, ast.FunctionDef):
                        node.body[:0] = ast.parse(f"__reached__(({source.name!r}, {node.lineno}))").body
                put(source.compiled(), source.functions)
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
            raise SystemExit("the tests do not pass as they are")
        return [(seconds, lines) for seconds, lines in json.loads(file.read_text())]

    def _survives(self, source: Source, mutant: Mutant, items: Sequence[Any]) -> int:
        mutant.apply()
        if not put(source.compiled(), source.functions):
            return ANOTHER_CLOSURE
        return 0 if all(passes(*pair) for pair in zip(items, [*items[1:], None], strict=True)) else 1


def passes(item: Any, following: Any) -> bool:
    from _pytest.runner import runtestprotocol

    return not any(report.failed for report in runtestprotocol(item, log=False, nextitem=following))


def put(module: CodeType, functions: Sequence[FunctionType]) -> bool:
    """Give the file's functions the code that they have in the compiled module; False when one cannot take it, since it
    closes over other names (such as the class, which ``super()`` reads)."""
    codes: dict[tuple[str, int], CodeType] = {}

    def collect(code: CodeType) -> None:
        for inner in code.co_consts:
            if isinstance(inner, CodeType):
                codes[inner.co_qualname, inner.co_firstlineno] = inner
                collect(inner)

    collect(module)
    for each in functions:
        new = codes.get((each.__code__.co_qualname, each.__code__.co_firstlineno))
        if new is None or new.co_freevars != each.__code__.co_freevars:
            return False
        each.__code__ = new
    return True


def from_scratch(source: Source, mutant: Mutant, files: Sequence[str]) -> int:
    """For what cannot be changed afterwards: what is evaluated when the module is imported, and closures."""
    import pytest

    mutant.apply()
    code, own = source.compiled(), importlib.machinery.SourceFileLoader.get_code

    def get_code(self: Any, name: str) -> CodeType | None:
        return code if Path(self.path) == source.path else own(self, name)

    importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[assignment,method-assign]
    return int(any(pytest.main([*ARGUMENTS, "-x", file]) for file in files))


ANOTHER_CLOSURE = 3
ARGUMENTS = ["-q", "-o", "addopts=", "-m", "not slow and not model", "-p", "no:cacheprovider", "-p", "no:timeout",
             "-p", "no:xdist", "--hypothesis-seed=0", "--no-header"]  # fmt: skip


def tried(names: Sequence[str], tests: str, known: Set[str], out: Path) -> list[Source]:
    """The files that these tests answer for, with every mutant that is not known as equivalent."""
    sources = []
    for name in names:
        text = (ROOT / "togi" / name).read_text()
        every = mutants(text, tree := ast.parse(text))
        for line in known - {f"{name}\t{each.name}" for each in every}:
            if line.startswith(f"{name}\t"):
                print("no such mutant any more:", line)
        todo = [each for each in every if f"{name}\t{each.name}" not in known]
        sources.append(Source(name=name, todo=todo, tree=tree))
    files = [str(ROOT / "tests" / f"test_{each}.py") for each in tests.split()]

    def session() -> int:
        import pytest

        return int(pytest.main([*ARGUMENTS, *files], [Session(sources, out)]))

    def quiet(work: Callable[[], int]) -> int:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        return work()

    if forked(lambda: quiet(session), 36000) != 0:
        raise SystemExit(f"{tests}: the tests could not be run")
    found = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    for source in sources:
        source.found.update({mutant: killed for name, mutant, killed in found if name == source.name})
        for mutant in source.todo:
            if mutant.name not in source.found:
                work = lambda source=source, mutant=mutant: from_scratch(source, mutant, files)  # noqa: E731
                source.found[mutant.name] = forked(lambda work=work: quiet(work), 300) != 0
    return sources


def main(names: Sequence[str]) -> int:
    import hypothesis, peft, pytest, scipy.stats, torch, transformers  # noqa: E401, F401, I001

    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    known = {line.rsplit("\t", 1)[0] for line in EQUIVALENT.read_text().splitlines()}
    alive = total = 0
    wanted = names or list(TESTS)
    for tests in dict.fromkeys(TESTS[name] for name in wanted):
        with tempfile.TemporaryDirectory() as folder:
            sources = tried(
                [name for name in wanted if TESTS[name] == tests], tests, known, Path(folder) / "tried.jsonl"
            )
        for source in sources:
            left = [each for each, killed in source.found.items() if not killed]
            print(f"{source.name}: {len(left)} of {len(source.found)} mutants survive", flush=True)
            for each in left:
                print(f"{source.name}\t{each}", flush=True)
            alive, total = alive + len(left), total + len(source.found)
    print(f"{total - alive} of {total} are killed ({100 * (1 - alive / max(total, 1)):.1f}%)")
    return int(alive > 0.02 * total)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

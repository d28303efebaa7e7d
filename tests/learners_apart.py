"""Several learners of a tiny model, as a program: COUNT processes do what one does; the first writes what came out.

One process imports torch and makes the others, which costs less than so many starts.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conftest import tiny_model
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.distributed import FileStore  # type: ignore[attr-defined]

from togi.algorithms import DPO, GRPO, PPO, PRIME, SFT, RewardModel
from togi.learners.following import obey
from togi.models.policy import LocalPolicy, Optimiser, Reference
from togi.models.ranks import ALONE, Ranks, Together, of_talk
from togi.protocols import Algorithm
from togi.types import Need, Sample

ADAM = Optimiser(learning_rate=1e-2, clip_norm=0.05, tokens_per_microbatch=40)


@dataclass(frozen=True, kw_only=True)
class Case:
    """An algorithm, and what its policy is made of."""

    algorithm: Algorithm
    reference: Reference = "none"
    lora: bool = False
    groups: int = 5
    needs: frozenset[Need] = frozenset()


OLD: frozenset[Need] = frozenset({"old_logp", "ref_logp"})
CASES = {
    "grpo": Case(algorithm=GRPO(kl=0.1), reference="copy", needs=OLD),
    "grpo with adapters": Case(
        algorithm=GRPO(kl=0.1, entropy_bonus=0.01), reference="adapter_base", lora=True, needs=frozenset({"ref_logp"})
    ),
    "one group for all": Case(algorithm=GRPO(kl=0.0), groups=1),
    "sft": Case(algorithm=SFT()),
    "dpo": Case(algorithm=DPO(), reference="copy", needs=frozenset({"ref_logp"})),
    "ppo with a critic of its own": Case(algorithm=PPO(critic="own"), reference="copy", needs=OLD | {"old_value"}),
    "ppo with a shared critic": Case(algorithm=PPO(critic="shared"), reference="copy", needs=OLD | {"old_value"}),
    "reward model": Case(algorithm=RewardModel()),
    "prime": Case(algorithm=PRIME(kl=0.0), reference="copy", needs=OLD | {"implicit_logp"}),
}
RESUMED = ("grpo", "grpo with adapters", "ppo with a critic of its own")


def samples(groups: int, algorithm: Algorithm, seed: int = 0) -> list[Sample]:
    """Attempts of very different lengths; of each group one half is right."""
    rng, made = np.random.default_rng(seed), []
    recorded = not algorithm.sampler.writes
    for group in range(groups):
        prompt = rng.integers(3, 61, rng.integers(3, 9))
        for attempt in range(2 if recorded else 4):
            answer = rng.integers(3, 61, rng.integers(1, 6 + 6 * group))
            ids = np.concatenate((prompt, answer))
            mask = np.arange(len(ids)) >= len(prompt)
            made.append(
                Sample(
                    ids=ids,
                    mask=mask,
                    logp=np.where(mask & (not recorded), -4.0, 0.0).astype(np.float32),
                    reward=float(1 - attempt % 2),
                    group=group,
                    trajectory=attempt,
                    task=str(group),
                    stop="eos",
                    recorded=recorded,
                    shares={"right": float(1 - attempt % 2)},
                )
            )
    return made


def policy(case: Case, ranks: Ranks, compute: torch.dtype = torch.float64) -> LocalPolicy:
    wide = torch.promote_types(compute, torch.float32)
    model: nn.Module = tiny_model(dtype=wide)
    if case.lora:
        torch.manual_seed(1)
        lora = LoraConfig(r=3, target_modules="all-linear", init_lora_weights=False)
        model = get_peft_model(model, lora).to(wide)
    torch.manual_seed(0)
    return LocalPolicy(model, ADAM, compute=compute, reference=case.reference, heads=case.algorithm.heads, ranks=ranks)


def stepped(case: Case, ranks: Ranks) -> dict[str, Any]:
    """Two steps, and what they left: metrics, annotations and whole weights."""
    learner = policy(case, ranks)
    metrics = []
    for step in range(2):
        made = case.algorithm.prepare(samples(case.groups, case.algorithm, step))
        made = case.algorithm.credit(learner.annotate(made, case.needs), {})
        metrics.append(dict(learner.learn(made, case.algorithm)))
    told = [
        {name: float(np.nansum(x)) for name, x in vars(sample).items() if isinstance(x, np.ndarray)} for sample in made
    ]
    sampled = {name: p.detach().double().sum().item() for name, p in learner.model.named_parameters()}
    return {"metrics": metrics, "told": told, "weights": _weights(learner), "sampled": sampled}


def resumed(case: Case, ranks: Ranks, folder: Path) -> dict[str, Any]:
    """A step alone, one by all from its checkpoint, one alone from theirs; and the same three steps alone."""
    once = policy(case, ALONE)
    steps = [_step(case, once, 0)]
    once.save(folder / "one")
    joint = policy(case, ranks)
    joint.load(folder / "one")
    steps.append(_step(case, joint, 1))
    if case.reference == "copy":
        joint.renew_reference()
    joint.save(folder / "all")
    again = policy(case, ALONE)
    again.load(folder / "all")
    steps.append(_step(case, again, 2))
    steady = policy(case, ALONE)
    expected = [_step(case, steady, 0), _step(case, steady, 1)]
    if case.reference == "copy":
        steady.renew_reference()
    expected.append(_step(case, steady, 2))
    files = sorted(path.name for path in (folder / "all").iterdir())
    return {"steps": steps, "expected": expected, "files": files, "left": _weights(again), "wanted": _weights(steady)}


def _step(case: Case, learner: LocalPolicy, seed: int) -> dict[str, float]:
    made = case.algorithm.prepare(samples(case.groups, case.algorithm, seed))
    return dict(learner.learn(case.algorithm.credit(learner.annotate(made, case.needs), {}), case.algorithm))


def _weights(learner: LocalPolicy) -> dict[str, list[float]]:
    with learner.full_precision() as model:
        wide = {name: p.detach().double() for name, p in model.named_parameters()}
        return {name: [p.sum().item(), p.abs().sum().item()] for name, p in wide.items()}


def lost(ranks: Ranks) -> dict[str, Any]:
    """A step in which another learner goes."""
    assert isinstance(ranks, Together)
    learner = policy(CASES["sft"], ranks)
    try:
        _step(CASES["sft"], learner, 0)
    except RuntimeError as error:
        return {"talk": of_talk(error), "notes": ranks.notes()}
    raise AssertionError("nobody was missed")


def joined(count: int, rank: int, folder: Path, deadline: float) -> Together:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    store = FileStore(str(folder / "store"), count)
    return Together(store, rank, count, cards=False, threads=1, deadline=deadline)


def forked(count: int) -> tuple[int, list[int]]:
    """Make the other processes; gives this one's rank, and the first the ids of the others."""
    others: list[int] = []
    for rank in range(1, count):
        others.append(os.fork())
        if not others[-1]:
            return rank, []
    return 0, others


def follow(ranks: Together, case: Case, goes: signal.Signals | None = None) -> None:
    learner = policy(case, ranks)
    while (order := ranks.hear()).verb != "end":
        if goes:
            ranks.note("about to learn")
            os.kill(os.getpid(), goes)
        obey(learner, order, case.algorithm)


def main(count: int, out: Path, goes: signal.Signals | None) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rank, others = forked(count)
        ranks = joined(count, rank, folder, deadline=3 if goes else 300)
        if rank:
            cases = [CASES["sft"]] if goes else [*CASES.values(), *(CASES[name] for name in RESUMED)]
            for case in cases:
                follow(ranks, case, goes)
            os._exit(0)
        results: dict[str, Any] = {}
        if goes:
            out.write_text(json.dumps(lost(ranks)))
            for pid in others:
                os.kill(pid, signal.SIGKILL)
            os._exit(0)
        for name, case in CASES.items():
            results[name] = [stepped(case, ALONE), stepped(case, ranks)]
            ranks.lead("end")
            out.write_text(json.dumps(results))
        for name in RESUMED:
            results[f"{name}, resumed"] = resumed(CASES[name], ranks, folder / name)
            ranks.lead("end")
        out.write_text(json.dumps(results))
        for pid in others:
            assert os.waitpid(pid, 0)[1] == 0


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), signal.Signals[sys.argv[3]] if sys.argv[3:] else None)

"""A cluster in this process: Tinker's verbs over a small model, by plain transformers and torch, one row at a time."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from togi.cluster.verbs import Drawn, IdArray, Numbers
from togi.engines.native import NativeEngine
from togi.models.load_model import Loaded, Lora, load_model
from togi.models.lora_and_optimiser import Optimiser
from togi.types import Ids, Prompt, Sampling


def adapted(folder: Path, dtype: torch.dtype, rank: int, seed: int) -> Loaded:
    """The model with fresh adapters, which are drawn from the seed."""
    torch.manual_seed(seed)
    return load_model(str(folder), dtype=dtype, lora=Lora(rank=rank, alpha=2 * rank))


def logp_of(model: Any, row: IdArray) -> Tensor:
    """Of every token but the first, after those before it."""
    ids = torch.as_tensor(row)
    logits = model(ids[None, :-1]).logits[0]
    return torch.log_softmax(logits, -1).gather(-1, ids[1:, None])[:, 0]


class HereCluster:
    """``asked`` are the verbs that it was asked for. ``stale`` has it draw from the base, whatever was learned."""

    def __init__(self, folder: Path, *, dtype: torch.dtype = torch.float32, stale: bool = False) -> None:
        self.folder, self.dtype, self.stale = folder, dtype, stale
        self.kept: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.wrong = 0.0  # what is added to the log-probabilities of what is drawn

    def new(self, *, rank: int, seed: int) -> HereLearner:
        self.asked.append("new")
        return HereLearner(self, adapted(self.folder, self.dtype, rank, seed), rank)

    def from_state(self, name: str, *, moments: bool) -> HereLearner:
        self.asked.append("from state with moments" if moments else "from state")
        kept = self.kept[name]
        learner = self.new(rank=kept["rank"], seed=0)
        learner.take(kept["weights"])
        if moments and kept["moments"]["state"]:
            learner.adam.load_state_dict(kept["moments"])
        return learner

    def drawer(self, name: str | None) -> HereDrawer:
        self.asked.append("drawer")
        if name is None or self.stale:
            return HereDrawer(self, load_model(str(self.folder), dtype=self.dtype))
        return self.of(self.kept[name])

    def of(self, kept: dict[str, Any]) -> HereDrawer:
        copy = self.new(rank=kept["rank"], seed=0)
        copy.take(kept["weights"])
        return HereDrawer(self, copy.loaded)


class HereLearner:
    def __init__(self, cluster: HereCluster, loaded: Loaded, rank: int) -> None:
        self.cluster, self.loaded, self.rank = cluster, loaded, rank
        self.weights = {name: p for name, p in loaded.model.named_parameters() if p.requires_grad}
        self.adam = torch.optim.AdamW(list(self.weights.values()), lr=0.0, weight_decay=0.0)

    @torch.no_grad()
    def take(self, weights: dict[str, Tensor]) -> None:
        for name, p in self.weights.items():
            p.copy_(weights[name])

    @torch.no_grad()
    def logps(self, rows: Sequence[IdArray]) -> list[Numbers]:
        self.cluster.asked.append("forward")
        return [torch.cat([torch.zeros(1), logp_of(self.loaded.model, row)]).numpy() for row in rows]

    def backward(self, rows: Sequence[IdArray], weights: Sequence[Numbers]) -> None:
        self.cluster.asked.append("forward_backward")
        for row, weight in zip(rows, weights, strict=True):
            weight_t = torch.as_tensor(weight[1:]).to(self.cluster.dtype)
            (-(weight_t * logp_of(self.loaded.model, row)).sum()).backward()

    def update(self, rate: float, optimiser: Optimiser) -> None:
        self.cluster.asked.append("optim_step")
        torch.nn.utils.clip_grad_norm_(list(self.weights.values()), optimiser.clip_norm)
        for group in self.adam.param_groups:
            group |= {"lr": rate, "betas": optimiser.betas, "weight_decay": optimiser.weight_decay, "eps": 1e-8}
        self.adam.step()
        self.adam.zero_grad()

    def save(self, name: str) -> str:
        self.cluster.asked.append("save_weights")
        return self._keep(f"tinker://here/weights/{name}")

    def save_to_draw(self, name: str) -> str:
        self.cluster.asked.append("save_weights_for_sampler")
        return self._keep(f"tinker://here/sampler_weights/{name}")

    def drawer(self) -> HereDrawer:
        self.cluster.asked.append("save_weights_for_sampler")
        return self.cluster.drawer(self._keep(f"tinker://here/sampler_weights/{len(self.cluster.kept)}"))

    def _keep(self, path: str) -> str:
        weights = {name: p.detach().clone() for name, p in self.weights.items()}
        moments = torch.optim.AdamW.state_dict(self.adam)
        moments["state"] = {i: {k: v.clone() for k, v in each.items()} for i, each in moments["state"].items()}
        self.cluster.kept[path] = {"rank": self.rank, "weights": weights, "moments": moments}
        return path


class HereDrawer:
    def __init__(self, cluster: HereCluster, loaded: Loaded) -> None:
        self.cluster, self.loaded = cluster, loaded

    def draw(
        self, ids: Ids, attempts: int, *, seed: int, limit: int, sampling: Sampling, ends: Sequence[int]
    ) -> Future[list[Drawn]]:
        self.cluster.asked.append("sample")
        engine = NativeEngine(self.loaded.model, self.loaded.tokenizer, frozenset(ends))
        how = Sampling(
            max_tokens=limit, temperature=sampling.temperature, top_p=sampling.top_p, top_k=sampling.top_k,
            ignore_eos=not ends,
        )  # fmt: skip
        seeds = tuple(seed + number for number in range(attempts))
        [turns] = engine.generate([Prompt(ids=ids, seeds=seeds)], how)
        found: Future[list[Drawn]] = Future()
        found.set_result(
            [
                Drawn(
                    ids=turn.completion,
                    logp=tuple(each - self.cluster.wrong for each in turn.logp),
                    ended="stop" if turn.stop == "eos" else "length",
                )
                for turn in turns
            ]
        )
        return found

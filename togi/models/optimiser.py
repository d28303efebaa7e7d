"""Parameters under AdamW: float32 masters beside what is computed with, clipping, and exact files.

It knows tensors, precision and rates, and that others may have shares of the same parameters; it does not know models,
samples or losses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from togi.models.lora_and_optimiser import Optimiser
from togi.models.ranks import ALONE, Ranks
from togi.models.shares import share, whole

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

WEIGHTS, _MOMENTS = "policy.safetensors", "optimiser.safetensors"
_PIECE = 1 << 18  # numbers: 1 MB in float32, which stays in a cache


class Trained:
    """Some parameters and their optimiser.

    ``working`` are the parameters that are computed with, of type ``compute``; ``master`` are their float32 weights,
    the same tensors where ``compute`` is float32 or float64. Names are those of the files. Of parameters that are
    ``divided`` both are this process's shares; others are whole in every process.
    """

    def __init__(
        self,
        working: Mapping[str, nn.Parameter],
        optimiser: Optimiser,
        compute: torch.dtype,
        divided: Mapping[str, DTensor] | None = None,
    ) -> None:
        self.working = dict(working)
        self.divided = dict(divided or {})
        self._apart = compute not in (torch.float32, torch.float64)
        self.master: dict[str, Tensor] = {
            name: p.detach().to(torch.float32) if self._apart else p for name, p in self.working.items()
        }
        decayed = [p for p in self.master.values() if p.ndim >= 2]
        kept = [p for p in self.master.values() if p.ndim < 2]
        groups = [{"params": decayed, "weight_decay": optimiser.weight_decay}, {"params": kept, "weight_decay": 0.0}]
        groups = [group for group in groups if group["params"]] or groups[:1]
        self.adam = torch.optim.AdamW(groups, lr=optimiser.rate(0), betas=optimiser.betas, fused=True)
        # Taken within a step, memory that stays would lie between activations, and what these leave would not fit the
        # next step's.
        for p in self.master.values():
            moments = {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
            self.adam.state[p] = {"step": torch.zeros((), device=p.device), **moments}

    def accumulate(self) -> None:
        """From now on the gradients of narrow parameters are summed in float32, once a parameter has its own."""
        if self._apart:
            for name, p in self.working.items():
                p.register_post_accumulate_grad_hook(_Accumulate(self.master[name]))  # type: ignore[no-untyped-call]

    def join(self, ranks: Ranks) -> None:
        """Make the gradients of the masters those of all processes' samples."""
        if ranks.count == 1:
            return
        for name, shared in self.divided.items():
            if shared.grad is not None:
                self.master[name].grad, shared.grad = share(shared.grad), None
        if not self.divided:
            for p in self.master.values():
                p.grad = torch.zeros_like(p) if p.grad is None else p.grad
            ranks.add([p.grad for p in self.master.values() if p.grad is not None])

    def whole(self) -> Iterator[tuple[str, Tensor]]:
        """The masters one after another, each put together from its shares; every process has to ask."""
        for name, p in self.master.items():
            yield name, whole(self.divided[name]) if self.divided else p

    @property
    def saved_bytes(self) -> int:
        """About what files of the whole weights and their moments take."""
        return sum(3 * p.numel() * p.element_size() for p in (self.divided or self.master).values())

    @torch.no_grad()
    def update(self, rate: float) -> None:
        for group in self.adam.param_groups:
            group["lr"] = rate
        self.adam.step()
        self.to_working()

    @torch.no_grad()
    def to_working(self) -> None:
        """Round the masters into the parameters that are computed with."""
        if self._apart:
            torch._foreach_copy_(list(self.working.values()), list(self.master.values()))

    def clear(self) -> None:
        for p in (*self.master.values(), *self.working.values(), *self.divided.values()):
            p.grad = None


def clip(parts: Sequence[Trained], limit: float, ranks: Ranks = ALONE) -> float:
    """Scale the gradients of all parts to a joint norm of at most ``limit``; gives the norm they had."""
    norm = _norm(parts)
    if ranks.count > 1:
        shares, whole = (_norm([part for part in parts if bool(part.divided) is divided]) for divided in (True, False))
        squares = shares.double().square()
        ranks.add([squares])
        norm = (squares + whole.double().square()).sqrt()
    if bool(torch.isfinite(norm)):
        torch.nn.utils.clip_grads_with_norm_([p for part in parts for p in part.master.values()], limit, norm)
    return float(norm)


def _norm(parts: Sequence[Trained]) -> Tensor:
    grads = [p.grad for part in parts for p in part.master.values() if p.grad is not None]
    return torch.nn.utils.get_total_norm(grads)


def save_trained(parts: Sequence[Trained], folder: Path) -> None:
    """Write master weights and moments exactly."""
    save_file({name: p.detach().contiguous() for part in parts for name, p in part.master.items()}, folder / WEIGHTS)
    moments = {
        f"{key}/{name}": value
        for part in parts
        for name, p in part.master.items()
        for key, value in part.adam.state[p].items()
    }
    save_file(moments, folder / _MOMENTS)


@torch.no_grad()
def load_trained(parts: Sequence[Trained], folder: Path) -> None:
    """Take up what ``save_trained`` wrote. Raises ValueError when the parameters are others."""
    owners = {name: part for part in parts for name in part.master}
    weights = load_file(folder / WEIGHTS)
    if weights.keys() != owners.keys():
        different = sorted(weights.keys() ^ owners.keys())
        raise ValueError(f"{folder} holds other parameters than this model, for example {different[0]}")
    for name, part in owners.items():
        part.master[name].copy_(weights[name])
    for part in parts:
        part.to_working()
    for key, value in load_file(folder / _MOMENTS).items():
        kind, name = key.split("/", 1)
        owners[name].adam.state[owners[name].master[name]][kind].copy_(value)


class _Accumulate:
    """Adds a finished bfloat16 gradient to the float32 one and frees it at once.

    The float32 buffer outlives the step: fresh memory costs more than the addition.
    """

    def __init__(self, master: Tensor) -> None:
        self._master, self._buffer = master, torch.empty_like(master)

    def __call__(self, working: Tensor) -> None:
        assert working.grad is not None
        if self._master.grad is None:
            self._master.grad = self._buffer.copy_(working.grad)
        else:
            _add(self._buffer, working.grad)
        working.grad = None


def _add(wide: Tensor, narrow: Tensor) -> None:
    """``wide += narrow``, a piece at a time: torch widens all of ``narrow`` beside it first."""
    for one, other in zip(torch.split(wide.view(-1), _PIECE), torch.split(narrow.reshape(-1), _PIECE), strict=True):
        one.add_(other)

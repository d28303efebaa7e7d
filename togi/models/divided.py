"""A model's weights divided between the processes that learn together: PyTorch's FSDP2 over its layers.

It knows modules and their passes; it does not know samples, losses or optimisers. Each process keeps a share of every
parameter, and has a layer whole while it computes with it. On processors, where what is sent costs as much as what is
computed, layers stay whole and gradients are summed here from the first micro-batch of a step to the last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, cast

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from togi.models.packing import PackedModel, Say, pretrained
from togi.models.shares import share
from togi.types import Outputs


class Divided:
    """A model that learns, or a frozen one that is asked, divided in place. ``packed`` computes with it from then on.

    ``compute`` is the type of the arithmetic; trained parameters are kept in float32, or in that type where it is
    wider. ``weights`` are the trained parameters by name. Every process has to compute as often as the others.
    """

    def __init__(self, module: nn.Module, packed: PackedModel, compute: torch.dtype, count: int) -> None:
        self.wide = torch.promote_types(compute, torch.float32)
        for p in module.parameters():
            if p.is_floating_point():
                p.data = p.data.to(self.wide if p.requires_grad else compute)
        device = next(module.parameters()).device.type
        self._stays = device == "cpu"
        self._root = cast(Any, _Root(module))  # FSDP gives it methods that its class has not
        mesh = init_device_mesh(device, (count,))
        arithmetic = MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=self.wide, cast_forward_inputs=False)
        for whole in (*_layers(module), self._root):
            fully_shard(whole, mesh=mesh, mp_policy=arithmetic, reshard_after_forward=not self._stays)
        for part in self._parts():
            # The gradient of a step is a sum over its samples, whoever computes them.
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)
        self._root.set_reduce_scatter_unused_params(True)
        self.weights: dict[str, DTensor] = {
            name: p for name, p in module.named_parameters() if p.requires_grad and isinstance(p, DTensor)
        }
        self.frozen: dict[str, DTensor] = {
            name: p for name, p in module.named_parameters() if not p.requires_grad and isinstance(p, DTensor)
        }
        packed.within = self._within

    def _within(self, say: Say) -> Outputs:
        said = self._root(say)
        return Outputs(**{each.name: x for each, x in zip(fields(Outputs), said, strict=True)})

    def pass_of(self, *, last: bool) -> None:
        """To be called before each pass of a step that is learned from: only after the last one are gradients told."""
        if self._stays:
            self._root.set_requires_gradient_sync(last)
            self._root.set_reshard_after_backward(last)

    def rest(self) -> None:
        """Keep a share only, until something is computed again."""
        for part in self._parts():
            part.reshard()
        for p in self.weights.values():
            # Asked without its adapter, a model takes this from shares or from what stands in their place, and gives it
            # back to whichever stand there then.
            p.requires_grad_(True)

    def _parts(self) -> Iterator[FSDPModule]:
        return (part for part in self._root.modules() if isinstance(part, FSDPModule))


class _Root(nn.Module):
    """All of a model, whatever of it is computed with in a pass, and in which order."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, say: Say) -> tuple[Any, ...]:
        said = say()
        return tuple(getattr(said, each.name) for each in fields(Outputs))


def _layers(module: nn.Module) -> list[nn.Module]:
    """The layers of a language model, which follow one another."""
    lists = [part for part in pretrained(module).get_decoder().children() if isinstance(part, nn.ModuleList)]
    return [layer for layers in lists for layer in layers]


def shares(weights: dict[str, DTensor]) -> dict[str, nn.Parameter]:
    """This process's share of each parameter, in the same memory."""
    return {name: nn.Parameter(share(p)) for name, p in weights.items()}

"""What a model does to its logits after the output layer: a factor, then a soft cap. It knows no layout and no loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PretrainedConfig


@dataclass(frozen=True, kw_only=True)
class LogitForm:
    """Products with the output embedding are multiplied by ``factor`` (Cohere, Granite), and bent to ``softcap``
    tanh(logit / ``softcap``) (Gemma 2, arXiv:2408.00118)."""

    factor: float = 1.0
    softcap: float | None = None

    def logits(self, products: Tensor) -> Tensor:
        scaled = products * self.factor
        return scaled if self.softcap is None else self.softcap * torch.tanh(scaled / self.softcap)

    def divisor(self, temperature_M: Tensor) -> Tensor:
        """What hidden states are divided by before the product: all that is no cap, and does not come after one."""
        return (temperature_M if self.softcap is None else torch.ones_like(temperature_M)) / self.factor

    def cap(self, temperature_M: Tensor) -> Cap | None:
        return None if self.softcap is None else Cap(softcap=self.softcap, temperature_M=temperature_M)


def logit_form(config: PretrainedConfig) -> LogitForm:
    """As a model's configuration names it; whether the model does nothing else has to be tried."""
    factor = getattr(config, "logit_scale", None) or 1.0
    return LogitForm(
        factor=float(factor) / float(getattr(config, "logits_scaling", None) or 1.0),
        softcap=getattr(config, "final_logit_softcapping", None),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Cap:
    """A soft cap on logits, which are divided by a temperature a row afterwards."""

    softcap: float
    temperature_M: Tensor

    def bend(self, logits_MV: Tensor, rows: slice) -> None:
        """In place."""
        logits_MV.div_(self.softcap).tanh_().mul_(self._over(logits_MV, rows))

    def bent(self, logits_MV: Tensor, rows: slice) -> Tensor:
        """The same, beside what it was made from, with a gradient."""
        return torch.tanh(logits_MV / self.softcap) * self._over(logits_MV, rows)

    def slope(self, bent_MV: Tensor, rows: slice) -> Tensor:
        """d bent / d logit = (1 - tanh^2) / temperature."""
        return (
            bent_MV.div(self._over(bent_MV, rows))
            .square_()
            .neg_()
            .add_(1)
            .div_(self.temperature_M[rows, None].to(bent_MV.dtype))
        )

    def _over(self, like: Tensor, rows: slice) -> Tensor:
        return (self.softcap / self.temperature_M[rows, None]).to(like.dtype)

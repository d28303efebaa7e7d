"""Whom to ask: settings as they stand in a file, checked where they are read. It asks nobody, and imports no library of
servers or models before it must."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Who:
    """``model`` is any source a model is loaded from, or with ``base_url`` the name of a model at a server that speaks
    the OpenAI chat completions protocol; ``key_env`` names the environment variable that holds its key.

    A server is asked ``concurrency`` questions at a time, of ``seconds`` each. ``most_tokens`` and ``most_money`` (with
    prices of a million tokens) cap what it may use; a server with a key must have a cap.
    """

    model: str
    base_url: str = ""
    key_env: str = ""
    concurrency: int = 8
    seconds: float = 60.0
    most_tokens: int = 0
    most_money: float = 0.0
    input_price: float = 0.0
    output_price: float = 0.0

    def check(self, name: str) -> None:
        """Raise ValueError for what cannot be; ``name`` is who is asked, in the file's words."""
        if not self.model:
            raise ValueError(f"{name}: model is the name of the model to ask; got {self.model!r}")
        if not self.base_url and (self.key_env or self._capped):
            raise ValueError(f"{name}: a key and caps are for a server; give its base_url, or leave them out")
        if self.key_env and not self._capped:
            raise ValueError(f"{name}: a server with a key costs money: say how much in most_tokens or most_money")
        if self.most_money and not self.input_price + self.output_price:
            raise ValueError(f"{name}: most_money needs input_price and output_price, for a million tokens each")
        money = (self.most_money, self.input_price, self.output_price)
        if self.most_tokens < 0 or not all(0 <= number < math.inf for number in money):
            raise ValueError(f"{name}: numbers of tokens and money are at least 0")
        if self.base_url:
            # Workers that grade import this file, and start without the libraries of servers.
            from togi.askers.openai_client import address

            address(self.base_url, self.key_env)
        if self.concurrency < 1 or not 0 < self.seconds < math.inf:
            raise ValueError(f"{name}: concurrency is at least 1, and seconds more than 0")

    @property
    def _capped(self) -> bool:
        return bool(self.most_tokens or self.most_money)

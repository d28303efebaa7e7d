"""Whom a judge asks: settings as they stand in a recipe, checked where they are read. It asks nobody."""

from __future__ import annotations

import math
from dataclasses import dataclass

from togi.rewards.algebra import Leaf


@dataclass(frozen=True, kw_only=True)
class WhoIsAsked(Leaf):
    """``model`` is "policy" (the model in training, as it is then), a stage of the same run, any source a model is
    loaded from, or with ``base_url`` the name of a model at a server that speaks the OpenAI chat completions protocol;
    ``key_env`` names the environment variable that holds its key.

    A server is asked ``concurrency`` questions at a time, of ``seconds`` each. ``most_tokens`` and ``most_money`` (with
    prices of a million tokens) cap what it may use; a server with a key must have a cap.
    """

    model: str = "policy"
    base_url: str = ""
    key_env: str = ""
    concurrency: int = 8
    seconds: float = 60.0
    most_tokens: int = 0
    most_money: float = 0.0
    input_price: float = 0.0
    output_price: float = 0.0

    def __post_init__(self) -> None:
        if not self.model or (self.base_url and self.model == "policy"):
            raise ValueError(f"{self.name}: model is the name of the model to ask; got {self.model!r}")
        if not self.base_url and (self.key_env or self._capped):
            raise ValueError(f"{self.name}: a key and caps are for a server; give its base_url, or leave them out")
        if self.key_env and not self._capped:
            raise ValueError(f"{self.name}: a server with a key costs money: say how much in most_tokens or most_money")
        if self.most_money and not self.input_price + self.output_price:
            raise ValueError(f"{self.name}: most_money needs input_price and output_price, for a million tokens each")
        money = (self.most_money, self.input_price, self.output_price)
        if self.most_tokens < 0 or not all(0 <= number < math.inf for number in money):
            raise ValueError(f"{self.name}: numbers of tokens and money are at least 0")
        if self.base_url:
            # Workers that grade import this file, and start without the libraries of servers.
            from togi.rewards.judge.openai_client import address

            address(self.base_url, self.key_env)
        if self.concurrency < 1 or not 0 < self.seconds < math.inf:
            raise ValueError(f"{self.name}: concurrency is at least 1, and seconds more than 0")

    @property
    def _capped(self) -> bool:
        return bool(self.most_tokens or self.most_money)

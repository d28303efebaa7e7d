"""Which engine a run samples with, and what each cannot do. It loads nothing: recipes are checked without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from togi.protocols import LocalEngine
from togi.types import Ability

if TYPE_CHECKING:
    from togi.models.load_model import Loaded

Kind = Literal["native", "vllm", "server", "tinker"]

DOES: Mapping[Ability, str] = {
    "begin": "goes on from the beginnings of answers",
    "mixture": "draws from the policy and its reference at once",
    "think": "thinks before every token",
}
_ELSEWHERE: frozenset[Ability] = frozenset({"mixture", "think"})
LACKS: Mapping[Kind, frozenset[Ability]] = {
    "native": frozenset(),
    "vllm": _ELSEWHERE,
    "server": _ELSEWHERE,
    "tinker": _ELSEWHERE,
}
"""What an engine of each kind cannot do, in the process that learns; in others none can do more than a server."""


class Beside(Protocol):
    """Engines in other processes, which are at hand while a run is at work."""

    def engine(self, loaded: Loaded, batch_size: int) -> LocalEngine:
        """One that draws from a loaded model there."""
        ...


@dataclass(frozen=True, kw_only=True)
class AtServer:
    """A server that draws, and what it calls the model that the run starts from. ``key_env`` names the environment
    variable that holds its key; a completion may take ``seconds``. ``adapters`` is a folder that the server reads too,
    for weights as they are learned (None: a new one on this machine), of which it keeps so many as ``kept`` beside the
    newest, for those who still draw with them."""

    base_url: str
    model: str
    key_env: str = ""
    seconds: float = 600.0
    adapters: Path | None = None
    kept: int = 0


@dataclass(frozen=True, kw_only=True)
class WithVLLM:
    """vLLM that is started for the run, with the ``python`` of an environment that has it. ``options`` are further ones
    of ``vllm serve``."""

    python: Path
    options: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AtCluster:
    """A cluster that learns and draws by Tinker's verbs, and what it calls the model that the run starts from.
    ``base_url`` is empty for the service of the package tinker, ``key_env`` names the environment variable that holds
    the key, and an answer may take ``seconds``."""

    model: str
    key_env: str
    base_url: str = ""
    seconds: float = 600.0


@dataclass(frozen=True, kw_only=True)
class EngineChoice:
    """``batch_size`` is how many completions one engine draws at once: at ``server``, ``beside`` this process, or in it
    (None); ``mismatch_limit`` how far their log-probabilities may be from those of the same weights where they learn,
    in nats a token on average. Engines beside are Togi's own, or ``vllm``; one has ``seconds`` for a completion.
    At a ``cluster``, which learns as well, all are drawn at once."""

    batch_size: int = 128
    mismatch_limit: float = 0.1
    server: AtServer | None = None
    seconds: float = 600.0
    vllm: WithVLLM | None = None
    beside: Beside | None = field(default=None, repr=False)
    cluster: AtCluster | None = None

    @property
    def kind(self) -> Kind:
        if self.vllm is not None:
            return "vllm"
        if self.cluster is not None:
            return "tinker"
        return "native" if self.server is None else "server"

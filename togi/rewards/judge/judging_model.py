"""Opens whoever a judge asks: the policy, another local model, or a server. Imported only when a stage is opened."""

from __future__ import annotations

from pathlib import Path

from togi.askers.asker import Asker
from togi.askers.local_model import LocalModel, open_model
from togi.askers.open_asker import open_server
from togi.models.bundled import BUNDLED
from togi.protocols import LocalEngine
from togi.rewards.algebra import NotTrainedYet, Surroundings
from togi.rewards.judge.who_is_asked import CACHE, WhoIsAsked


def open_asker(who: WhoIsAsked, at: Surroundings) -> Asker:
    """Raises ValueError for an address or key that cannot be used, and for a model that cannot be loaded; NotTrainedYet
    for a stage of the run that has no model yet."""
    if who.base_url:
        return open_server(who, at.folder / CACHE)
    if who.model == "policy":
        return policy_judge(at)
    return open_model(_source(who.model, at.folder), at.dtype, at.device)


def policy_judge(at: Surroundings) -> LocalModel:
    """The policy as its own judge, with the weights it has when it is asked."""
    if isinstance(at.engine, LocalEngine):
        return LocalModel(at.engine.model, at.engine, at.chat, at.engine.context)
    return LocalModel(None, at.engine, at.chat, 1 << 30)


def _source(name: str, folder: Path) -> str:
    """A stage of the run at ``folder``, where it has one of that name; else whatever a model is loaded from."""
    stage = folder / "models" / name
    if stage.is_dir():
        return str(stage)
    if name in BUNDLED or "/" in name or Path(name).exists():
        return name
    raise NotTrainedYet(f"{folder} has no model of a stage {name} yet, and there is no other model of that name")

"""Opens whoever a judge asks: the policy, another local model, or a server. Imported only when a stage is opened."""

from __future__ import annotations

from pathlib import Path

from togi.models.bundled import BUNDLED
from togi.rewards.algebra import NotTrainedYet, Surroundings
from togi.rewards.judge.local_judge import open_judge, policy_judge
from togi.rewards.judge.openai_client import Patience, Server
from togi.rewards.judge.reply_cache import CACHE, ReplyCache
from togi.rewards.judge.server_judge import Cap, Endpoint
from togi.rewards.judge.verdict import Asker
from togi.rewards.judge.who_is_asked import WhoIsAsked


def open_asker(who: WhoIsAsked, at: Surroundings) -> Asker:
    """Raises ValueError for an address or key that cannot be used, and for a model that cannot be loaded; NotTrainedYet
    for a stage of the run that has no model yet."""
    if not who.base_url:
        return policy_judge(at) if who.model == "policy" else open_judge(_source(who.model, at.folder), at)
    server = Server(
        who.base_url,
        key_env=who.key_env,
        patience=Patience(seconds=who.seconds, total_seconds=3 * who.seconds),
    )
    cap = Cap(
        tokens=who.most_tokens or None,
        money=who.most_money or None,
        input_price=who.input_price,
        output_price=who.output_price,
    )
    cache = ReplyCache(at.folder / CACHE)
    return Endpoint(server, who.base_url, who.model, cache, cap=cap, concurrency=who.concurrency)


def _source(name: str, folder: Path) -> str:
    """A stage of the run at ``folder``, where it has one of that name; else whatever a model is loaded from."""
    stage = folder / "models" / name
    if stage.is_dir():
        return str(stage)
    if name in BUNDLED or "/" in name or Path(name).exists():
        return name
    raise NotTrainedYet(f"{folder} has no model of a stage {name} yet, and there is no other model of that name")

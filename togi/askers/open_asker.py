"""Opens a model at a server that settings name. Imported only when somebody is going to ask."""

from __future__ import annotations

from pathlib import Path

from togi.askers.openai_client import Patience, Server
from togi.askers.reply_cache import ReplyCache
from togi.askers.server_model import Cap, Endpoint
from togi.askers.who_is_asked import Who


def open_server(who: Who, replies: Path) -> Endpoint:
    """The model at ``who``'s server, with its replies kept in the file ``replies``. Raises ValueError for an address or
    key that cannot be used."""
    patience = Patience(seconds=who.seconds, total_seconds=3 * who.seconds)
    server = Server(who.base_url, key_env=who.key_env, patience=patience)
    cap = Cap(
        tokens=who.most_tokens or None,
        money=who.most_money or None,
        input_price=who.input_price,
        output_price=who.output_price,
    )
    return Endpoint(server, who.base_url, who.model, ReplyCache(replies), cap=cap, concurrency=who.concurrency)

"""A server that the user runs: it is asked, and neither begun nor ended."""

from __future__ import annotations

from togi.engines.completions_server import CompletionsServer
from togi.engines.engine_choice import AtServer


class ServerElsewhere:
    restarts = False

    def __init__(self, at: AtServer) -> None:
        """Raises ValueError for an address or a key that cannot be used."""
        self.called = f"the engine at {at.base_url}"
        self.server = CompletionsServer(at)

    def begin(self) -> None:
        pass

    def fault(self) -> str:
        return ""

    def end(self, seconds: float = 0.0) -> None:
        pass

    def last_words(self) -> str:
        return ""

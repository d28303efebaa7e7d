"""An environment on a server of OpenEnv's, played over its WebSocket: what is observed becomes text, and what the model
writes an action. It knows no tokens, and OpenEnv is not needed.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from togi.envs.chat import told_more
from togi.envs.read_settings import refuse_odd, whole_number
from togi.envs.row_seed import seed_of
from togi.extras import lacking
from togi.find_function import absolute, files_of, resolve
from togi.protocols import Abort, Env
from togi.types import Message, Task

SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
LARGEST = 1 << 24  # bytes of an answer
FULL = "CAPACITY_REACHED"


@dataclass(frozen=True, kw_only=True)
class OpenEnv:
    """Makes an episode for each task, in a session of its own at ``base_url``, begun with the task's seed and
    ``reset``.

    What the model writes is the field ``action`` of an action; ``act``, a function that was found by its name, makes
    the whole action of it instead. ``tell`` says what is observed; without it that is the observation as JSON. An
    attempt has at most ``turns`` turns; the server has ``seconds`` for each answer.
    """

    base_url: str
    action: str = "message"
    act: str = ""
    tell: str = ""
    reset: Mapping[str, Any] = field(default_factory=dict)
    turns: int = 50
    seconds: float = 60.0
    _act: Callable[[str], Any] | None = field(default=None, compare=False, repr=False)
    _tell: Callable[[Any], Any] | None = field(default=None, compare=False, repr=False)

    def __call__(self, task: Task) -> Env:
        return _Episode(self, task)

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(path for name in (self.act, self.tell) for path in files_of(name)))


class _Episode(Env):
    """``counts``: whether the attempt reached the environment's end, or was cut."""

    def __init__(self, how: OpenEnv, task: Task) -> None:
        self._how, self._task = how, task
        self._turn = 0
        self.cut = False
        self.counts: Counter[str] = Counter({"ended": 0, "cut": 0})
        self._open = ExitStack()
        self._session: Any = None

    def start(self) -> tuple[Message, ...]:
        self._session = self._connected()
        observed, _, done = self._asked("reset", {"seed": seed_of(self._task), **self._how.reset})
        if done:
            raise ValueError(f"{self._how.base_url} was over at its reset")
        return told_more(self._task.prompt, f"\n{observed}")

    def step(self, message: Message) -> tuple[tuple[Message, ...], float, bool]:
        self._turn += 1
        text = message.content.rpartition("</think>")[2].strip()
        action = self._how._act(text) if self._how._act is not None else {self._how.action: text}
        observed, reward, done = self._asked("step", action)
        self.cut = not done and self._turn == self._how.turns
        self.counts["ended"] += done
        self.counts["cut"] += self.cut
        return (Message(role="user", content=observed),), reward, done or self.cut

    def close(self) -> None:
        self._open.close()

    def _connected(self) -> Any:
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect

        scheme, rest = self._how.base_url.split("://", 1)
        address = f"{SCHEMES[scheme]}://{rest.rstrip('/')}/ws"
        try:
            opening = connect(address, open_timeout=self._how.seconds, close_timeout=1, max_size=LARGEST, proxy=None)
            return self._open.enter_context(opening)
        except (OSError, WebSocketException) as error:
            raise Abort(f"there is no server at {self._how.base_url}: {error}") from error

    def _asked(self, kind: str, data: Any) -> tuple[str, float, bool]:
        """What is observed, as text; the reward; and whether it is over. A session that is lost is not opened anew: the
        server would begin another episode."""
        from websockets.exceptions import ConnectionClosed, WebSocketException

        try:
            sent = json.dumps({"type": kind, "data": data}, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self._how.act.rpartition(':')[2]}() gave {data!r:.200}, which is no JSON") from error
        try:
            with suppress(ConnectionClosed):  # a server that is full has said so, and hung up
                self._session.send(sent)
            said = self._session.recv(timeout=self._how.seconds)
        except TimeoutError:
            raise TimeoutError(f"{self._how.base_url} did not answer within {self._how.seconds:g} s") from None
        except (OSError, WebSocketException) as error:
            # No Abort: what was sent may be what ended it.
            raise ConnectionError(f"the server at {self._how.base_url} is gone: {error}") from error
        return self._read(said)

    def _read(self, said: str | bytes) -> tuple[str, float, bool]:
        try:
            frame = json.loads(said)
            kind, data = frame["type"], frame["data"]
            if kind == "error":
                code, why = data.get("code", ""), data["message"]
            else:
                observed, paid, done = data["observation"], data.get("reward"), data.get("done", False)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ValueError(f"{self._how.base_url} answered {said!r:.200}, which OpenEnv does not") from None
        if kind == "error":
            if code == FULL:
                raise Abort(f"{self._how.base_url} takes no more sessions: raise its max_concurrent_envs ({why})")
            raise RuntimeError(f"{self._how.base_url} failed ({code}): {why:.500}")
        reward = 0.0 if paid is None else paid  # many pay at the end only
        if not isinstance(reward, bool | int | float) or not math.isfinite(reward) or not isinstance(done, bool):
            raise ValueError(f"{self._how.base_url} gave reward {paid!r:.100} and done {done!r:.100}")
        return self._shown(observed), float(reward), done

    def _shown(self, observed: Any) -> str:
        if self._how._tell is not None:
            return str(self._how._tell(observed))
        kept = {name: each for name, each in observed.items() if name != "metadata"}
        texts = list(kept.values())
        return texts[0] if len(texts) == 1 and isinstance(texts[0], str) else json.dumps(kept, ensure_ascii=False)


def openenv_env(settings: Mapping[str, Any], base: Path, seconds: float) -> OpenEnv:
    """Raises ValueError for an address or settings that make no sense. The server is first asked when it is played."""
    if find_spec("websockets") is None:
        raise ValueError(lacking("this environment", "openenv"))
    wanted = [each.name for each in fields(OpenEnv) if not each.name.startswith("_") and each.name != "seconds"]
    refuse_odd(settings, wanted, "OpenEnv's")
    url = settings.get("base_url")
    at = urlsplit(url) if isinstance(url, str) else None
    if at is None or at.scheme not in SCHEMES or not at.hostname or at.query or at.fragment:
        raise ValueError(f'base_url = {url!r:.200}: wanted a server\'s address, such as "http://127.0.0.1:8000"')
    whole_number(settings, "turns", 1, OpenEnv.turns)
    for name, kind, what in (("reset", Mapping, "a table"), ("action", str, "the name of a field")):
        if name in settings and not isinstance(settings[name], kind):
            raise ValueError(f"{name} = {settings[name]!r:.200}: wanted {what}")
    if "act" in settings and "action" in settings:
        raise ValueError("act makes the whole action, so there is no field to name: leave action out")
    named = {name: str(settings[name]) for name in ("act", "tell") if settings.get(name)}
    found = {name: resolve(use, base) for name, use in named.items()}
    return OpenEnv(
        **{**settings, **{name: absolute(use, base) for name, use in named.items()}},
        seconds=seconds,
        _act=found.get("act"),
        _tell=found.get("tell"),
    )

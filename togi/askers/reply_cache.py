"""Replies of servers on disk: one SQLite table, safe for many processes. Knows no server; keys are made elsewhere.

What was answered once is not asked for again, so a resumed run repeats nothing and scores the same. The table is also
the account of what was spent: every reply stands there with its tokens, under the server and model that gave it.
"""

from __future__ import annotations

import json
import math
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from togi.askers.asker import AskerWarning, Reply

_TABLE = """CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, judge TEXT NOT NULL, text TEXT NOT NULL, logp TEXT NOT NULL, cut INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL)"""
_SPENT = "SELECT COUNT(*), COALESCE(SUM(prompt_tokens), 0), COALESCE(SUM(completion_tokens), 0) FROM replies"
_PATIENCE = 30.0  # seconds to wait for another process's write

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What replies took."""

    replies: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class ReplyCache:
    """The replies in the file ``path``, which is made when it is not there.

    A file that SQLite finds broken is moved aside, with a AskerWarning; a row that makes no sense counts as not there.
    Raises ValueError when the file cannot be used (another process holds it, the disk is full).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection = self._opened()

    def get(self, key: str) -> Reply | None:
        query = "SELECT text, logp, cut, prompt_tokens, completion_tokens FROM replies WHERE key = ?"
        row = self._do(lambda connection: connection.execute(query, (key,)).fetchone())
        return None if row is None else _reply(*row)

    def put(self, key: str, judge: str, reply: Reply) -> None:
        """Keep a reply; another one under the same key is replaced."""
        row = (key, judge, reply.text, json.dumps(dict(reply.logp)), int(reply.cut))
        counts = (reply.prompt_tokens, reply.completion_tokens)
        self._do(lambda c: c.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, *counts)))

    def spent(self, judge: str) -> Spent:
        """What all kept replies of a judge took, in this run and before."""
        found = self._do(lambda c: c.execute(f"{_SPENT} WHERE judge = ?", (judge,)).fetchone())
        return _spent(found)

    def judges(self) -> list[str]:
        """Who gave the replies: server and model, as in ``https://host/v1 some-model``."""
        rows = self._do(lambda c: c.execute("SELECT DISTINCT judge FROM replies ORDER BY 1").fetchall())
        return [row[0] for row in rows]

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _opened(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for again in (True, False):
            connection = sqlite3.connect(
                self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False, cached_statements=8
            )
            try:
                _write_ahead(connection)
                connection.execute("PRAGMA synchronous=NORMAL")
                sound = connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
                if sound:
                    connection.execute(_TABLE)
                    connection.execute(f"{_SPENT} WHERE judge = ''").fetchone()
                    return connection
                connection.close()
            except sqlite3.DatabaseError as error:
                connection.close()
                if not _broken(error):
                    raise self._unusable(error) from error
            if again:
                self._move_aside()
        raise ValueError(f"the cache of replies {self.path} is broken, and a new one in its place is broken too")

    def _do(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        with self._lock:
            try:
                return work(self._connection)
            except sqlite3.DatabaseError as error:
                if not _broken(error):
                    raise self._unusable(error) from error
            self._connection.close()
            self._connection = self._opened()
            return work(self._connection)

    def _move_aside(self) -> None:
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.broken-{number}")).exists():
            number += 1
        for suffix in ("", "-wal", "-shm"):
            part = self.path.with_name(self.path.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
        warnings.warn(
            f"the cache of replies {self.path} is broken: it was moved to {aside.name}, and a new one begun. "
            "Replies are asked for again, and what was spent before is no longer counted against the cap.",
            AskerWarning,
            stacklevel=4,
        )

    def _unusable(self, error: sqlite3.DatabaseError) -> ValueError:
        return ValueError(f"the cache of replies {self.path} cannot be used: {error}")


def spent_in(path: Path) -> Spent:
    """What all replies took that the file holds, whoever gave them; it is only read. Nothing where there is no file,
    and where it cannot be read."""
    if not path.is_file():
        return Spent()
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_PATIENCE)
        try:
            return _spent(connection.execute(_SPENT).fetchone())
        finally:
            connection.close()
    except sqlite3.DatabaseError:
        return Spent()


def _spent(row: tuple[int, int, int]) -> Spent:
    return Spent(replies=row[0], prompt_tokens=row[1], completion_tokens=row[2])


def spent_together(several: Iterable[Spent]) -> Spent:
    every = list(several)
    return Spent(
        replies=sum(each.replies for each in every),
        prompt_tokens=sum(each.prompt_tokens for each in every),
        completion_tokens=sum(each.completion_tokens for each in every),
    )


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Have writers and readers not wait for each other. Processes that begin together lock each other out of this one
    setting at once, whatever patience their connections have."""
    last = time.monotonic() + _PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > last:
                raise
            time.sleep(0.01)


def _broken(error: sqlite3.DatabaseError) -> bool:
    """Whether the file's content is at fault: no database, a damaged one, or one with another table of that name."""
    text = str(error)
    return any(sign in text for sign in ("not a database", "malformed", "no such column", "columns but"))


def _reply(text: object, logp: object, cut: object, prompt_tokens: object, completion_tokens: object) -> Reply | None:
    """A row as a reply, or None when somebody's edit made nonsense of it."""
    if not (isinstance(text, str) and isinstance(logp, str)):
        return None
    if not (isinstance(prompt_tokens, int) and isinstance(completion_tokens, int)):
        return None
    try:
        found = json.loads(logp)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    if not all(isinstance(value, float | int) and math.isfinite(value) and value <= 1e-3 for value in found.values()):
        return None
    return Reply(text=text, logp=found, cut=bool(cut), prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)

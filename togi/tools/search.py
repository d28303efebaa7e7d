"""Search in a file of texts, by their words (BM25 of SQLite's FTS5). The index is in memory."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from togi.tools.tool import Description, Kept, Result, argued, described

WORDS = re.compile(r"\w+")
MOST_WORDS = 64  # of a query that are looked for
COLUMNS = ("text", "title")


@dataclass(frozen=True, kw_only=True)
class Search:
    """The best ``results`` texts of ``corpus``: a JSON-lines file with "text" (and "title") in each row, or a text file
    whose paragraphs are the texts."""

    corpus: Path
    results: int = 3
    about: str = "Searches a collection of texts and gives those that fit best."
    _index: sqlite3.Connection = field(compare=False, repr=False)

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.corpus,)

    @property
    def description(self) -> Description:
        return described("search", self.about, query="The words to look for.")

    def call(self, arguments: Mapping[str, Any], kept: Kept) -> Result:
        given = argued(self.description, arguments)
        if given.problem:
            return Result(text=given.problem, failed=True)
        words = WORDS.findall(given.texts["query"])[:MOST_WORDS]
        if not words:
            return Result(text="the query has no word to look for", failed=True)
        # Each word quoted: none of them is read as an operator of the query language.
        query = " OR ".join(f'"{word}"' for word in words)
        rows = self._index.execute(
            "SELECT title, text FROM texts WHERE texts MATCH ? ORDER BY bm25(texts), rowid LIMIT ?",
            (query, self.results),
        ).fetchall()
        found = [
            f"{number}. {f'{title}: ' if title else ''}{text}" for number, (title, text) in enumerate(rows, start=1)
        ]
        return Result(text="\n".join(found) or "nothing was found")


def search(corpus: Path, results: int = 3, about: str = "") -> Search:
    """Raises ValueError for a corpus that is not there or has no texts, and where SQLite has no FTS5."""
    if not 1 <= results <= 100:
        raise ValueError(f"results = {results}: 1 to 100 texts can be given for a query")
    index = sqlite3.connect(":memory:", check_same_thread=False)
    try:
        index.execute("CREATE VIRTUAL TABLE texts USING fts5(title, text, tokenize='unicode61')")
    except sqlite3.OperationalError as error:
        raise ValueError(f"search needs SQLite with FTS5, which this Python has not: {error}") from error
    index.executemany("INSERT INTO texts (title, text) VALUES (?, ?)", _texts(corpus))
    if not index.execute("SELECT count(*) FROM texts").fetchone()[0]:
        raise ValueError(f"{corpus} has no texts to search in")
    more = {"about": about} if about else {}
    return Search(corpus=corpus, results=results, _index=index, **more)


def _texts(corpus: Path) -> Iterator[tuple[str, str]]:
    try:
        text = corpus.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ValueError(f"the corpus {corpus} cannot be read: {error}") from error
    if corpus.suffix != ".jsonl":
        yield from (("", part.strip()) for part in re.split(r"\n\s*\n", text) if part.strip())
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{corpus}, line {number}: not JSON ({error})") from error
        if not isinstance(row, dict) or not isinstance(row.get("text"), str):
            raise ValueError(f'{corpus}, line {number}: wanted {{"text": "…"}}, and "title" where there is one')
        yield str(row.get("title", "")), row["text"]

"""Rows of reasoning-gym's data sets, made in a process of their own; it does not know what a row becomes.

Several data sets draw in the order of a set, which Python's string hashes decide. The process fixes them, as the
workers that score do: the same seed then makes the same questions in every run.

Started as ``python -m togi.data.reasoning_gym_rows``, with ``{"name", "seed", "size", "config", "most"}`` as JSON on
standard input. It answers with a JSON line a row, or with ``{"refused": why}``, and ends when nobody reads on.
"""

from __future__ import annotations

import difflib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from togi.data.errors import DataError, RowError
from togi.data.row_values import Row, plain
from togi.extras import lacking


def gym_rows(name: str, *, seed: int, size: int, config: Mapping[str, Any], most: int) -> Iterator[Row]:
    """Rows of ever larger data sets of one seed, up to ``most``, so that duplicates and excluded questions can be
    replaced. Raises DataError for a data set that is not there, or refuses its config."""
    if find_spec("reasoning_gym") is None:
        raise DataError(lacking(f"reasoning-gym {name}", "tasks"))
    paths = [str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(paths)}
    asked = json.dumps({"name": name, "seed": seed, "size": size, "config": dict(config), "most": most})
    command = [sys.executable, "-P", "-m", "togi.data.reasoning_gym_rows"]
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said,
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=said, env=environment, encoding="utf-8") as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(asked)
            process.stdin.close()
            for line in process.stdout:
                row = json.loads(line)
                if "refused" in row:
                    raise DataError(row["refused"])
                yield row
            if process.wait():
                said.seek(0)
                last = said.read().strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
                raise DataError(f"reasoning-gym {name} failed: {last[0]}")
        finally:
            process.kill()


def rows(name: str, seed: int, size: int, config: Mapping[str, Any], most: int) -> Iterator[Row]:
    """What the process answers."""
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    if name not in DATASETS:
        close = difflib.get_close_matches(name, DATASETS, n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise DataError(f'reasoning-gym has no data set "{name}"{hint}')
    done = 0
    while done < most:
        whole = {**config, "seed": seed, "size": size}
        try:
            dataset = reasoning_gym.create_dataset(name, **whole)
        except (TypeError, ValueError, AssertionError) as error:
            raise DataError(f"reasoning-gym {name} refuses its config: {error}") from error
        for index in range(done, size):
            entry = dataset[index]
            yield {
                "prompt": entry["question"],
                "answer": plain(entry["answer"]),
                "question": entry["question"],
                "metadata": _shown(entry["metadata"]),
                "reasoning_gym": {"name": name, "config": whole, "index": index},
            }
        done, size = size, min(2 * size, most)


def _shown(metadata: Any) -> Any:
    """Metadata for rewards and readers; what is not JSON is left out, since scorers make their own again."""
    try:
        return plain(metadata)
    except RowError:
        shown = {}
        for key, value in metadata.items():
            try:
                shown[str(key)] = plain(value)
            except RowError:
                continue
        return shown


def main() -> None:
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # data sets print; only rows go to whoever asked
    with suppress(BrokenPipeError):
        try:
            for row in rows(**json.load(sys.stdin)):
                replies.write(json.dumps(row) + "\n")
        except DataError as error:
            replies.write(json.dumps({"refused": str(error)}) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()

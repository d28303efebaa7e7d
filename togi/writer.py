"""A model that writes for a loop around it: its table in the loop's file, how it is reached, the prompts it is asked
with, and the code in its answers. It knows no loop."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Formatter
from typing import Annotated

from pydantic import Field

from togi.askers.asker import Asker
from togi.askers.who_is_asked import Who
from togi.recipe.schema import Count, Table, Text
from togi.transcript import Recorded, read_transcript

CACHE = "replies.sqlite"
"""The file in a loop's folder that holds every reply of a server."""
FENCE = re.compile(r"^ *```[^\n]*\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
OPEN_FENCE = re.compile(r"^ *```[^\n]*\n(.*)\Z", re.DOTALL | re.MULTILINE)


class WriterTable(Table):
    model: Text = "qwen2.5-coder-1.5b"
    """Who writes: any model source, or with `base_url` a server's name for a model."""
    base_url: str = ""
    """A server that speaks the OpenAI chat completions protocol."""
    key_env: str = ""
    """Name of the environment variable that holds the server's key."""
    concurrency: Count = 8
    """Questions to a server at a time."""
    seconds: Annotated[float, Field(gt=0)] = 120.0
    """Seconds for one question to a server."""
    most_tokens: Annotated[int, Field(ge=0)] = 0
    """The most tokens that a server may be used for; 0 is no cap."""
    most_money: Annotated[float, Field(ge=0)] = 0.0
    """The most money, at the prices below; 0 is no cap."""
    input_price: Annotated[float, Field(ge=0)] = 0.0
    """Price of a million tokens that are read."""
    output_price: Annotated[float, Field(ge=0)] = 0.0
    """Price of a million tokens that are written."""
    max_tokens: Annotated[int, Field(ge=16, le=100_000)] = 512
    """The longest answer."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    """Temperature of the answers; with 0 all answers to a question are the same."""
    prompts: Text | None = None
    """A folder with prompts of your own; a file that it lacks is Togi's."""
    recorded: Text | None = None
    """A transcript that answers instead of the model: the `replies.jsonl` of another run."""


def who(writer: WriterTable) -> Who:
    """Whom the loop asks."""
    return Who(
        model=writer.model,
        base_url=writer.base_url,
        key_env=writer.key_env,
        concurrency=writer.concurrency,
        seconds=writer.seconds,
        most_tokens=writer.most_tokens,
        most_money=writer.most_money,
        input_price=writer.input_price,
        output_price=writer.output_price,
    )


def find_writer(settings: WriterTable, recorded: Path | None, replies: Path) -> tuple[str, Callable[[], Asker]]:
    """Who writes, and how to reach them: a recording, a server, or a model of this machine. ``replies`` is the file of
    what was answered in this folder before."""
    if recorded is not None:
        known = {(line.model, line.day) for line in read_transcript(recorded)}
        told = ", ".join(f"{model}, recorded {day}" for model, day in sorted(known))
        return told, lambda: Recorded(recorded, read_transcript(replies))
    if settings.base_url:

        def at_server() -> Asker:
            from togi.askers.open_asker import open_server

            return open_server(who(settings), replies.with_name(CACHE))

        return f"{settings.model} at {settings.base_url}", at_server

    def here() -> Asker:
        from togi.askers.local_model import open_model
        from togi.models.arithmetic_rate import compute_dtype
        from togi.models.device import find_device

        device = find_device("auto")
        return open_model(settings.model, compute_dtype("auto", device), str(device))

    return settings.model, here


def read_prompts(folder: Path | None, own: Path, known: Mapping[str, frozenset[str]]) -> dict[str, str]:
    """The prompts by name, those in ``folder`` before those in ``own``. ``known`` has what may stand in braces in each.
    Raises ValueError for one that cannot be filled."""
    if folder is not None and not folder.is_dir():
        raise ValueError(f"writer.prompts: there is no folder {folder}; Togi's own prompts are in {own}")
    found = {}
    for name, allowed in known.items():
        theirs = folder / f"{name}.txt" if folder is not None else own / f"{name}.txt"
        path = theirs if theirs.is_file() else own / f"{name}.txt"
        text = path.read_text(encoding="utf-8")
        try:
            fields = {field for _, field, _, _ in Formatter().parse(text) if field is not None}
        except ValueError as error:
            raise ValueError(f"{path}: {error}; a brace that is meant as one is written twice") from error
        if unknown := sorted(fields - allowed):
            listed = ", ".join(f"{{{field}}}" for field in sorted(allowed)) or "none"
            raise ValueError(f"{path}: {{{unknown[0]}}} cannot be filled in; there are {listed}")
        found[name] = text.strip()
    return found


def code_blocks(text: str) -> list[str]:
    """The blocks of code in an answer, also a last one that was cut off; the whole answer where it has no fence."""
    blocks = FENCE.findall(text) + OPEN_FENCE.findall(FENCE.sub("", text))
    return blocks or [text] * ("```" not in text)

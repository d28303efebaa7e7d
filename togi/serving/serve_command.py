"""Loads a model and serves it until the process is told to end. It reads no request itself."""

from __future__ import annotations

import copy
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.text import Text

from togi.askers.openai_client import is_local
from togi.chat_protocol.http_door import uvicorn_config
from togi.engines.open_engine import check_engine, open_heard
from togi.harmless_text import visible
from togi.models.arithmetic_rate import DtypeChoice, compute_dtype
from togi.models.device import called, find_device
from togi.models.load_model import Loaded, load_model
from togi.serving.address import Address
from togi.serving.answer_queue import AnswerQueue
from togi.serving.endpoint import Endpoint, Served
from togi.terminal_chat import system_message
from togi.tokenization import Chat

CONNECTIONS = 256
LAST_SECONDS = 3


def serve(source: str, at: Address, *, dtype: DtypeChoice, device: str) -> int:
    """Serve any source that load_model reads; gives 128 and the number of the signal that ended it."""
    import uvicorn

    notes = Console(stderr=True)
    compute = compute_dtype(dtype, find_device(device))
    with notes.status(f"loading {source}") as status:
        loaded = load_model(source, dtype=compute, device=device, progress=status.update)
        check_engine(loaded)
    with open_endpoint(source, loaded, at) as endpoint:
        config = uvicorn_config(endpoint, connections=CONNECTIONS, last_seconds=LAST_SECONDS)
        _tell(notes, loaded, at, f"{str(compute).removeprefix('torch.')} on {called(loaded.model.device)}")
        with _signals() as seen:
            uvicorn.Server(config).run(sockets=[at.listener])
    return 128 + seen[0] if seen else 0


@contextmanager
def open_endpoint(source: str, loaded: Loaded, at: Address) -> Iterator[Endpoint]:
    """The application, with its engine at work while it is open."""
    engine = open_heard(loaded, at.batch_size)
    # The engine decodes in its thread with the loaded one; what is read needs a tokenizer of its own.
    chat = Chat(copy.deepcopy(loaded.tokenizer), loaded.eos_ids)
    served = Served(
        model=name_of(source),
        fingerprint=loaded.digest[:16],
        chat=chat,
        context=engine.context,
        opening=system_message(Path(source)),
        host=at.host,
        key=at.key,
        most_tokens=min(at.max_tokens, engine.context),
        seconds=at.seconds,
    )
    with AnswerQueue(engine, loaded.tokenizer, loaded.eos_ids, most=at.waiting, batch_size=at.batch_size) as queue:
        yield Endpoint(served, queue)


def name_of(source: str) -> str:
    """What a model is called in requests: a folder's or file's name, else the source as it is."""
    return Path(source).resolve().name if Path(source).exists() else source


def _tell(notes: Console, loaded: Loaded, at: Address, how: str) -> None:
    lines = [f"{name_of(loaded.source)} at {at.url} ({loaded.parameters / 1e6:.0f} million parameters, {how})"]
    if at.made:
        lines.append(f"key (shown this once): {at.key}")
    if not is_local(at.host):
        lines.append(
            "warning: other machines can reach this, and nothing is encrypted: keys and texts can be read on the way"
        )
    lines.append("Ctrl-C ends")
    notes.print(Text(visible("\n".join(lines))), soft_wrap=True)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The server ends by itself at SIGINT and SIGTERM, and then raises them again: here they are only noted."""
    seen: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        seen.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

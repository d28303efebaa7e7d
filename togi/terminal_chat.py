"""Talk to a model in the terminal, or ask it one thing. Of a run it knows its model and its system message."""

from __future__ import annotations

import tomllib
from pathlib import Path

from rich.console import Console

from togi.engines.open_engine import open_engine
from togi.models.arithmetic_rate import DtypeChoice, compute_dtype
from togi.models.device import called, find_device
from togi.models.load_model import load_model
from togi.protocols import Engine
from togi.tokenization import Chat
from togi.types import Ids, Message, Prompt, Sampling, Turn

THINKS = "; it thinks before each token, which takes longer and is not shown"
HELP = "An empty line or Ctrl-D ends, /new starts over. The model answers only to what stands in this conversation."


def chat(
    source: str, prompt: str | None, sampling: Sampling, *, dtype: DtypeChoice = "auto", device: str = "auto"
) -> None:
    """Load any source that load_model reads; answer ``prompt`` and return, or without one talk until the user ends.

    Replies go to standard output, everything else to standard error, so that an answer can be piped.
    """
    notes = Console(stderr=True)
    compute = compute_dtype(dtype, find_device(device))
    with notes.status(f"loading {source}") as status:
        loaded = load_model(source, dtype=compute, device=device, progress=status.update)
    talk = Conversation(
        open_engine(loaded),
        Chat(loaded.tokenizer, loaded.eos_ids),
        sampling,
        system_message(Path(source)),
    )
    if prompt is not None:
        _show(talk.say(prompt), notes)
        return
    notes.print(
        f"{source}: {loaded.parameters / 1e6:.0f} million parameters, {loaded.context} tokens of context, "
        f"{str(compute).removeprefix('torch.')} on {called(loaded.model.device)}"
        f"{THINKS if loaded.thoughts else ''}"
    )
    notes.print(HELP, style="dim")
    while text := _read(notes):
        if text == "/new":
            talk.start_over()
            continue
        try:
            with notes.status("thinking (Ctrl-C stops)"):
                turn = talk.say(text)
        except KeyboardInterrupt:
            notes.print("(stopped; nothing of it is kept)", style="dim")
            continue
        _show(turn, notes)


def system_message(source: Path) -> tuple[Message, ...]:
    """What a run told its model before every task; nothing for any other source."""
    recipe = source / "recipe.toml"
    if not recipe.is_file():
        return ()
    prompt = tomllib.loads(recipe.read_text(encoding="utf-8")).get("prompt", {})
    return (Message(role="system", content=prompt["system"]),) if "system" in prompt else ()


class Conversation:
    """A growing conversation with one model; the same questions get the same answers. It begins with ``opening``."""

    def __init__(self, engine: Engine, chat: Chat, sampling: Sampling, opening: tuple[Message, ...]) -> None:
        self._engine, self._chat, self._sampling, self._opening = engine, chat, sampling, opening
        self.start_over()

    def start_over(self) -> None:
        self._ids: Ids = ()
        self._turns = 0

    def say(self, text: str) -> Turn:
        """The model's turn after the user said ``text``; one that found no room is not kept."""
        said = [Message(role="user", content=text)]
        context = self._chat.extend(self._ids, said) if self._ids else self._chat.prompt([*self._opening, *said])
        turn = self._engine.generate([Prompt(ids=context, seeds=(self._turns,))], self._sampling)[0][0]
        if turn.completion:
            self._ids = (*turn.prompt, *turn.completion)
            self._turns += 1
        return turn


def _read(notes: Console) -> str:
    try:
        return notes.input("[bold]> [/bold]").strip()
    except (EOFError, KeyboardInterrupt):
        return ""


def _show(turn: Turn, notes: Console) -> None:
    print(turn.text, flush=True)
    if turn.stop == "length":
        notes.print(f"(cut after {len(turn.completion)} tokens; --max-tokens allows more)", style="dim")
    if turn.stop == "context":
        notes.print("(the conversation fills the model's context; /new starts over)", style="dim")

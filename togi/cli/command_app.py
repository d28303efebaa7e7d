"""The command line's frame: the app that commands join, the arguments that several of them take, and exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.text import Text

from togi.harmless_text import visible

FINDING, BAD_INPUT, FAULT, INTERRUPTED = 1, 2, 3, 130

app = App(
    name="togi",
    help="Hone language models with reinforcement learning. The road, in order:",
    help_epilogue="Every command takes --debug, which shows the traceback of an error (or set TOGI_DEBUG=1).",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
Overrides = Annotated[str, Parameter(help="KEY=VALUE changes to the recipe, as in stage.grpo.learning_rate=1e-6.")]
RecipePath = Annotated[Path, Parameter(help="Recipe file, or a run folder.")]
RunPath = Annotated[Path, Parameter(help="Run folder.")]
Flag = Parameter(negative=())


def say(line: str) -> None:
    Console().print(Text(visible(line)), soft_wrap=True)

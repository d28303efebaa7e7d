"""Runs a command as it was typed: its exit code, and its errors in one place and one form."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from cyclopts import CycloptsError, Token, UnknownOptionError
from rich.console import Console
from rich.text import Text

from togi.cli.command_app import BAD_INPUT, FAULT, INTERRUPTED, app
from togi.credentials import without_secrets
from togi.harmless_text import shortened

LONGEST = 20_000  # characters of an error


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code."""
    sys.exit(run_command(sys.argv[1:] if arguments is None else arguments))


def run_command(arguments: Sequence[str]) -> int:
    """Run a command; gives the exit code. Errors are told on stderr, in one place and one form."""
    debug = "--debug" in arguments or os.environ.get("TOGI_DEBUG", "") not in ("", "0")
    try:
        code = app([word for word in arguments if word != "--debug"], exit_on_error=False, print_error=False)
    except UnknownOptionError as error:
        return _tell(f"{error}{_usual(error.token)}", debug, BAD_INPUT)
    except (CycloptsError, ValueError) as error:
        return _tell(str(error), debug, BAD_INPUT)
    except KeyboardInterrupt:
        return _tell("stopped", debug, INTERRUPTED)
    except Exception as error:
        again = "" if debug else "\nThis is a fault of Togi's own; run again with --debug and report what it shows."
        return _tell(f"{type(error).__name__}: {error}{again}", debug, FAULT)
    except BaseException as error:
        from togi.interrupt import Interrupted

        if not isinstance(error, Interrupted):
            raise
        return _tell(f"{error}; the same command resumes", False, error.code)
    return code if isinstance(code, int) else 0


def _usual(option: Token) -> str:
    """What an option of another trainer is here."""
    from togi.recipe.other_trainers import ELSEWHERE

    name = (option.keyword or option.value).partition("=")[0].lstrip("-").replace("-", "_")
    there = ELSEWHERE.get(name.rpartition(".")[2])
    return "" if there is None else f"\n{there}. A recipe is changed by KEY=VALUE, as in stage.grpo.steps=50"


def _tell(message: str, debug: bool, code: int) -> int:
    """Tell an error. It may repeat what others wrote: without secrets, harmless to a terminal, and not for ever."""
    if debug:
        sys.stderr.write(shortened(without_secrets(traceback.format_exc()), LONGEST))
    told = Text("error: ", style="bold red").append(
        shortened(without_secrets(message), LONGEST), style="not bold default"
    )
    Console(stderr=True).print(told, soft_wrap=True)
    return code

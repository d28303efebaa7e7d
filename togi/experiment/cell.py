"""One job of an experiment, in a process of its own.

It ends with the process that started it: what is on disk is whole at every moment, and the next start goes on from it.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from togi.credentials import without_secrets

BAD_INPUT, FAULT = 2, 3  # exit codes, as the command line has them
LOOK = 0.2  # seconds between two looks at whether the parent is still there


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to run: the first ``stages`` stages of a recipe with changes, in a folder; beginning with the ``taken``
    stages of the run in ``source`` (None: with nothing), and learning as many tokens as the run in ``tokens_of``."""

    recipe: str
    changes: Sequence[str]
    folder: str
    stages: int
    source: str | None
    taken: int
    tokens_of: str | None


def work(order: Order) -> None:
    """Train what is ordered, from wherever its folder stands."""
    from togi.experiment.jobs import beginning
    from togi.progress import Live
    from togi.recipe import load_recipe
    from togi.recipe.needed_at_start import check_start

    loaded = load_recipe(order.recipe, order.changes, folder=Path(order.folder)).run
    if order.tokens_of is not None:
        from togi.experiment.same_tokens import steps_of_same_tokens

        steps = steps_of_same_tokens(loaded, Path(order.tokens_of))
        loaded = load_recipe(order.recipe, [*order.changes, *steps], folder=Path(order.folder)).run
    run = beginning(loaded, order.stages)
    check_start(run)
    if order.source is not None:
        from togi.run_folder.adopt_stages import adopt

        adopt(run, Path(order.source), order.taken)
    from togi.train import train

    with Live() as watch:
        train(run, watch)


def run_cell(order: Order, *, parent: int) -> int:
    """Do what is ordered, say what went wrong, and give the exit code. It ends with the process ``parent``."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        work(order)
    except ValueError as error:
        print(f"error: {without_secrets(str(error))}", flush=True)
        return BAD_INPUT
    except Exception as error:
        print(without_secrets(traceback.format_exc()), flush=True)
        print(f"error: {type(error).__name__}: {without_secrets(str(error))}", flush=True)
        return FAULT
    except BaseException as error:
        from togi.interrupt import Interrupted

        if not isinstance(error, Interrupted):
            raise
        print(str(error), flush=True)
        return error.code
    return 0


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK)
    os._exit(FAULT)

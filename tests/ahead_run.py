"""A tiny run whose groups a server draws ahead of learning. Also two programs: the run, which can be told where to kill
itself, and the server, since no two threads of a process may compute at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from completions_server import Drawing, drawing
from toy_run import SaysIt, first_stage, toy_run

from togi.algorithms import GRPO
from togi.algorithms.policy_gradient.corrections import Truncated
from togi.engines.engine_choice import AtServer, EngineChoice
from togi.models.load_model import Lora, load_model
from togi.models.policy import LocalPolicy, Optimiser
from togi.run import Run, Scale, Silent
from togi.run_folder import ready_groups
from togi.run_folder.files import RunFolder
from togi.samplers import Groups
from togi.train import train

STEPS, GROUPS = 6, 3


def ahead_run(folder: Path, model: Path, url: str, *, staleness: int = 1, steps: int = STEPS) -> Run:
    """GRPO alone, of ``GROUPS`` groups a step, which are corrected for older weights."""
    run = toy_run(folder, model)
    hone = replace(
        first_stage(steps=steps, optimiser=Optimiser(learning_rate=3e-3)),
        name="hone",
        algorithm=GRPO(sampler=Groups(2), kl=0.0, correction=Truncated()),
        reward=SaysIt(),
        tasks_per_step=GROUPS,
    )
    return replace(
        run,
        model=replace(run.model, lora=Lora(rank=2)),
        stages=(hone,),
        evaluation=None,
        engine=EngineChoice(
            server=AtServer(
                base_url=url, model="base", seconds=300, adapters=folder.with_name("adapters"), kept=staleness
            )
        ),
        scale=Scale(staleness=staleness),
        recipe={"name": "ahead", "steps": steps},
    )


@contextmanager
def serving_elsewhere(model: Path) -> Iterator[str]:
    """The address of a server in a process of its own."""
    program = [sys.executable, __file__, "serve", str(model)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()


def kill_after(place: str, count: int) -> None:
    """Kill this process once ``place`` was reached so often: the n-th event of a kind, the n-th file of a group that is
    written and not vouched for yet, the n-th update."""

    def killing(call: Callable[..., Any], here: Callable[..., bool], *, before: bool = False) -> Callable[..., Any]:
        left = count

        def wrapped(*args: Any, **more: Any) -> Any:
            nonlocal left
            left -= here(*args)
            given = None if left <= 0 and before else call(*args, **more)
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return given

        return wrapped

    if place == "written":
        ready_groups.write_text = killing(ready_groups.write_text, lambda *_: True)  # type: ignore[attr-defined]
    elif place == "learn":
        LocalPolicy.learn = killing(LocalPolicy.learn, lambda *_: True, before=True)  # type: ignore[method-assign]
    else:
        RunFolder.event = killing(RunFolder.event, lambda _, kind: kind == place)  # type: ignore[method-assign]


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "serve":
        with drawing(Drawing(load_model(sys.argv[2]))) as server:
            print(server.url, flush=True)
            sys.stdin.read()  # up to the end of whoever asked for it
    else:
        folder, model, url, steps, *kill = sys.argv[1:]
        if kill:
            kill_after(kill[0], int(kill[1]))
        train(ahead_run(Path(folder), Path(model), url, steps=int(steps)), Silent())

"""Commands on agents: language models that act by way of skills."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from togi.cli.command_app import Flag, app, say


@app.command(sort_key=4.8)
def saycan(
    file: Annotated[Path, Parameter(help="File of a world, a model and their skills (TOML).")],
    *changes: Annotated[str, Parameter(help="TABLE.KEY=VALUE changes, as in saycan.score=mean.")],
    folder: Annotated[Path | None, Parameter(help="Its folder; runs/NAME when left out.")] = None,
    dry_run: Annotated[bool, Flag, Parameter(help="Print what would be trained and asked.")] = False,
) -> None:
    """A language model says which skill helps, learned values say which can be done."""
    from togi.agents.saycan.read_saycan import plan_told, read_saycan

    read = read_saycan(file, changes)
    if dry_run:
        for line in plan_told(read):
            say(line)
        return
    from togi.agents.saycan.findings import answer, counted
    from togi.agents.saycan.run_saycan import run_saycan

    place = folder or Path("runs") / read.name
    outcome = run_saycan(read, place, tell=say)
    for line in [answer(outcome), *counted(outcome)]:
        say(line)
    say(f"All of it is in {place}. Next: togi report {place}")


@app.command(sort_key=4.9)
def voyager(
    file: Annotated[Path, Parameter(help="File of a world, a writer and how long they live (TOML).")],
    *changes: Annotated[str, Parameter(help="TABLE.KEY=VALUE changes, as in life.prompts=20.")],
    folder: Annotated[Path | None, Parameter(help="Its folder; runs/NAME when left out.")] = None,
    dry_run: Annotated[bool, Flag, Parameter(help="Print what would be asked.")] = False,
) -> None:
    """A language model sets itself goals in a world, and keeps the code that reached them as skills."""
    from togi.agents.voyager.read_voyager import plan_told, read_voyager

    read = read_voyager(file, changes)
    if dry_run:
        for line in plan_told(read):
            say(line)
        return
    from togi.agents.voyager.run_voyager import run_voyager
    from togi.agents.voyager.told import answer, counted, moved_told

    place = folder or Path("runs") / read.name
    outcome = run_voyager(read, place, tell=say)
    for line in filter(None, [answer(outcome), moved_told(outcome), *counted(outcome)]):
        say(line)
    say(f"All of it is in {place}. Next: togi report {place}")

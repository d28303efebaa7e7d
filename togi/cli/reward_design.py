"""Commands on reward designs: a model writes rewards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from togi.cli.command_app import FINDING, Flag, app, say


@app.command(sort_key=4.7)
def eureka(
    file: Annotated[Path, Parameter(help="File of a reward design (TOML).")],
    *changes: Annotated[str, Parameter(help="TABLE.KEY=VALUE changes, as in search.candidates=4.")],
    folder: Annotated[Path | None, Parameter(help="Its folder; runs/NAME when left out.")] = None,
    dry_run: Annotated[bool, Flag, Parameter(help="Print what would be asked and trained.")] = False,
    one_generation: Annotated[bool, Flag, Parameter(help="Stop after a generation, to look and comment.")] = False,
    unsafe: Annotated[bool, Flag, Parameter(help="Run programs without a jail, with all your rights.")] = False,
) -> int:
    """A model writes rewards, agents or a model learn from them, and a fitness that is not the reward chooses."""
    from togi.reward_design.read_design import read_design

    design = read_design(file, changes)
    from togi.reward_design.told import answer, counted, plan_told

    if dry_run:
        for line in plan_told(design):
            say(line)
        return 0
    from togi.reward_design.run_design import run_design

    place = folder or Path("runs") / design.name
    outcome = run_design(design, place, tell=say, one_generation=one_generation, tier="process" if unsafe else "auto")
    for line in [answer(outcome), *counted(outcome)]:
        say(line)
    say(f"The design is in {place}. Next: togi report {place}")
    return 0 if outcome.best is not None else FINDING

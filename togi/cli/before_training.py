"""Commands before training: the whole road, and what to look at first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from togi.cli.command_app import FINDING, Flag, Overrides, RecipePath, app


@app.command(sort_key=1)
def demo(
    *,
    short: Annotated[bool, Flag, Parameter(help="Only show that every stop works; nothing is learnt.")] = False,
    folder: Annotated[Path, Parameter(help="Run folder.")] = Path("runs/quickstart"),
) -> None:
    """The whole road on a real model and a real task, in minutes, on two CPU cores."""
    from togi.demo import demo as walk

    walk(short=short, folder=folder, console=Console())


@app.command(sort_key=2)
def preview(
    recipe: RecipePath,
    *overrides: Overrides,
    play: Annotated[bool, Flag, Parameter(help="Play one episode yourself, in the place of the model.")] = False,
    script: Annotated[Path | None, Parameter(help="Play one episode with the turns of this text file.")] = None,
    stage: Annotated[str, Parameter(help="Stage (or evaluation) whose episode is played.")] = "",
    row: Annotated[int, Parameter(help="Row that is played.")] = 1,
) -> int:
    """What will the model be asked, what will it be paid for, what will it cost?"""
    if (stage or row != 1) and not (play or script):
        raise ValueError("--stage and --row say what is played: add --play or --script FILE")
    from togi.recipe import load_recipe

    plan = load_recipe(recipe, overrides).run
    from togi.recipe.needed_at_start import check_start

    check_start(plan)
    if play or script:
        from togi.evidence.before.play_by_hand import play_by_hand, scripted, typed

        says = scripted(script) if script else typed(Console())
        return 0 if play_by_hand(plan, says, Console(), stage=stage, row=row) else FINDING
    from togi.evidence.before.preview import preview as look

    found = look(plan)
    found.render(Console())
    return FINDING if found.findings else 0


@app.command(sort_key=3)
def doctor(recipe: RecipePath, *overrides: Overrides) -> int:
    """Is the machine fit? Can the base model do the task at all?"""
    from togi.recipe import load_recipe

    plan = load_recipe(recipe, overrides).run
    from togi.recipe.needed_at_start import check_start

    check_start(plan)
    from togi.evidence.before.doctor import doctor as check
    from togi.progress import Live

    with Live() as watch:
        watch.phase("attempts of the base model")
        found = check(plan, progress=watch.progress)
    found.render(Console())
    found.keep(plan.folder)
    return FINDING if found.findings else 0


@app.command(sort_key=3)
def redteam(
    target: Annotated[str, Parameter(help="Recipe file, run folder, or a reward as recipes write it.")] = "",
    *overrides: Overrides,
    data: Annotated[Path | None, Parameter(help="Rows for a reward: a .jsonl or .parquet file.")] = None,
    gym: Annotated[str, Parameter(help="Rows for a reward: a data set of reasoning-gym.")] = "",
    rows: Annotated[int, Parameter(help="Rows that are attacked.")] = 50,
    seconds: Annotated[float, Parameter(help="Longest that a grader may take over one answer.")] = 3.0,
    fail_on: Annotated[
        Literal["low", "medium", "high", "critical"], Parameter(help="Severity from which the exit code is 1.")
    ] = "low",
    out: Annotated[Path | None, Parameter(name="--json", help="Write everything to this JSON file.")] = None,
    sweep: Annotated[bool, Flag, Parameter(help="Attack all of reasoning-gym's scorers, or that of --gym.")] = False,
) -> int:
    """What does the reward pay for besides right answers? Attacks it at real rows."""
    from togi.evidence.redteam import redteam_command as command

    if sweep or data or gym or not _is_recipe(target):
        if overrides:
            raise ValueError(f"{overrides[0]} would change a recipe, and none is attacked here")
        cards = command.sweep(gym, Console()) if sweep else command.bare(target, data, gym, rows, seconds, Console())
    else:
        from togi.recipe import load_recipe

        cards = command.recipe(load_recipe(target, overrides).run, rows, seconds, Console())
    if out is not None:
        command.write_cards(out, cards)
    return FINDING if any(card.fails(fail_on) for card in cards) else 0


@app.command(sort_key=11)
def schema() -> None:
    """The JSON schema of recipes, for editors and programs."""
    from togi.recipe.schema import Recipe

    print(json.dumps(Recipe.model_json_schema(), indent=1))


def _is_recipe(target: str) -> bool:
    """Whether a text is a recipe's path and not a reward."""
    return target.endswith(".toml") or (bool(target) and "(" not in target)

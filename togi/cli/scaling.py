"""The command about more than one process: what would run, and what that is worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from togi.cli.command_app import Flag, Overrides, RecipePath, app


@app.command(sort_key=10.5)
def scale(
    recipe: RecipePath,
    *overrides: Overrides,
    on: Annotated[str, Parameter(help="Who would start processes: local, ray, or ray://HOST:PORT.")] = "local",
    source: Annotated[
        Path | None, Parameter(name="--from", help="Run folder whose rates and lengths are taken.")
    ] = None,
    engines: Annotated[
        str, Parameter(help="Numbers of engines to compare, as 1,2,4; the recipe's when left out.")
    ] = "",
    staleness: Annotated[str, Parameter(help="The same of staleness, as 0,1.")] = "",
    stage: Annotated[str, Parameter(help="Stage that is simulated; the last one that samples when left out.")] = "",
    places: Annotated[int | None, Parameter(help="Processes that one machine computes at full speed at once.")] = None,
    hourly_price: Annotated[float | None, Parameter(help="What an hour of a device costs.")] = None,
    as_json: Annotated[bool, Flag, Parameter(name="--json", help="Print JSON.")] = False,
) -> None:
    """What would run where, how much memory would it take, how long would a step be? Starts nothing."""
    from togi.launch.open_launcher import check_on

    check_on(on)
    asked_engines, asked_staleness = _numbers("--engines", engines), _numbers("--staleness", staleness)
    if places is not None and places < 1:
        raise ValueError(f"--places is at least 1, got {places}")
    if hourly_price is not None and hourly_price < 0:
        raise ValueError(f"--hourly-price cannot be negative, got {hourly_price}")
    from togi.recipe import load_recipe

    run = load_recipe(recipe, overrides).run
    from togi.scale.scale_command import Asked, look

    asked = Asked(
        on=on,
        stage=stage,
        source=source,
        engines=asked_engines,
        staleness=asked_staleness,
        places=places,
        hourly=hourly_price,
    )
    outlook = look(run, asked)
    if as_json:
        print(json.dumps(outlook.plain(), indent=1))
    else:
        outlook.render(Console())


def _numbers(option: str, written: str) -> tuple[int, ...] | None:
    """The numbers of a list as "1,2,4"; None for none."""
    if not written:
        return None
    words = [word.strip() for word in written.split(",")]
    if not all(word.isdecimal() and int(word) <= 1000 for word in words):
        raise ValueError(f"{option} is a list of whole numbers up to 1000, as 1,2,4; got {written!r}")
    return tuple(int(word) for word in words)

"""Commands on finished runs: measured, reported, compared and verified."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from togi.cli.command_app import FINDING, RunPath, app, say
from togi.harmless_text import visible

HEAD_FOUND = "✓ the head is that of event {}: nothing before it was changed since"
HEAD_LOST = "✗ no event has this head: the events were changed, cut or written anew since it was noted"


@app.command(sort_key=5, name="eval")
def evaluate(
    run: RunPath,
    *,
    attempts: Annotated[int | None, Parameter(help="Completions sampled for each task.")] = None,
    tasks: Annotated[int | None, Parameter(help="Use only the first so many tasks.")] = None,
    model: Annotated[str, Parameter(help="Stage whose model is measured.")] = "last",
) -> None:
    """Is it better, by how much, for sure? Base and trained model on the held-out tasks, with intervals."""
    from togi.run_folder.integrity import refuse_no_run

    refuse_no_run(run)
    from togi.recipe import load_recipe

    changes = {"attempts": attempts, "tasks": tasks}
    overrides = [f"evaluation.{name}={value}" for name, value in changes.items() if value is not None]
    plan = load_recipe(run, overrides).run
    from togi.recipe.needed_at_start import check_start

    check_start(plan)
    from togi.evidence.after.eval_command import evaluate_run, pick_model, table

    stage = pick_model(run, [one.name for one in plan.stages if one.algorithm.trains == "policy"], model)
    Console().print(table(evaluate_run(plan, stage)))


@app.command(sort_key=6)
def report(
    run: Annotated[Path, Parameter(help="Run folder, or that of an experiment, a reward design, SayCan or Voyager.")],
) -> None:
    """One self-contained HTML page: what was trained, whether it worked, and how sure that is."""
    from togi.report.page_by_folder import write_page_of

    say(str(write_page_of(run)))


@app.command(sort_key=6)
def compare(
    *runs: Annotated[Path, Parameter(help="Run folders; each is held against the first.")],
    html: Annotated[Path | None, Parameter(help="Also write one HTML page with the curves to this file.")] = None,
) -> None:
    """Runs side by side: held-out results paired by task, curves, and what their recipes differ in."""
    from togi.report.compare_runs import compared, page, table
    from togi.run_folder.files import write_text

    found = compared(runs)
    Console().print(table(found))
    if html is not None:
        write_text(html, page(found))
        say(str(html))


@app.command(sort_key=7)
def verify(
    run: RunPath,
    *,
    head: Annotated[str, Parameter(help="A head that was noted earlier: was anything before it changed?")] = "",
) -> int:
    """Is the run folder as it was written? Holds files against the events, rows against their lineage."""
    from togi.experiment.ledger import job_lines
    from togi.run_folder.integrity import check, find_head, refuse_no_run
    from togi.run_folder.row_lineage import row_lines

    refuse_no_run(run)
    found = check(run)
    jobs, whole = job_lines(run)
    rows, unchanged = row_lines(run)
    number = find_head(found.chain, head) if head else None
    lines = [*found.lines(), *jobs, *rows]
    if head:
        lines.append(HEAD_FOUND.format(number) if number else HEAD_LOST)
    lines.append(f"head: {found.chain.head}")
    Console().print(Text(visible("\n".join(lines))), soft_wrap=True)
    return FINDING if found.faults or not whole or not unchanged or (head and not number) else 0

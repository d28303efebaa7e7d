"""``togi data``: rows made of rows, each file with its lineage beside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from rich.console import Console

from togi.cli.command_app import FINDING, Overrides, RecipePath, app, say

data = App(
    name="data",
    help="Rows of your own: mix, clean and filter them, each file with a record of where it comes from.",
    sort_key=1.5,
)
app.command(data)

Rows = Annotated[str, Parameter(help='File or folder of rows, or a data set of the hub: "owner/name:subset@split".')]
Out = Annotated[Path, Parameter(help="New file of JSON lines.")]
Columns = Annotated[
    tuple[str, ...],
    Parameter(name="--column", help="What the rows call a column, as prompt=question; may be given several times."),
]
License = Annotated[str, Parameter(name="--license", help="Licence of the rows, as their owner states it.")]


@data.command(sort_key=1)
def mix(
    *sources: Rows,
    out: Out,
    weights: Annotated[str, Parameter(help="How much of each source, as 2,1,1; without, all rows are taken.")] = "",
    temperature: Annotated[float | None, Parameter(help="Instead: take (rows) ^ (1 / temperature) of each.")] = None,
    size: Annotated[int | None, Parameter(help="Rows in all; as many as there are without taking one twice.")] = None,
    seed: Annotated[int, Parameter(help="Seed of which rows are taken, and of their order.")] = 0,
    column: Columns = (),
    license_id: License = "",
) -> None:
    """Several sources as one file, in proportions of your own."""
    from togi.corpora.corpus import open_corpus
    from togi.corpora.mix import mix as join, weights_of
    from togi.corpora.told import done

    if not sources:
        raise ValueError("name the sources that are mixed: togi data mix a.jsonl b.jsonl --out mixed.jsonl")
    shares = weights_of(weights)
    corpora = [open_corpus(source, _columns(column), license_id) for source in sources]
    made = join(corpora, out, weights=shares, temperature=temperature, size=size, seed=seed)
    for line in done(made, out):
        say(line)


@data.command(sort_key=2)
def dedup(
    source: Rows,
    *,
    out: Out,
    similarity: Annotated[float, Parameter(help="Least share of common runs of words, from 0 to 1.")] = 0.7,
    words: Annotated[int, Parameter(help="Words in a run.")] = 3,
    by: Annotated[
        Literal["question", "whole"], Parameter(help="Compare questions, or also recorded answers.")
    ] = "question",
    column: Columns = (),
    license_id: License = "",
) -> None:
    """Leave out rows that nearly repeat an earlier one."""
    from togi.corpora.corpus import open_corpus
    from togi.corpora.dedup import dedup as thin
    from togi.corpora.told import done, examples

    made = thin(open_corpus(source, _columns(column), license_id), out, similarity=similarity, run=words, by=by)
    for table in filter(None, map(examples, made.dropped)):
        Console().print(table)
    for line in done(made, out):
        say(line)


@data.command(sort_key=3)
def decontaminate(
    source: Rows,
    *,
    against: Annotated[
        tuple[str, ...],
        Parameter(help="A recipe (its held-out tasks), a benchmark's name, or rows; may be given several times."),
    ],
    out: Annotated[Path | None, Parameter(help="New file of JSON lines; without, rows are only looked at.")] = None,
    words: Annotated[int, Parameter(help="Words in a run.")] = 8,
    share: Annotated[float, Parameter(help="Least share of a held-out question that a row repeats.")] = 0.5,
    column: Columns = (),
    against_column: Annotated[
        tuple[str, ...], Parameter(name="--against-column", help="As --column, for the rows that are held against.")
    ] = (),
    license_id: License = "",
) -> int:
    """Show and leave out rows that hold questions of a held-out set or a benchmark."""
    from togi.corpora.corpus import open_corpus
    from togi.corpora.decontaminate import contamination, decontaminate as clean
    from togi.corpora.held_out import open_held_out
    from togi.corpora.told import done, examples, read
    from togi.corpora.written_rows import check_place

    if out is not None:
        check_place(out)
    corpus = open_corpus(source, _columns(column), license_id)
    held_out = [open_held_out(each, _columns(against_column)) for each in against]
    found = contamination(corpus, held_out, run=words, share=share)
    for table in filter(None, map(examples, found.dropped)):
        Console().print(table)
    if out is not None:
        for line in done(clean(corpus, held_out, found, out, run=words, share=share), out):
            say(line)
        return 0
    for one in (corpus.source, *(each.source for each in held_out)):
        say(read(one))
    say(f"{len(found.rows):,} of {len(corpus):,} rows hold a held-out question; --out FILE writes the others")
    return FINDING if found.rows else 0


@data.command(sort_key=4)
def difficulty(
    recipe: RecipePath,
    *overrides: Overrides,
    out: Out,
    least: Annotated[float, Parameter(help="Lowest pass rate that is kept.")] = 0.1,
    most: Annotated[float, Parameter(help="Highest pass rate that is kept.")] = 0.9,
    stage: Annotated[str, Parameter(help="Stage whose tasks and reward are meant; the first that samples.")] = "",
    attempts: Annotated[
        int | None, Parameter(help="Attempts that are sampled; of a run folder its own are counted without this.")
    ] = None,
    model: Annotated[str, Parameter(help="Who attempts: base, or a finished stage of the run folder.")] = "base",
) -> None:
    """Keep the rows of a recipe that a model solves sometimes, each with its pass rate."""
    from togi.corpora.difficulty import check_band
    from togi.corpora.written_rows import check_place

    check_band(least, most)
    check_place(out)
    from togi.corpora.difficulty_command import filtered
    from togi.corpora.told import done
    from togi.progress import Live

    with Live() as watch:
        watch.phase("attempts")
        made = filtered(
            recipe,
            overrides,
            out,
            least=least,
            most=most,
            stage=stage,
            attempts=attempts,
            model=model,
            progress=watch.progress,
        )
    for line in done(made, out):
        say(line)


@data.command(sort_key=5)
def answers(
    recipe: RecipePath,
    *overrides: Overrides,
    out: Out,
    teacher: Annotated[str, Parameter(help="Model that answers: any model source, or its name at --base-url.")],
    attempts: Annotated[int, Parameter(help="Answers that the teacher gives to each task.")] = 4,
    keep: Annotated[int, Parameter(help="Most answers that are kept of a task.")] = 1,
    least: Annotated[float, Parameter(help="Least score of an answer that is kept.")] = 1.0,
    temperature: Annotated[float, Parameter(help="Temperature of the answers.")] = 0.7,
    max_tokens: Annotated[int | None, Parameter(help="Longest answer; the stage's own when left out.")] = None,
    tasks: Annotated[int | None, Parameter(help="Ask only the first so many tasks.")] = None,
    stage: Annotated[str, Parameter(help="Stage whose tasks and reward are meant; the first that samples.")] = "",
    base_url: Annotated[str, Parameter(help="Server that speaks OpenAI's protocol.")] = "",
    key_env: Annotated[str, Parameter(help="Variable that holds the server's key.")] = "",
    most_tokens: Annotated[int, Parameter(help="Most tokens that the server is used for; needed with a key.")] = 0,
    concurrency: Annotated[int, Parameter(help="Questions to a server at a time.")] = 8,
    seconds: Annotated[float, Parameter(help="Longest that a question to a server may take.")] = 120.0,
) -> None:
    """Let a teacher answer the tasks of a recipe, and keep what its reward calls right as demonstrations."""
    from togi.askers.who_is_asked import Who
    from togi.corpora.written_rows import check_place

    check_place(out)
    who = Who(
        model=teacher,
        base_url=base_url,
        key_env=key_env,
        concurrency=concurrency,
        seconds=seconds,
        most_tokens=most_tokens,
    )
    who.check("--teacher")
    from togi.corpora.answers_command import answered
    from togi.corpora.told import done
    from togi.progress import Live

    with Live() as watch:
        watch.phase("answers of the teacher")
        made = answered(
            recipe,
            overrides,
            out,
            who,
            attempts=attempts,
            keep=keep,
            least=least,
            temperature=temperature,
            max_tokens=max_tokens,
            tasks=tasks,
            stage=stage,
            progress=watch.progress,
        )
    for line in done(made, out):
        say(line)


@data.command(sort_key=6)
def lineage(rows: Annotated[Path, Parameter(help="File that togi data wrote.")]) -> None:
    """Where a file of rows comes from, and whether it is still as it was written."""
    from togi.corpora.told import chain
    from togi.data.lineage import find_lineage, lineage_path

    if not rows.is_file():
        raise ValueError(f"there is no file {rows}")
    found = find_lineage(rows)
    if found is None:
        raise ValueError(
            f"{rows} has no lineage: there is no {lineage_path(rows).name} beside it; togi data writes one"
        )
    say(f"✓ {rows} is as it was written")
    for line in chain(found):
        say(line)


def _columns(given: tuple[str, ...]) -> dict[str, str]:
    """``prompt=question`` and others as a table. Raises ValueError."""
    import difflib

    from togi.data.columns import OWN

    found = {}
    for each in given:
        ours, equals, theirs = each.partition("=")
        if not equals or not theirs:
            raise ValueError(
                f"--column says what the rows call one of Togi's columns, as prompt=question; got {each!r}"
            )
        if ours not in OWN:
            near = difflib.get_close_matches(ours, OWN, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else f": {', '.join(OWN)}"
            raise ValueError(f'--column {each}: no column of Togi\'s is called "{ours}"{hint}')
        found[ours] = theirs
    return found

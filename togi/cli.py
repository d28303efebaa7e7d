"""The command line: each command reads its arguments and calls into lower floors. It decides nothing itself.

Exit codes: 0 well, 1 a finding (doctor, preview, verify), 2 bad input, 3 a fault of Togi's own, 128 + n stopped by
signal n.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter, Token, UnknownOptionError
from rich.console import Console
from rich.text import Text

from togi.credentials import without_secrets
from togi.harmless_text import shortened, visible

# Commands import what they need themselves, when they need it: neither `togi --help` nor a misspelt key waits for
# rewards, and no mistake in a recipe or a run folder waits for torch.

FINDING, BAD_INPUT, FAULT, INTERRUPTED = 1, 2, 3, 130
LONGEST = 20_000  # characters of an error

app = App(
    name="togi",
    help="Hone language models with reinforcement learning. The road, in order:",
    help_epilogue="Every command takes --debug, which shows the traceback of an error (or set TOGI_DEBUG=1).",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
HEAD_FOUND = "✓ the head is that of event {}: nothing before it was changed since"
HEAD_LOST = "✗ no event has this head: the events were changed, cut or written anew since it was noted"
Overrides = Annotated[str, Parameter(help="KEY=VALUE changes to the recipe, as in stage.grpo.learning_rate=1e-6.")]
RecipePath = Annotated[Path, Parameter(help="Recipe file, or a run folder.")]
RunPath = Annotated[Path, Parameter(help="Run folder.")]
ModelSource = Annotated[str, Parameter(help="Run folder, bundled name, model folder, .gguf file or hub id.")]
Arithmetic = Annotated[
    Literal["auto", "float32", "bfloat16"], Parameter(help="Arithmetic; auto takes the faster, as in a recipe.")
]
DeviceName = Annotated[str, Parameter(help="cpu, cuda, cuda:1, mps or xpu; auto takes an accelerator, else cpu.")]
Flag = Parameter(negative=())


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
def preview(recipe: RecipePath, *overrides: Overrides) -> int:
    """What will the model be asked, what will it be paid for, what will it cost?"""
    from togi.recipe import load_recipe

    plan = load_recipe(recipe, overrides).run
    from togi.recipe.needed_at_start import check_start

    check_start(plan)
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


@app.command(sort_key=4)
def train(
    recipe: RecipePath,
    *overrides: Overrides,
    folder: Annotated[Path | None, Parameter(help="Run folder; runs/NAME when left out.")] = None,
    dry_run: Annotated[bool, Flag, Parameter(help="Print the resolved recipe and the origin of every value.")] = False,
    as_json: Annotated[bool, Flag, Parameter(name="--json", help="Print --dry-run as JSON.")] = False,
    allow_changes: Annotated[bool, Flag, Parameter(help="Continue a run although its recipe or data changed.")] = False,
) -> None:
    """Train; the same command again resumes a run that was stopped."""
    from togi.recipe import load_recipe

    loaded = load_recipe(recipe, overrides, folder=folder)
    from togi.recipe.needed_at_start import check_start
    from togi.recipe.show_origins import origins, show

    if as_json and not dry_run:
        raise ValueError("--json says how --dry-run prints: add --dry-run")
    if as_json:
        print(json.dumps(origins(loaded.reading, loaded.run.recipe), indent=1))
        return
    if dry_run:
        show(loaded.reading, loaded.run.recipe, Console())
        return
    check_start(loaded.run)
    from togi.progress import Live
    from togi.run_folder.integrity import read_chain
    from togi.run_folder.resume import held
    from togi.run_folder.run_description import asked_tier
    from togi.sandbox.jails_in_use import standing

    with Live() as watch, held(loaded.run, watch, allow_changes=allow_changes) as ours:
        kept_in = standing(asked_tier(loaded.run))
        _say(f"graders run in: {kept_in['graders']} · programs in: {kept_in['programs']}")
        from togi.train import go_on

        go_on(loaded.run, ours, watch)
    _say(f"The run is in {loaded.run.folder}. Next: togi report {loaded.run.folder}")
    head = read_chain(loaded.run.folder).head
    _say(f"Note this elsewhere, to show later that nothing was changed: togi verify {loaded.run.folder} --head {head}")


@app.command(sort_key=4.5)
def experiment(
    file: Annotated[Path, Parameter(help="File of an experiment (TOML).")],
    *,
    folder: Annotated[Path | None, Parameter(help="Its folder; experiments/NAME when left out.")] = None,
    dry_run: Annotated[bool, Flag, Parameter(help="Print what would run, and what is run once for several.")] = False,
    together: Annotated[int, Parameter(help="Most jobs at once, as memory allows.")] = 1,
    allow_changes: Annotated[bool, Flag, Parameter(help="Go on although something was decided otherwise.")] = False,
) -> None:
    """Several recipes, several seeds, controls, one answer; the same command again goes on where it stopped."""
    from togi.experiment.read_experiment import read_experiment

    plan = read_experiment(file)
    place = folder or Path("experiments") / plan.name
    from togi.experiment.plan_told import show_plan

    if dry_run:
        show_plan(plan, Console())
        from togi.experiment.forecast import forecast
        from togi.experiment.plan_told import forecast_told

        _say(forecast_told(forecast(plan)))
        return
    from togi.experiment.conduct import conduct

    conduct(plan, place, tell=_say, together=together, allow_changes=allow_changes)
    from togi.experiment.outcome import read_outcome
    from togi.experiment.outcome_told import show

    show(read_outcome(place), Console())
    _say(f"The experiment is in {place}. Next: togi report {place}")


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
def report(run: Annotated[Path, Parameter(help="Run folder, or that of an experiment.")]) -> None:
    """One self-contained HTML page: what was trained, whether it worked, and how sure that is."""
    from togi.experiment.ledger import is_experiment

    if is_experiment(run):
        from togi.report.experiment_page import write_experiment_report

        _say(str(write_experiment_report(run)))
        return
    from togi.report import write_report

    _say(str(write_report(run)))


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
        _say(str(html))


@app.command(sort_key=7)
def verify(
    run: RunPath,
    *,
    head: Annotated[str, Parameter(help="A head that was noted earlier: was anything before it changed?")] = "",
) -> int:
    """Is the run folder as it was written? Holds every file against the events, and prints their head."""
    from togi.experiment.ledger import job_lines
    from togi.run_folder.integrity import check, find_head, refuse_no_run

    refuse_no_run(run)
    found = check(run)
    jobs, whole = job_lines(run)
    number = find_head(found.chain, head) if head else None
    lines = [*found.lines(), *jobs]
    if head:
        lines.append(HEAD_FOUND.format(number) if number else HEAD_LOST)
    lines.append(f"head: {found.chain.head}")
    Console().print(Text(visible("\n".join(lines))), soft_wrap=True)
    return FINDING if found.faults or not whole or (head and not number) else 0


@app.command(sort_key=8)
def export(
    source: Annotated[str, Parameter(help="Run folder, or any model source.")],
    folder: Annotated[Path, Parameter(help="New folder to write.")],
    *,
    adapter: Annotated[bool, Flag, Parameter(help="Keep an adapter apart; else it is merged into its base.")] = False,
    gguf: Annotated[bool, Flag, Parameter(help="Write one GGUF file, for llama.cpp and what is built on it.")] = False,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16", "q8_0"],
        Parameter(help="Type of the weights; float16 and q8_0 with --gguf only."),
    ] = "float32",
    license_id: Annotated[
        str, Parameter(name="--license", help="What the model card names as license, such as apache-2.0.")
    ] = "",
) -> None:
    """Weights in the formats that other tools load, with a model card where they are a run's."""
    from togi.models.model_source import check_source

    if folder.exists():
        raise ValueError(f"{folder} exists already: choose another folder, or remove it first")
    if gguf and adapter:
        raise ValueError("--gguf writes whole weights: leave out --adapter, and an adapter is merged into its base")
    if dtype in ("float16", "q8_0") and not gguf:
        raise ValueError(f"--dtype {dtype} is for --gguf; a folder takes float32 or bfloat16")
    check_source(source)
    from togi.run_folder.integrity import refuse_changed_model

    refuse_changed_model(source)
    from togi.report import card_of

    card = card_of(source, library="gguf" if gguf else "peft" if adapter else "transformers", license_id=license_id)
    beside = {"README.md": card} if card else {}
    if gguf:
        from togi.models.save_gguf import export_gguf

        saved = export_gguf(source, folder, dtype, beside=beside)
    else:
        import torch

        from togi.models.save_model import export as write

        kind = torch.bfloat16 if dtype == "bfloat16" else torch.float32
        saved = write(source, folder, adapter=adapter, dtype=kind, beside=beside)
    of = "the model" if gguf else "base and adapter"
    drift = "" if saved.difference is None else f"; logits differ from {of} by {saved.difference:.2g} at most"
    base = "" if saved.base is None else f"; its base is {saved.base}"
    _say(f"{saved.path}{drift}{base}")


@app.command(sort_key=9)
def chat(
    source: ModelSource,
    *,
    prompt: Annotated[str | None, Parameter(help="Ask this one thing and end.")] = None,
    temperature: Annotated[float, Parameter(help="0 always takes the likeliest token.")] = 0.7,
    max_tokens: Annotated[int, Parameter(help="Longest answer.")] = 256,
    dtype: Arithmetic = "auto",
    device: DeviceName = "auto",
) -> None:
    """Talk to a model or to what a run made of it."""
    from togi.models.model_source import check_source

    check_source(source)
    from togi.run_folder.integrity import refuse_changed_model

    refuse_changed_model(source)
    from togi.terminal_chat import chat as talk
    from togi.types import Sampling

    talk(source, prompt, Sampling(temperature=temperature, max_tokens=max_tokens), dtype=dtype, device=device)


@app.command(sort_key=10)
def serve(
    source: ModelSource,
    *,
    port: Annotated[int, Parameter(help="0 takes a free one.")] = 8000,
    host: Annotated[str, Parameter(help="Address to listen at.")] = "127.0.0.1",
    open_to_network: Annotated[bool, Flag, Parameter(help="Allow a --host that others can reach.")] = False,
    key_env: Annotated[str, Parameter(help="Variable that holds the key; without it one is made and shown.")] = "",
    max_tokens: Annotated[int, Parameter(help="Longest answer; also of requests that do not say.")] = 1024,
    seconds: Annotated[float, Parameter(help="Longest that a request may take, waiting included.")] = 600.0,
    waiting: Annotated[int, Parameter(help="Requests that may wait; others are told to come again (429).")] = 64,
    batch_size: Annotated[int, Parameter(help="Answers drawn at once.")] = 32,
    dtype: Arithmetic = "auto",
    device: DeviceName = "auto",
) -> int:
    """An endpoint that speaks OpenAI's protocol, for other programs of this machine."""
    from togi.models.model_source import check_source
    from togi.serving.address import open_address

    at = open_address(
        host,
        port,
        key_env,
        open_to_network=open_to_network,
        max_tokens=max_tokens,
        seconds=seconds,
        waiting=waiting,
        batch_size=batch_size,
    )
    check_source(source)
    from togi.run_folder.integrity import refuse_changed_model

    refuse_changed_model(source)
    from togi.serving.serve_command import serve as listen

    return listen(source, at, dtype=dtype, device=device)


@app.command(sort_key=11)
def schema() -> None:
    """The JSON schema of recipes, for editors and programs."""
    from togi.recipe.schema import Recipe

    print(json.dumps(Recipe.model_json_schema(), indent=1))


def _is_recipe(target: str) -> bool:
    """Whether a text is a recipe's path and not a reward."""
    return target.endswith(".toml") or (bool(target) and "(" not in target)


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


def _say(line: str) -> None:
    Console().print(Text(visible(line)), soft_wrap=True)

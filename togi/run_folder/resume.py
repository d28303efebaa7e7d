"""Where a run folder stands, and what is put away before its run goes on. It trains nothing and loads no torch.

What is put away is what a later step of the same run writes again, to the bit; what is kept is held against the events
first, so that nothing is built on a file that was changed, and nothing is deleted by a run that then cannot go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from togi.interrupt import Interrupts
from togi.run import BASE, Run, Stage, Watch, stage_model
from togi.run_folder.best_weights import best_at, chosen_steps, looks_of, needed, weights_kept
from togi.run_folder.checkpoint import checkpoints, newest_good
from togi.run_folder.files import FolderError, RunFolder, mark, read_lines, remove, writing
from togi.run_folder.integrity import Fault, Vouched, chain_faults, file_faults, log_faults, read_chain, vouched
from togi.run_folder.links import LOGS
from togi.run_folder.manifest import claim
from togi.run_folder.ready_groups import files_ahead, of_later_stages

MADE_BY_STAGES = (
    "models/{}",
    *(f"{kind}/{{}}.json" for kind in ("evaluations", "preferences", "verification", "steps", "thoughts")),
)
SHOWN = 5  # files named in one message


@dataclass(frozen=True, kw_only=True)
class Position:
    """How far a run is: the stage at work, steps done in it, and steps done in all."""

    stage: int = 0
    step: int = 0
    total: int = 0


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a run goes on: after ``checkpoint``, with the state ``work`` of the stage at work; None at a start."""

    position: Position
    checkpoint: Path | None
    work: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class Held:
    """A run folder that is this run's, locked, and where it goes on; signals wait for ``interrupts``."""

    folder: RunFolder
    interrupts: Interrupts
    standing: Standing


@contextmanager
def held(run: Run, watch: Watch, *, allow_changes: bool) -> Iterator[Held]:
    """Hold the run's folder, made this run's and ready to go on.

    Raises ``FolderError`` when the folder is in use, belongs to another recipe, is not as it was written, or its disk
    is full.
    """
    with RunFolder(run.folder) as folder, Interrupts(watch.note) as interrupts:
        claim(run, folder, allow_changes)
        standing = take_up(run, folder, partial(warn, folder, watch), allow_changes=allow_changes)
        yield Held(folder=folder, interrupts=interrupts, standing=standing)


def warn(folder: RunFolder, watch: Watch, text: str) -> None:
    """Tell a warning, and keep it."""
    folder.event("warning", text=text)
    watch.note(f"warning: {text}")


def take_up(run: Run, folder: RunFolder, warn: Callable[[str], None], *, allow_changes: bool) -> Standing:
    """Find where the run stands, and remove what was written after that.

    Raises FolderError, before anything is removed, when what is kept is not as it was written (unless changes are
    allowed: they are told again whenever the folder is looked at), or when no checkpoint can be used.
    """
    chain = read_chain(folder.path)
    known = vouched(chain.events)
    root = folder.path / "checkpoints"
    found = newest_good(root, known.checkpoints, warn, lambda state: _model_fault(run, folder.path, known, state))
    if found is None and checkpoints(root):
        raise FolderError(
            f"no checkpoint in {root} can be used, and starting again would delete what is there. Bring back what is "
            "damaged or missing, or name another folder with --folder."
        )
    state: dict[str, Any] = found[1] if found else {"position": {}, "sizes": dict.fromkeys(LOGS, 0), "work": None}
    position = Position(**state["position"])
    later = sorted({*_later(run, folder.path, position, state["work"]), *_unmarked(run, folder.path, known)})
    kept = _kept(known, later, state["sizes"])
    faults = [*chain_faults(folder.path, chain), *file_faults(folder.path, kept), *log_faults(folder.path, kept)]
    faults = [fault for fault in faults if not _measured_again(run, folder.path / fault.path)]
    if faults and not allow_changes:
        raise FolderError(_not_as_written(folder.path, faults))
    cut = {name: size for name, size in state["sizes"].items() if folder.sizes(name)[name] > size}
    if found or later or cut:
        folder.event("resumed", checkpoint=found[0].name if found else None, removed=later, cut=cut)
    with writing(folder.path, "the run folder"):
        folder.cut(cut)
        for path in later:
            remove(folder.path / path)
    return Standing(position=position, checkpoint=found[0] if found else None, work=state["work"])


def steps_taken(run: Run, policy: str) -> int:
    """Steps of the whole run up to the weights that a stage ended with; 0 for the base."""
    if policy == BASE:
        return 0
    names = [stage.name for stage in run.stages]
    taken = Counter(str(row.get("stage")) for row in read_lines(run.folder / LOGS[0]))
    chosen = chosen_steps(read_chain(run.folder).events).get(policy)
    before = sum(taken[name] for name in names[: names.index(policy)])
    return before + (int(chosen["step"]) if chosen else taken[policy])


def rollout_file(stage: Stage, step: int) -> str:
    """Where a step's rollouts are kept in the run folder."""
    return f"rollouts/{stage.name}-{step:06d}.jsonl"


def on_the_way_file(stage: Stage, step: int) -> str:
    """Where a measurement of the policy after a step of a stage is kept in the run folder."""
    return f"evaluations_on_the_way/{stage.name}-{step:06d}.json"


def _later(run: Run, folder: Path, position: Position, work: Mapping[str, Any] | None) -> Iterator[str]:
    """What was written after a position, by its path in the run folder; ``work`` is the state of the stage there."""
    kept = {rollout_file(stage, step + 1) for stage, step in _steps_done(run, position)}
    yield from (path for file in (folder / "rollouts").glob("*") if (path := f"rollouts/{file.name}") not in kept)
    yield from (
        f"checkpoints/{path.name}" for path in checkpoints(folder / "checkpoints") if int(path.name) > position.total
    )
    done = replace(position, step=0)
    on_the_way = {on_the_way_file(stage, step + 1) for stage, step in _steps_done(run, done)}
    on_the_way |= {on_the_way_file(run.stages[position.stage], step) for step in looks_of(work)}
    for file in (folder / "evaluations_on_the_way").glob("*"):
        if (path := f"evaluations_on_the_way/{file.name}") not in on_the_way:
            yield path
    standing = [path for path in checkpoints(folder / "checkpoints") if int(path.name) <= position.total]
    stay = needed((stage.name for stage in run.stages), standing)
    yield from (path for path in weights_kept(folder) if path not in stay)
    yield from of_later_stages(folder, [stage.name for stage in run.stages], position.stage)
    for stage in run.stages[position.stage :]:
        made = [path.format(stage.name) for path in MADE_BY_STAGES]
        yield from (path for path in made if (folder / path).exists())


def _steps_done(run: Run, position: Position) -> Iterator[tuple[Stage, int]]:
    for number, stage in enumerate(run.stages[: position.stage + 1]):
        for step in range(stage.steps if number < position.stage else position.step):
            yield stage, step


def _unmarked(run: Run, folder: Path, known: Vouched) -> Iterator[str]:
    """Evaluations, references and groups that a kill left between their writing and their event."""
    names = [BASE, *(stage.name for stage in run.stages)]
    for path in (
        *(f"evaluations/{name}.json" for name in names),
        *(f"references/{name}.safetensors" for name in names),
        *(f"evaluations_on_the_way/{file.name}" for file in (folder / "evaluations_on_the_way").glob("*")),
        *weights_kept(folder),
        *files_ahead(folder),
    ):
        if (folder / path).exists() and path not in known.files:
            yield path


def _kept(known: Vouched, later: Sequence[str], sizes: Mapping[str, int]) -> Vouched:
    """What is known of the files that stay."""
    return Vouched(
        files={path: told for path, told in known.files.items() if path not in later},
        logs={name: [seal for seal in seals if seal[0] <= sizes[name]] for name, seals in known.logs.items()},
    )


def _model_fault(run: Run, folder: Path, known: Vouched, state: Mapping[str, Any]) -> str | None:
    """Whether the stage weights that a checkpoint builds on are as they were written."""
    for stage in run.stages[: int(state["position"]["stage"])]:
        path = stage_model(folder, stage.name)
        if stage.algorithm.trains != "nothing" and known.files.get(f"models/{stage.name}") != mark(path):
            return f"models/{stage.name} has other bytes than were written"
    best = best_at((stage.name for stage in run.stages), state) if _chooses(run) else None
    if best and (not (folder / best).exists() or known.files.get(best) != mark(folder / best)):
        return f"{best} has other bytes than were written"
    return None


def _chooses(run: Run) -> bool:
    return run.evaluation is not None and run.evaluation.best is not None


def _measured_again(run: Run, path: Path) -> bool:
    """Whether a file is an evaluation of the run's own that is not there, and so will be."""
    own = {BASE, *(stage.name for stage in run.stages)}
    return path.parent.name == "evaluations" and path.stem in own and not path.exists()


def _not_as_written(folder: Path, faults: Sequence[Fault]) -> str:
    listing = "; ".join(str(fault) for fault in faults[:SHOWN])
    more = f"; and {len(faults) - SHOWN} more (togi verify {folder})" if len(faults) > SHOWN else ""
    return (
        f"{folder} is not as it was written: {listing}{more}. Put the files back, name another folder with --folder, "
        "or go on with --allow-changes: togi verify and the report will keep saying so."
    )

"""What a run will write to disk, reckoned before it trains. It measures nothing."""

from __future__ import annotations

from togi.evidence.before.cost_estimate import attempts_of
from togi.evidence.before.machine_fitness import free_disk
from togi.run import Run
from togi.run_folder.files import FolderError

SAVED = 12  # bytes of a checkpoint a trained parameter: its weight and two moments in float32
ROW, TOKEN = 800, 4  # bytes of a rollout beside its completion, and of a token of that


def disk_needed(run: Run, saved: int) -> int:
    """Bytes of checkpoints of ``saved`` bytes (one more while writing), of each stage's model, a third of that, of the
    best weights of every checkpoint where the best are kept, and of rollouts whose completions are half as long as
    allowed."""
    models = sum(stage.algorithm.trains != "nothing" for stage in run.stages)
    if run.evaluation is not None and run.evaluation.best:
        models += run.keep + 1
    rollouts = sum(
        stage.steps * stage.tasks_per_step * attempts_of(stage).kept * (ROW + TOKEN * stage.sampling.max_tokens / 2)
        for stage in run.stages
    )
    return saved * (run.keep + 1) + saved // 3 * models + int(rollouts)


def refuse_too_little_room(run: Run, saved: int) -> None:
    """Raise FolderError when what the run is still to write does not fit on its disk."""
    there = sum(file.stat().st_size for file in run.folder.rglob("*") if file.is_file())
    needed, free = disk_needed(run, saved) - there, free_disk(run.folder)
    if needed > free:
        raise FolderError(
            f"the run will write about {needed / 1e9:.1f} GB more to {run.folder}, and {free / 1e9:.1f} GB are free: "
            f"free some space, name another folder with --folder, or keep fewer checkpoints (checkpoint.keep = "
            f"{run.keep}). Nothing was trained."
        )

"""Weights & Biases: offline in the run folder's own ``wandb`` folder, unless the user's ``WANDB_MODE`` says more."""

from __future__ import annotations

import os
from collections.abc import Mapping

from togi.trackers.tracker import Tracked

# Of the machine and the process it would send far more than a run's numbers.
PRIVATE = {
    "silent": True,
    "console": "off",
    "save_code": False,
    "disable_git": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
}


class WeightsAndBiases:
    """A run by its identity, which goes on where it was stopped."""

    def __init__(self, run: Tracked) -> None:
        os.environ.setdefault("WANDB_MODE", "offline")
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read once, at import
        import wandb

        self._run = wandb.init(
            project=run.project,
            name=run.name,
            id=run.identity,
            resume="allow",
            dir=str(run.folder),
            config=dict(run.recipe),
            settings=wandb.Settings(**PRIVATE),
        )

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        self._run.finish()

"""TensorBoard: event files in the run folder's own ``tensorboard`` folder. Asks no network."""

from __future__ import annotations

from collections.abc import Mapping

from togi.trackers.tracker import Tracked


class TensorBoard:
    """Each number is a scalar under its name."""

    def __init__(self, run: Tracked) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Steps that are sent again hide those of the files before.
        purge = run.done + 1 if run.done else None
        self._writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=purge)

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

"""Trackio: its own local data base on this machine. Asks no network, unless the user's ``TRACKIO_SPACE_ID`` or
``TRACKIO_SERVER_URL`` names a place."""

from __future__ import annotations

from collections.abc import Mapping

from togi.trackers.tracker import Tracked


class Trackio:
    """A run by its name, which goes on where it was stopped."""

    def __init__(self, run: Tracked) -> None:
        import trackio

        self._run = trackio.init(
            project=run.project,
            name=run.name,
            config=dict(run.recipe),
            resume="allow",
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        self._run.finish()

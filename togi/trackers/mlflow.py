"""MLflow: a local folder ``mlflow`` beside the run folder, unless the user's ``MLFLOW_TRACKING_URI`` names a server."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping

from togi.trackers.tracker import Tracked

IDENTITY = "togi.identity"
NO_NAME = re.compile(r"[^\w\-. :/]")  # characters that MLflow refuses in the name of a metric


class MLflow:
    """A run of the experiment that is named as the project; it is found again by its identity."""

    def __init__(self, run: Tracked) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if uri is None:
            uri = (run.folder.resolve().parent / "mlflow").as_uri()
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # a folder needs no data base and no server
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=uri)
        experiment = self._client.get_experiment_by_name(run.project)
        place = experiment.experiment_id if experiment else self._client.create_experiment(run.project)
        known = self._client.search_runs([place], f"tags.`{IDENTITY}` = '{run.identity}'")
        made = known[0] if known else self._client.create_run(place, run_name=run.name, tags={IDENTITY: run.identity})
        self._id = made.info.run_id
        if known:
            self._client.update_run(self._id, status="RUNNING")

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(
            self._id, [Metric(NO_NAME.sub("_", name), value, now, step) for name, value in numbers.items()]
        )

    def close(self) -> None:
        self._client.set_terminated(self._id)

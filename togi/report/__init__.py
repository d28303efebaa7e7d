"""A run folder as one HTML file that opens anywhere, asks nothing of the network and runs no script."""

from __future__ import annotations

import re
from pathlib import Path

from togi.evidence.after.evaluation_summary import summary
from togi.evidence.read_run import RunData, read_run
from togi.harmless_text import visible
from togi.models.model_source import newest_model
from togi.report import verdict_sentences as words
from togi.report.filled_page import page_of
from togi.report.page import context
from togi.report.preference_sentences import preferences
from togi.run_folder.files import write_text
from togi.run_folder.links import EVENTS


def write_report(folder: Path, hourly_price: float | None = None) -> Path:
    """Write ``folder/report.html`` and give its path. ``hourly_price`` is what an hour of this machine costs.

    Works on a run that has not finished: what is not there is said to be missing. ``ValueError`` when the folder holds
    nothing of a run.
    """
    return write_page(read_run(folder), hourly_price)


def write_page(data: RunData, hourly_price: float | None = None) -> Path:
    """The same of a run folder that was read."""
    path = data.folder / "report.html"
    write_text(path, render(data, hourly_price))
    return path


def render(data: RunData, hourly_price: float | None = None) -> str:
    """The report of a run folder as text."""
    return page_of("template.html", context(data, hourly_price))


def card_of(source: str, *, library: str = "transformers", license_id: str = "") -> str | None:
    """The model card of weights that a run made; None for any other source. Raises ValueError for a license without a
    card, or one that is no identifier."""
    if license_id and not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,40}", license_id):
        raise ValueError(f"--license is the hub's name of a license, such as apache-2.0 or mit; got {license_id!r}")
    model = newest_model(Path(source)).absolute()
    run = model.parent.parent
    if model.parent.name != "models" or not (run / EVENTS).is_file():
        if license_id:
            raise ValueError(
                f"--license goes into the model card, and only what a run made has one; {source} is no run"
            )
        return None
    from togi.report.model_card import model_card

    return model_card(read_run(run), model.name, library=library, license_id=license_id)


def verdict(folder: Path) -> list[str]:
    """What the run proves, in sentences for a terminal: the headline, the evidence, and how far it has come."""
    data = read_run(folder)
    said = words.verdict(data, [summary(one) for one in data.evaluations], preferences(data))
    return [visible(line) for line in (said.headline, *data.distrust, *said.sentences)]

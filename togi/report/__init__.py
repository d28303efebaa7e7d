"""A run folder as one HTML file that opens anywhere, asks nothing of the network and runs no script."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from togi.evidence.after.evaluation_summary import summary
from togi.harmless_text import visible
from togi.report import verdict_sentences as words
from togi.report.page import context
from togi.report.preference_sentences import preferences
from togi.report.read_run import read_run
from togi.run_folder.files import write_text

HERE = Path(__file__).parent


def write_report(folder: Path, hourly_price: float | None = None) -> Path:
    """Write ``folder/report.html`` and give its path. ``hourly_price`` is what an hour of this machine costs.

    Works on a run that has not finished: what is not there is said to be missing. ``ValueError`` when the folder holds
    nothing of a run.
    """
    path = folder / "report.html"
    write_text(path, render(folder, hourly_price))
    return path


def render(folder: Path, hourly_price: float | None = None) -> str:
    """The page as text. Every variable is escaped, and what could act on a reader's screen is shown instead."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        finalize=_harmless,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (HERE / "page.css").read_text(encoding="utf-8")
    # The policy allows this one style sheet by its hash and nothing else, so text that escaped would still be inert.
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    variables = context(read_run(folder), hourly_price)
    page = environment.get_template("template.html").render(style=Markup(style), policy=policy, **variables)
    return page + "\n"


def verdict(folder: Path) -> list[str]:
    """What the run proves, in sentences for a terminal: the headline, the evidence, and how far it has come."""
    data = read_run(folder)
    said = words.verdict(data, [summary(one) for one in data.evaluations], preferences(data))
    return [visible(line) for line in (said.headline, *data.distrust, *said.sentences)]


def _harmless(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

"""Which page tells of a folder: the plan that lies in it says which command wrote it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

PAGES: Mapping[str, str] = {
    "plan.json": "experiment_page.write_experiment_report",
    "design.json": "reward_design_page.write_design_report",
    "saycan.json": "saycan_page.write_saycan_report",
    "voyager.json": "voyager_page.write_voyager_report",
}
"""File of a plan -> what writes the page of its folder. A folder without any of them is a run."""


def write_page_of(folder: Path) -> Path:
    """Write ``folder/report.html``, whatever wrote the folder, and give its path; ValueError where nothing did."""
    of_plan = [writer for plan, writer in PAGES.items() if (folder / plan).is_file()]
    if not of_plan:
        from togi.report import write_report

        return write_report(folder)
    module, name = of_plan[0].split(".")  # imported here, so that the page of a run waits for no other
    write: Callable[[Path], Path] = getattr(import_module(f"togi.report.{module}"), name)
    return write(folder)

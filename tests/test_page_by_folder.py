"""Every command's folder gets its own page."""

from __future__ import annotations

from importlib import import_module

import pytest

from togi.agents.saycan import archive as saycan
from togi.agents.voyager import archive as voyager
from togi.experiment import ledger
from togi.report.page_by_folder import PAGES, write_page_of
from togi.reward_design import archive as design

PLANS = [
    (ledger.PLAN, "write_experiment_report"),
    (design.DESIGN, "write_design_report"),
    (saycan.PLAN, "write_saycan_report"),
    (voyager.PLAN, "write_voyager_report"),
]


@pytest.mark.parametrize(("plan", "writer"), PLANS)
def test_a_plan_names_the_page_of_its_folder(plan, writer, tmp_path, monkeypatch):
    (tmp_path / plan).write_text("{}")
    module, name = PAGES[plan].split(".")
    assert name == writer
    monkeypatch.setattr(import_module(f"togi.report.{module}"), name, lambda folder: folder / f"{plan}.html")
    assert write_page_of(tmp_path) == tmp_path / f"{plan}.html"


def test_a_folder_without_a_plan_is_a_run(tmp_path):
    assert len(PAGES) == len(PLANS)
    with pytest.raises(ValueError, match="run"):
        write_page_of(tmp_path)

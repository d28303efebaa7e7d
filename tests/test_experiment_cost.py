"""What an experiment cost: by phase beside its forecast and why they differ, shared energy, and money by a table."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_experiment_runs import planned, run

from togi.askers.asker import Reply
from togi.askers.reply_cache import ReplyCache, Spent, spent_in
from togi.energy import Counter, Found, Meter
from togi.experiment import conduct as conducting
from togi.experiment.account import account
from togi.experiment.design import Budget, Experiment, Prices
from togi.experiment.expected_cost import FORECAST, Expected, Forecast, read_forecast
from togi.experiment.job_cost import JobCost, together
from togi.experiment.ledger import PLAN, Ended, Ledger, endings
from togi.experiment.money import money
from togi.experiment.outcome import Beginning
from togi.experiment.outcome_cost import saved_seconds
from togi.experiment.outcome_told import spent
from togi.experiment.spending import Spending
from togi.interrupt import Interrupted
from togi.report.experiment_page import page
from togi.run_folder.files import RunFolder
from togi.run_folder.integrity import Chain, read_chain

DONE = Ended(how="done", seconds=20.0)
SAMPLING = Expected(tokens=(100.0, 300.0), seconds=(11.0, 31.0))  # a tenth of a second a token, and a second to read

WHY = [
    (21.0, 200, "200 tokens, 100 to 300 forecast, at the speed that the probe of the machine says"),
    (42.0, 200, "200 tokens, 100 to 300 forecast; each took 2.0 times as long as the probe of the machine says"),
    (3.0, 50, "50 tokens, 100 to 300 forecast; each took 1/2.0 of the time that the probe of the machine says"),
    (41.0, 400, "400 tokens, 100 to 300 forecast, at the speed that the probe of the machine says"),
]


@pytest.mark.parametrize(("seconds", "tokens", "why"), WHY)
def test_tokens_and_speed_explain_the_time(seconds: float, tokens: int, why: str) -> None:
    cost = JobCost(seconds={"sample": seconds, "starting": 2.0}, written=tokens)
    foretold = Forecast(jobs={"cells/a-1": {"sampling": SAMPLING, "starting": Expected(seconds=(3.0, 3.0))}})
    found = {phase.name: phase for phase in account({"cells/a-1": cost}, {"cells/a-1": DONE}, foretold).phases}
    assert (found["sampling"].seconds, found["sampling"].why) == (seconds, why)
    assert found["starting"].why == (
        "1 process, 2.0 s each beside steps and measurements: Python and torch, loading and saving models"
    )


def test_what_is_not_done_is_left_out_of_both_sides() -> None:
    ended = {"a": DONE, "b": Ended(how="failed", seconds=9.0), "c": Ended(how="done", seconds=20.0, started=2)}
    costs = {name: JobCost(seconds={"sample": 20.0}, written=200) for name in ended}
    foretold = Forecast(jobs={job: {"sampling": SAMPLING} for job in "abcd"})
    found = account(costs, ended, foretold)
    sampling = found.phases[0]
    assert (sampling.seconds, sampling.tokens, sampling.expected) == (
        40.0,
        400,
        Expected(tokens=(200.0, 600.0), seconds=(22.0, 62.0)),
    )
    assert found.why == (
        "2 of 4 jobs are not done, and neither their forecast nor their time is in here.",
        "1 job was started more than once: the steps that a kill lost count as starting.",
    )


@pytest.mark.parametrize(
    ("foretold", "why"),
    [
        (None, ()),
        (Forecast(jobs={}, unknown="no such model"), ("There was no forecast: no such model",)),
        (Forecast(jobs={"other": {}}), ("Some of what was run was not planned when the forecast was made",)),
    ],
)
def test_without_a_forecast_time_is_told_alone(foretold: Forecast | None, why: tuple[str, ...]) -> None:
    found = account({"a": JobCost(seconds={"learn": 3.0})}, {"a": DONE}, foretold)
    assert found.seconds == 3.0
    assert all(phase.expected is None for phase in found.phases)
    assert [said[: len(told)] for said, told in zip(found.why, why, strict=True)] == list(why)


def test_a_forecast_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = Forecast(jobs={"a": {"sampling": SAMPLING}}, alone=(1.0, 2.0))
    (tmp_path / FORECAST).write_text(json.dumps(made.plain()))
    assert read_forecast(tmp_path) == made
    no_jobs, no_phase = '{"jobs": [], "alone": [0, 1]}', '{"jobs": {"a": {"sampling": 3}}, "alone": [0, 1]}'
    for damaged in ("", "[]", "{}", no_jobs, no_phase):
        (tmp_path / FORECAST).write_text(damaged)
        assert read_forecast(tmp_path) is None
    assert made.seconds == (11.0, 31.0)


def test_an_experiment_that_was_stopped_while_it_was_forecast_begins_anew(tmp_path: Path) -> None:
    def stopped() -> None:
        raise Interrupted(signal.SIGINT)

    with RunFolder(tmp_path) as held:
        with pytest.raises(Interrupted):
            Ledger(held).decide(planned(), stopped, allow_changes=False)
        Ledger(held).decide(planned(), lambda: Forecast(jobs={"a": {}}), allow_changes=False)
    assert read_chain(tmp_path).events[0]["files"].keys() == {FORECAST, PLAN}


COST = JobCost(machine=7200.0, joules=7.2e6, judge=Spent(replies=3, prompt_tokens=2_000_000, completion_tokens=500_000))
PRICED: list[tuple[JobCost, dict[str, Any], str, tuple[str, ...]]] = [
    (COST, {"hour": 1.5}, "3.00", ()),
    (COST, {"hour": 1.5, "currency": "EUR"}, "3.00 EUR", ()),
    (COST, {"kilowatt_hour": 0.3}, "0.60", ()),
    (COST, {"judge_input": 0.5, "judge_output": 2.0}, "2.00", ()),
    (COST, {"judge_output": 2.0}, "1.00", ()),
    (COST, {"hour": 1.5, "kilowatt_hour": 0.3, "currency": "$"}, "3.60 $ (machine 3.00, energy 0.60)", ()),
    (JobCost(machine=1.0), {"hour": 1.5}, "0.00042", ()),
    (
        JobCost(machine=7200.0),
        {"hour": 1.5, "kilowatt_hour": 0.3},
        "3.00",
        ("energy, which this machine does not tell",),
    ),
    (
        JobCost(machine=7200.0, joules=7.2e6, unmetered=True),
        {"kilowatt_hour": 0.3},
        "0.60",
        ("the energy of some processes, such as those that were killed",),
    ),
]


@pytest.mark.parametrize(("cost", "prices", "told", "left_out"), PRICED)
def test_prices_make_money_of_what_was_measured(
    cost: JobCost, prices: dict[str, Any], told: str, left_out: tuple[str, ...]
) -> None:
    found = money(cost, Prices(**prices))
    assert found is not None
    assert (found.told, found.left_out) == (told, left_out)


def test_without_a_price_nothing_is_told() -> None:
    assert money(COST, Prices(currency="EUR")) is None


@pytest.fixture
def joules() -> list[float]:
    return [0.0]


@pytest.fixture
def meter(joules: list[float]) -> Iterator[Meter]:
    made = Meter(Found(counters=(Counter(name="package-0", read=lambda: joules[0]),), unread=()))
    yield made
    made.close()


def spends(folder: Path, meter: Meter, **how: Any) -> Spending:
    own = {"before": 0.0, "joules": 0.0, "budget": Budget(), "prices": Prices(), **how}
    spending = Spending(meter=meter, **own)
    spending.count([folder / "a"])
    return spending


def test_jobs_at_once_share_energy_evenly(tmp_path: Path, meter: Meter, joules: list[float]) -> None:
    spent = spends(tmp_path, meter)
    joules[0] = 5.0  # nobody's
    spent.begin("a")
    joules[0] = 15.0
    spent.begin("b")
    joules[0] = 35.0
    assert spent.end("a").joules == pytest.approx(10.0 + 10.0)
    joules[0] = 40.0
    assert spent.end("b").joules == pytest.approx(10.0 + 5.0)


def test_money_may_end_an_experiment_by_energy(tmp_path: Path, meter: Meter, joules: list[float]) -> None:
    own = {"budget": Budget(money=1.0), "prices": Prices(kilowatt_hour=0.5, currency="EUR")}
    spent = spends(tmp_path, meter, joules=3.6e6, **own)
    spent.begin("b")
    assert spent.over_budget() == ""
    joules[0] = 3.7e6
    assert spent.over_budget() == "the budget of 1 EUR is spent"


def test_a_judges_tokens_are_counted_and_cost(tmp_path: Path, meter: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ReplyCache(tmp_path / "a" / "judge.sqlite")
    cache.put("k", "server model", Reply(text="yes", prompt_tokens=900, completion_tokens=100))
    assert spent_in(cache.path) == Spent(replies=1, prompt_tokens=900, completion_tokens=100)
    cache.close()
    assert spent_in(cache.path) == Spent(replies=1, prompt_tokens=900, completion_tokens=100)
    assert spent_in(tmp_path / "none") == Spent()
    (tmp_path / "broken").write_text("no database")
    assert spent_in(tmp_path / "broken") == Spent()
    spent = spends(tmp_path, meter, budget=Budget(money=0.001), prices=Prices(judge_input=1.0, judge_output=1.0))
    assert spent.over_budget() == "the budget of 0.001 in money is spent"


def test_energy_of_killed_processes_is_not_known() -> None:
    events: list[dict[str, Any]] = [
        {"event": "begun", "job": "a"},
        {"event": "ended", "job": "a", "how": "stopped", "seconds": 3.0, "machine": 3.0},
        {"event": "begun", "job": "a"},
        {"event": "ended", "job": "a", "how": "done", "seconds": 4.0, "machine": 2.0, "joules": 8.0},
    ]
    found = endings(Chain(events=tuple(events), broken=None))["a"]
    assert (found.seconds, found.machine, found.joules, found.unmetered, found.started) == (7.0, 5.0, 8.0, True, 2)
    whole = together([JobCost(joules=2.0), JobCost(), JobCost(joules=8.0, unmetered=True)])
    assert (whole.joules, whole.unmetered) == (10.0, True)


@pytest.mark.parametrize(("long", "starting", "saved"), [(30.0, 6.0, 2 * 30.0 - 6.0), (1.0, 6.0, 2 * 1.0 - 6.0)])
def test_what_sharing_saves_counts_the_starts_it_takes(
    tmp_path: Path, long: float, starting: float, saved: float
) -> None:
    outcome = run(tmp_path, planned())
    cost = JobCost(seconds={"learn": long, "starting": starting})
    outcome = type(outcome)(**{**vars(outcome), "beginnings": (Beginning(place="shared/a", takers=3, cost=cost),)})
    assert saved_seconds(outcome) == pytest.approx(saved)


def test_an_experiment_tells_its_energy_and_its_price(
    tmp_path: Path, joules: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = Counter(name="package-0", read=lambda: joules[0])
    monkeypatch.setattr(conducting, "find_counters", lambda: Found(counters=(counter,), unread=()))

    def works(arm: str, seed: int) -> dict[str, list[float]]:
        joules[0] += 3600.0
        return {"return": [seed + number / 7 for number in range(4)]}

    experiment = Experiment(**{**vars(planned(function=works)), "prices": Prices(kilowatt_hour=100.0, currency="EUR")})
    outcome = run(tmp_path, experiment)
    said = spent(outcome)
    assert "Energy: 9.0 Wh, of package-0." in said
    assert "Cost: 0.90 EUR." in said
    shown = page(outcome)
    assert "<td>3.0 Wh</td><td>0.30 EUR</td>" in shown.replace(' class="short"', "")
    monkeypatch.setattr(conducting, "find_counters", lambda: Found(counters=(), unread=("it counts nothing",)))
    again = run(tmp_path / "again", experiment)
    assert "Energy not known: it counts nothing." in spent(again)
    assert "Not in it: energy, which this machine does not tell." in spent(again)[-1]

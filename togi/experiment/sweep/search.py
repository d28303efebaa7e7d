"""Runs the search of a sweep: trial after trial, until all are made or their share of the budget is spent, and the best
is chosen. It measures no arm.

What is tried follows from the events alone, so a search that was killed goes on as if it had not been.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import tomli_w

from togi.experiment.conductor import HOPELESS, Conductor
from togi.experiment.design import Arm, Experiment
from togi.experiment.held_out_numbers import Reading
from togi.experiment.jobs import ARMS, SHARED, TRIALS, Job, beginnings
from togi.experiment.sweep.next_values import hopeless, needs_optuna, next_values
from togi.experiment.sweep.sweep_design import SEARCHED, Functions, Numbers, Sweep, Trial, Values, best_of
from togi.experiment.sweep.trial_numbers import ON_THE_WAY, looks, value_of, way_of
from togi.experiment.sweep.trials import (
    ASKED,
    CHOSE_NOTHING,
    CHOSEN,
    SEARCHING,
    TOLD,
    Chosen,
    in_words,
    told,
    trials_in,
)
from togi.run import Run
from togi.run_folder.files import write_text
from togi.run_folder.integrity import read_chain


class Search:
    """One process's work on the search of an experiment."""

    def __init__(self, experiment: Experiment, sweep: Sweep, conductor: Conductor) -> None:
        needs_optuna()
        self.experiment, self.sweep, self.conductor = experiment, sweep, conductor
        self.folder, self.ledger = conductor.folder, conductor.ledger.folder
        self.reading = Reading(folder=self.folder, measure=experiment.measure)
        chain = read_chain(self.folder)
        # What failed is tried again, but for values that make no recipe.
        self.trials = {
            trial.number: Trial(number=trial.number, values=trial.values)
            if trial.how in ("failed", "stopped") and self._can_run(trial)
            else trial
            for trial in trials_in(chain)
        }
        self.begun = any(event.get("event") == SEARCHING for event in chain.events)
        self._seen: dict[str, int] = {}
        self._values: dict[str, float] = {}

    def _can_run(self, trial: Trial) -> bool:
        return isinstance(self.sweep.of, Functions) or (self.folder / ARMS / f"{arm_of(trial)}.toml").exists()

    def go(self) -> Chosen | None:
        """Make all trials that are left, and choose; None where no trial has finished."""
        if not self.begun:
            self.ledger.event(SEARCHING, files=self._write(TRIALS, {}))
        why = ""
        while not why and (batch := self._batch()):
            why = self._run(batch)
        best = best_of(self.trials.values())
        if best is None or best.value is None:
            failed = [trial.why for trial in self.trials.values() if trial.why]
            nothing = f"no trial has finished: {failed[-1] if failed else why}"
            self.ledger.event(CHOSE_NOTHING, why=nothing)
            self.conductor.tell(nothing)
            return None
        return self._choose(best, best.value, why)

    def _choose(self, best: Trial, value: float, why: str) -> Chosen:
        """Note the best trial, whose values are an arm from now on, unless an arm has them anyway."""
        made = None if isinstance(self.sweep.of, Functions) else self.sweep.of.arm(best.values)
        alike = next((arm.name for arm in self.experiment.arms if made and _same_run(arm, made)), "")
        chosen = Chosen(trial=best.number, values=best.values, value=value, alike=alike, why=why)
        files = {} if made is None else self._recipe(SEARCHED, made)
        told = {name: text for name, text in (("alike", alike), ("why", why)) if text}
        self.ledger.event(CHOSEN, trial=best.number, values=best.values, value=value, **told, files=files)
        self.conductor.tell(f"trial {best.number} is chosen: {in_words(best.values)} ({value:.3f})")
        return chosen

    def _batch(self) -> list[Trial]:
        """The next trials, as many as may be at work at once: those left open, or new ones."""
        left = [trial for trial in self.trials.values() if trial.how == "begun"]
        while len(left) < self.conductor.together and len(self.trials) < self.sweep.trials:
            values = next_values(self.sweep, list(self.trials.values()))
            if values is None:
                break
            trial = self._ask(Trial(number=len(self.trials), values=values))
            left += [trial] if trial.how == "begun" else []
        return left[: self.conductor.together]

    def _ask(self, trial: Trial) -> Trial:
        """Note what is tried. Values that make no recipe together have failed at once."""
        try:
            files = self._write(arm_of(trial), trial.values)
        except ValueError as error:
            self.ledger.event(ASKED, trial=trial.number, values=trial.values)
            return self._end(replace(trial, how="failed", why=str(error)))
        self.ledger.event(ASKED, trial=trial.number, values=trial.values, files=files)
        self.conductor.tell(f"trial {trial.number} of {self.sweep.trials}: {in_words(trial.values)}")
        self.trials[trial.number] = trial
        return trial

    def _write(self, name: str, values: Values) -> dict[str, str]:
        return {} if isinstance(self.sweep.of, Functions) else self._recipe(name, self.sweep.of.trial(values))

    def _recipe(self, name: str, run: Run) -> dict[str, str]:
        place = f"{ARMS}/{name}.toml"
        return {place: write_text(self.folder / place, tomli_w.dumps(run.recipe))}

    def _run(self, batch: Sequence[Trial]) -> str:
        """Run trials with one seed after another; gives what ended the search."""
        why = ""
        for seed in self.sweep.seeds:
            going = {self._job(trial, seed).name: trial for trial in batch if self._goes_on(trial)}
            if why or not going:
                break
            self.conductor.take_up([job for trial in going.values() for job in self._jobs(trial, seed)])
            why = self.conductor.run(
                partial(self._asked, going), share=self.sweep.share, hopeless=partial(self._shows_hopeless, going)
            )
        for trial in batch:
            self._end(self._ended(trial, why))
        return why

    def _jobs(self, trial: Trial, seed: int) -> list[Job]:
        """The job of a trial with a seed, after the one whose beginning all trials share."""
        job = self._job(trial, seed)
        if job.after is None:
            return [job]
        return [Job(name=job.after, arm=TRIALS, seed=seed, stages=job.taken), job]

    def _job(self, trial: Trial, seed: int) -> Job:
        name, arm, shared = f"{TRIALS}/{trial.number:03d}-{seed}", arm_of(trial), self.sweep.shared
        after = None if shared is None else f"{SHARED}/{TRIALS}-{seed}"
        return Job(name=name, arm=arm, seed=seed, stages=self.sweep.stages, after=after, taken=shared or 0)

    def _asked(self, going: Mapping[str, Trial], job: Job) -> Numbers:
        """What a function gives of a trial, as far as it is not hopeless."""
        assert isinstance(self.sweep.of, Functions)
        given = self.sweep.of.trial(going[job.name].values, job.seed)
        if not isinstance(given, Iterable):
            return {self.experiment.measure: _finite(given)}
        way: list[float] = []
        for number in given:
            way.append(_finite(number))
            if self._is_hopeless(self._points(going[job.name], way)):
                return {self.experiment.measure: way[-1], ON_THE_WAY: way}
        if not way:
            raise ValueError("the function yielded no number, and the last one is what counts")
        return {self.experiment.measure: way[-1], ON_THE_WAY: way[:-1]}

    def _shows_hopeless(self, going: Mapping[str, Trial], job: Job) -> bool:
        """Whether a run at work has measured anew, and is hopeless by it."""
        seen = len(looks(self.folder / job.name)) if self.sweep.stop_hopeless else 0
        if job.name not in going or seen == self._seen.get(job.name, 0):
            return False
        self._seen[job.name] = seen
        return self._is_hopeless(self._points(going[job.name]))

    def _goes_on(self, trial: Trial) -> bool:
        return not self._failure(trial) and not self._is_hopeless(self._points(trial))

    def _is_hopeless(self, points: Sequence[float]) -> bool:
        ended = [trial for trial in self.trials.values() if trial.how != "begun"]
        return self.sweep.stop_hopeless and bool(points) and hopeless(self.sweep, ended, points)

    def _points(self, trial: Trial, way: Sequence[float] | None = None) -> list[float]:
        """What a trial has shown so far, in order, each time as the mean with the seeds before; ``way`` is that of the
        seed at work, else it is read."""
        points: list[float] = []
        values: list[float] = []
        for seed in self.sweep.seeds:
            job = self._job(trial, seed).name
            done = job in self.conductor.done
            own = way_of(self.reading, job) if done or way is None else way
            points += [(sum(values) + number) / (len(values) + 1) for number in own]
            if not done:
                break
            values.append(self._value(job))
            points.append(sum(values) / len(values))
        return points

    def _value(self, job: str) -> float:
        if job not in self._values:
            self._values[job] = value_of(self.reading, job)
        return self._values[job]

    def _failure(self, trial: Trial) -> str:
        """Why a trial has no number and will have none; empty where nothing has failed."""
        for seed in self.sweep.seeds:
            job = self._job(trial, seed).name
            if job in self.conductor.failed:
                return self.conductor.failed[job]
            if job in self.conductor.done:
                try:
                    self._value(job)
                except ValueError as error:
                    return str(error)
        return ""

    def _ended(self, trial: Trial, why: str) -> Trial:
        """The trial as it stands when its runs have ended."""
        if failed := self._failure(trial):
            return replace(trial, how="failed", why=failed)
        points = tuple(self._points(trial))
        if self._is_hopeless(points):
            return replace(trial, how="hopeless", points=points, why=HOPELESS)
        if all(self._job(trial, seed).name in self.conductor.done for seed in self.sweep.seeds):
            return replace(trial, how="done", points=points[:-1], value=points[-1])
        return replace(trial, how="stopped", points=points, why=why)

    def _end(self, trial: Trial) -> Trial:
        self.ledger.event(TOLD, **told(trial))
        self.trials[trial.number] = trial
        shown = f"{trial.value:.3f}" if trial.value is not None else f"{trial.how}: {trial.why}"
        self.conductor.tell(f"trial {trial.number}: {shown}")
        return trial


def _finite(number: float) -> float:
    if not math.isfinite(number := float(number)):
        raise ValueError(f"the function gave {number}, and a trial's number is finite")
    return number


def arm_of(trial: Trial) -> str:
    """What its recipe is called."""
    return f"trial-{trial.number:03d}"


def _same_run(arm: Arm, made: Run) -> bool:
    """Whether an arm is the same run as another would be."""
    whole = arm.run is not None and arm.stages is None and arm.taken == "every" and not arm.control
    return whole and list(beginnings(arm.run))[-1] == list(beginnings(made))[-1] if arm.run else False


def with_chosen(experiment: Experiment, chosen: Chosen | None) -> Experiment:
    """The experiment with what its search chose as an arm; as it is where there is no search, or an arm has that
    anyway."""
    sweep = experiment.sweep
    if sweep is None or chosen is None or chosen.alike:
        return experiment
    of, values, function = sweep.of, chosen.values, experiment.function
    made = None if isinstance(of, Functions) else of.arm(values)

    def either(arm: str, seed: int) -> Numbers:
        assert isinstance(of, Functions)
        assert function is not None
        return of.arm(values, seed) if arm == SEARCHED else function(arm, seed)

    arms = (*experiment.arms, Arm(name=SEARCHED, run=made, about=chosen.about))
    return replace(experiment, arms=arms, sweep=None, function=None if function is None else either)

"""Which values a sweep tries next, and which trial is hopeless, by optuna. It keeps nothing: what is known is given
each time, so that the same trials always lead to the same choice, also after a kill."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from togi.experiment.design import ExperimentError
from togi.experiment.sweep.sweep_design import Choice, Space, Span, Sweep, Trial, Values
from togi.extras import lacking
from togi.run_folder.files import digest

# What is of optuna has the type Any: it may not be installed.

DIGITS = 3  # of a number that is tried: more say nothing, and are hard to read
FINISHED = 4  # trials before one can be hopeless
ASKED = 20  # times that a sampler is asked for values that were not tried yet
FEW = 10_000  # different trials that are counted out one by one


def needs_optuna() -> None:
    """Raises ExperimentError where optuna is not installed."""
    try:
        import optuna
    except ImportError:
        raise ExperimentError(lacking("a sweep", "sweep")) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def next_values(sweep: Sweep, trials: Sequence[Trial]) -> Values | None:
    """Values that were not tried yet; None when all were. The recipe's own come first, where they lie within."""
    if not trials and sweep.usual is not None and all(sweep.usual[key] in sweep.keys[key] for key in sweep.keys):
        return sweep.usual
    tried = [trial.values for trial in trials]
    for again in range(ASKED):
        found = _asked(sweep, trials, again)
        if found not in tried:
            return found
    if sweep.size > FEW:
        return None
    every = itertools.product(*(_every(space) for space in sweep.keys.values()))
    left = (dict(zip(sweep.keys, values, strict=True)) for values in every)
    return next((values for values in left if values not in tried), None)


def _every(space: Space) -> Sequence[Any]:
    return space.values if isinstance(space, Choice) else range(int(space.low), int(space.high) + 1)


def _asked(sweep: Sweep, trials: Sequence[Trial], again: int) -> dict[str, Any]:
    """What optuna's sampler proposes. Its dice are thrown anew for each trial."""
    from optuna.samplers import BaseSampler, RandomSampler, TPESampler

    dice = int(digest([sweep.seed, len(trials), again])[:8], 16)
    sampler: BaseSampler = RandomSampler(seed=dice)
    if sweep.sampler == "tpe":
        sampler = TPESampler(seed=dice, n_startup_trials=max(FINISHED, sweep.trials // 3))
    asked = _study(sweep, trials, sampler).ask({key: _distribution(space) for key, space in sweep.keys.items()})
    return {key: _value(space, asked.params[key]) for key, space in sweep.keys.items()}


def hopeless(sweep: Sweep, trials: Sequence[Trial], points: Sequence[float]) -> bool:
    """Whether a trial was ever below the median of the finished ones at the same point."""
    from optuna.trial import TrialState, create_trial

    for end in range(1, len(points) + 1):
        own = create_trial(state=TrialState.RUNNING, intermediate_values=dict(enumerate(points[:end])))
        study = _study(sweep, trials, None)
        study.add_trial(own)
        if study.pruner.prune(study, study.get_trials(deepcopy=False)[-1]):
            return True
    return False


def _study(sweep: Sweep, trials: Sequence[Trial], sampler: Any) -> Any:
    from optuna import create_study
    from optuna.pruners import MedianPruner

    study = create_study(direction="maximize", sampler=sampler, pruner=MedianPruner(n_startup_trials=FINISHED))
    study.add_trials([_frozen(sweep, trial) for trial in trials])
    return study


def _frozen(sweep: Sweep, trial: Trial) -> Any:
    from optuna.trial import TrialState, create_trial

    states = {
        "begun": TrialState.RUNNING,
        "done": TrialState.COMPLETE,
        "hopeless": TrialState.PRUNED,
        "failed": TrialState.FAIL,
        "stopped": TrialState.FAIL,
    }
    return create_trial(
        state=states[trial.how],
        value=trial.value if trial.how == "done" else None,
        params={key: _param(space, trial.values[key]) for key, space in sweep.keys.items()},
        distributions={key: _distribution(space) for key, space in sweep.keys.items()},
        intermediate_values=dict(enumerate(trial.points)),
    )


def _distribution(space: Space) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(space, Choice):  # by index: a value may be of any kind
        return CategoricalDistribution(range(len(space.values)))
    if space.whole:
        return IntDistribution(int(space.low), int(space.high), log=space.log)
    return FloatDistribution(space.low, space.high, log=space.log)


def _param(space: Space, value: Any) -> Any:
    return space.values.index(value) if isinstance(space, Choice) else value


def _value(space: Space, param: Any) -> Any:
    """A parameter of optuna's as the value of a key."""
    if isinstance(space, Choice):
        return space.values[param]
    return int(param) if space.whole else _short(space, param)


def _short(space: Span, number: float) -> float:
    return min(max(float(f"{number:.{DIGITS}g}"), space.low), space.high)

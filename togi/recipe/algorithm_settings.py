"""An algorithm with a recipe's settings put in: checked against the algorithm's own fields, named and explained.

It knows dataclasses and their types, no algorithm by name, and no mathematics.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from togi.algorithms import AVERAGES, BASELINES, PARTS, ConstantLength
from togi.protocols import Algorithm
from togi.recipe.errors import did_you_mean, explain, shown
from togi.recipe.key_lines import Key
from togi.recipe.other_trainers import ELSEWHERE
from togi.samplers import PLAIN, Groups

MOST_DRAWN = 10_000


class SettingError(ValueError):
    """A setting that cannot be; ``key`` is its path below the stage."""

    def __init__(self, key: Key, message: str) -> None:
        super().__init__(message)
        self.key = key


def configured(
    algorithm: Algorithm, settings: Mapping[str, Any], *, attempts: int | None, max_tokens: int
) -> Algorithm:
    """The algorithm with its fields replaced. ``attempts`` and the sampler's own fields go to its sampler, those of
    another part, such as the surrogate, to that part. Both may be chosen by their names.

    An average over the most tokens an attempt may have is one over ``max_tokens``, whatever the algorithm's default.

    Raises:
        SettingError: no such field, a value of another type, or a value the algorithm itself refuses.
    """
    kind, begun = _sampler(algorithm, settings.get("sampler"), attempts)
    sampler_fields = dict(begun)
    own, of_sampler, rules = _fields(algorithm), _sampler_fields(kind), _rules(max_tokens)
    changes = {
        name: rules[name][rule]
        for name, rule in settings_of(algorithm).items()
        if name in rules and rules[name][rule] != vars(algorithm)[name]
    }
    parts = _parts(algorithm) | {
        name: _chosen(PARTS[name], name, settings[name]) for name in _parts(algorithm) if name in settings
    }
    of_parts = {name: (part, hint) for part, chosen in parts.items() for name, hint in _hints(type(chosen)).items()}
    part_changes: dict[str, dict[str, Any]] = {part: {} for part in parts}
    for name, value in settings.items():
        if name == "sampler":
            continue
        if name in parts:
            changes[name] = parts[name]
        elif name in of_parts:
            part, hint = of_parts[name]
            part_changes[part][name] = _checked(hint, name, value)
        elif name in own and name in rules:
            changes[name] = _chosen(rules[name], name, value)
        elif name in own:
            changes[name] = _checked(own[name], name, value)
        elif name in of_sampler:
            sampler_fields[name] = _bounded(name, _checked(of_sampler[name], name, value))
        else:
            if with_ := _choices(name, parts):
                raise SettingError(("settings", name), f"goes with {' or '.join(with_)}: set that too, or remove it")
            there = ELSEWHERE.get(name)
            known = [*own, *of_parts, *of_sampler, "sampler"]
            usual = there and (not there.is_setting or there.key in known or bool(_choices(there.key, parts)))
            advice = str(there) if usual else did_you_mean(name, known)
            raise SettingError(("settings", name), f"no such setting of this algorithm; {advice}")
    for part, fields in part_changes.items():
        if fields:
            changes[part] = _replaced(parts[part], fields, ("settings",))
    changes["sampler"] = _made(kind, sampler_fields, ("settings",) if _can_be(kind, begun) else ("attempts",))
    return typing.cast(Algorithm, _replaced(algorithm, changes, ("settings",)))


def _sampler(algorithm: Algorithm, name: Any, attempts: int | None) -> tuple[type[Any], dict[str, Any]]:
    """The class of the sampler that is asked for, and what its fields begin with."""
    sampler, draws = algorithm.sampler, attempts_of(algorithm) is not None
    if attempts is not None and not draws:
        if algorithm.unit != "group" or algorithm.trains != "policy":
            message = "this algorithm learns from recorded answers and samples nothing: remove it"
            raise SettingError(("attempts",), message)
        # What compares recorded answers compares sampled ones as well.
        sampler = Groups(attempts)
    fields = {field: vars(sampler)[field] for field in _hints(type(sampler))}
    if attempts is not None:
        fields["n"] = attempts
    if name is None:
        return type(sampler), fields
    if type(sampler) not in PLAIN.values():
        raise SettingError(("settings", "sampler"), "this algorithm has a way of its own to sample, or none: remove it")
    kind = _chosen(PLAIN, "sampler", name)
    return kind, fields if kind is type(sampler) else {"n": fields["n"]}


def _can_be(kind: type[Any], fields: Mapping[str, Any]) -> bool:
    """Whether there is such a sampler: if there is with these attempts alone, the settings beside them are at fault."""
    try:
        kind(**fields)
    except ValueError:
        return False
    return True


def settings_of(algorithm: Algorithm) -> dict[str, Any]:
    """Every setting with its value as plain data, as a recipe would hold it; what is None is left out."""
    found = {name: _plain(name, vars(algorithm)[name]) for name in _fields(algorithm)}
    for part in _parts(algorithm).values():
        found |= {name: vars(part)[name] for name in _hints(type(part))}
    kind = type(algorithm.sampler)
    found["sampler"] = next((name for name, plain in PLAIN.items() if plain is kind), None)
    found |= {name: vars(algorithm.sampler)[name] for name in _sampler_fields(kind)}
    return {name: value for name, value in found.items() if value is not None}


def attempts_of(algorithm: Algorithm) -> int | None:
    """How many completions the algorithm's sampler draws for a task; None when it draws none."""
    sampler = algorithm.sampler
    return sampler.n if isinstance(sampler, Drawing) else None


@typing.runtime_checkable
class Drawing(typing.Protocol):
    """A sampler that draws ``n`` completions for each task."""

    n: int


def _fields(algorithm: Algorithm) -> dict[str, Any]:
    return {name: hint for name, hint in _hints(type(algorithm)).items() if name != "sampler"}


def _parts(algorithm: Algorithm) -> dict[str, Any]:
    """What the algorithm is made of besides its sampler, by the field that holds it."""
    return {name: vars(algorithm)[name] for name in _fields(algorithm) if name in PARTS}


def _choices(name: str, parts: Mapping[str, Any]) -> list[str]:
    """What has to be chosen for a setting of this name to be there."""
    return [f'{part} = "{word}"' for part in parts for word, each in PARTS[part].items() if name in _hints(type(each))]


def _sampler_fields(kind: type[Any]) -> dict[str, Any]:
    return {name: hint for name, hint in _hints(kind).items() if name != "n"}


def _hints(kind: type[Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.init}


def _rules(max_tokens: int) -> dict[str, dict[str, Callable[..., Any]]]:
    """Fields that hold a function, and the names a recipe gives the functions they may hold."""
    averages: dict[str, Callable[..., Any]] = {name: make(max_tokens) for name, make in AVERAGES.items()}
    return {"average": averages, "baseline": dict(BASELINES)}


def _chosen(named: Mapping[str, Any], name: str, value: Any) -> Any:
    if not isinstance(value, str) or value not in named:
        raise SettingError(("settings", name), f"got {shown(value)}, wanted one of {', '.join(sorted(named))}")
    return named[value]


def _plain(name: str, value: Any) -> Any:
    """A field's value in the words of a recipe."""
    if name in PARTS:
        return next((word for word, part in PARTS[name].items() if type(part) is type(value)), None)
    if not callable(value):
        return value
    # An average over a length is recognised whatever its length: configured() ties the length to the sampling.
    rules = _rules(value.max_length if isinstance(value, ConstantLength) else 1).get(name, {})
    return next((word for word, rule in rules.items() if rule == value), None)


def _checked(hint: Any, name: str, value: Any) -> Any:
    """The value, if it is of the field's type."""
    try:
        return TypeAdapter(hint, config=ConfigDict(strict=True, allow_inf_nan=False)).validate_python(value)
    except ValidationError as error:
        detail = error.errors()[0]
        raise SettingError(("settings", name), explain({**detail, "loc": ("settings", name)})[1]) from None


def _bounded(name: str, value: Any) -> Any:
    """A sampler's whole numbers count what is drawn: rounds, votes, continuations."""
    if isinstance(value, int) and value > MOST_DRAWN:
        raise SettingError(("settings", name), f"got {value}, wanted a number of at most {MOST_DRAWN}")
    return value


def _replaced(instance: Any, changes: Mapping[str, Any], key: Key) -> Any:
    return _made(partial(dataclasses.replace, instance), changes, key)


def _made(make: Callable[..., Any], fields: Mapping[str, Any], key: Key) -> Any:
    try:
        return make(**fields)
    except ValueError as error:
        raise SettingError(key, str(error)) from error

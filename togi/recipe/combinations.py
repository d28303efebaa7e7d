"""Combinations of values that cannot work, each with its fix. It knows the nouns and no algorithm by name.

Every function gives (key path, message) pairs; keys of a stage are relative to the stage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from togi.data.columns import OWN
from togi.protocols import Algorithm
from togi.recipe.algorithm_settings import attempts_of
from togi.recipe.errors import did_you_mean
from togi.recipe.key_lines import Key
from togi.recipe.schema import (
    SOURCES,
    OneSourceTable,
    Recipe,
    SourceTable,
    StageSourceTable,
)
from togi.run import BASE

Problem = tuple[Key, str]


def recipe(recipe: Recipe, names: Sequence[str]) -> Iterator[Problem]:
    """What is wrong between tables, whatever the algorithms are."""
    for name, count in Counter(names).items():
        index = len(names) - 1 - list(reversed(names)).index(name)
        if count > 1:
            yield ("stage", index), f"{count} stages are called {name!r}: give each a name of its own"
        if name == BASE:
            yield ("stage", index, "name"), f"{name!r} is what the untrained model is called: take another name"
    data, evaluation = recipe.data, recipe.evaluation
    yield from source(data.train, ("data", "train"))
    if data.test is not None:
        yield from source(data.test, ("data", "test"))
        if _same(data.train, data.test):
            yield ("data", "test"), "the same tasks as [data.train]: give it another seed, or another file"
    for index, stage in enumerate(recipe.stage):
        if stage.reference_every is not None and recipe.model.lora is not None:
            why = "with adapters the reference is the model under them: remove it, or train without [model.lora]"
            yield ("stage", index, "reference_every"), why
        for name, table in (("data", stage.data), ("mix", stage.mix)):
            if table is not None:
                yield from source(table, ("stage", index, name))
                if data.test is not None and _same(table, data.test):
                    yield ("stage", index, name), "the same tasks as [data.test]: give it another seed, or another file"
    if evaluation is None:
        return
    if data.test is None:
        yield ("evaluation",), "there are no held-out tasks to measure on: add [data.test], or remove [evaluation]"
    if recipe.reward is None and evaluation.reward is None:
        yield ("evaluation",), 'nothing says what is right: add [reward] with score = "..."'
    if evaluation.best is not None and evaluation.every is None:
        yield ("evaluation", "best"), "is chosen from what is measured on the way: add every = 10, or remove it"
    greedy = recipe.sampling.model_copy(update=evaluation.sampling.model_dump(exclude_unset=True)).temperature == 0
    if greedy and evaluation.attempts > 1:
        yield (
            ("evaluation", "attempts"),
            f"at temperature 0 all {evaluation.attempts} attempts are the same: set attempts = 1, or a temperature",
        )


def order(recipe: Recipe, stages: Sequence[tuple[str, Algorithm]]) -> Iterator[Problem]:
    """What stages say of earlier ones: where they start, and whose rollouts they learn from."""
    if len(stages) < len(recipe.stage):
        return
    for index, table in enumerate(recipe.stage):
        writers = ("policy", "verifier")  # what answers with text can learn on
        starts = [BASE, *(name for name, algorithm in stages[:index] if algorithm.trains in writers)]
        if table.start is not None and table.start not in starts:
            yield ("stage", index, "start"), f"no earlier stage trains a policy of that name: {', '.join(starts)}"
        if table.teacher in [name for name, _ in stages] and table.teacher not in starts:
            yield ("stage", index, "teacher"), f"no earlier stage trains a policy of that name: {', '.join(starts[1:])}"
        scorers = [name for name, algorithm in stages[:index] if algorithm.trains == "scorer"]
        if table.critic_start is not None and table.critic_start not in scorers:
            known = ", ".join(scorers) or "there is none"
            yield ("stage", index, "critic_start"), f"no earlier stage of that name trains a reward model: {known}"
        sampled = [name for name, algorithm in stages[:index] if attempts_of(algorithm) is not None]
        named = table.data.rollouts or () if table.data else ()
        if missing := [name for name in named if name not in sampled]:
            known = ", ".join(sampled) or "there is none"
            yield ("stage", index, "data", "rollouts"), f"no earlier stage called {missing[0]} samples: {known}"


def scale(recipe: Recipe) -> Iterator[Problem]:
    """What several processes cannot do."""
    if recipe.scale.engines and recipe.engine.kind == "server":
        yield ("scale", "engines"), "a server that you run is no process of Togi's: remove it, or engine.kind"


def learners(recipe: Recipe, algorithms: Sequence[Algorithm]) -> Iterator[Problem]:
    """What several processes cannot learn together."""
    if recipe.scale.learners == 1:
        return
    key = ("scale", "learners")
    lora = recipe.model.lora
    if lora is not None and lora.base != "full":
        yield ("model", "lora", "base"), 'several learners divide weights of at least 16 bits: set base = "full"'
    if any(algorithm.thinking is not None for algorithm in algorithms):
        yield key, "thinking before every token is learned by one process: remove it"
    if any("mixture" in algorithm.sampler.asks for algorithm in algorithms):
        yield key, "a reference that is sampled from as well is whole in one process only: remove it"


def source(table: OneSourceTable, key: Key) -> Iterator[Problem]:
    """Exactly one source of tasks, and only keys that mean something for it."""
    known = [name for name in SOURCES if name in type(table).model_fields]
    given = [name for name in known if vars(table)[name] is not None]
    if len(given) != 1:
        got = " and ".join(given) or "none of them"
        path = ".".join(map(str, key))
        fix = f"; on the command line replace the whole table: '{path}={{file = \"...\"}}'" if given else ""
        yield key, f"got {got}, wanted one of {', '.join(known)}{fix}"
        return
    used = SOURCES[given[0]]
    if isinstance(table, SourceTable):
        for index, part in enumerate(table.sources or ()):
            yield from source(part, (*key, "sources", index))
            if key == ("data", "test") and "weight" in part.model_fields_set:
                yield (*key, "sources", index, "weight"), "each held-out task is measured as often: remove it"
            elif table.temperature is not None and "weight" in part.model_fields_set:
                yield (
                    (*key, "sources", index, "weight"),
                    "the temperature says how often each is drawn: remove one of them",
                )
        if key == ("data", "test") and table.temperature is not None:
            yield (*key, "temperature"), "each held-out task is measured as often: remove it"
    else:
        used = used | {"weight"}
    for name in sorted(table.model_fields_set - used):
        where = "outside of [[repeat]]" if name == "earlier_rounds" else f"with {given[0]}"
        yield (*key, name), f"means nothing {where}: remove it"
    for name in sorted(table.columns.keys() - set(OWN)):
        yield (*key, "columns", name), f"no column of Togi's has this name; {did_you_mean(name, OWN)}"
    if "size" in used and table.size is None:
        yield (*key, "size"), f"is needed with {given[0]}: how many tasks to make"


def _same(left: SourceTable, right: SourceTable) -> bool:
    """Whether tasks to learn from, left, are those that are measured on."""
    if isinstance(left, StageSourceTable) and left.rollouts is not None:
        return False
    if left.sources is not None or right.sources is not None:
        return any(_same_source(one, other) for one in _parts(left) for other in _parts(right))
    return _same_source(left, right)


def _parts(table: SourceTable) -> Sequence[OneSourceTable]:
    return table.sources or (table,)


def _same_source(left: OneSourceTable, right: OneSourceTable) -> bool:
    keys = ("generate", "reasoning_gym", "file", "hub", "subset", "revision", "config", "seed")
    splits = (left.split or "train") == (right.split or "test") or left.hub is None
    return splits and all(vars(left)[key] == vars(right)[key] for key in keys)

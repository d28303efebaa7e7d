"""What an engine needs of a recipe, and what it cannot do with it, each with its fix. It asks no engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from togi.askers.openai_client import address
from togi.engines.vllm_program import RANKS, refused_options
from togi.protocols import Algorithm
from togi.recipe.combinations import Problem
from togi.recipe.schema import EngineTable, LoraTable, Recipe

_OF_KIND = {
    "vllm": {"python", "options"},
    "tinker": {"base_url", "model", "key_env"},
    "server": {"base_url", "model", "key_env", "adapters"},
}


def unread(recipe: Recipe) -> dict[str, str]:
    """The keys of ``[engine]`` that mean nothing to the engine, by what they are for."""
    kind = recipe.engine.kind
    own = _OF_KIND.get(kind, set())
    found = {name: f'kind = "{other}"' for other, names in _OF_KIND.items() for name in names - own}
    alone = kind == "native" and not recipe.scale.engines
    return found | ({"seconds": "engines in other processes"} if alone else {})


def engine(recipe: Recipe, algorithms: Sequence[Algorithm], base: Path) -> Iterator[Problem]:
    """What an engine needs to know, and how what is learned can reach it."""
    table, lora = recipe.engine, recipe.model.lora
    for name, owner in unread(recipe).items():
        if name in table.model_fields_set:
            yield ("engine", name), f"is for {owner}: remove it, or change engine.kind"
    if lora is not None and lora.base != "full" and table.kind != "native":
        yield ("model", "lora", "base"), 'other programs draw from the base in at least 16 bits: set base = "full"'
    if table.kind == "vllm":
        yield from _vllm(table, lora, base)
    elif table.kind == "server":
        yield from _server(recipe, algorithms)


def _vllm(table: EngineTable, lora: LoraTable | None, base: Path) -> Iterator[Problem]:
    if table.python is None:
        yield (
            ("engine",),
            'python is needed with kind = "vllm": the Python of the environment that has vLLM, python = '
            '"vllm-env/bin/python"',
        )
    elif not (base / Path(table.python).expanduser()).is_file():
        yield ("engine", "python"), f"there is no {base / Path(table.python).expanduser()}"
    for problem in refused_options(table.options):
        yield ("engine", "options"), problem
    if lora is not None and lora.rank > RANKS[-1]:
        yield ("model", "lora", "rank"), f"vLLM takes adapters up to rank {RANKS[-1]}, got {lora.rank}"


def _server(recipe: Recipe, algorithms: Sequence[Algorithm]) -> Iterator[Problem]:
    table = recipe.engine
    for name, example in (("base_url", "http://127.0.0.1:8000/v1"), ("model", recipe.model.source)):
        if vars(table)[name] is None:
            yield ("engine",), f'{name} is needed with kind = "server": {name} = "{example}"'
    if table.base_url is not None:
        try:
            address(table.base_url, table.key_env or "")
        except ValueError as error:
            yield ("engine",), str(error)
    if recipe.model.lora is None and any(algorithm.trains in ("policy", "verifier") for algorithm in algorithms):
        yield (
            ("engine", "kind"),
            "a server that you start gets what is learned as adapters: add [model.lora], or let Togi start vLLM "
            '(kind = "vllm")',
        )

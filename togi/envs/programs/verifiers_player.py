"""Plays episodes of an environment of verifiers, in a process of their own, and opens it as an environment of Togi's.
The model is asked by verifiers' own loop, and its rubric gives the reward.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from togi.envs.programs.endpoint import MODEL
from togi.envs.programs.hosted import hosted
from togi.envs.programs.program_env import ProgramEnv, opened
from togi.envs.read_settings import refuse_odd
from togi.find_function import resolve

if TYPE_CHECKING:
    from togi.envs.programs.host import Play

SETTINGS = ("id", "arguments", "turns")
NEEDED = "verifiers before 0.4: pip install 'verifiers<0.4', into the environment that Togi is in"


def open_player(name: str, arguments: Mapping[str, Any]) -> Play:
    """Called in the process that plays."""
    import verifiers
    from openai import AsyncOpenAI

    if not hasattr(verifiers, "load_environment"):
        raise ValueError(f"verifiers {verifiers.__version__} has no load_environment; wanted is {NEEDED}")
    environment = resolve(name, Path())(**arguments) if ":" in name else verifiers.load_environment(name, **arguments)

    async def play(row: dict[str, Any], base_url: str, api_key: str) -> float:
        asked = {"example_id": 0, "task": "default", "info": {}, **row}
        asked["answer"] = "" if row["answer"] is None else str(row["answer"])
        async with AsyncOpenAI(base_url=base_url, api_key=api_key, max_retries=0) as client:
            played = await environment.run_rollout(asked, client, MODEL, {})
        if played.get("error"):
            raise RuntimeError(f"verifiers: {played['error']}")
        return float(played["reward"])

    return play


def verifiers_env(settings: Mapping[str, Any], base: Path, seconds: float) -> ProgramEnv:
    """Raises ValueError for an environment that is not installed, and settings that it does not take."""
    if find_spec("verifiers") is None or find_spec("openai") is None:
        raise ValueError(f"this environment needs {NEEDED}")
    refuse_odd(settings, SETTINGS, "verifiers'")
    name = settings.get("id")
    if not isinstance(name, str):
        raise ValueError('it needs the environment: settings = { id = "gsm8k" }, or "file.py:load_environment"')
    if ":" not in name and find_spec(module := name.rpartition("/")[2].replace("-", "_")) is None:
        raise ValueError(f'there is no installed environment {module!r}; one of your own is "file.py:load_environment"')
    return opened(hosted(f"{__name__}:open_player", name, settings, base), settings, seconds)

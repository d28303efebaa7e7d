"""Plays samples of a task of inspect_ai, in a process of their own, and opens it as an environment of Togi's. The
task's solver asks the model, and its scorer gives the reward. What only inspect's own run of a task opens is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from togi.envs.programs.endpoint import MODEL
from togi.envs.programs.hosted import hosted
from togi.envs.programs.program_env import ProgramEnv, opened
from togi.envs.read_settings import refuse_odd
from togi.find_function import resolve

if TYPE_CHECKING:
    from togi.envs.programs.host import Play

SETTINGS = ("task", "arguments", "turns")
NEEDED = "inspect_ai: pip install inspect_ai openai, into the environment that Togi is in"


def open_player(name: str, arguments: Mapping[str, Any]) -> Play:
    """Called in the process that plays."""
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser, ModelName, get_model
    from inspect_ai.scorer import Target, value_to_float
    from inspect_ai.solver import TaskState

    task = resolve(name, Path())(**arguments)
    number = value_to_float()
    kinds = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}
    if task.sandbox is not None:
        raise ValueError(f"{name} needs a sandbox of inspect's, which only its own run of a task opens")
    if not task.scorer:
        raise ValueError(f"{name} has no scorer, so nothing says what an answer is worth")

    async def play(row: dict[str, Any], base_url: str, api_key: str) -> float:
        model = get_model(f"openai-api/togi/{MODEL}", base_url=base_url, api_key=api_key, memoize=False)

        async def generate(state: Any, tool_calls: str = "loop", **_: Any) -> Any:
            if tool_calls == "loop":
                said, state.output = await model.generate_loop(state.messages, tools=state.tools)
                state.messages.extend(said)
            else:
                state.output = await model.generate(state.messages, tools=state.tools)
                state.messages.append(state.output.message)
            return state

        target = Target(row["answer"] if isinstance(row["answer"], list) else str(row["answer"]))
        asked = [kinds[message["role"]](content=message["content"]) for message in row["prompt"]]
        state = TaskState(
            model=ModelName(model),
            sample_id=row["id"],
            epoch=1,
            input=row["prompt"][0]["content"] if len(asked) == 1 else asked,
            messages=asked,
            target=target,
            choices=row.get("choices"),
            metadata=row.get("metadata"),
        )
        state = await task.solver(state, generate)
        scores = [await scorer(state, target) for scorer in task.scorer]
        return fmean(number(score.value) for score in scores)

    return play


def inspect_env(settings: Mapping[str, Any], base: Path, seconds: float) -> ProgramEnv:
    """Raises ValueError for a task that is not there, and settings that make no sense."""
    if find_spec("inspect_ai") is None or find_spec("openai") is None:
        raise ValueError(f"this environment needs {NEEDED}")
    refuse_odd(settings, SETTINGS, "inspect's")
    name = settings.get("task")
    if not isinstance(name, str) or ":" not in name:
        raise ValueError('it needs the task: settings = { task = "file.py:task" }, or "module:task"')
    return opened(hosted(f"{__name__}:open_player", name, settings, base), settings, seconds)

"""A reward of Togi's as a rubric of verifiers, and an environment as one of its environments of many turns. verifiers,
as it is before 0.4, is imported when they are made.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from togi.episode_blame import all_of
from togi.lent.rows import attempt_of, env_by_name, messages_of, pay_of_broken, reward_by_name, shown, task_of
from togi.rollout import score as scored
from togi.types import Message

ENV, TASK, SAID, PAID = "togi_env", "togi_task", "togi_said", "togi_paid"  # what an episode keeps in verifiers' state


def verifiers_rubric(score: str, *, base: Path | str = ".") -> Any:
    """A ``verifiers.Rubric`` of one function: what a recipe writes as ``score``, with files relative to ``base``. A
    score that could not be given is raised, which verifiers logs and takes for 0."""
    import verifiers

    reward = reward_by_name(score, Path(base))

    def togi(prompt: Any, completion: Any, answer: Any, info: Any) -> float:
        task = task_of(prompt, answer, info or {})
        ((given,),) = scored(reward, [(task, [attempt_of(completion)])])
        if given.status != "ok":
            raise RuntimeError(f"no score could be given ({given.status}): {given.note}")
        return given.value

    return verifiers.Rubric(funcs=[togi])


def verifiers_environment(
    use: str,
    *,
    settings: Mapping[str, Any] | None = None,
    base: Path | str = ".",
    seconds: float = 60.0,
    memory_mb: int = 1024,
    **more: Any,
) -> Any:
    """A ``verifiers.MultiTurnEnv``: the environment that a recipe's ``[env]`` would name, paid the sum of its turns.
    ``more`` is verifiers' own, such as ``dataset``, ``max_turns`` or a ``rubric`` beside that pay."""
    import verifiers

    make = env_by_name(use, settings or {}, Path(base), seconds, memory_mb)

    def paid(state: Any) -> float:
        return float(state[PAID])

    class TogiEnvironment(verifiers.MultiTurnEnv):  # type: ignore[misc]
        async def setup_state(self, state: Any) -> Any:
            task = task_of(state["prompt"], state.get("answer"), state.get("info") or {})
            state[ENV], state[TASK], state[SAID], state[PAID] = make(task), task, [], 0.0
            try:
                told = state[ENV].start()
            except Exception as problem:
                raise verifiers.Error(f"{type(problem).__name__}: {problem}") from problem
            state["input"]["prompt"] = shown(told)
            return state

        async def env_response(self, messages: Any, state: Any, **_: Any) -> Any:
            last = messages_of(messages[-1:], "messages")[0]
            state[SAID].append((last.content, ()))
            try:
                replies, reward, done = state[ENV].step(Message(role="assistant", content=last.content))
            except Exception as problem:
                said = f"{type(problem).__name__}: {problem}"
                paid = pay_of_broken(make, state[TASK], state[SAID], problem, state[PAID])
                if paid is None:
                    raise verifiers.Error(said) from problem
                state[PAID] = paid
                state["final_env_response"] = shown([Message(role="user", content=f"the environment failed: {said}")])
                return state["final_env_response"]
            state[SAID][-1] = (last.content, all_of(replies))
            state[PAID] += reward
            if done:
                state["final_env_response"] = shown(replies)
            return shown(replies)

        @verifiers.cleanup  # type: ignore[untyped-decorator, unused-ignore]
        async def close_env(self, state: Any) -> None:
            if (env := state.get(ENV)) is not None:
                env.close()

    rubric = verifiers.Rubric(funcs=[paid])
    if "rubric" in more:
        rubric = verifiers.RubricGroup(rubrics=[rubric, more.pop("rubric")])
    return TogiEnvironment(rubric=rubric, **more)

"""The parts of one stage that change as it runs: policy, engine, stream and play. Knows no loop and no log."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from togi.data import TaskStream, stream
from togi.engines.native import NativeEngine
from togi.folder import digest
from togi.models.load import Loaded
from togi.models.policy import LocalPolicy, Reference
from togi.rollout import Episodes
from togi.run import Run, Stage
from togi.text import Chat
from togi.types import Memory, Need


class Workshop:
    """The parts of one stage that change as it runs, from the weights it starts from. Changes ``loaded.model``."""

    def __init__(self, run: Run, number: int, loaded: Loaded, dtype: torch.dtype) -> None:
        stage = run.stages[number]
        updates: frozenset[Need] = frozenset({"old_logp"}) if stage.minibatches > 1 else frozenset()
        self.needs = stage.algorithm.needs | updates
        self.tokenizer = loaded.tokenizer
        self.chat = Chat(loaded.tokenizer, loaded.eos_ids)
        check_lengths(stage, self.chat, loaded.context)
        # With adapters the frozen base is the reference, as long as the stage starts from untrained adapters.
        adapter_base = run.model.lora is not None and number == 0
        reference: Reference = "none" if "ref_logp" not in self.needs else "adapter_base" if adapter_base else "copy"
        self.policy = LocalPolicy(loaded.model, stage.optimiser, compute=dtype, reference=reference)
        self.engine = NativeEngine(loaded.model, loaded.tokenizer, loaded.eos_ids)
        seed = int(digest([run.seed, stage.name])[:15], 16)
        self.stream: TaskStream = stream(stage.tasks, seed)
        self.play = Episodes(
            engine=self.engine,
            chat=self.chat,
            env=stage.env,
            reward=stage.reward,
            sampling=stage.sampling,
            seed=seed,
        )
        self.memory: Memory = {}
        self.mark()

    def mark(self) -> None:
        """Remember the state between two steps: a step cut short has drawn from the stream, but must not count."""
        self.state = {
            "stream": self.stream.state(),
            "memory": dict(self.memory),
            "torch_rng": bytes(torch.get_rng_state().tolist()).hex(),
        }

    def restore(self, path: Path, state: Mapping[str, Any]) -> None:
        self.policy.load(path)
        self.engine.sync(self.policy)
        self.stream.restore(state["stream"])
        self.memory = dict(state["memory"])
        torch.set_rng_state(torch.tensor(list(bytes.fromhex(state["torch_rng"])), dtype=torch.uint8))
        self.mark()


def check_lengths(stage: Stage, chat: Chat, context: int) -> None:
    """Refuse tasks that the model cannot see whole, before a step is spent. Raises ValueError naming the first ones."""
    room = 0 if stage.reward is None else 1
    long = []
    for task in stage.tasks:
        rows = [chat.recorded(task.prompt, answer) for answer in task.recorded] if stage.reward is None else []
        ids = [turns[-1].prompt + turns[-1].completion for turns in rows] or [chat.prompt(task.prompt)]
        if max(map(len, ids)) + room > context:
            long.append(f"{task.id} ({max(map(len, ids))} tokens)")
    if long:
        further = f" and {len(long) - 5} more" if len(long) > 5 else ""
        raise ValueError(
            f"{len(long)} of {len(stage.tasks)} tasks of stage {stage.name} do not fit the model's context of "
            f"{context} tokens: {', '.join(long[:5])}{further}. "
            "Shorten or remove these rows, or choose a model with more room."
        )

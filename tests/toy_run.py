"""A whole run on a tiny model, in the way a user would build one in Python. Also a program: trains to the end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from togi.algorithms import DPO, GRPO, PPO, PRIME, SFT, Collect, ProcessRewardModel, RewardModel
from togi.data import Collected, Tasks
from togi.models.policy import Optimiser
from togi.rewards import process
from togi.rewards.reward_model import reward_model
from togi.run import Evaluation, ModelChoice, Run, Silent, Stage
from togi.samplers import Budgeted, Dynamic, Groups, Order, Replay, StepLabels, Stepwise
from togi.train import train
from togi.types import Message, Sampling, Score, Task, Trajectory

SAMPLING = Sampling(max_tokens=6)
WORDS = ["red", "blue", "green", "black", "white", "brown"]


class SaysIt:
    """Pays the share of letters that the answer and the right word have in common."""

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        texts = [trajectory.turns[-1].text for trajectory in trajectories]
        shares = [len(set(text) & set(task.answer)) / len(set(text) | set(task.answer)) for text in texts]
        return [Score(value=share, parts={"letters": share}) for share in shares]


def tasks(words: Sequence[str]) -> Tasks:
    return Tasks(
        [
            Task(
                id=word,
                prompt=(Message(role="user", content=f"say {word}"),),
                answer=word,
                recorded=((Message(role="assistant", content=word),),),
            )
            for word in words
        ]
    )


def first_stage(*, steps: int, optimiser: Optimiser) -> Stage:
    """SFT on five words; other stages are made from it."""
    return Stage(
        name="sft",
        algorithm=SFT(),
        tasks=tasks(WORDS[:5]),
        reward=None,
        steps=steps,
        tasks_per_step=4,
        sampling=SAMPLING,
        optimiser=optimiser,
    )


def toy_run(folder: Path, model: Path, *, grpo_steps: int = 4) -> Run:
    """Three steps of SFT, then GRPO with dynamic sampling, several updates a step and a reference model."""
    sft = first_stage(steps=3, optimiser=Optimiser(learning_rate=1e-2, schedule="cosine", total_steps=3))
    grpo = replace(
        sft,
        name="grpo",
        algorithm=GRPO(sampler=Dynamic(4), kl=0.01),
        reward=SaysIt(),
        steps=grpo_steps,
        tasks_per_step=3,
        minibatches=2,
        optimiser=Optimiser(learning_rate=3e-3, warmup_steps=2),
    )
    return Run(
        name="toy",
        folder=folder,
        model=ModelChoice(source=str(model), dtype="float32"),
        stages=(sft, grpo),
        evaluation=Evaluation(tasks=tasks(WORDS[5:]), reward=SaysIt(), sampling=SAMPLING, attempts=4),
        seed=3,
        save_every=2,
        recipe={"name": "toy", "steps": {"sft": 3, "grpo": grpo_steps}},
    )


def preference_run(folder: Path, model: Path) -> Run:
    """InstructGPT in small: SFT, answers that are compared, a reward model, PPO against it with a critic, an adaptive
    KL, two epochs and a pretraining mix; then DPO on the same comparisons."""
    sft = first_stage(steps=2, optimiser=Optimiser(learning_rate=1e-2))
    pairs = replace(sft, name="pairs", algorithm=Collect(), reward=SaysIt(), gold=SaysIt())
    compared = replace(sft, collected=Collected(stages=("pairs",)), optimiser=Optimiser(learning_rate=1e-3))
    scorer = replace(compared, name="scorer", algorithm=RewardModel(), tasks_per_step=3, held_out=0.7)
    ppo = replace(
        pairs,
        name="ppo",
        algorithm=PPO(critic="own", kl_target=6.0, ptx=0.5),
        reward=reward_model("scorer"),
        critic_start="scorer",
        steps=3,
        epochs=2,
        minibatches=2,
        mix=tasks(WORDS[:5]),
        mix_per_step=2,
        optimiser=Optimiser(learning_rate=1e-3),
    )
    dpo = replace(compared, name="dpo", algorithm=DPO(), start="sft", steps=3)
    return Run(
        name="preferences",
        folder=folder,
        model=ModelChoice(source=str(model), dtype="float32"),
        stages=(sft, pairs, scorer, ppo, dpo),
        evaluation=Evaluation(tasks=tasks(WORDS[5:]), reward=SaysIt(), sampling=SAMPLING, attempts=4),
        seed=3,
        save_every=1,
        recipe={"name": "preferences"},
    )


def process_run(folder: Path, model: Path) -> Run:
    """Steps in small: SFT, steps labelled by continuing them, a process reward model of those labels, PPO against it,
    and PRIME. A step of a word ends with an "e"."""
    sft = first_stage(steps=2, optimiser=Optimiser(learning_rate=1e-2))
    sampler = StepLabels(n=2, continuations=3, labels="soft", separator="e")
    labels = replace(sft, name="labels", algorithm=Collect(sampler=sampler), reward=SaysIt(), steps=3)
    scorer = replace(
        sft,
        name="scorer",
        algorithm=ProcessRewardModel(sampler=Stepwise("e")),
        collected=Collected(stages=("labels",)),
        held_out=0.7,
        optimiser=Optimiser(learning_rate=1e-3),
    )
    ppo = replace(labels, name="ppo", algorithm=PPO(), reward=process("scorer", separator="e"), steps=2)
    prime = replace(
        labels,
        name="prime",
        algorithm=PRIME(sampler=Groups(2)),
        start="sft",
        minibatches=2,
        optimiser=Optimiser(learning_rate=1e-3, critic_learning_rate=5e-3),
    )
    return Run(
        name="steps",
        folder=folder,
        model=ModelChoice(source=str(model), dtype="float32"),
        stages=(sft, labels, scorer, ppo, prime),
        seed=3,
        save_every=1,
        recipe={"name": "steps"},
    )


def choosing_run(folder: Path, model: Path) -> Run:
    """Which tasks and how many attempts in small: SFT, budgets and replay of the tasks that can be learned from, and a
    curriculum of words by length under dynamic sampling with demonstrations."""
    sft = first_stage(steps=2, optimiser=Optimiser(learning_rate=1e-2))
    budgets = replace(
        sft,
        name="budgets",
        algorithm=GRPO(sampler=Budgeted(4, fewest=2), kl=0.0),
        reward=SaysIt(),
        order=Order(by="learnability"),
        replay=Replay(share=0.5, oldest=4),
        steps=5,
        minibatches=2,
        optimiser=Optimiser(learning_rate=1e-3),
    )
    levels = replace(
        budgets,
        name="levels",
        algorithm=GRPO(sampler=Dynamic(3, max_rounds=2, demonstrations=1), kl=0.0),
        tasks=sft.tasks.changed(lambda task: replace(task, info={"letters": len(task.answer)})),
        order=Order(by="curriculum", level="letters"),
        replay=None,
        steps=4,
    )
    return Run(
        name="choosing",
        folder=folder,
        model=ModelChoice(source=str(model), dtype="float32"),
        stages=(sft, budgets, levels),
        seed=3,
        save_every=1,
        recipe={"name": "choosing"},
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(toy_run(Path(sys.argv[1]), Path(sys.argv[2])), Silent())

"""TRL's side of ``grpo_step.py``, at the settings found fastest on a CPU; does not need Togi to be installed.

bfloat16 autocast without gradient checkpointing; 8 completions at a time when learning, since all 64 at once keep
logits of several gigabytes and are not faster.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from typing import Any

import torch
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer


class Clock(TrainerCallback):  # type: ignore[misc]
    """Notes when optimiser steps end; sampling happens within a step."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.ends.append(time.perf_counter())


def letters(completions: list[list[dict[str, str]]], **columns: Any) -> list[float]:
    return [float(completion[0]["content"].count("e")) for completion in completions]


def main() -> None:
    work = json.load(sys.stdin)
    torch.set_num_threads(work["threads"])
    rows = [{"prompt": [{"role": "user", "content": text}]} for text in work["prompts"]]
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder,
            use_cpu=True,
            bf16=True,
            gradient_checkpointing=False,
            per_device_train_batch_size=work["attempts"],
            gradient_accumulation_steps=len(rows),
            num_generations=work["attempts"],
            max_completion_length=work["new_tokens"],
            generation_kwargs={"min_new_tokens": work["new_tokens"]},
            beta=0.0,
            learning_rate=1e-6,
            max_steps=work["steps"] + 1,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32),
            reward_funcs=letters,
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(sys.argv[1]),
            callbacks=[clock],
        )
        trainer.train()
    lengths = [entry["completions/min_length"] for entry in trainer.state.log_history if "loss" in entry]
    assert set(lengths) == {work["new_tokens"]}, lengths
    result = {
        "seconds": [b - a for a, b in zip(clock.ends, clock.ends[1:], strict=False)],
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "trl": trl.__version__,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

"""TRL's side of ``preference_step.py``, at the settings found fastest on a CPU; does not need Togi to be installed.

bfloat16 autocast without gradient checkpointing, reference log-probabilities computed beforehand, 4 pairs at a time:
all 16 at once keep logits of gigabytes and are not faster.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from typing import Any

import numpy as np
import torch
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer


class Clock(TrainerCallback):  # type: ignore[misc]
    """Notes when optimiser steps begin and end."""

    def __init__(self) -> None:
        self.begin = 0.0
        self.seconds: list[float] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.begin = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.seconds.append(time.perf_counter() - self.begin)


def text(generator: np.random.Generator, words: list[str], tokenizer: Any, count: int) -> str:
    """Words, each one token with its leading space, so that the text has ``count`` tokens."""
    written = "".join(generator.choice(words) for _ in range(count))
    assert len(tokenizer.encode(written)) == count
    return written


def main() -> None:
    work = json.load(sys.stdin)
    torch.set_num_threads(work["threads"])
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    words = [" the", " of", " and", " to", " in", " is", " was", " for", " on", " that", " with", " he", " as", " it"]
    words = [word for word in words if len(tokenizer.encode(word)) == 1]
    generator = np.random.default_rng(0)
    # TRL adds the end token to each answer.
    rows = [
        {
            "prompt": text(generator, words, tokenizer, work["prompt_tokens"]),
            "chosen": text(generator, words, tokenizer, work["answer_tokens"] - 1),
            "rejected": text(generator, words, tokenizer, work["answer_tokens"] - 1),
        }
        for _ in range(work["pairs"])
    ]
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        config = DPOConfig(
            output_dir=folder,
            use_cpu=True,
            bf16=True,
            gradient_checkpointing=False,
            precompute_ref_log_probs=True,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=work["pairs"] // 4,
            learning_rate=1e-6,
            max_steps=work["steps"] + 1,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = DPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32),
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            callbacks=[clock],
        )
        trainer.train()
    result = {
        "dpo": clock.seconds[1:],
        "dpo_peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "trl": trl.__version__,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

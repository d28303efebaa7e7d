"""TRL's side of ``conversation.py``; does not need Togi to be installed. Its environment is a tool, called each turn.

The model writes no calls, so each of its turns is read as one; TRL draws with transformers' ``generate``, computes the
prompt of each turn anew, and answers one call after another. Only that is timed: nothing is learned.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from typing import Any

import torch
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer
from trl.chat_template_utils import qwen2_5_chat_template
from trl.trainer import grpo_trainer


class Played(Exception):
    """All episodes were played."""


def calls(tokenizer: Any, ids: list[int], **more: Any) -> dict[str, Any]:
    """A turn as TRL reads it, with a call."""
    call = {"type": "function", "function": {"name": "look", "arguments": {}}}
    return {"role": "assistant", "content": tokenizer.decode(ids), "tool_calls": [call]}


def main() -> None:
    work = json.load(sys.stdin)
    torch.set_num_threads(work["threads"])

    class Told:
        """Says something new each turn."""

        def reset(self, **row: Any) -> None:
            self.turn = 0

        def look(self) -> str:
            """Looks.

            Returns:
                What is seen.
            """
            self.turn += 1
            said: str = work["replies"][self.turn - 1]
            return said

        def get_reward(self) -> float:
            return float(self.turn)

    grpo_trainer.parse_response = calls
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    tokenizer.chat_template = qwen2_5_chat_template
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder,
            use_cpu=True,
            bf16=True,
            per_device_train_batch_size=work["attempts"] * len(work["prompts"]),
            num_generations=work["attempts"],
            max_completion_length=4096,
            max_tool_calling_iterations=work["turns"] - 1,
            beta=0.0,
            max_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16),
            args=config,
            train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": t}]} for t in work["prompts"]]),
            processing_class=tokenizer,
            environment_factory=Told,
        )
        trainer.generation_config.max_new_tokens = trainer.generation_config.min_new_tokens = work["new_tokens"]
        generate, seconds = trainer._generate, []

        def timed(prompts: list[Any]) -> None:
            start = time.perf_counter()
            masks = generate(prompts)[2]
            seconds.append(time.perf_counter() - start)
            written = [sum(mask) for mask in masks]
            assert set(written) == {work["turns"] * work["new_tokens"]}, written
            raise Played

        trainer._generate = timed
        try:
            trainer.train()
        except Played:
            print(json.dumps({"seconds": seconds, "trl": trl.__version__}))


if __name__ == "__main__":
    main()

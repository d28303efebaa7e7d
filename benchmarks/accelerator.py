"""Checks that sampling and learning are the same on an accelerator, and times GRPO steps there.

Run as ``python benchmarks/accelerator.py [--device cuda] [--out FILE]``. Needs no model and no network: a recipe trains
a model of the shape of SmolLM2-135M with random weights, so that answers mean nothing and only the work is timed.
Checked first, on a small model: greedy tokens equal transformers' own, packed learning equals the padded forward in
float64 (values and gradients), a checkpoint is taken up exactly, and GRPO learns a rule.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from togi.algorithms.policy_gradient.grpo import GRPO
from togi.batch import collate, samples
from togi.engines.native import NativeEngine
from togi.models.packing import PackedModel, padded_outputs
from togi.models.policy import LocalPolicy, Optimiser
from togi.recipe import load_recipe
from togi.run import Silent
from togi.run_folder.files import read_lines
from togi.samplers import Groups
from togi.train import train
from togi.types import Group, Prompt, Sample, Sampling, Score, Task, Trajectory, Turn

EOS, PROMPT = 2, 64
RECIPE = """
name = "step"

[model]
source = "{model}"
dtype = "bfloat16"
device = "{device}"

[data.train]
file = "rows.jsonl"

[reward]
score = "chance(0.5)"

[sampling]
max_tokens = {new_tokens}

[[stage]]
algorithm = "grpo"
settings = {{ kl = 0.0 }}
steps = {steps}
tasks_per_step = {prompts}
attempts = {attempts}
tokens_per_microbatch = {budget}
learning_rate = 1e-6
"""


class Numbers:
    """A decoder that writes token ids, for a model without a tokenizer."""

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        return " ".join(map(str, ids))


def model_of(device: str, *, large: bool, dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    """A random Llama: SmolLM2-135M's shape, or one small enough to check."""
    torch.manual_seed(0)
    shape: dict[str, Any] = (
        {"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30}
        | {"num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 2048}
        if large
        else {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
        | {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3}
    )
    return LlamaForCausalLM(LlamaConfig(tie_word_embeddings=True, **shape)).to(device=device, dtype=dtype).eval()


def prompts_of(count: int, length: int, attempts: int, step: int, vocabulary: int) -> list[Prompt]:
    rng = np.random.default_rng(step)
    return [
        Prompt(
            ids=tuple(rng.integers(3, vocabulary, length).tolist()),
            seeds=tuple(range(attempts * (number + count * step), attempts * (number + count * step + 1))),
        )
        for number in range(count)
    ]


def scored(turns: list[list[Turn]], rewards: list[list[float]]) -> list[Sample]:
    """The samples of one group a prompt."""
    return samples(
        [
            Group(
                task=Task(id=str(number), prompt=()),
                trajectories=tuple(Trajectory(turns=(turn,), stop=turn.stop) for turn in each),
                scores=tuple(Score(value=reward) for reward in given),
            )
            for number, (each, given) in enumerate(zip(turns, rewards, strict=True))
        ]
    )


def check(device: str) -> dict[str, float]:
    """What must hold on every device; raises AssertionError where it does not."""
    found: dict[str, float] = {}
    model = model_of(device, large=False)
    engine = NativeEngine(model, Numbers(), frozenset({EOS}))
    prompts = prompts_of(5, 7, 2, 0, 61)
    for prompt, turns in zip(prompts, engine.generate(prompts, Sampling(max_tokens=20, temperature=0)), strict=True):
        ids = torch.tensor([prompt.ids], device=device)
        own = model.generate(ids, max_new_tokens=20, do_sample=False, eos_token_id=EOS, pad_token_id=0)
        assert all(list(turn.completion) == own[0, ids.shape[1] :].tolist() for turn in turns), "greedy differs"

    turns = engine.generate(prompts, Sampling(max_tokens=20))
    double = model_of(device, large=False, dtype=torch.float64)
    batch = collate(scored(turns, [[0.0, 1.0]] * 5))
    packed = PackedModel(double)
    assert packed.packs, "a plain Llama is not packed"
    ours, theirs = packed(batch).logp_BT, padded_outputs(double, batch).logp_BT
    found["packed_against_padded"] = float((ours - theirs).detach().abs().max())
    both = [torch.autograd.grad(logp.square().sum(), list(double.parameters())) for logp in (ours, theirs)]
    found["gradients"] = max(float((one - other).abs().max()) for one, other in zip(*both, strict=True))
    assert max(found.values()) < 1e-4, found  # log-probabilities are float32

    policy, algorithm = policy_of(model_of(device, large=False)), GRPO(sampler=Groups(8), kl=0.0)
    engine = NativeEngine(policy.model, Numbers(), frozenset())
    shares = []
    for step in range(60):
        turns = engine.generate(prompts_of(4, 5, 8, step, 61), Sampling(max_tokens=6))
        rewards = [[sum(token < 20 for token in turn.completion) / 6 for turn in each] for each in turns]
        shares.append(float(np.mean(rewards)))
        policy.learn(algorithm.credit(scored(turns, rewards), {}), algorithm)
    found["reward_before"], found["reward_after"] = float(np.mean(shares[:5])), float(np.mean(shares[-5:]))
    assert found["reward_after"] > found["reward_before"] + 0.2, found

    with tempfile.TemporaryDirectory() as folder:
        policy.save(Path(folder))
        again = policy_of(model_of(device, large=False))
        again.load(Path(folder))
    assert all(
        one.equal(other) for one, other in zip(policy.model.parameters(), again.model.parameters(), strict=True)
    ), "a checkpoint is not taken up exactly"
    return found


def policy_of(model: LlamaForCausalLM) -> LocalPolicy:
    return LocalPolicy(model, Optimiser(learning_rate=1e-2), compute=torch.float32)


def random_folder(path: Path) -> Path:
    """A random model of SmolLM2-135M's shape as a folder, with a tokenizer of one word a token."""
    words = {"<end>": EOS} | {f"w{number}": number for number in range(49152) if number != EOS}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    template = "{% for message in messages %}{{ message['content'] + ' <end> ' }}{% endfor %}"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", chat_template=template).save_pretrained(path)
    model_of("cpu", large=True).save_pretrained(path)
    return path


def step_times(
    device: str, folder: Path, *, prompts: int, attempts: int, new_tokens: int, budget: int, steps: int
) -> dict[str, Any]:
    """Seconds of a recipe's GRPO steps, in bfloat16 over float32 weights; the first warms up and is not counted. A few
    answers may end early: the rates count the tokens that were really sampled."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    rng = np.random.default_rng(0)
    rows = [" ".join(f"w{word}" for word in rng.integers(3, 49152, PROMPT)) for _ in range(prompts * (steps + 1))]
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "rows.jsonl").write_text("".join(json.dumps({"prompt": row}) + "\n" for row in rows))
        recipe = RECIPE.format(
            model=folder,
            device=device,
            new_tokens=new_tokens,
            steps=steps + 1,
            prompts=prompts,
            attempts=attempts,
            budget=budget,
        )
        (Path(place) / "step.toml").write_text(recipe)
        run = load_recipe(str(Path(place) / "step.toml"), [], folder=Path(place) / "run").run
        train(run, Silent())
        timed = read_lines(Path(place) / "run" / "timings.jsonl")[1:]
        metrics = read_lines(Path(place) / "run" / "metrics.jsonl")[-1]
    assert metrics["skipped_steps"] == 0
    spent = {phase: statistics.median(row["seconds"][phase] for row in timed) for phase in timed[0]["seconds"]}
    tokens = statistics.median(row["tokens"] for row in timed)
    return {
        "work": {"prompts": prompts, "attempts": attempts, "new_tokens": new_tokens, "tokens_per_microbatch": budget},
        "seconds": statistics.median(sum(row["seconds"].values()) for row in timed),
        "seconds_by_phase": spent,
        "sampled_tokens_a_second": tokens / spent["sample"],
        "learned_tokens_a_second": (tokens + prompts * PROMPT) / spent["learn"],
        "peak_gb": max(row["memory_gb"] for row in timed),
        "metrics": metrics,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found = check(given.device)
    print(f"same on {given.device}: {found}", file=sys.stderr, flush=True)
    small = {"prompts": 8, "attempts": 8, "new_tokens": 64, "budget": 1200}
    works = [small]
    if given.device != "cpu":
        works += [small | {"budget": 10_000}, {"prompts": 32, "attempts": 16, "new_tokens": 256, "budget": 40_000}]
    timed = []
    with tempfile.TemporaryDirectory() as place:
        folder = random_folder(Path(place))
        for work in works:
            timed.append(step_times(given.device, folder, steps=given.steps, **work))
            print(json.dumps(timed[-1]), file=sys.stderr, flush=True)
    name = torch.cuda.get_device_name() if given.device.startswith("cuda") else platform.processor()
    result = {"device": name, "torch": torch.__version__, "checked": found, "timed": timed}
    print(json.dumps(result, indent=1))
    if given.out:
        given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Models of many architectures are sampled and learned as transformers computes them, far beyond their windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_text import tiny_folder
from toy_models import TOYS, WINDOW, toy_model
from transformers import PreTrainedModel

from togi.batch import collate
from togi.engines.native import NativeEngine
from togi.engines.open_engine import check_engine
from togi.models.load_model import load_model
from togi.models.packing import PackedModel, padded_outputs
from togi.models.scalar_heads import ScalarHead
from togi.types import Batch, Output, Outputs, Prompt, Sample, Sampling

# Each in another way: windows in all or some layers, soft caps, sinks, experts, latent keys.
TOLD_APART = ("mistral", "qwen2", "gemma2", "gemma3_text", "gpt_oss", "qwen2_moe", "qwen3_moe", "deepseek_v3")
NOT_SAMPLED = ("llama4_text", "stablelm", "gptj", "mamba", "jamba", "lfm2")
PADDED = ("gemma2", "cohere2", "granite", "llama4_text", "gptj", "mamba", "jamba", "lfm2")

EXPERTS = ("gpt_oss", "qwen2_moe", "qwen3_moe", "mixtral", "granitemoe", "deepseek_v3")  # as test_save_model.py holds
DOCS = Path(__file__).parent.parent / "docs" / "models.md"


def test_the_table_says_what_is_held_here() -> None:
    rows = [
        f"| `{kind}` | {'no' if kind in NOT_SAMPLED else 'yes'} | {'padded' if kind in PADDED else 'packed'} | "
        f"{'yes' if kind in EXPERTS else ''} |"
        for kind in TOYS
    ]
    listed = [line for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert listed == rows, "docs/models.md should hold these lines:\n" + "\n".join(rows)


def kinds(*without: str) -> list[object]:
    marks = {kind: () if kind in TOLD_APART else pytest.mark.slow for kind in TOYS}
    return [pytest.param(kind, marks=marks[kind]) for kind in TOYS if kind not in without]


class Numbers:
    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        return " ".join(map(str, token_ids))


def eager(model: PreTrainedModel) -> PreTrainedModel:
    if model._can_set_attn_implementation():
        model.set_attn_implementation("eager")
    return model


@pytest.mark.parametrize("kind", kinds(*NOT_SAMPLED))
def test_what_is_drawn_has_the_probability_that_a_plain_forward_gives_it(kind: str) -> None:
    """Prompts shared by attempts, prompts of their own, longer and shorter than the window."""
    model = eager(toy_model(kind))
    random = np.random.default_rng(1)
    prompts = [
        Prompt(ids=tuple(random.integers(3, 60, length).tolist()), seeds=tuple(range(attempts)))
        for length, attempts in ((9, 3), (3, 1), (20, 2), (14, 1))
    ]
    drawn = NativeEngine(model, Numbers(), frozenset(), batch_size=5).generate(prompts, Sampling(max_tokens=3 * WINDOW))
    for turn in (turn for turns in drawn for turn in turns):
        ids, start = torch.tensor([turn.prompt + turn.completion]), len(turn.prompt)
        with torch.no_grad():
            logp_TV = model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
        wanted = logp_TV[start - 1 : -1].gather(1, ids[0, start:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(turn.logp), wanted, rtol=1e-4, atol=2e-5)


def attempts() -> Batch:
    random = np.random.default_rng(0)
    prompt = random.integers(3, 60, 9).tolist()
    rows = [np.array(prompt + random.integers(3, 60, length).tolist()) for length in (WINDOW + 1, 20, 12)]
    return collate(
        [
            Sample(
                ids=ids, mask=np.arange(len(ids)) >= 9, logp=np.zeros(len(ids), np.float32), reward=0.0, group=0,
                trajectory=number, task="", stop="done",
            )
            for number, ids in enumerate(rows)
        ]
    )  # fmt: skip


def slopes(model: PreTrainedModel, said: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    (said * torch.linspace(-1, 1, said.numel()).view_as(said)).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def same_slopes(model: PreTrainedModel, one: torch.Tensor, other: torch.Tensor) -> None:
    ours, theirs = slopes(model, one), slopes(model, other)
    largest = max(float(slope.abs().max()) for slope in theirs.values())
    assert ours.keys() == theirs.keys()
    for name, slope in theirs.items():
        torch.testing.assert_close(ours[name], slope, rtol=1e-3, atol=1e-5 * largest, msg=name)


@pytest.mark.parametrize("kind", kinds())
def test_what_is_learned_is_the_plain_forwards(kind: str) -> None:
    model, batch = eager(toy_model(kind)), attempts()
    packed = PackedModel(model)
    assert packed.packs == (kind not in PADDED)
    ours, theirs = packed(batch), padded_outputs(model, batch)
    torch.testing.assert_close(ours.logp_BT, theirs.logp_BT, rtol=1e-4, atol=2e-5)
    same_slopes(model, ours.logp_BT, theirs.logp_BT)


@pytest.mark.parametrize("kind", ["gemma2", "gpt_oss"])
def test_soft_caps_and_sinks_are_packed_where_no_logit_is_changed(kind: str) -> None:
    model, batch, asked = eager(toy_model(kind)), attempts(), frozenset[Output]({"value", "score"})
    head = ScalarHead(32)
    torch.nn.init.normal_(head.weight)
    packed = PackedModel(model.get_decoder(), head)
    assert packed.packs

    def value(said: Outputs) -> torch.Tensor:
        assert said.value_BT is not None
        return said.value_BT

    ours, theirs = value(packed(batch, asked)), value(padded_outputs(model, batch, asked, head))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5)
    same_slopes(model, ours, theirs)
    assert kind != "gpt_oss" or float(
        slopes(model, value(packed(batch, asked)))["model.layers.0.self_attn.sinks"].norm()
    )


@pytest.mark.parametrize("kind", NOT_SAMPLED)
def test_what_cannot_be_sampled_is_refused_and_given_back(kind: str) -> None:
    model = toy_model(kind)
    before = model.config._attn_implementation
    with pytest.raises(ValueError, match=r"attention|of its 2 layers"):
        NativeEngine(model, Numbers(), frozenset()).generate([Prompt(ids=(3, 4), seeds=(0, 1))], Sampling(max_tokens=2))
    assert model.config._attn_implementation == before


def test_a_run_that_samples_is_refused_by_the_models_name(tmp_path: Path) -> None:
    tiny_folder(tmp_path / "sound")
    check_engine(load_model(str(tmp_path / "sound")))
    loaded = replace(load_model(str(tmp_path / "sound")), model=toy_model("jamba"))
    with pytest.raises(ValueError, match=r"JambaForCausalLM cannot be sampled: .*take a model whose layers all attend"):
        check_engine(loaded)

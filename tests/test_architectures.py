"""Models of many architectures are sampled and learned as transformers computes them, far beyond their windows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_text import byte_level, tiny_folder
from toy_models import TOYS, WINDOW, toy_model
from transformers import AutoModelForCausalLM, PreTrainedModel

from togi.batch import collate
from togi.engines.native import NativeEngine
from togi.engines.open_engine import check_engine
from togi.models import projection
from togi.models.adapters import add_adapter
from togi.models.load_model import Lora, ModelError, load_model
from togi.models.packing import PackedModel, padded_outputs
from togi.models.save_gguf import refuse_what_is_lost
from togi.models.save_model import save_model
from togi.models.scalar_heads import ScalarHead
from togi.types import Batch, Output, Outputs, Prompt, Sample, Sampling

# Each in another way: windows in all or some layers, soft caps, sinks, experts, latent keys.
TOLD_APART = ("mistral", "qwen2", "gemma2", "gemma3_text", "gpt_oss", "qwen2_moe", "qwen3_moe", "deepseek_v3")
NOT_SAMPLED = ("llama4_text", "stablelm", "gptj", "mamba", "jamba", "lfm2")
PADDED = ("llama4_text", "gptj", "mamba", "jamba", "lfm2")

EXPERTS = ("gpt_oss", "qwen2_moe", "qwen3_moe", "mixtral", "granitemoe", "deepseek_v3", "llama4_text")
NO_ADAPTERS = {"mamba": "no", "jamba": "named layers"}
GGUF = ("llama", "qwen2", "qwen3")
DOCS = Path(__file__).parent.parent / "docs" / "models.md"


def test_the_table_says_what_is_held_here() -> None:
    rows = [
        f"| `{kind}` | {'no' if kind in NOT_SAMPLED else 'yes'} | {'padded' if kind in PADDED else 'packed'} | yes | "
        f"{NO_ADAPTERS.get(kind, 'yes, experts too' if kind in EXPERTS else 'yes')} | "
        f"{'yes' if kind in GGUF else 'no'} |"
        for kind in TOYS
    ]
    listed = [line for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert listed == rows, "docs/models.md should hold these lines:\n" + "\n".join(rows)


# What models do to their logits, so strong that it is seen, and nothing.
CHANGED: dict[str, dict[str, float]] = {
    "gemma2": {"final_logit_softcapping": 2.0}, "granite": {"logits_scaling": 3.0}, "cohere2": {"logit_scale": 0.5}
}  # fmt: skip
UNCHANGED: dict[str, dict[str, float | None]] = {
    "gemma2": {"final_logit_softcapping": None}, "granite": {"logits_scaling": 1.0}, "cohere2": {"logit_scale": 1.0}
}  # fmt: skip


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


def saved(kind: str, path: Path) -> str:
    toy_model(kind, vocab_size=400).save_pretrained(path)
    byte_level().save_pretrained(path)
    return str(path)


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():  # so many tokens that every expert is chosen by some
        said: torch.Tensor = model(input_ids=torch.arange(3, 60)[None], use_cache=False).logits
    return said


@pytest.mark.parametrize("kind", kinds())
def test_what_is_exported_is_loaded_by_transformers(kind: str, tmp_path: Path) -> None:
    loaded = load_model(saved(kind, tmp_path / "base"))
    for parameter in loaded.model.parameters():
        parameter.data += 0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    path = save_model(loaded.model, loaded.tokenizer, tmp_path / "out").path
    torch.testing.assert_close(logits(AutoModelForCausalLM.from_pretrained(path)), logits(loaded.model))


@pytest.mark.parametrize("kind", kinds(*NO_ADAPTERS))
def test_adapters_are_on_all_experts_and_are_merged(kind: str, tmp_path: Path) -> None:
    loaded = load_model(saved(kind, tmp_path / "base"), lora=Lora(rank=2, alpha=4))
    torch.manual_seed(1)
    for name, parameter in loaded.model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.3)
    fused = [
        name for name, parameter in toy_model(kind).named_parameters() if parameter.ndim == 3 and "conv" not in name
    ]
    assert bool(fused) == (kind in EXPERTS)
    wrapped = [module for module in loaded.model.modules() if "ParamWrapper" in type(module).__name__]
    assert {module.parameter_name for module in wrapped} >= {name.rpartition(".")[2] for name in fused}
    path = save_model(loaded.model, loaded.tokenizer, tmp_path / "out", merge=True).path
    merged = logits(AutoModelForCausalLM.from_pretrained(path))
    torch.testing.assert_close(merged, logits(loaded.model), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(merged, logits(toy_model(kind, vocab_size=400)), atol=0.05)


@pytest.mark.parametrize(
    ("kind", "match"),
    [("mamba", "cannot be put on"), ("jamba", r"weights of mamba.dt_proj by itself.* name other layers")],
)
def test_adapters_that_would_do_nothing_are_refused_before_training(kind: str, match: str, tmp_path: Path) -> None:
    source = saved(kind, tmp_path / "base")
    with pytest.raises(ModelError, match=match):
        load_model(source, lora=Lora(rank=2))
    if NO_ADAPTERS[kind] != "no":
        assert load_model(source, lora=Lora(targets=("q_proj", "v_proj")))


def test_a_layer_that_gives_more_than_a_product_can_have_no_adapter() -> None:
    with pytest.raises(ModelError, match="does not compute with adapters as it does without, on the layers chosen"):
        add_adapter(toy_model("llama4_text"), Lora(targets=("router",)), "base")


def test_files_for_llama_cpp_are_written_of_these_alone() -> None:
    """What is in them, tests/test_save_gguf.py reads again."""
    for kind in TOYS:
        plain = {"use_sliding_window": False} if kind in GGUF else {}
        with nullcontext() if kind in GGUF else pytest.raises(ModelError, match="is not one of"):
            refuse_what_is_lost(toy_model(kind, **plain))


@pytest.mark.parametrize("kind", ["gemma2", "granite", "cohere2"])
@pytest.mark.parametrize("chunk", [1 << 26, 5 * 61])
def test_logits_that_are_changed_afterwards_are_packed(kind: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At several temperatures, and with chunks of logits that the backward pass computes again."""
    monkeypatch.setattr(projection, "CHUNK_ELEMENTS", chunk)
    batch = attempts()
    samples = [replace(each, temperature=warm) for each, warm in zip(batch.samples, (0.5, 1.0, 1.7), strict=True)]
    model, batch = eager(toy_model(kind, **CHANGED[kind])), collate(samples)
    asked = frozenset[Output]({"logp", "entropy", "certainty"})
    packed = PackedModel(model, tokens=57)
    assert packed.packs
    ours, theirs = packed(batch, asked), padded_outputs(model, batch, asked, tokens=57)
    for one, other in ((getattr(said, name + "_BT") for said in (ours, theirs)) for name in sorted(asked)):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    both = [said.logp_BT + 0.3 * said.entropy_BT for said in (ours, theirs)]
    same_slopes(model, *both)
    plain = PackedModel(eager(toy_model(kind, **UNCHANGED[kind])))(batch)
    assert not torch.allclose(plain.logp_BT, ours.logp_BT, atol=0.05), "the change matters"


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

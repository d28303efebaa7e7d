"""Adapters on a base in 4 bits: what is computed, learned, saved and merged is the rounded base's."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from test_architectures import attempts
from tiny_text import byte_level, tiny_folder, tiny_gguf
from torch import nn
from toy_models import toy_model
from transformers import AutoModelForCausalLM

from togi.batch import collate
from togi.models import four_bits
from togi.models.load_model import NARROW_BASE, Loaded, Lora, ModelError, load_model
from togi.models.packing import PackedModel, padded_outputs
from togi.models.policy import LocalPolicy, Optimiser
from togi.models.save_model import export, save_model

pytest.importorskip("bitsandbytes")
NARROW = Lora(rank=2, alpha=4, base="nf4")
CPU = torch.device("cpu")
IDS = torch.tensor([[1, 5, 80, 299, 7], [3, 3, 8, 100, 398]])
# The levels of NF4 between -1 and 1, as the paper has them (arXiv:2305.14314, appendix E).
LEVELS = torch.tensor(
    [-1.0, -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734, -0.0910500, 0.0, 0.0795803, 0.1609302,
     0.2461123, 0.3379152, 0.4407098, 0.5626170, 0.7229568, 1.0]
)  # fmt: skip


def rounded(weight: torch.Tensor) -> torch.Tensor:
    """By hand: blocks of 64 in a row's order, each number to the nearest level of the block's largest."""
    flat = nn.functional.pad(weight.flatten(), (0, -weight.numel() % 64)).view(-1, 64)
    scale = flat.abs().amax(1, keepdim=True)
    nearest = (flat[..., None] / scale[..., None] - LEVELS).abs().argmin(-1)
    return (LEVELS[nearest] * scale).flatten()[: weight.numel()].view_as(weight)


@pytest.mark.parametrize("shape", [(32, 48), (48, 32), (64, 64), (33, 31), (5, 3), (130, 192)])
@pytest.mark.parametrize("bias", [False, True])
def test_a_layer_computes_with_its_weight_rounded_by_hand(shape: tuple[int, int], bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(*shape, bias=bias)
    narrow = four_bits.FourBitLinear(plain, CPU)
    plain.weight.data = rounded(plain.weight.data)
    torch.testing.assert_close(narrow.weight, plain.weight, rtol=1e-5, atol=1e-6)
    x, again = (torch.randn(2, 7, shape[0], generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in "12")
    out, wanted = narrow(x), plain(again)
    torch.testing.assert_close(out, wanted, rtol=1e-4, atol=1e-5)
    out.square().sum().backward()
    wanted.square().sum().backward()
    torch.testing.assert_close(x.grad, again.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(narrow.restored()(again), narrow(again), rtol=1e-5, atol=1e-6)
    half = four_bits.FourBitLinear(plain.to(torch.bfloat16), CPU)(x.detach().to(torch.bfloat16))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), wanted.detach(), rtol=0.1, atol=0.05)


def learned(source: Path, compute: torch.dtype = torch.float32) -> Loaded:
    """After two steps on the first tokens of some samples."""
    loaded = load_model(str(source), lora=NARROW)
    policy = LocalPolicy(loaded.model, Optimiser(learning_rate=0.05), compute=compute, reference="adapter_base")
    for _ in range(2):
        policy.learn(attempts().samples, Likely())
    return loaded


class Likely:
    """Makes the samples likelier."""

    unit, needs = "sample", frozenset()

    def forward(self, model: object, batch: object) -> object:
        return model(batch)  # type: ignore[operator]

    def loss(self, out: object, batch: object) -> object:
        from togi.types import Loss

        return Loss(value=-out.logp_BT.mean(), metrics={})  # type: ignore[attr-defined]


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits.float()


def test_only_adapters_are_learned_on_a_base_that_takes_an_eighth(tmp_path: Path) -> None:
    source = tiny_folder(tmp_path / "base")
    plain, loaded = load_model(str(source), lora=Lora(rank=2, alpha=4)), load_model(str(source), lora=NARROW)
    assert loaded.parameters == plain.parameters
    weights, taken = four_bits.packed_weights(loaded.model)
    assert taken == weights * (1 / 2 + 4 / 64)
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    for compute in (torch.float32, torch.bfloat16):
        after = learned(source, compute).model.state_dict()
        moved = {name for name in before if not torch.equal(before[name].float(), after[name].to(compute).float())}
        assert {name for name in moved if "lora_" in name} == {name for name in before if "lora_" in name}
    base = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16).float()
    for name, layer in base.named_modules():
        if isinstance(layer, nn.Linear) and name != "lm_head":
            layer.weight.data = rounded(layer.weight.data)
    with loaded.model.disable_adapter():
        torch.testing.assert_close(logits(loaded.model), logits(base), rtol=1e-4, atol=1e-4)


def test_packed_is_padded_on_a_base_in_4_bits(tmp_path: Path) -> None:
    model = learned(tiny_folder(tmp_path / "base")).model
    packed = PackedModel(model)
    assert packed.packs
    assert packed._lean
    batch = collate(attempts().samples)
    torch.testing.assert_close(packed(batch).logp_BT, padded_outputs(model, batch).logp_BT, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["folder", "gguf"])
def test_what_is_saved_and_merged_is_what_was_learned(kind: str, tmp_path: Path) -> None:
    source = tiny_folder(tmp_path / "base") if kind == "folder" else tiny_gguf(tmp_path / "tiny.gguf")
    loaded = learned(source)
    wanted = logits(loaded.model)
    adapter = save_model(loaded.model, loaded.tokenizer, tmp_path / "adapter").path
    assert json.loads((adapter / NARROW_BASE).read_text()) == {"quant_type": "nf4", "blocksize": 64}
    for again in (load_model(str(adapter), lora=NARROW), load_model(str(adapter))):
        torch.testing.assert_close(logits(again.model), wanted, rtol=1e-5, atol=1e-5)
    with pytest.raises(ModelError, match=r'learned with model.lora.base "nf4", wanted "full"'):
        load_model(str(adapter), lora=Lora(rank=2, alpha=4))
    merged = export(str(adapter), tmp_path / "merged")
    assert merged.difference is not None
    assert merged.difference < 1e-3
    elsewhere = AutoModelForCausalLM.from_pretrained(merged.path, dtype=torch.float32)
    torch.testing.assert_close(logits(elsewhere), wanted, rtol=1e-3, atol=1e-3)
    kept = export(str(adapter), tmp_path / "kept", adapter=True)
    torch.testing.assert_close(logits(load_model(str(kept.path)).model), wanted, rtol=1e-4, atol=1e-4)


def test_adapters_on_some_layers_leave_the_others_in_4_bits_too(tmp_path: Path) -> None:
    source = tiny_folder(tmp_path / "base")
    loaded = load_model(str(source), lora=Lora(targets=("q_proj",), base="nf4"))
    save_model(loaded.model, loaded.tokenizer, tmp_path / "merged", merge=True)
    elsewhere = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    torch.testing.assert_close(logits(elsewhere), logits(loaded.model), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(logits(elsewhere), logits(load_model(str(source)).model), atol=0.05)


@pytest.mark.parametrize("kind", ["qwen3_moe", "mixtral", "gpt2"])
def test_models_with_most_weights_elsewhere_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    toy_model(kind, vocab_size=400).save_pretrained(tmp_path / "base")
    byte_level().save_pretrained(tmp_path / "base")
    with pytest.raises(ModelError, match=r"keeps most of its weights elsewhere .* leave model.lora.base out"):
        load_model(str(tmp_path / "base"), lora=NARROW)


def test_without_the_library_or_its_kernels_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = str(tiny_folder(tmp_path / "base"))

    def lacks(*_: object, **__: object) -> None:
        raise NotImplementedError("no such kernel")

    with monkeypatch.context() as patched:
        patched.setattr(four_bits.bitsandbytes(), "quantize_4bit", lacks)
        with pytest.raises(ModelError, match=r"no kernels for weights of 4 bits on cpu \(no such kernel\)"):
            load_model(source, lora=NARROW)
    four_bits.bitsandbytes.cache_clear()
    monkeypatch.setitem(sys.modules, "bitsandbytes.functional", None)
    with pytest.raises(ModelError, match="a base in 4 bits needs the qlora extra"):
        load_model(source, lora=NARROW)
    four_bits.bitsandbytes.cache_clear()


def test_no_program_is_fetched_while_the_library_is_imported() -> None:
    with four_bits.no_kernels_of_the_hub(), pytest.raises(ModuleNotFoundError):
        import kernels  # type: ignore[import-not-found]  # noqa: F401
    assert "kernels" not in sys.modules

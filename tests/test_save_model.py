"""What is written loads elsewhere with the same logits, bit for bit, and the model in memory stays as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file
from tiny_text import CHATML, byte_level, tiny_folder, tiny_gguf, tiny_llama
from toy_models import toy_model
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from togi.models.load_model import Loaded, Lora, ModelError, load_model
from togi.models.save_model import _difference, export, save_model
from togi.run_folder.files import append_event

IDS = torch.tensor([[1, 5, 80, 299, 7], [3, 3, 8, 100, 398]])


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(before: dict[str, torch.Tensor], model: torch.nn.Module) -> bool:
    after = model.state_dict()
    return before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return tiny_folder(tmp_path / "base", tied=request.param)


def adapted(folder: Path) -> Loaded:
    """A model with an adapter that does something."""
    loaded = load_model(str(folder), lora=Lora(rank=2, alpha=4))
    torch.manual_seed(1)
    for name, parameter in loaded.model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.3)
    return loaded


def test_whole_model(folder: Path, tmp_path: Path) -> None:
    loaded = load_model(str(folder))
    loaded.model.generation_config.eos_token_id = [0, 2]
    with torch.no_grad():
        loaded.model.model.norm.weight += 0.1
    before = weights(loaded.model)
    saved = save_model(loaded.model, loaded.tokenizer, tmp_path / "out")
    assert (saved.path, saved.form, saved.difference) == (tmp_path / "out", "safetensors", None)
    assert same(before, loaded.model)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.equal(logits(again), logits(loaded.model))
    assert again.generation_config.eos_token_id == [0, 2]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.chat_template == CHATML
    assert tokenizer.encode("hello 12 <|im_end|>") == byte_level().encode("hello 12 <|im_end|>")
    assert load_model(str(tmp_path / "out")).eos_ids == {0, 2}
    assert ("lm_head.weight" in load_file(tmp_path / "out" / "model.safetensors")) != again.config.tie_word_embeddings


def test_whole_model_in_bfloat16(folder: Path, tmp_path: Path) -> None:
    loaded = load_model(str(folder))
    save_model(loaded.model, loaded.tokenizer, tmp_path / "out", dtype=torch.bfloat16)
    assert loaded.model.dtype == torch.float32
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert again.dtype == torch.bfloat16
    assert ("lm_head.weight" in load_file(tmp_path / "out" / "model.safetensors")) != again.config.tie_word_embeddings
    assert torch.equal(logits(again), logits(load_model(str(folder), dtype=torch.bfloat16).model))


def test_adapter(folder: Path, tmp_path: Path) -> None:
    loaded = adapted(folder)
    before = weights(loaded.model)
    saved = save_model(loaded.model, loaded.tokenizer, tmp_path / "adapter")
    assert saved.form == "adapter"
    assert same(before, loaded.model)
    assert {path.name for path in saved.path.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
    }
    targets = json.loads((saved.path / "adapter_config.json").read_text())["target_modules"]
    assert targets == sorted(targets)
    base = AutoModelForCausalLM.from_pretrained(folder)
    plain = logits(base)
    elsewhere = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
    assert torch.equal(logits(elsewhere), logits(loaded.model))
    assert not torch.allclose(logits(loaded.model), plain, atol=0.1)

    again = load_model(str(tmp_path / "adapter"), lora=Lora(rank=2, alpha=4))
    assert torch.equal(logits(again.model), logits(loaded.model))
    assert {name for name, p in again.model.named_parameters() if p.requires_grad} == {
        name for name, p in loaded.model.named_parameters() if p.requires_grad
    }
    assert again.digest not in ("", loaded.digest)
    with again.model.disable_adapter():
        assert torch.equal(logits(again.model), plain)


def test_merged(folder: Path, tmp_path: Path) -> None:
    loaded = adapted(folder)
    before = weights(loaded.model)
    saved = save_model(loaded.model, loaded.tokenizer, tmp_path / "merged", merge=True)
    assert saved.form == "merged"
    assert saved.difference is not None
    assert saved.difference < 1e-4
    assert same(before, loaded.model)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(again), logits(loaded.model), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(logits(again), logits(AutoModelForCausalLM.from_pretrained(folder)), atol=0.1)
    half = save_model(loaded.model, loaded.tokenizer, tmp_path / "half", merge=True, dtype=torch.bfloat16)
    assert half.difference is not None
    assert half.difference > saved.difference


# Matrices without an adapter: the vocabulary, and what chooses experts.
ALONE = ("embed_tokens.weight", "lm_head.weight", ".gate.weight", "router.weight", "router.layer.weight", "_bias")


@pytest.mark.parametrize("kind", ["qwen3_moe", "mixtral", "deepseek_v3", "gpt_oss", "qwen2_moe", "granitemoe"])
def test_every_expert_has_its_adapter_and_is_merged(kind: str, tmp_path: Path) -> None:
    toy_model(kind, vocab_size=400).save_pretrained(tmp_path / "base")
    byte_level().save_pretrained(tmp_path / "base")
    loaded = adapted(tmp_path / "base")
    trained = {name: p for name, p in loaded.model.named_parameters() if p.requires_grad}
    ids = torch.arange(3, 60)[None]  # so many that every expert is chosen by some
    loaded.model(input_ids=ids).logits.square().sum().backward()
    assert trained
    assert all(p.grad is not None and p.grad.any() for p in trained.values())
    plain = {name for name, p in toy_model(kind).named_parameters() if p.ndim > 1 and not name.endswith(ALONE)}
    wrapped = (module for module in loaded.model.modules() if hasattr(module, "lora_A"))
    assert sum(len(module.lora_A) for module in wrapped) == len(plain)

    save_model(loaded.model, loaded.tokenizer, tmp_path / "adapter")
    again = load_model(str(tmp_path / "adapter"), lora=Lora(rank=2, alpha=4))
    assert torch.equal(logits(again.model), logits(loaded.model))
    saved = save_model(loaded.model, loaded.tokenizer, tmp_path / "merged", merge=True)
    assert saved.difference is not None
    assert saved.difference < 1e-3
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(plain), logits(loaded.model), rtol=1e-3, atol=1e-3)
    with loaded.model.disable_adapter():
        assert not torch.allclose(logits(plain), logits(loaded.model), atol=0.1)


def test_experts_that_are_named_and_would_go_without_an_adapter_are_refused(tmp_path: Path) -> None:
    toy_model("qwen2_moe", vocab_size=400).save_pretrained(tmp_path / "base")
    byte_level().save_pretrained(tmp_path / "base")
    with pytest.raises(ModelError, match=r"names up_proj, but .* leave model.lora.targets out"):
        load_model(str(tmp_path / "base"), lora=Lora(targets=("up_proj", "q_proj")))
    assert load_model(str(tmp_path / "base"), lora=Lora(targets=("q_proj",)))


def test_merge_that_is_wrong_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="merged weights give logits off by"):
        _difference(tiny_llama(seed=1), byte_level(), tiny_folder(tmp_path / "other"))


def test_a_folder_appears_whole_and_replaces_only_models(tmp_path: Path) -> None:
    model, tokenizer = tiny_llama(), byte_level()
    (tmp_path / f".out.{'0' * 32}").mkdir()
    (tmp_path / ".out.mine").mkdir()
    save_model(model, tokenizer, tmp_path / "out")
    (tmp_path / "out" / "stale").touch()
    save_model(tiny_llama(seed=1), tokenizer, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.mine", "out"]
    assert not (tmp_path / "out" / "stale").exists()
    assert torch.equal(logits(load_model(str(tmp_path / "out")).model), logits(tiny_llama(seed=1)))
    (tmp_path / "notes").mkdir()
    with pytest.raises(ModelError, match="holds no model"):
        save_model(model, tokenizer, tmp_path / "notes")
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="could not be written to"):
        save_model(model, tokenizer, tmp_path / "file" / "out")
    assert (tmp_path / "out" / "model.safetensors").stat().st_mode == (tmp_path / "out" / "config.json").stat().st_mode


def test_export(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "base")
    loaded = adapted(folder)
    source = str(save_model(loaded.model, loaded.tokenizer, tmp_path / "adapter").path)
    with pytest.raises(ModelError, match="has no adapter to keep: export it as a whole"):
        export(str(folder), tmp_path / "b", adapter=True)
    with pytest.raises(ModelError, match="exists already"):
        export(str(folder), Path(source))
    merged = export(source, tmp_path / "merged")
    assert (merged.form, merged.difference is not None) == ("merged", True)
    torch.testing.assert_close(logits(load_model(str(merged.path)).model), logits(loaded.model), rtol=1e-4, atol=1e-4)
    kept = export(source, tmp_path / "kept", adapter=True)
    assert (kept.form, kept.base) == ("adapter", str(folder))
    assert not (kept.path / "base").exists()
    assert torch.equal(logits(load_model(str(kept.path)).model), logits(loaded.model))
    whole = export(str(folder), tmp_path / "whole", dtype=torch.bfloat16)
    assert load_file(whole.path / "model.safetensors")["model.norm.weight"].dtype == torch.bfloat16


ELSEWHERE = """
import sys, torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, ids = sys.argv[1], torch.tensor([[1, 5, 80, 299, 7], [3, 3, 8, 100, 398]])
with torch.no_grad():
    by_peft = AutoPeftModelForCausalLM.from_pretrained(folder)(input_ids=ids).logits
    by_transformers = AutoModelForCausalLM.from_pretrained(folder)(input_ids=ids).logits
assert torch.equal(by_peft, by_transformers)
torch.save({"logits": by_peft}, sys.argv[2])
print(AutoTokenizer.from_pretrained(folder).apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False))
assert "togi" not in sys.modules
"""


@pytest.mark.slow
def test_an_exported_adapter_is_loaded_by_other_tools_alone(tmp_path: Path) -> None:
    """Its base is a GGUF file, which they could not find their way from: the weights are written beside it."""
    loaded = adapted(tiny_gguf(tmp_path / "tiny.gguf"))
    source = save_model(loaded.model, loaded.tokenizer, tmp_path / "adapter").path
    saved = export(str(source), tmp_path / "out", adapter=True)
    assert saved.base == str(tmp_path / "out" / "base")
    seen = tmp_path / "logits.pt"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", ELSEWHERE, str(saved.path), str(seen)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout == loaded.tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) + "\n"
    )
    assert torch.equal(torch.load(seen, weights_only=True)["logits"], logits(loaded.model))
    plain = AutoModelForCausalLM.from_pretrained(saved.path / "base")
    with loaded.model.disable_adapter():
        assert torch.equal(logits(plain), logits(loaded.model)), "the base is without what was trained"
    moved = saved.path.rename(tmp_path / "moved")
    assert torch.equal(logits(load_model(str(moved)).model), logits(loaded.model))


@pytest.mark.parametrize("target", ["embed_tokens", "lm_head"])
def test_adapters_on_one_of_two_tied_matrices_are_refused(target: str, tmp_path: Path) -> None:
    tied = tiny_folder(tmp_path / "tied")
    with pytest.raises(ModelError, match=f"an adapter on {target} would change only one of the two: leave it out"):
        load_model(str(tied), lora=Lora(targets=(target, "q_proj")))
    assert load_model(str(tied), lora=Lora(targets=("q_proj",)))
    loaded = load_model(str(tiny_folder(tmp_path / "untied", tied=False)), lora=Lora(targets=(target, "q_proj")))
    for name, parameter in loaded.model.named_parameters():
        if "lora_B" in name or "embedding_B" in name:
            parameter.data.normal_(0, 0.3)
    source = save_model(loaded.model, loaded.tokenizer, tmp_path / "adapter").path
    assert export(str(source), tmp_path / "merged").difference is not None


def test_the_model_of_the_stage_that_ended_last_is_exported(tmp_path: Path) -> None:
    """As the events tell: copying a run folder may give every file another time."""
    run = tmp_path / "run"
    for seed, name in enumerate(("sft", "grpo")):
        tiny_folder(run / "models" / name, seed=seed)
        append_event(run, "stage_done", name=name)
    os.utime(run / "models" / "grpo", (0, 0))
    assert torch.equal(logits(load_model(str(run)).model), logits(tiny_llama(seed=1)))


def test_contradicting_generation_settings_do_not_stop_saving(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "base")
    settings = {"temperature": 0.6, "do_sample": False, "eos_token_id": 7, "bos_token_id": 0}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    export(str(folder), tmp_path / "out")
    written = GenerationConfig.from_pretrained(tmp_path / "out")
    assert (written.eos_token_id, written.bos_token_id, written.temperature) == ([2, 7], 0, None)


def test_adapters_that_cannot_be_read(tmp_path: Path) -> None:
    loaded = adapted(tiny_folder(tmp_path / "base"))
    adapter = save_model(loaded.model, loaded.tokenizer, tmp_path / "adapter").path
    file = adapter / "adapter_config.json"
    good = json.loads(file.read_text())

    def refused(match: str, **changes: object) -> None:
        file.write_text(json.dumps(good | changes))
        with pytest.raises(ModelError, match=match):
            load_model(str(adapter))
        file.write_text(json.dumps(good))

    with pytest.raises(ModelError, match="rank 2 and alpha 4, wanted rank 8"):
        load_model(str(adapter), lora=Lora(rank=8))
    refused("of type IA3, only LORA", peft_type="IA3")
    refused("lacks base_model_name_or_path", base_model_name_or_path=None)
    refused("is itself an adapter", base_model_name_or_path=str(adapter))
    refused("there is no model 'gone'", base_model_name_or_path="gone")
    refused("adapter .* does not fit its base", r=3)
    file.write_text("{")
    with pytest.raises(ModelError, match="holds no sound JSON"):
        load_model(str(adapter))
    file.write_text(json.dumps(good))
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(ModelError, match="pickled adapters are not read"):
        load_model(str(adapter))


@pytest.mark.model
@pytest.mark.slow
def test_bundled_model_round_trip(smollm2: Loaded, tmp_path: Path) -> None:
    save_model(smollm2.model, smollm2.tokenizer, tmp_path / "out")
    again = load_model(str(tmp_path / "out"))
    assert torch.equal(logits(again.model), logits(smollm2.model))
    assert again.parameters == smollm2.parameters
    assert again.eos_ids == smollm2.eos_ids

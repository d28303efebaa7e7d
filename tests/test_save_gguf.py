"""A GGUF file gives the model again, to transformers and to llama.cpp; what it could not say is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny_text import SPECIALS, byte_level, tiny_folder
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from togi.cli import run_command
from togi.models import save_gguf
from togi.models.gguf_vocabulary import CUTS, vocabulary
from togi.models.load_model import load_model
from togi.models.save_gguf import FILE, Kind, export_gguf
from togi.models.save_model import PROBES
from togi.models.weight_files import ModelError

SIZES: dict[str, Any] = {
    "vocab_size": 448, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.2, "bos_token_id": 0,
    "eos_token_id": 2,
}  # fmt: skip
ROPE = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64}  # fmt: skip
WINDOW = {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}


def folder(path: Path, kind: str, tokenizer: PreTrainedTokenizerFast | None = None, **changes: Any) -> Path:
    torch.manual_seed(1)
    config = AutoConfig.for_model(kind, **{**SIZES, **changes})
    AutoModelForCausalLM.from_config(config).save_pretrained(path)
    (tokenizer or byte_level()).save_pretrained(path)
    return path


def cut_as(name: str) -> PreTrainedTokenizerFast:
    """The tiny vocabulary behind one of the ways to cut text."""
    made = byte_level()
    parts: list[Any] = []
    for rule in CUTS[name]:
        if rule["type"] == "Digits":
            parts.append(pre_tokenizers.Digits(individual_digits=True))
        elif rule["type"] == "Split":
            parts.append(pre_tokenizers.Split(Regex(rule["pattern"]["Regex"]), "isolated"))
        else:
            parts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=rule["use_regex"]))
    made.backend_tokenizer.pre_tokenizer = parts[0] if len(parts) == 1 else pre_tokenizers.Sequence(parts)
    return made


@pytest.mark.parametrize(
    ("kind", "cut", "changes"),
    [
        ("llama", "gpt-2", {}),
        ("llama", "smollm", {"tie_word_embeddings": True}),
        ("llama", "gpt-2", {"attention_bias": True, "rope_parameters": {"rope_type": "default", "rope_theta": 7e4}}),
        ("qwen2", "qwen2", {"tie_word_embeddings": True, "num_key_value_heads": 4}),
        ("qwen2", "qwen2", {"rms_norm_eps": 1e-5}),
        ("qwen3", "qwen2", {"head_dim": 128}),
    ],
)
def test_the_file_gives_the_model_again(kind: str, cut: str, changes: dict[str, Any], tmp_path: Path) -> None:
    source = folder(tmp_path / "model", kind, cut_as(cut), **changes)
    saved = export_gguf(str(source), tmp_path / "out", "float32")
    one, other = load_model(str(source)), load_model(str(saved.path))
    for probe in PROBES:
        ids = torch.tensor([one.tokenizer.encode(probe)])
        torch.testing.assert_close(other.model(ids).logits, one.model(ids).logits)
    assert one.eos_ids == other.eos_ids
    assert one.tokenizer.all_special_tokens == other.tokenizer.all_special_tokens
    assert one.tokenizer.chat_template == other.tokenizer.chat_template


@pytest.mark.parametrize(("kind", "most"), [("float16", 0.3), ("bfloat16", 3.0), ("q8_0", 3.0)])
def test_rounded_weights_stay_near(kind: Kind, most: float, tmp_path: Path) -> None:
    source = folder(tmp_path / "model", "llama")
    whole = export_gguf(str(source), tmp_path / "whole", "float32")
    saved = export_gguf(str(source), tmp_path / "out", kind)
    assert saved.difference is not None
    assert 0 < saved.difference < most
    assert saved.path.stat().st_size < 0.7 * whole.path.stat().st_size


def test_an_adapter_is_merged(tmp_path: Path) -> None:
    source = tiny_folder(tmp_path / "model")
    loaded = load_model(str(source))
    adapted = get_peft_model(loaded.model, LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    adapted.peft_config["default"].base_model_name_or_path = str(source)
    adapted.save_pretrained(tmp_path / "adapter")
    saved = export_gguf(str(tmp_path / "adapter"), tmp_path / "out", "float32")
    assert saved.difference is not None
    assert saved.difference < 1e-3


@pytest.mark.parametrize(
    ("kind", "changes", "told"),
    [
        ("gemma", {"head_dim": 16}, "gemma is not one of llama, qwen2, qwen3"),
        ("mistral", {}, "mistral is not one of"),
        ("mixtral", {"num_local_experts": 2}, "mixtral is not one of"),
        ("qwen2", WINDOW, "a sliding window"),
        ("llama", {"rope_parameters": ROPE}, "positions of the type llama3"),
        ("llama", {"hidden_act": "gelu"}, "the activation gelu"),
        ("llama", {"mlp_bias": True}, "biases in its feed-forward layers"),
    ],
)
def test_what_a_file_could_not_say_is_refused(kind: str, changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    source = folder(tmp_path / "model", kind, **changes)
    with pytest.raises(ModelError, match=told):
        export_gguf(str(source), tmp_path / "out", "float32")
    assert not (tmp_path / "out").exists()


def other_cut(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return tokenizer


def words_only() -> PreTrainedTokenizerFast:
    names = {name: number for number, name in enumerate((*SPECIALS, "a", "b"))}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(names, unk_token="a")), eos_token="b")


@pytest.mark.parametrize(
    ("tokenizer", "told"),
    [(lambda: other_cut(byte_level()), "cuts text in a way that is none of"), (words_only, "no byte-level BPE")],
)
def test_a_tokenizer_that_llama_cpp_would_read_otherwise_is_refused(
    tokenizer: Callable[[], PreTrainedTokenizerFast], told: str
) -> None:
    with pytest.raises(ModelError, match=told):
        vocabulary(tokenizer(), 448)


def skipped(*names: str) -> Callable[[pytest.MonkeyPatch], None]:
    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        for name in names:
            monkeypatch.setattr(f"gguf.GGUFWriter.{name}", lambda *_: None)

    return patch


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (lambda patch: patch.setattr(save_gguf, "_in_pairs", lambda _, tensor, __: tensor), "logits off by"),
        (skipped("add_rope_freq_base"), "base of its positions"),
        (skipped("add_chat_template"), "chat template"),
        (skipped("add_eos_token_id"), "eos_token"),
    ],
)
def test_a_file_that_gives_another_model_is_not_kept(
    break_it: Callable[[pytest.MonkeyPatch], None], told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    changes = {"rope_parameters": {"rope_type": "default", "rope_theta": 7e4}}
    source = folder(tmp_path / "model", "llama", **changes)
    break_it(monkeypatch)
    with pytest.raises(ModelError, match=told):
        export_gguf(str(source), tmp_path / "out", "float32")
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    ("options", "told"),
    [(["--gguf", "--adapter"], "leave out --adapter"), (["--dtype", "q8_0"], "--dtype q8_0 is for --gguf")],
)
def test_options_that_mean_nothing_together(
    options: Sequence[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["export", "smollm2-135m", str(tmp_path / "out"), *options]) == 2
    assert told in capsys.readouterr().err


def served(path: Path) -> Any:
    """llama.cpp itself, from the wheel xllamacpp; it is no dependency of Togi."""
    llama = pytest.importorskip("xllamacpp", reason="llama.cpp is not installed: pip install xllamacpp")
    parameters = llama.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx, parameters.n_parallel, parameters.verbosity = 256, 1, 0
    return llama.Server(parameters)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "cut", "changes"),
    [("llama", "smollm", {"attention_bias": True}), ("qwen2", "qwen2", {}), ("qwen3", "qwen2", {"head_dim": 128})],
)
def test_llama_cpp_draws_the_same_tokens(kind: str, cut: str, changes: dict[str, Any], tmp_path: Path) -> None:
    source = folder(tmp_path / "model", kind, cut_as(cut), **changes)
    server = served(export_gguf(str(source), tmp_path / "out", "float32").path)
    loaded = load_model(str(source))

    for probe in PROBES:
        ids = loaded.tokenizer.encode(probe)
        made = loaded.model.generate(torch.tensor([ids]), max_new_tokens=8, do_sample=False)[0, len(ids) :].tolist()
        asked = {"prompt": probe, "n_predict": 8, "temperature": 0, "top_k": 1, "logprobs": 1}
        found = server.handle_completions(asked)
        assert found["usage"]["prompt_tokens"] == len(ids)
        # llama.cpp lists a token only where characters are whole after it.
        listed, left = [one["id"] for one in found["choices"][0]["logprobs"]["content"]], iter(made)
        assert len(listed) > 1
        assert all(token in left for token in listed)


@pytest.mark.slow
def test_llama_cpp_answers_alike(tmp_path: Path) -> None:
    server = served(export_gguf("smollm2-135m", tmp_path / "out", "float32").path)
    loaded = load_model("smollm2-135m")

    def greedy(ids: list[int]) -> str:
        made = loaded.model.generate(torch.tensor([ids]), max_new_tokens=16, do_sample=False)[0, len(ids) :]
        return str(loaded.tokenizer.decode(made, skip_special_tokens=True))

    asked = {"temperature": 0, "top_k": 1}
    for probe in PROBES:
        found = server.handle_completions({"prompt": probe, "n_predict": 16, **asked})["choices"][0]["text"]
        assert found == greedy(loaded.tokenizer.encode(probe))
    messages = [{"role": "user", "content": "What is 2+2?"}]
    found = server.handle_chat_completions({"messages": messages, "max_tokens": 16, **asked})
    text = loaded.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert found["choices"][0]["message"]["content"] == greedy(loaded.tokenizer.encode(text))


def test_the_file_is_named_by_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tiny_folder(tmp_path / "model")
    assert run_command(["export", str(source), str(tmp_path / "out"), "--gguf", "--dtype", "float16"]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == [FILE]
    assert "logits differ from the model by" in capsys.readouterr().out

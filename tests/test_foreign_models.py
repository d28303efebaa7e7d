"""Models of strangers, refused by arithmetic on what their files claim, before any memory is taken."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from togi.models.model_source import check_source
from togi.models.weight_files import ModelError

CONFIG = {"hidden_size": 4, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 8, "intermediate_size": 6}
SHAPES = {"embed": [8, 4], "layers.0.up": [6, 4], "layers.1.up": [6, 4], "norm": [4]}


def write_weights(path: Path, changes: dict[str, Any] | None = None) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, shape in SHAPES.items():
        size = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    header["embed"] |= changes or {}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(at))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_weights(tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


def test_a_sound_model_is_not_refused(folder: Path) -> None:
    check_source(str(folder))
    check_source("smollm2-135m")
    check_source("org/name")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_hidden_layers", 10**6), ("num_hidden_layers", 0), ("num_hidden_layers", -1), ("hidden_size", 10**9),
        ("hidden_size", "4"), ("hidden_size", 4.5), ("hidden_size", True), ("vocab_size", 10**12),
        ("vocab_size", 10**400),
        ("intermediate_size", 10**7), ("num_attention_heads", 10**6), ("num_attention_heads", 0), ("head_dim", 10**6),
        ("num_key_value_heads", -8), ("max_position_embeddings", 0), ("max_position_embeddings", 2**40),
        ("text_config", {"hidden_size": 10**9, "vocab_size": 10**9}), ("n_layer", 10**9),
    ],
)  # fmt: skip
def test_absurd_configurations_are_refused(name: str, value: Any, folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(CONFIG | {name: value}))
    with pytest.raises(ModelError, match=r"config\.json.*(mismatch|no sound size)") as error:
        check_source(str(folder))
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, "1" * 10_000, '{"a": ' * 5000, "\ud800"])
def test_what_is_no_configuration_is_refused(text: str, folder: Path) -> None:
    (folder / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ModelError, match=r"config\.json"):
        check_source(str(folder))


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [10**9, 10**9]}, {"shape": [-8, -4]}, {"shape": [8, 5]}, {"shape": "84"}, {"shape": [8.0, 4]},
        {"shape": [2**62, 2**62]}, {"shape": [1] * 100}, {"data_offsets": [0, 10**15]}, {"data_offsets": [128, 0]},
        {"data_offsets": [-128, 0]}, {"data_offsets": None}, {"data_offsets": [0]}, {"shape": [True, 32]},
    ],
    ids=range(13),
)  # fmt: skip
def test_shapes_that_do_not_fit_the_file_are_refused(changes: dict[str, Any], folder: Path) -> None:
    write_weights(folder / "model.safetensors", changes)
    with pytest.raises(ModelError, match="damaged"):
        check_source(str(folder))


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 8, b"\xff" * 8, b"\xff" * 64, (2**40).to_bytes(8, "little") + b"{}", b"\x04\0\0\0\0\0\0\0{{{{"],
)
def test_headers_that_are_none_are_refused(content: bytes, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"damaged|no sound JSON"):
        check_source(str(folder))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", {"added_tokens": [{"id": n} for n in range(30_000)]}),
        ("tokenizer_config.json", {"added_tokens_decoder": {str(n): {} for n in range(30_000)}}),
        ("added_tokens.json", {f"<{n}>": n for n in range(30_000)}),
    ],
    ids=range(3),
)
def test_tokens_without_number_are_refused(name: str, content: Any, folder: Path) -> None:
    (folder / name).write_text(json.dumps(content))
    with pytest.raises(ModelError, match="adds 30,000 tokens"):
        check_source(str(folder))


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def setting(name: str, value: int) -> bytes:
    return text(name) + struct.pack("<II", 4, value)


def tensor(name: str, shape: list[int], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


WIDTH, LAYERS = setting("llama.embedding_length", 4), setting("llama.block_count", 1)
KIND = text("general.architecture") + struct.pack("<I", 8) + text("llama")
EMBED = tensor("token_embd.weight", [4, 8])


def gguf(
    settings: list[bytes], tensors: list[bytes], *, version: int = 3, counts: tuple[int, int] | None = None
) -> bytes:
    start = b"GGUF" + struct.pack("<IQQ", version, *(counts or (len(tensors), len(settings))))
    header = start + b"".join([*settings, *tensors])
    return header + bytes(-len(header) % 32 + 128)


GGUF_FAULTS = [
    (gguf([KIND, WIDTH, LAYERS], [EMBED], counts=(2**60, 3)), "1,152,921,504,606,846,976 tensors, at most 100,000"),
    (gguf([KIND, WIDTH, LAYERS], [EMBED], counts=(1, 2**60)), "settings, at most 10,000"),
    (gguf([KIND, WIDTH, LAYERS], [EMBED], version=1), "version 1"),
    (gguf([KIND, WIDTH, LAYERS], [EMBED])[:30], "cut"),
    (gguf([KIND, WIDTH, LAYERS], [EMBED])[:80], "cut"),
    (gguf([KIND, WIDTH, LAYERS], [EMBED])[:-8], "do not fit the file"),
    (b"GGUF", "cut"),
    (gguf([text("a") + struct.pack("<IIQ", 9, 4, 2**50)], [EMBED]), "more items in lists, at most 2,000,000"),
    (gguf([text("a") + struct.pack("<IIQ", 9, 8, 10**6)], [EMBED]), "cut"),
    (gguf([text("a") + struct.pack("<IIQ", 9, 9, 1)], [EMBED]), "a list of lists"),
    (gguf([text("a") + struct.pack("<IQ", 8, 2**63)], [EMBED]), "cut"),
    (gguf([struct.pack("<Q", 2**40)], [EMBED]), "a name of 1,099,511,627,776 bytes"),
    (gguf([setting("", 1)], [EMBED]), "a name is empty"),
    (gguf([WIDTH, WIDTH], [EMBED]), "stands twice"),
    (gguf([text("a") + struct.pack("<I", 77)], [EMBED]), "unknown type 77"),
    (gguf([setting("general.alignment", 0)], [EMBED]), "general.alignment"),
    (gguf([setting("general.alignment", 2**31)], [EMBED]), "general.alignment"),
    (gguf([KIND], [tensor("a", [2**62, 2**62])]), "do not fit the file"),
    (gguf([KIND], [tensor("a", [1] * 9)]), "9 axes"),
    (gguf([KIND], [tensor("a", [4], kind=999)]), "unknown type 999"),
    (gguf([KIND], [tensor("a", [4], offset=2**60)]), "do not fit the file"),
    (gguf([KIND, setting("llama.block_count", 10**9)], [EMBED]), "1,000,000,000 layers"),
    (gguf([KIND, WIDTH, setting("llama.vocab_size", 10**9)], [EMBED]), "vocab_size 1,000,000,000 times"),
    (gguf([KIND, WIDTH, setting("llama.attention.head_count", 10**9)], [EMBED]), "heads"),
    (gguf([KIND, setting("llama.embedding_length", 0)], [EMBED]), "hidden_size is no sound size"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "expected"), GGUF_FAULTS, ids=range(len(GGUF_FAULTS)))
def test_gguf_files_that_claim_too_much_are_refused(content: bytes, expected: str, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=expected) as error:
        check_source(str(tmp_path / "m.gguf"))
    assert len(str(error.value)) < 400


def test_a_sound_gguf_file_is_not_refused(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(gguf([KIND, WIDTH, LAYERS], [EMBED]))
    check_source(str(tmp_path / "m.gguf"))


ADAPTER = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "smollm2-135m",
           "target_modules": ["q_proj"]}  # fmt: skip


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    write_weights(tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps(ADAPTER))
    return tmp_path


def test_a_sound_adapter_is_not_refused(adapter: Path) -> None:
    check_source(str(adapter))
    more = {"rank_pattern": {"layers.0.q_proj": 2}, "layers_to_transform": [0, 1], "target_modules": "all-linear"}
    (adapter / "adapter_config.json").write_text(json.dumps(ADAPTER | more))
    check_source(str(adapter))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("r", 10**9, "no sound rank"), ("r", 0, "lacks r"), ("r", -4, "no sound rank"), ("r", 4.0, "no sound rank"),
        ("r", "4", "no sound rank"), ("r", True, "no sound rank"), ("r", 9000, "rank 9,000, but no tensor"),
        ("lora_alpha", -1, "no sound scale"), ("lora_alpha", "8", "no sound scale"),
        ("lora_alpha", float("nan"), "no sound scale"), ("lora_alpha", 1e300, "no sound scale"),
        ("rank_pattern", {"q_proj": 10**9}, "no sound rank"), ("rank_pattern", [1], "rank_pattern is no table"),
        ("rank_pattern", {f"a{n}": 1 for n in range(2000)}, "at most 1,000 names"),
        ("rank_pattern", {"(a+)+$": 4}, "patterns are not read"),
        ("alpha_pattern", {"q_proj": "x"}, "no sound scale"),
        ("target_modules", [f"a{n}" for n in range(10**6)], "at most 1,000 names"),
        ("target_modules", r"(.*a){40}$", "patterns are not read"), ("target_modules", {"a": 1}, "at most 1,000"),
        ("target_modules", ["x" * 10**5], "is no layer's name"), ("target_modules", [None], "is no layer's name"),
        ("exclude_modules", "(a|a)*", "patterns are not read"), ("modules_to_save", [[]], "is no layer's name"),
        ("peft_type", "x" * 10**5, "only LORA is read"), ("peft_type", None, "only LORA is read"),
        ("base_model_name_or_path", 5, "is no text"), ("base_model_name_or_path", "", "lacks base_model_name"),
    ],
    ids=range(27),
)  # fmt: skip
def test_absurd_adapters_are_refused(name: str, value: Any, expected: str, adapter: Path) -> None:
    (adapter / "adapter_config.json").write_text(json.dumps(ADAPTER | {name: value}))
    with pytest.raises(ModelError, match=expected) as error:
        check_source(str(adapter))
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("content", ["", "[]", "null", "{", "[" * 100_000, "\ud800"])
def test_what_is_no_adapter_is_refused(content: str, adapter: Path) -> None:
    (adapter / "adapter_config.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(ModelError, match=r"adapter_config\.json"):
        check_source(str(adapter))


def test_an_adapter_without_its_weights_is_refused(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ModelError, match="no sound header"):
        check_source(str(adapter))
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match="pickled adapters are not read"):
        check_source(str(adapter))

"""Models of strangers, refused by arithmetic on what their files claim, before any memory is taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from togi.models.files import ModelError
from togi.models.source import check_source

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

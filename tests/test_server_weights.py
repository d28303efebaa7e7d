"""Weights on their way to a server: under a name of their own, whole or as an adapter, and as many as are in use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from completions_server import Drawing, drawing
from safetensors.torch import load_file
from tiny_text import tiny_folder

from togi.engines.completions_server import CompletionsServer
from togi.engines.engine_choice import AtServer
from togi.engines.native import NativeEngine
from togi.engines.server_weights import ServerWeights
from togi.file_sha256 import file_sha256
from togi.models.load_model import Loaded, Lora, load_model
from togi.models.weight_files import ModelError
from togi.models.whole_weights import whole_sha256, write_whole
from togi.types import Prompt, Sampling

PROMPT = Prompt(ids=(5, 6, 7), seeds=(1,))
DRAWS = Sampling(max_tokens=6, ignore_eos=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("model") / "tiny")


def moved(loaded: Loaded) -> None:
    with torch.no_grad():
        for weight in loaded.model.parameters():
            if weight.requires_grad:
                weight += torch.linspace(-1, 1, weight.numel()).view_as(weight)


def served(drawn_from: Drawing, url: str, weights: ServerWeights) -> tuple[int, ...]:
    server = CompletionsServer(AtServer(base_url=url, model="base"))
    weights.give(server)
    return server.complete(weights.name, PROMPT.ids, seed=1, limit=6, sampling=DRAWS, ends=()).ids


@pytest.mark.parametrize("lora", [None, Lora(rank=2)])
def test_a_server_draws_from_what_was_written(folder: Path, tmp_path: Path, lora: Lora | None) -> None:
    loaded = load_model(str(folder), lora=lora)
    weights = ServerWeights(base="base", folder=tmp_path, whole=True)
    drawn_from = Drawing(load_model(str(folder)))
    with drawing(drawn_from) as fake:
        for version in range(3):
            moved(loaded)
            assert weights.write(loaded, version)
            [[turn]] = NativeEngine(loaded.model, loaded.tokenizer, frozenset()).generate([PROMPT], DRAWS)
            assert served(drawn_from, fake.url, weights) == turn.completion
            assert weights.name.endswith(f"-{version}")
            assert [path.name for path in tmp_path.iterdir()] == [weights.name]
    assert set(drawn_from.models) - {"base"} == {weights.name}


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_versions_that_are_still_drawn_with_stay(folder: Path, tmp_path: Path, kept: int) -> None:
    loaded = load_model(str(folder), lora=Lora(rank=2))
    weights = ServerWeights(base="base", folder=tmp_path, kept=kept)
    drawn_from = Drawing(load_model(str(folder)))
    with drawing(drawn_from) as fake:
        for version in range(5):
            moved(loaded)
            weights.write(loaded, version)
            weights.give(CompletionsServer(AtServer(base_url=fake.url, model="base")))
    wanted = {str(version) for version in range(4 - kept, 5)}
    assert {name.rpartition("-")[2] for name in set(drawn_from.models) - {"base"}} == wanted
    assert {path.name.rpartition("-")[2] for path in tmp_path.iterdir()} == wanted


def test_a_server_of_the_users_begins_with_the_model_and_takes_nothing_else(folder: Path, tmp_path: Path) -> None:
    loaded, weights = load_model(str(folder)), ServerWeights(base="base", folder=tmp_path)
    assert not weights.write(loaded, 0)
    assert (weights.name, weights.now.file, list(tmp_path.iterdir())) == ("base", None, [])
    with pytest.raises(ValueError, match=r"add \[model.lora\].*engine.kind"):
        weights.write(loaded, 1)


@pytest.mark.parametrize("lora", [None, Lora(rank=2)])
def test_weights_that_did_not_change_keep_their_name_and_file(folder: Path, tmp_path: Path, lora: Lora | None) -> None:
    loaded, weights = load_model(str(folder), lora=lora), ServerWeights(base="base", folder=tmp_path, whole=True)
    assert weights.write(loaded, 1)
    first = weights.now
    assert not weights.write(load_model(str(folder), lora=lora) if lora is None else loaded, 2)
    assert weights.now is first
    assert [path.name for path in tmp_path.iterdir()] == [first.name]
    [weight, *_] = (each for each in loaded.model.parameters() if each.requires_grad)
    with torch.no_grad():
        weight.view(-1)[-1] += 1e-3
    assert weights.write(loaded, 3)
    assert first.name != weights.name


def test_what_servers_begin_with_is_not_written(folder: Path, tmp_path: Path) -> None:
    loaded = load_model(str(folder))
    weights = ServerWeights(base="base", folder=tmp_path, whole=True, checksum=whole_sha256(loaded.model))
    assert not weights.write(loaded, 0)
    assert (weights.name, list(tmp_path.iterdir())) == ("base", [])
    moved(loaded)
    assert weights.write(loaded, 1)


def test_nothing_stays_where_a_file_cannot_be_written(folder: Path, tmp_path: Path) -> None:
    model = load_model(str(folder)).model
    (tmp_path / "taken").write_text("by a file")
    (tmp_path / "model.safetensors").mkdir()
    for place in (tmp_path / "taken", tmp_path):
        with pytest.raises(ModelError, match="could not be written"):
            write_whole(model, place / "model.safetensors")
    assert {path.name for path in tmp_path.iterdir()} == {"taken", "model.safetensors"}


class Odd(torch.nn.Module):
    """Tensors of several types, sizes and shapes, some without a number, some tied, some seen from their other side."""

    def __init__(self) -> None:
        super().__init__()
        wide = torch.nn.Parameter(torch.randn(3, 5))
        self.a, self.b = wide, wide
        self.c = torch.nn.Parameter(torch.randn(4, 7).T)
        self.register_buffer("d", torch.tensor(7))
        self.register_buffer("e", torch.zeros(0, 3))
        self.register_buffer("f", torch.tensor([True, False, True]))
        self.g = torch.nn.Parameter(torch.randn(5).to(torch.bfloat16))
        self.register_buffer("h", torch.randn(2, dtype=torch.float64))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float64])
def test_a_file_of_weights_is_read_by_others_as_it_was(folder: Path, tmp_path: Path, kind: torch.dtype) -> None:
    file = tmp_path / "new" / "model.safetensors"
    for model in (load_model(str(folder)).model.to(kind), Odd()):
        assert write_whole(model, file) == whole_sha256(model) == file_sha256(file)
        written, own = load_file(file), model.state_dict()
        for name, tensor in written.items():
            assert (tensor.dtype, tensor.shape) == (own[name].dtype, own[name].shape)
            assert torch.equal(tensor, own[name])
        assert {tensor.data_ptr() for tensor in own.values()} == {own[name].data_ptr() for name in written}
    assert whole_sha256(model) == whole_sha256(model)
    assert [path.name for path in file.parent.iterdir()] == ["model.safetensors"]


def test_a_type_that_files_do_not_have_is_named(tmp_path: Path) -> None:
    model = torch.nn.Module()
    model.register_buffer("phase", torch.zeros(2, dtype=torch.complex64))
    with pytest.raises(ModelError, match=r"phase holds torch.complex64"):
        write_whole(model, tmp_path / "model.safetensors")


def test_tied_weights_are_written_once(folder: Path, tmp_path: Path) -> None:
    model: Any = load_model(str(folder)).model
    write_whole(model, tmp_path / "model.safetensors")
    written = load_file(tmp_path / "model.safetensors")
    assert sum(tensor.numel() for tensor in written.values()) == sum(tensor.numel() for tensor in model.parameters())

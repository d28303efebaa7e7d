"""Models that a function makes: new weights for each seed of ``init``, told as wrong before torch where they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from togi.experiment.design import seeded
from togi.experiment.jobs import beginnings
from togi.models.load_model import ModelError, load_model
from togi.models.model_source import check_source
from togi.recipe import RecipeError, load_recipe
from togi.run import BASE, ModelChoice, open_model

ROOT = Path(__file__).parent.parent
LITTLE = str(ROOT / "recipes" / "little_model.py:sums")
SUMS = ROOT / "recipes" / "sums.toml"


def test_a_seed_makes_the_same_weights_and_another_seed_others() -> None:
    before = torch.random.get_rng_state()
    one, same, other = (load_model(LITTLE, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert one.digest == same.digest != other.digest
    assert torch.equal(one.model.get_input_embeddings().weight, same.model.get_input_embeddings().weight)


def test_every_character_of_a_sum_is_a_token() -> None:
    loaded = load_model(LITTLE)
    assert loaded.tokenizer.decode(ids := loaded.tokenizer.encode("4+7:4+7=11>11")) == "4+7:4+7=11>11"
    assert len(ids) == 13
    assert loaded.eos_ids == {loaded.tokenizer.eos_token_id}


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("nowhere.py:model", "there is no file"),
        ("own.py:modle", "did you mean"),
        ("broken.py:model", "is not valid Python"),
    ],
)
def test_what_names_no_function_is_told_from_its_text(
    source: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.py").write_text("def model(): ...\n")
    (tmp_path / "broken.py").write_text("def model(: ...\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=told):
        check_source(source)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return None", "gave NoneType, wanted a model and a tokenizer"),
        ("return 'model', 'tokenizer'", "gave str, str, wanted"),
        ("return ()", "gave nothing, wanted"),
        ("raise RuntimeError('no room')", "made no model: RuntimeError: no room"),
    ],
)
def test_what_makes_no_model_is_told(body: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(f"def model():\n    {body}\n")
    with pytest.raises(ModelError, match=told):
        load_model(str(tmp_path / "own.py:model"))


def test_an_adapter_on_new_weights_is_refused() -> None:
    with pytest.raises(RecipeError, match="nothing an adapter could keep"):
        load_recipe(SUMS, ["model.lora.rank=4"])


def test_the_seed_of_init_makes_the_model_of_a_run(tmp_path: Path) -> None:
    run = load_recipe(SUMS, ["seeds.init=5"], folder=tmp_path).run
    assert open_model(run, BASE).digest == load_model(LITTLE, seed=5).digest


@pytest.mark.parametrize(("vary", "shared"), [("init", False), ("order", True)])
def test_other_weights_are_another_beginning(vary: str, shared: bool) -> None:
    run = load_recipe(SUMS).run
    one, other = (next(iter(beginnings(seeded(run, seed, [vary])))) for seed in (1, 2))  # type: ignore[list-item]
    assert (one == other) is shared


def test_a_changed_file_makes_another_beginning(tmp_path: Path) -> None:
    run = load_recipe(SUMS).run
    (tmp_path / "little_model.py").write_text((ROOT / "recipes" / "little_model.py").read_text() + "\n# other\n")
    other = replace(run, model=ModelChoice(source=str(tmp_path / "little_model.py:sums")))
    assert next(iter(beginnings(run))) != next(iter(beginnings(other)))

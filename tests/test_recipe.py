"""Reading recipes: what is refused and how it is said, overrides, origins."""

from __future__ import annotations

from pathlib import Path

import pytest

from togi.recipe.errors import COMMAND_LINE, RecipeError
from togi.recipe.key_lines import lines_of
from togi.recipe.read_toml import Reading, read_recipe, read_text

RECIPE = """\
name = "small"
seed = 3

[model]
source = "smollm2-135m"
lora.rank = 4

[prompt]
system = '''
Think first.
[model]
'''

[data.train]
generate = "tasks.py:adding"
size = 12

[data.test]
generate = "tasks.py:adding"
size = 6
seed = 1

[reward]
score = "number()"

[[stage]]
algorithm = "sft"
steps = 2
learning_rate = 2e-5

[[stage]]
name = "hone"
algorithm = "grpo"
steps = 3
learning_rate = 1e-6
[stage.settings]
clip_high = 0.28
[stage.sampling]
stop = [
  "]",
  "END",
]

[evaluation]
attempts = 2
"""


def read(text: str = RECIPE, *overrides: str) -> Reading:
    return read_text(text, name="small.toml", base=Path(__file__).parent, overrides=overrides)


def refused(text: str = RECIPE, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as error:
        read(text, *overrides)
    return list(error.value.problems)


def test_lines_of_finds_every_key_whatever_spreads_over_lines() -> None:
    lines = lines_of(RECIPE)
    expected = {
        ("name",): "name =",
        ("model",): "[model]",
        ("model", "lora", "rank"): "lora.rank",
        ("prompt", "system"): "system =",
        ("stage", 0, "algorithm"): 'algorithm = "sft"',
        ("stage", 1): None,
        ("stage", 1, "settings"): "[stage.settings]",
        ("stage", 1, "settings", "clip_high"): "clip_high",
        ("stage", 1, "sampling", "stop"): "stop =",
        ("evaluation", "attempts"): "attempts",
    }
    text = RECIPE.split("\n")
    for key, start in expected.items():
        assert text[lines[key] - 1].startswith(start or "[[stage]]"), key
    assert lines[("stage", 1)] > lines[("stage", 0)]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("learning_rate = 1e-6", 'learning_rate = "1e-6"', 'toml:35: stage.hone.learning_rate: got "1e-6" (text)'),
        ("learning_rate = 1e-6", "learning_rat = 1e-6", "learning_rat: unknown key; did you mean 'learning_rate'?"),
        ("learning_rate = 1e-6", "lr = 1e-6", "here it is learning_rate in [[stage]]"),
        ("learning_rate = 1e-6", "learning_rate = -1", "got -1, wanted a number above 0"),
        ("learning_rate = 1e-6", "learning_rate = nan", "got nan, wanted a finite number"),
        ("learning_rate = 1e-6", "learning_rate = true", "got true (true/false), wanted a number"),
        ("steps = 3", "", "small.toml:31: stage.hone.steps: is needed and not there"),
        ("steps = 3", "steps = 3.5", "small.toml:34: stage.hone.steps: got 3.5, wanted a whole number"),
        ("steps = 3", "steps = 0", "got 0, wanted a number of at least 1"),
        ("steps = 3", "steps = 3\nmax_tokens = 4", "unknown key; it belongs in [stage.sampling]"),
        ("steps = 3", "steps = 3\nclip_high = 4", "an algorithm's own settings stand in [stage.settings]"),
        ("steps = 3", "steps = 2024-01-01", "got 2024-01-01 (date), wanted a whole number"),
        ("clip_high = 0.28", "clip_high = 2024-01-01", "stage.hone.settings.clip_high: got 2024-01-01 (date)"),
        ('name = "small"', 'name = "../../x"', 'small.toml:1: name: got "../../x" (text), wanted a name'),
        ('name = "small"', 'name = ""', "small.toml:1: name: got"),
        ('name = "hone"', 'name = "1"', 'stage.1.name: got "1" (text), wanted a name'),
        ("lora.rank = 4", "lora = 4", "small.toml:6: model.lora: got 4, wanted a table with alpha, base, dropout"),
        ("lora.rank = 4", 'dtype = "float16"', 'wanted "auto", "float32" or "bfloat16"'),
        ("lora.rank = 4", "rank = = 4", "small.toml:6: not valid TOML"),
        ("[prompt]", "[promt]", "small.toml:8: promt: unknown key; did you mean 'prompt'?"),
        ('  "]",', "  7,", "stage.hone.sampling.stop.0: got 7, wanted text"),
    ],
)  # fmt: skip
def test_mistakes_are_refused_naming_line_key_and_fix(old: str, new: str, expected: str) -> None:
    assert RECIPE.count(old) == 1
    problems = refused(RECIPE.replace(old, new))
    assert len(problems) == 1
    assert expected in problems[0]
    assert problems[0].startswith("small.toml:")
    assert "pydantic" not in problems[0]


def test_every_mistake_is_told_at_once() -> None:
    problems = refused(RECIPE.replace("steps = 3", "stps = 3").replace("attempts = 2", "attempts = 0"))
    assert len(problems) == 2  # stps (and not also: steps is missing), attempts out of range


def test_a_recipe_without_stages_says_so_once() -> None:
    assert refused(RECIPE.split("[[stage]]")[0] + "stage = []") != []
    assert "write [[stage]]" in refused("stage = []\n" + RECIPE.split("[[stage]]")[0])[0]
    assert all("at least one" not in line for line in refused(RECIPE, "stage.hone.steps=x"))


def test_overrides_by_name_and_index() -> None:
    reading = read(
        RECIPE,
        "stage.hone.learning_rate=5e-6",
        "stage.0.steps=7",
        "model.dtype=float32",
        "model.source=./a=b",
        "stage.hone.sampling.stop=['x', 'y']",
        "stage.hone.settings={}",
        "checkpoint.every=1",
        'name="12"',
    )
    recipe = reading.recipe
    assert recipe.stage[1].learning_rate == 5e-6
    assert recipe.stage[0].steps == 7
    assert (recipe.model.dtype, recipe.model.source) == ("float32", "./a=b")
    assert recipe.stage[1].sampling.stop == ("x", "y")
    assert recipe.stage[1].settings == {}
    assert recipe.checkpoint.every == 1
    assert recipe.name == "12"
    assert reading.origins[("stage", 1, "learning_rate")] == COMMAND_LINE
    assert reading.origins[("stage", 1, "steps")] == "small.toml:34"
    assert ("stage", 1, "settings", "clip_high") not in reading.origins


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("stage.hon.steps=3", "command line: stage.hon.steps: no 'hon'; did you mean 'hone'?"),
        ("stage.2.steps=3", "no number 2; they go from 0 to 1"),
        ("stage.hone.stps=3", "command line: stage.hone.stps: unknown key; did you mean 'steps'?"),
        ("stage.hone.steps=three", 'command line: stage.hone.steps: got "three" (text), wanted a whole number'),
        ("stage.hone.steps=1\nseed=2", "wanted a whole number"),
        ("name.x=1", 'nothing stands below "small" (text)'),
        ("steps", "is no override; write KEY=VALUE"),
        ("stage..steps=1", "is no override"),
    ],
)
def test_mistaken_overrides_are_refused(override: str, expected: str) -> None:
    problems = refused(RECIPE, override)
    assert len(problems) == 1
    assert expected in problems[0]


def test_a_stage_of_an_own_algorithm_is_called_by_it() -> None:
    reading = read(RECIPE.replace('algorithm = "sft"', 'algorithm = "mine.py:Gentle"'), "stage.gentle.steps=3")
    assert (reading.recipe.stage[0].called, reading.recipe.stage[0].steps) == ("gentle", 3)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbf" + RECIPE.replace("\n", "\r\n").encode())
    assert read_recipe(path).recipe == read().recipe
    assert read_recipe(path).base == tmp_path
    with pytest.raises(RecipeError, match=r"b\.toml: no such recipe; there is a\.toml"):
        read_recipe(tmp_path / "b.toml")
    with pytest.raises(RecipeError, match="no run folder"):
        read_recipe(tmp_path)
    path.write_bytes(b"name = '\xff'")
    with pytest.raises(RecipeError, match="not UTF-8"):
        read_recipe(path)

"""``togi data``: what each verb writes, what its lineage says, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from togi.cli import run_command
from togi.corpora.mix import most_without_repeats
from togi.data import DataError, Prompting, Rows, load_tasks
from togi.data.lineage import Lineage, find_lineage, lineage_path, read_lineage
from togi.data.mixture import in_proportion, weights_at

SHEEP = "A farmer has 17 sheep and all but 9 run away in the night. How many sheep does the farmer have left?"
CLIPS = "Natalia sold clips to 48 of her friends in April, and then half as many in May. How many did she sell in all?"

Write = Callable[..., Path]
pytest.importorskip("datasketch")


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.chdir(tmp_path)

    def write(name: str, *rows: Any) -> Path:
        path = tmp_path / name
        asked = ({"prompt": row} if isinstance(row, str) else row for row in rows)
        path.write_text("".join(json.dumps(row) + "\n" for row in asked), encoding="utf-8")
        return path

    return write


def rows_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines()]


def data(*arguments: str, code: int = 0) -> Lineage | None:
    """Run the command; the lineage of what it wrote."""
    assert run_command(["data", *arguments]) == code
    return read_lineage(lineage_path(Path(arguments[arguments.index("--out") + 1]))) if "--out" in arguments else None


def numbers(prefix: str, count: int) -> list[str]:
    return [f"{prefix} number {each}." for each in range(count)]


# Mixing ---------------------------------------------------------------------------------------------------------------

MIXES: list[tuple[str, list[str], dict[str, int]]] = [
    ("all rows", [], {"a": 40, "b": 10}),
    ("by weight, without taking a row twice", ["--weights", "2,1"], {"a": 20, "b": 10}),
    ("by weight, to a size", ["--weights", "1,1", "--size", "12"], {"a": 6, "b": 6}),
    ("by weight, with repeats", ["--weights", "1,3", "--size", "40"], {"a": 10, "b": 30}),
    ("a weight of nothing", ["--weights", "1,0"], {"a": 40}),
    ("temperature 1 is by size", ["--temperature", "1", "--size", "25"], {"a": 20, "b": 5}),
    ("temperature 2", ["--temperature", "2", "--size", "30"], {"a": 20, "b": 10}),
    ("a high temperature is all alike", ["--temperature", "1000", "--size", "20"], {"a": 10, "b": 10}),
]


@pytest.mark.parametrize(("options", "taken"), [row[1:] for row in MIXES], ids=[row[0] for row in MIXES])
def test_a_mixture_has_its_proportions(options: list[str], taken: dict[str, int], write: Write) -> None:
    write("a.jsonl", *numbers("a", 40))
    write("b.jsonl", *numbers("b", 10))
    made = data("mix", "a.jsonl", "b.jsonl", *options, "--out", "m.jsonl")
    rows = rows_of("m.jsonl")
    assert Counter(row["prompt"][0] for row in rows) == taken
    assert made is not None
    assert (made.rows, made.settings["taken"]) == (len(rows), [taken["a"], taken.get("b", 0)])
    each = Counter(row["prompt"] for row in rows if row["prompt"][0] == "b")
    assert not each or max(each.values()) - min(each.values()) <= (len(each) == 10) or "--size" in options
    left_out = sum(dropped.rows for dropped in made.dropped)
    assert left_out == max(0, 40 - taken["a"]) + max(0, 10 - taken.get("b", 0))


def test_a_seed_decides_which_rows_and_their_order(write: Write) -> None:
    write("a.jsonl", *numbers("a", 40))
    write("b.jsonl", *numbers("b", 40))
    for name, seed in (("one", "1"), ("same", "1"), ("other", "2")):
        data("mix", "a.jsonl", "b.jsonl", "--weights", "1,1", "--size", "30", "--seed", seed, "--out", f"{name}.jsonl")
    assert rows_of("one.jsonl") == rows_of("same.jsonl") != rows_of("other.jsonl")
    assert len({row["prompt"] for row in rows_of("one.jsonl")}) == 30


@pytest.mark.parametrize(
    ("sizes", "weights", "most"),
    [
        ([40, 10], [2, 1], 30),
        ([40, 10], [1, 1], 20),
        ([7], [5], 7),
        ([10, 10, 10], [1, 1, 1], 30),
        ([1, 99], [9, 1], 1),
    ],
)
def test_as_many_rows_as_there_are_without_repeats(sizes: list[int], weights: list[float], most: int) -> None:
    assert most_without_repeats(sizes, weights) == most
    assert all(share <= size for share, size in zip(in_proportion(weights, most), sizes, strict=True))


def test_the_weights_of_a_temperature() -> None:
    assert weights_at(1, [40, 10]) == [1, 0.25]
    assert weights_at(2, [40, 10]) == [1, 0.5]
    assert weights_at(0.5, [40, 10]) == [1, 0.0625]


# Cleaning -------------------------------------------------------------------------------------------------------------


def test_near_duplicates_are_left_out_and_shown(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [SHEEP, CLIPS, SHEEP.replace("night", "evening"), {"prompt": SHEEP, "answer": "9"}]
    write("a.jsonl", *(row if isinstance(row, dict) else {"prompt": row, "answer": "8"} for row in rows))
    made = data("dedup", "a.jsonl", "--out", "d.jsonl", "--license", "cc-by-4.0")
    assert [row["prompt"] for row in rows_of("d.jsonl")] == [SHEEP, CLIPS]
    assert made is not None
    assert {dropped.why: dropped.rows for dropped in made.dropped} == {
        "nearly the same as an earlier row": 1,
        "an earlier row asks in the same words and has another answer": 1,
    }
    (example,) = made.dropped[0].examples
    assert (example["row"], example["of"], example["other"]) == ("a.jsonl:3", "a.jsonl:1", SHEEP)
    assert made.sources[0].license == "cc-by-4.0"
    assert "evening" in capsys.readouterr().out


def test_contamination_is_shown_side_by_side_and_left_out(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write("a.jsonl", SHEEP, f"Solve: {CLIPS}", "Name a colour.")
    write("bench.jsonl", CLIPS, "What is the capital of Kenya?")
    assert run_command(["data", "decontaminate", "a.jsonl", "--against", "bench.jsonl"]) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "holds a question of bench.jsonl" in told
    assert "a.jsonl:2" in told
    assert "bench.jsonl:1" in told
    assert "1 of 3 rows hold a held-out question" in told
    made = data("decontaminate", "a.jsonl", "--against", "bench.jsonl", "--out", "c.jsonl")
    assert [row["prompt"] for row in rows_of("c.jsonl")] == [SHEEP, "Name a colour."]
    assert made is not None
    assert [source.name for source in made.consulted] == ["bench.jsonl"]
    assert made.dropped[0].examples[0]["similarity"] == 1.0
    assert run_command(["data", "decontaminate", "c.jsonl", "--against", "bench.jsonl"]) == 0


def test_the_held_out_tasks_of_a_recipe_and_a_named_benchmark_are_looked_for(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.jsonl", SHEEP, CLIPS, "Name a colour.")
    write("train.jsonl", "Hi there.")
    write("test.jsonl", SHEEP)
    Path("r.toml").write_text(RECIPE)
    asked = []

    def hub_rows(*named: Any) -> Any:
        asked.append(named[:3])
        yield 1, {"question": CLIPS, "answer": "48 / 2 = 24\n#### 72"}

    monkeypatch.setattr("togi.data.sources.hub_rows", hub_rows)
    made = data("decontaminate", "a.jsonl", "--against", "r.toml", "--against", "gsm8k", "--out", "c.jsonl")
    assert [row["prompt"] for row in rows_of("c.jsonl")] == ["Name a colour."]
    assert made is not None
    assert [dropped.why for dropped in made.dropped] == [
        "holds a question of [data.test] of r.toml",
        "holds a question of openai/gsm8k:main@test",
    ]
    assert asked == [("openai/gsm8k", "main", "test")]


RECIPE = """
name = "small"
[model]
source = "smollm2-135m"
[prompt]
template = "Q: {prompt}"
[data.train]
file = "train.jsonl"
[data.test]
file = "test.jsonl"
[reward]
score = "number()"
[[stage]]
algorithm = "grpo"
steps = 1
learning_rate = 1e-5
"""


# Lineage --------------------------------------------------------------------------------------------------------------


def chained(write: Write) -> Lineage:
    write("a.jsonl", SHEEP, CLIPS, SHEEP + " Think.", "Name a colour.")
    write("b.jsonl", *numbers("b", 3))
    write("bench.jsonl", CLIPS)
    data("dedup", "a.jsonl", "--out", "d.jsonl", "--license", "mit")
    data("mix", "d.jsonl", "b.jsonl", "--out", "m.jsonl")
    made = data("decontaminate", "m.jsonl", "--against", "bench.jsonl", "--out", "c.jsonl")
    assert made is not None
    return made


def test_a_chain_of_verbs_is_one_record(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    made = chained(write)
    mixed = made.sources[0].lineage
    assert mixed is not None
    thinned = mixed.sources[0].lineage
    assert thinned is not None
    assert [made.verb, mixed.verb, thinned.verb] == ["decontaminate", "mix", "dedup"]
    assert [source.license for source in mixed.sources] == ["mit", "not stated"]
    assert made.sources[0].license == "mit, not stated"
    assert thinned.sources[0].lineage is None
    capsys.readouterr()
    assert run_command(["data", "lineage", "c.jsonl"]) == 0
    told = capsys.readouterr().out
    for part in ("✓ c.jsonl", "by togi data mix", "by togi data dedup", "from a.jsonl", "bench.jsonl", "licence mit"):
        assert part in told
    assert json.loads(lineage_path(Path("c.jsonl")).read_text())["schema"] == "togi.lineage.1"


def test_tasks_know_the_record_of_their_file(write: Write) -> None:
    made = chained(write)
    tasks = load_tasks(Rows(path=Path("c.jsonl")), split="train")
    assert [each.lineage for each in tasks.made] == [made]
    assert [each.lineage for each in tasks[:2].made] == [made]
    assert load_tasks(Rows(path=Path("a.jsonl")), split="train").made == ()


def test_columns_of_another_name_are_written_under_togi_s(write: Write) -> None:
    write("a.jsonl", {"problem": SHEEP, "level": 3}, {"problem": SHEEP + " Now.", "level": 4})
    data("dedup", "a.jsonl", "--column", "prompt=problem", "--out", "d.jsonl")
    assert rows_of("d.jsonl") == [{"problem": SHEEP, "level": 3, "prompt": SHEEP}]
    assert load_tasks(Rows(path=Path("d.jsonl")), Prompting(), split="train")[0].prompt[0].content == SHEEP


Spoil = Callable[[Path], None]
SPOILED: list[tuple[str, Spoil, str]] = [
    ("a row more", lambda path: path.write_text(path.read_text() + '{"prompt": "x"}\n') and None, "was changed after"),
    ("a row less", lambda path: path.write_text("\n".join(path.read_text().splitlines()[1:])) and None, "was changed"),
    ("no JSON", lambda path: lineage_path(path).write_text("{") and None, "cannot be read as a lineage"),
    ("a list", lambda path: lineage_path(path).write_text("[]") and None, "a lineage is a JSON object"),
    ("another form", lambda path: lineage_path(path).write_text('{"schema": "x"}') and None, "togi.lineage.1"),
    ("no count", lambda path: respelled(path, '"rows": 5', '"rows": "5"'), "rows is a whole number"),
    ("a source that is none", lambda path: respelled(path, '"sources": [', '"sources": [3, '), "a source is a JSON"),
]  # fmt: skip


def respelled(path: Path, old: str, new: str) -> None:
    text = lineage_path(path).read_text()
    assert old in text
    lineage_path(path).write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(("spoil", "told"), [row[1:] for row in SPOILED], ids=[row[0] for row in SPOILED])
def test_rows_that_are_not_those_of_their_lineage_are_refused(
    spoil: Spoil, told: str, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chained(write).rows == 5
    spoil(Path("c.jsonl"))
    with pytest.raises(DataError, match=told):
        load_tasks(Rows(path=Path("c.jsonl")), split="train")
    for command in (["lineage", "c.jsonl"], ["dedup", "c.jsonl", "--out", "n.jsonl"]):
        capsys.readouterr()
        assert run_command(["data", *command]) == 2
        assert told in capsys.readouterr().err
    lineage_path(Path("c.jsonl")).unlink()  # what the message says can be done
    assert find_lineage(Path("c.jsonl")) is None
    assert run_command(["data", "dedup", "c.jsonl", "--out", "n.jsonl"]) == 0


# Bad input ------------------------------------------------------------------------------------------------------------

REFUSED: list[tuple[Sequence[str], str]] = [
    (["mix", "a.jsonl", "b.jsonl", "--weights", "0,0"], "the weights of the sources sum to nothing"),
    (["mix", "a.jsonl", "b.jsonl", "--weights", "1"], "1 weights for 2 sources"),
    (["mix", "a.jsonl", "b.jsonl", "--weights", "1,-1"], "from 0 to 1,000,000; got -1"),
    (["mix", "a.jsonl", "b.jsonl", "--weights", "1,nan"], "from 0 to 1,000,000; got nan"),
    (["mix", "a.jsonl", "b.jsonl", "--weights", "1,inf"], "from 0 to 1,000,000; got inf"),
    (["mix", "a.jsonl", "b.jsonl", "--weights", "one,two"], "numbers with commas between them"),
    (["mix", "a.jsonl", "b.jsonl", "--weights", "1,2", "--temperature", "2"], "give one of the two"),
    (["mix", "a.jsonl", "b.jsonl", "--temperature", "0"], "is above 0; got 0"),
    (["mix", "a.jsonl", "b.jsonl", "--temperature", "nan"], "is above 0; got nan"),
    (["mix", "a.jsonl", "b.jsonl", "--size", "1"], "of 1 rows none is of b.jsonl: give a larger --size"),
    (["mix", "a.jsonl", "b.jsonl", "--weights", "99,1"], "of 3 rows none is of b.jsonl"),
    (["mix", "a.jsonl", "b.jsonl", "--size", "-3"], "from 1 to 10,000,000 rows; got --size -3"),
    (["mix", "a.jsonl", "b.jsonl", "--size", "0"], "from 1 to 10,000,000 rows; got --size 0"),
    (["mix", "a.jsonl", "pairs.jsonl"], "give both the same columns"),
    (["mix"], "name the sources"),
    (["dedup", "nowhere.jsonl"], "there is no nowhere.jsonl"),
    (["dedup", "nowhere"], "rows come from a file, a folder, or the hub"),
    (["dedup", "empty.jsonl"], "empty.jsonl is empty"),
    (["dedup", "blank.jsonl"], "blank.jsonl has no rows"),
    (["dedup", "bad.jsonl"], "bad.jsonl:2: this is not JSON"),
    (["dedup", "a.jsonl", "--similarity", "0"], "above 0 and at most 1; got 0"),
    (["dedup", "a.jsonl", "--column", "promt=x"], 'did you mean "prompt"?'),
    (["dedup", "a.jsonl", "--column", "prompt"], "as prompt=question; got"),
    (["dedup", "a.jsonl", "--column", "prompt=problem"], 'has no "problem"'),
    (["decontaminate", "a.jsonl", "--against", "empty.jsonl"], "empty.jsonl is empty"),
    (["decontaminate", "a.jsonl", "--against", "blank.jsonl"], "blank.jsonl has no rows"),
    (["decontaminate", "a.jsonl", "--against", "gsm9k"], "Benchmarks with a name: gsm8k"),
    (["dedup", "problems.jsonl"], "Here a column is named as --column prompt=NAME"),
    (["decontaminate", "a.jsonl", "--against", "problems.jsonl"], "Here a column is named as --column prompt=NAME"),
    (["decontaminate", "a.jsonl", "--against", "no_test.toml"], "holds no tasks out: it has no [data.test]"),
    (["decontaminate", "a.jsonl", "--against", "b.jsonl", "--share", "2"], "at most 1; got 2"),
    (["decontaminate", "a.jsonl", "--against", "b.jsonl", "--words", "1"], "at least 2 words; got 1"),
    (["decontaminate", "a.jsonl", "--against", "a.jsonl"], "no row is left (3 holds a question of a.jsonl)"),
    (["difficulty", "r.toml", "--least", "0.9", "--most", "0.1"], "from 0 to 1; got 0.9 to 0.1"),
    (["difficulty", "r.toml", "--most", "1.5"], "from 0 to 1; got 0.1 to 1.5"),
    (["difficulty", "r.toml", "--stage", "sft"], "no stage sft samples attempts that a reward scores: grpo"),
    (["difficulty", "r.toml", "--attempts", "0"], "at least 1 attempt; got --attempts 0"),
    (["difficulty", "r.toml", "--model", "grpo"], "has no finished stage grpo"),
    (["answers", "r.toml", "--teacher", "nowhere.gguf"], "nowhere.gguf"),
    (["answers", "r.toml", "--teacher", "x", "--keep", "9"], "from 1 up to all are kept; got --keep 9"),
    (["answers", "r.toml", "--teacher", "x", "--temperature", "0"], "ask once, or raise --temperature"),
    (["answers", "r.toml", "--teacher", "x", "--key-env", "KEY"], "a key and caps are for a server"),
]


@pytest.mark.parametrize(("command", "told"), REFUSED, ids=[" ".join(row[0]) for row in REFUSED])
def test_what_is_refused(command: Sequence[str], told: str, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write("a.jsonl", SHEEP, CLIPS, "Name a colour.")
    write("b.jsonl", *numbers("b", 3))
    write("pairs.jsonl", {"prompt": "Hi", "chosen": "Yes", "rejected": "No"})
    write("train.jsonl", {"prompt": "2+2?", "answer": "4"})
    write("test.jsonl", {"prompt": "2+3?", "answer": "5"})
    write("problems.jsonl", {"problem": SHEEP})
    write("empty.jsonl")
    Path("blank.jsonl").write_text("\n\n")
    Path("bad.jsonl").write_text('{"prompt": "x"}\n{"prompt": \n')
    Path("r.toml").write_text(RECIPE)
    Path("no_test.toml").write_text(RECIPE.replace('[data.test]\nfile = "test.jsonl"\n', ""))
    out = ["--out", "new.jsonl"]
    assert run_command(["data", *command, *out]) == 2
    assert told in " ".join(capsys.readouterr().err.split())
    assert not Path("new.jsonl").exists()
    assert not lineage_path(Path("new.jsonl")).exists()


@pytest.mark.parametrize("verb", ["mix", "dedup", "decontaminate", "difficulty", "answers"])
def test_nothing_is_written_over(verb: str, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write("a.jsonl", SHEEP)
    write("taken.jsonl", SHEEP)
    further = {"decontaminate": ["--against", "a.jsonl"], "answers": ["--teacher", "x"]}.get(verb, [])
    assert run_command(["data", verb, "a.jsonl", *further, "--out", "taken.jsonl"]) == 2
    assert "taken.jsonl exists already" in capsys.readouterr().err
    assert run_command(["data", verb, "a.jsonl", *further, "--out", "rows.csv"]) == 2
    assert 'ends in ".jsonl"' in capsys.readouterr().err

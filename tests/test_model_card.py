"""A model card tells what the run folder proves, is read by the hub's own library, and shows foreign text as text."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from sealed import seal
from test_report import HOSTILE, RECIPE, made_up_run

from togi.evidence.read_run import read_run
from togi.harmless_text import visible
from togi.report import card_of
from togi.report.markdown import plain, table, without_folders
from togi.report.model_card import model_card

HUB = 'hub = "someone/sums"\n'
SHOWN = {"h1", "h2", "p", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "blockquote", "strong"}
SECTIONS = [
    "In short",
    "Intended use",
    "How it was trained",
    "Data",
    "Evaluation",
    "What is not certain",
    "Limits",
    "Environment",
    "Cost",
]


def page_of(markdown: str) -> str:
    page: str = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown)
    return page


def tags(page: str) -> set[str]:
    return set(re.findall(r"</?([a-z0-9]+)", page))


def test_a_card_tells_the_results_with_intervals_and_their_control(tmp_path: Path) -> None:
    text = model_card(read_run(made_up_run(tmp_path)), "grpo", license_id="apache-2.0")
    card = ModelCard(text)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert (card.data.library_name, card.data.pipeline_tag, card.data.license) == (
        "transformers",
        "text-generation",
        "apache-2.0",
    )
    assert card.data.base_model is None  # "made-up-model" is no name on a hub
    assert card.data.tags == ["togi", "grpo", "sft"]
    found = {result.metric_type: result for result in card.data.eval_results or []}
    assert "(95% interval 0." in str(found["pass@1"].metric_name)
    page = page_of(text.split("\n---\n", 1)[1])
    assert tags(page) <= SHOWN
    assert "The control is base" in page
    assert "<strong>To be filled in by the owner:</strong>" in page
    assert "One training run with one seed" in page
    assert "not recorded" not in page.split("Evaluation</h2>")[0]


def test_a_card_of_an_earlier_stage_says_nothing_of_later_ones(tmp_path: Path) -> None:
    text = model_card(read_run(made_up_run(tmp_path)), "cold_start")
    assert "grpo" not in text
    assert ModelCard(text).data.tags == ["togi", "sft"]


def test_names_on_the_hub_are_told_and_folders_of_this_machine_are_not(tmp_path: Path) -> None:
    folder = made_up_run(tmp_path)
    recipe = RECIPE.replace("made-up-model", "someone/base-model").replace(
        "gate(", "python('/home/ann/x.py:f') * gate("
    )
    (folder / "recipe.toml").write_text(
        f'relative_to = "/home/ann/work"\n{recipe}\n[data.train]\n{HUB}[data.test]\n{HUB}'
    )
    seal(folder)
    card = ModelCard(model_card(read_run(folder), "grpo"))
    assert (card.data.base_model, card.data.datasets) == ("someone/base-model", ["someone/sums"])
    assert {result.dataset_type for result in card.data.eval_results or []} == {"someone/sums"}
    assert "ann" not in card.content.replace("channel", "")
    assert "python('x.py:f')" in unescape(re.sub("<[^>]+>", "", page_of(card.text)))


def test_hostile_text_is_inert(tmp_path: Path) -> None:
    folder = made_up_run(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text()) if (folder / "manifest.json").exists() else {}
    name = f"x\n---\nlicense: mit\n---\n# y {HOSTILE}"
    (folder / "manifest.json").write_text(json.dumps({**manifest, "name": name, "code": HOSTILE}))
    seal(folder)
    card = ModelCard(model_card(read_run(folder), "grpo"))
    assert card.data.license is None
    assert tags(page_of(card.text)) <= SHOWN
    assert "\x1b" not in card.content
    assert "\u202e" not in card.content


@pytest.mark.parametrize(
    "text",
    [
        "**bold** _it_ `code` ~~gone~~",
        "[a](https://e.example) ![b](x) <b>c</b> &lt; <!-- d -->",
        "# head",
        "- item",
        "+ item",
        "1. item",
        "12) item",
        "=====",
        "> quote",
        "a | b",
        "\\[x\\] \\",
        "| a | b |",
        "[x]: https://e.example",
        "http://e.example www.e.example WWW.e.example a@b.example @ann #12 $x$ $$y$$",
    ],
)
def test_foreign_text_is_shown_as_it_is(text: str) -> None:
    page = page_of(f"{table(['a'], [[text]])}\n\n{plain(text)}\n\n- {plain(text)}")
    assert tags(page) <= SHOWN
    cells = [unescape(cell) for cell in re.findall(r"<(?:td|p|li)>(.*?)</(?:td|p|li)>", page)]
    assert cells == [text] * 3


def test_what_hubs_add_to_markdown_finds_nothing() -> None:
    made = plain("http://e.example www.e.example @ann a@b.example $x$ #1")
    assert not re.search(r"https?://|www\.|(?<!\\)[@$#]", made)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/ann/x.py:f", "x.py:f"),
        ("python('/home/ann/a b/x.py:f')", "python('x.py:f')"),
        ("/home/ann smith/base", "base"),
        ("exact() / 2 + f() / 3", "exact() / 2 + f() / 3"),
        ("~/models/base", "base"),
        ("C:\\Users\\ann\\base", "base"),
        ("owner/name", "owner/name"),
        ("https://e.example/a/b", "https://e.example/a/b"),
        ("1/2 and 3 / 4", "1/2 and 3 / 4"),
        ("a/b/c.py", "a/b/c.py"),
    ],
)
def test_folders_of_a_machine_are_left_out(text: str, shown: str) -> None:
    assert without_folders(text) == shown


def test_only_what_a_run_made_has_a_card(tmp_path: Path) -> None:
    folder = made_up_run(tmp_path / "run")
    (folder / "models" / "grpo").mkdir(parents=True)
    assert "# made" in str(card_of(str(folder / "models" / "grpo")))
    (tmp_path / "models" / "other").mkdir(parents=True)
    assert card_of(str(tmp_path / "models" / "other")) is None
    with pytest.raises(ValueError, match="is no run"):
        card_of("smollm2-135m", license_id="mit")
    with pytest.raises(ValueError, match=r"such as apache-2\.0"):
        card_of(str(folder), license_id="MIT\nx")


def test_control_characters_are_told() -> None:
    assert plain("a\u202eb") == visible("a\u202eb")

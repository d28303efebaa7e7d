"""A recipe's changes to a chat template reach what is asked, what is saved and whoever loads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_text import byte_level, tiny_folder
from transformers import AutoTokenizer

from togi.data.errors import RowError
from togi.data.row_to_task import Prompting, make_task
from togi.models.chosen_template import LARGEST, ChosenTemplate, read_template
from togi.models.load_model import Lora, ModelError, load_model
from togi.models.save_model import export, save_model
from togi.template_process import render
from togi.tokenization import Chat
from togi.types import Message

ASKED = [{"role": "user", "content": "x"}]
THINKS = (
    "\n{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}No thought.\n{% endif %}{% endif %}"
)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (False, "False"), (True, "True"), (None, "None"), (3, "3"), (-0.5, "-0.5"), ("a", "a"),
        ('"\n{{ 1 }}é', '"\n{{ 1 }}é'),
        ([1, "b", None], "[1, 'b', None]"), ({"k": [True]}, "{'k': [True]}"),
    ],
)  # fmt: skip
def test_an_argument_has_its_value_unless_the_renderer_says_otherwise(value: object, shown: str) -> None:
    template = ChosenTemplate(args={"level": value}).over("\n{{ level }}{{ messages[0].content }}")
    assert template is not None
    assert render(template, ASKED, generation=True, variables={}) == f"\n{shown}x"
    assert render(template, ASKED, generation=True, variables={"level": "other"}) == "\notherx"
    assert ChosenTemplate(args={"level": value}).over(template) == template, "given twice it stands there once"


def test_a_run_asks_with_them_and_its_models_keep_them(tmp_path: Path) -> None:
    base = tiny_folder(tmp_path / "base")
    chosen = ChosenTemplate(text=THINKS, args={"enable_thinking": False})
    for lora in (None, Lora(rank=2, alpha=4)):
        loaded = load_model(str(base), lora=lora, template=chosen)
        chat = Chat(loaded.tokenizer, loaded.eos_ids)
        asked = chat.show(chat.prompt([Message(role="user", content="x")]))
        assert asked.endswith("<|im_start|>assistant\nNo thought.\n")
        path = save_model(loaded.model, loaded.tokenizer, tmp_path / f"saved{bool(lora)}").path
        again = load_model(str(path), template=chosen)
        assert again.tokenizer.chat_template == loaded.tokenizer.chat_template
        export(str(path), tmp_path / f"out{bool(lora)}")
        elsewhere = AutoTokenizer.from_pretrained(tmp_path / f"out{bool(lora)}")
        assert elsewhere.apply_chat_template(ASKED, add_generation_prompt=True, tokenize=False).endswith(
            "No thought.\n"
        )
    assert byte_level().chat_template not in (None, THINKS)


@pytest.mark.parametrize(
    ("args", "own", "match"),
    [
        ({"enable_thinkin": False}, THINKS, "never reads it"),
        ({"enable_thinking": False}, None, "has no chat template"),
        ({"messages": []}, THINKS, "no argument of a chat template"),
        ({"a b": 1}, THINKS, "no argument of a chat template"),
    ],
)
def test_arguments_that_change_nothing_are_refused(args: dict[str, object], own: str | None, match: str) -> None:
    with pytest.raises(ModelError, match=match):
        ChosenTemplate(args=args).over(own)


def test_arguments_of_single_rows_are_refused_and_never_dropped() -> None:
    row = {"prompt": "x", "chat_template_kwargs": {"enable_thinking": False}}
    with pytest.raises(RowError, match=r"\[prompt\] template_args"):
        make_task(row, "1", Prompting())
    assert make_task({**row, "chat_template_kwargs": None}, "1", Prompting())


@pytest.mark.parametrize(
    ("content", "match"), [(b"", "empty"), (b"\xff\xfe", "UTF-8"), (b"x" * (LARGEST + 1), "at most"), (None, "no file")]
)
def test_files_that_hold_no_template_are_refused(content: bytes | None, match: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "chat.jinja").write_bytes(content)
    with pytest.raises(ModelError, match=match):
        read_template(tmp_path / "chat.jinja")

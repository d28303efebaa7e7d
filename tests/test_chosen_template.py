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
from togi.types import Message, Task

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


OFF = {"enable_thinking": False}


@pytest.mark.parametrize(
    ("columns", "args"),
    [
        ({"chat_template_kwargs": OFF}, OFF),
        ({"chat_template_kwargs": '{"enable_thinking": false}'}, OFF),
        ({"chat_template_kwargs": {"enable_thinking": None, "level": 2}}, {"level": 2}),
        ({"chat_template_kwargs": None}, {}),
        ({"chat_template_kwargs": " "}, {}),
        ({"enable_thinking": False}, OFF),
        ({"enable_thinking": None}, {}),
        ({"enable_thinking": "sometimes"}, {}),  # a column of the user's own
        ({"enable_thinking": False, "chat_template_kwargs": {**OFF, "level": 2}}, {**OFF, "level": 2}),
    ],
)
def test_a_row_sets_arguments_for_itself(columns: dict[str, object], args: dict[str, object]) -> None:
    assert make_task({"prompt": "x", **columns}, "1", Prompting()).template_args == args


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"chat_template_kwargs": [1]}, "is an object such as"),
        ({"chat_template_kwargs": "{no"}, "not JSON"),
        ({"chat_template_kwargs": {"messages": []}}, "no argument of a chat template"),
        ({"chat_template_kwargs": {"chat_template": "x"}}, "no argument of a chat template"),
        ({"chat_template_kwargs": {"eos_token": "x"}}, "no argument of a chat template"),
        ({"chat_template_kwargs": {"a-b": 1}}, "no argument of a chat template"),
        ({"chat_template_kwargs": {"when": float("nan")}}, "no JSON"),
        ({"chat_template_kwargs": {"enable_thinking": True}, **OFF}, "leave one of them out"),
        ({"chat_template_kwargs": OFF, "prompt": None, "text": "x"}, "raw text has no chat template"),
    ],
)
def test_arguments_of_rows_that_cannot_be_are_refused(columns: dict[str, object], match: str) -> None:
    with pytest.raises(RowError, match=match):
        make_task({"prompt": "x", **columns}, "1", Prompting())


def test_each_row_is_asked_with_its_own_arguments() -> None:
    """Before those of the recipe, in what is asked, what is learned and what follows a reply."""
    template = ChosenTemplate(args=OFF).over(THINKS + "{{ level }}")
    chat = Chat(byte_level(template), frozenset({2}))
    rows = [{}, {"enable_thinking": True}, {"chat_template_kwargs": {"level": "é"}}]
    tasks = [make_task({"prompt": "x", "completion": "yes", **row}, "1", Prompting()) for row in rows]
    ends = ("No thought.\n", "assistant\n", "No thought.\né")
    for task, end in zip(tasks, ends, strict=True):
        asked = chat.of(task)
        (turn,) = asked.recorded(task.prompt, task.recorded[0])
        assert turn.prompt == asked.prompt(task.prompt)
        assert chat.show(turn.prompt).endswith(end)
        further = asked.extend(turn.prompt + turn.completion, [Message(role="user", content="y")])
        assert chat.show(further).endswith(end)
        assert chat.of(tasks[0]) is chat, "what one task sets is not set for another"


ENDS = (
    "{% for m in messages %}{{ m.content }}{{ '<|im_end|>' if long else '<|im_start|>' }}{% endfor %}"
    "{% if other %}{{ other.x.y }}{% endif %}"
)


@pytest.mark.parametrize(
    ("args", "template", "match"),
    [
        ({"level": 1}, THINKS, "task 7: 'level' is set in the row, and .* never reads it"),
        ({"enable_thinking": "<|im_end|>"}, THINKS, "hold a control token"),
        ({"enable_thinking": [{"<|im_end|>": 1}]}, THINKS, "hold a control token"),
        ({"enable_thinking": "\ufdd00.0\ufdd1"}, THINKS, "hold a control token"),
        ({"other": 1}, ENDS, "task 7: the model's chat template refused"),
        ({"long": True}, ENDS, "ends turns with another token"),
    ],
)
def test_arguments_that_a_template_cannot_take_are_refused(args: dict[str, object], template: str, match: str) -> None:
    chat = Chat(byte_level(template), frozenset())
    with pytest.raises(ValueError, match=match):
        chat.of(Task(id="7", prompt=(), template_args=args))


@pytest.mark.parametrize(
    ("content", "match"), [(b"", "empty"), (b"\xff\xfe", "UTF-8"), (b"x" * (LARGEST + 1), "at most"), (None, "no file")]
)
def test_files_that_hold_no_template_are_refused(content: bytes | None, match: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "chat.jinja").write_bytes(content)
    with pytest.raises(ModelError, match=match):
        read_template(tmp_path / "chat.jinja")

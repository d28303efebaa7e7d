"""Which families' ways to write a call are read, and which are refused before anything is sampled."""

from __future__ import annotations

import pytest
from tiny_text import byte_level
from transformers import AddedToken

from togi.envs.tool_use import ToolUse
from togi.tokenization import Chat
from togi.tools.form_of_calls import check_form
from togi.tools.notebook import Recall, Remember
from togi.types import Message, Task

HEAD = "{% if tools %}{% for t in tools %}{{ t | tojson }}\n{% endfor %}{% endif %}{% for m in messages %}"
TAIL = "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


def template(call: str) -> str:
    """A chat template that writes calls as given, where ``c`` is the function of a call."""
    calls = "{% for t in m.tool_calls or [] %}{% set c = t.function %}" + call + "{% endfor %}"
    return HEAD + "<|im_start|>{{ m.role }}\n{{ m.content }}" + calls + "<|im_end|>\n" + TAIL


FORMS: list[tuple[str, str, tuple[str, ...], bool]] = [
    ("qwen", '<tool_call>\n{"name": "{{ c.name }}", "arguments": {{ c.arguments | tojson }}}\n</tool_call>', (), True),
    (
        "qwen3-coder",
        "<tool_call>\n<function={{ c.name }}>\n{% for k, v in c.arguments.items() %}<parameter={{ k }}>\n{{ v }}\n"
        "</parameter>\n{% endfor %}</function>\n</tool_call>",
        (),
        True,
    ),
    ("llama3", '{"name": "{{ c.name }}", "parameters": {{ c.arguments | tojson }}}', (), True),
    (
        "qwen with special markers",
        '<tool_call>{"name": "{{ c.name }}", "arguments": {{ c.arguments | tojson }}}</tool_call>',
        ("<tool_call>", "</tool_call>"),
        True,
    ),
    (
        "gemma",
        "```tool_code\n{{ c.name }}({% for k, v in c.arguments.items() %}{{ k }}='{{ v }}'{% endfor %})\n```",
        (),
        False,
    ),
    (
        "deepseek",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>{{ c.name }}\n```json\n"
        "{{ c.arguments | tojson }}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        (
            "<｜tool▁calls▁begin｜>",
            "<｜tool▁call▁begin｜>",
            "<｜tool▁sep｜>",
            "<｜tool▁call▁end｜>",
            "<｜tool▁calls▁end｜>",
        ),
        False,
    ),
    (
        "kimi",
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.{{ c.name }}:0<|tool_call_argument_begin|>"
        "{{ c.arguments | tojson }}<|tool_call_end|><|tool_calls_section_end|>",
        ("<|tool_calls_section_begin|>", "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"),
        False,
    ),
    (
        "gpt-oss",
        "<|channel|>commentary to=functions.{{ c.name }} <|constrain|>json<|message|>{{ c.arguments | tojson }}",
        ("<|channel|>", "<|constrain|>", "<|message|>"),
        False,
    ),
    (
        "mistral",
        '[TOOL_CALLS][{"name": "{{ c.name }}", "arguments": {{ c.arguments | tojson }}}]',
        ("[TOOL_CALLS]",),
        False,
    ),
]


@pytest.mark.parametrize(("family", "call", "special", "read"), FORMS, ids=[form[0] for form in FORMS])
def test_a_familys_calls_are_read_or_refused(family: str, call: str, special: tuple[str, ...], read: bool) -> None:
    tokenizer = byte_level(template(call))
    tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken(each, special=True) for each in special]})
    chat = Chat(tokenizer, frozenset({2}))
    task = Task(id="t", prompt=(Message(role="user", content="?"),))
    asked = ToolUse(tools=(Remember(), Recall())).equipped(task)
    check_form(chat, ToolUse(tools=(Remember(), Recall()), form="plain").equipped(task))
    if read:
        check_form(chat, asked)
        return
    with pytest.raises(ValueError, match='form = "plain"'):
        check_form(chat, asked)


def test_a_template_that_writes_no_calls_says_nothing_of_their_form() -> None:
    chat = Chat(byte_level(template("")), frozenset({2}))
    asked = ToolUse(tools=(Recall(),)).equipped(Task(id="t", prompt=(Message(role="user", content="?"),)))
    check_form(chat, asked)

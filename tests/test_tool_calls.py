"""Tools and their calls: read from rows in every form, rendered by the template as it stands, or refused."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

import pytest
from tiny_text import CHATML, byte_level

from togi.batch import samples
from togi.data import Prompting
from togi.data.errors import RowError
from togi.data.row_to_task import make_task
from togi.tokenization import Chat
from togi.types import Group, Message, Score, Task, ToolCall, Trajectory

# In the manner of Qwen 2.5: tools in the system message, calls as JSON in tags, what tools gave back as a user's.
TOOLS = """\
{%- if tools %}<|im_start|>system
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif %}{% for m in messages %}{% if m.role == 'tool' %}<|im_start|>user
<tool_response>
{{ m.content }}
</tool_response><|im_end|>
{% else %}<|im_start|>{{ m.role }}{% if m.content %}{{ '\\n' + m.content }}{% endif %}
{%- for call in m.tool_calls or [] %}{{ '\\n<tool_call>\\n' }}{"name": "{{ call.function.name }}", "arguments": \
{{ call.function.arguments | tojson }}}{{ '\\n</tool_call>' }}{% endfor %}<|im_end|>
{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
TEXT_ARGUMENTS = TOOLS.replace("{{ call.function.arguments | tojson }}", "{{ '' + call.function.arguments }}")
CHAT = Chat(byte_level(TOOLS), frozenset({2}))
WEATHER = {
    "name": "weather",
    "description": "Today's weather",
    "parameters": {"properties": {"city": {"type": "string"}}},
}
ASKED = {"role": "user", "content": "Is it warm in Kyōto?"}
REPLY = {"role": "tool", "tool_call_id": "c1", "content": '{"degrees": 31}'}
SAID = {"role": "assistant", "content": "Yes, 31 degrees."}


def called(arguments: Any, **more: Any) -> dict[str, Any]:
    function = {"name": "weather", "arguments": arguments}
    return {"role": "assistant", "tool_calls": [{"type": "function", "id": "c1", "function": function}], **more}


def task_of(*messages: dict[str, Any], tools: Any = (WEATHER,), turns: Any = "all") -> Task:
    return make_task({"messages": list(messages), "tools": list(tools)}, "t", Prompting(), turns=turns)


def learned(task: Task, chat: Chat = CHAT) -> list[str]:
    return [chat.show(turn.completion) for turn in chat.of(task).recorded(task.prompt, task.recorded[0])]


CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Kyōto"}}\n</tool_call><|im_end|>'


@pytest.mark.parametrize(
    "tools",
    [
        [{"type": "function", "function": WEATHER}],
        [WEATHER],
        [json.dumps(WEATHER)],
        json.dumps([{"type": "function", "function": WEATHER}]),
        [{"type": "function", "function": {**WEATHER, "strict": None}}],
    ],
)
@pytest.mark.parametrize(
    "call",
    [
        called({"city": "Kyōto"}),
        called('{"city": "Kyōto"}', content=None),
        called({"city": "Kyōto", "unit": None}, content=""),
        {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": '{"city": "Kyōto"}'}},
        {"role": "assistant", "tool_calls": json.dumps(called({"city": "Kyōto"})["tool_calls"])},
        {"from": "function_call", "value": '[{"name": "weather", "arguments": {"city": "Kyōto"}}]'},
    ],
)
def test_every_form_of_tools_and_calls_is_learned_alike(tools: Any, call: dict[str, Any]) -> None:
    task = make_task({"messages": [ASKED, call, REPLY, SAID], "tools": tools}, "t", Prompting(), turns="all")
    assert task.tools == ({"type": "function", "function": WEATHER},)
    assert "tools" not in task.info
    assert learned(task) == [CALL, "Yes, 31 degrees.<|im_end|>"]


def test_the_conversation_is_the_templates_own() -> None:
    task = task_of(ASKED, called({"city": "Kyōto"}, content="Let me see."), REPLY, SAID)
    last = CHAT.of(task).recorded(task.prompt, task.recorded[0])[-1]
    rows = [ASKED, called({"city": "Kyōto"}, content="Let me see."), REPLY, SAID]
    whole = CHAT.tokenizer.apply_chat_template(rows, tools=list(task.tools), tokenize=False)
    assert CHAT.show((*last.prompt, *last.completion)) + "\n" == whole


def test_a_call_in_the_prompt_is_context() -> None:
    task = task_of(ASKED, called({"city": "Kyōto"}), REPLY, SAID, turns="last")
    (turn,) = CHAT.of(task).recorded(task.prompt, task.recorded[0])
    assert CALL in CHAT.show(turn.prompt)
    assert CHAT.show(turn.completion) == "Yes, 31 degrees.<|im_end|>"


def test_a_template_that_wants_text_gets_text() -> None:
    assert learned(task_of(ASKED, called({"city": "Kyōto"})), Chat(byte_level(TEXT_ARGUMENTS), frozenset({2}))) == [
        CALL
    ]


def test_control_tokens_in_tools_and_calls_are_characters() -> None:
    hostile = {**WEATHER, "description": "<|im_end|>"}
    task = task_of(ASKED, called({"city": "<|im_end|><|im_start|>"}), tools=[hostile])
    plain = task_of(ASKED, called({"city": "Kyōto"}))
    turns = [CHAT.of(each).recorded(each.prompt, each.recorded[0])[0] for each in (task, plain)]
    for control in range(3):
        assert turns[0].prompt.count(control) == turns[1].prompt.count(control)
        assert turns[0].completion.count(control) == turns[1].completion.count(control)
    assert '"city": "<|im_end|><|im_start|>"' in CHAT.show(turns[0].completion)


def test_control_tokens_in_names_are_characters() -> None:
    name = "weather<|im_end|>"
    calls = tuple(
        (Message(role="assistant", content="", tool_calls=(ToolCall(name=each, arguments="{}", id=each),)),)
        for each in (name, "weather")
    )
    asked = (Message(role="user", content="Warm?"),)
    hostile, plain = (CHAT.recorded(asked, call)[0].completion for call in calls)
    assert [hostile.count(control) for control in range(3)] == [plain.count(control) for control in range(3)]
    assert name in CHAT.show(hostile)


@pytest.mark.parametrize(
    ("messages", "tools", "problem"),
    [
        ([ASKED, SAID], [WEATHER], r"shows no tools \(weather\)"),
        ([ASKED, called({"city": "Kyōto"}), REPLY, SAID], [], "leaves out the tool call 'weather'"),
    ],
)
@pytest.mark.parametrize("turns", ["last", "all"])
def test_a_template_without_tools_refuses_them(messages: Any, tools: Any, problem: str, turns: str) -> None:
    task = task_of(*messages, tools=tools, turns=turns)
    with pytest.raises(ValueError, match=problem):
        learned(task, Chat(byte_level(CHATML), frozenset({2})))


def test_a_template_that_drops_what_a_tool_gave_back_is_refused() -> None:
    chat = Chat(byte_level(TOOLS.replace("{{ m.content }}\n</tool", "</tool")), frozenset({2}))
    with pytest.raises(ValueError, match="leaves out messages of role 'tool'"):
        learned(task_of(ASKED, called({"city": "Kyōto"}), REPLY, SAID), chat)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt": "q", "tools": ["search"]}, "text that is not JSON"),
        ({"prompt": "q", "tools": {"name": "search"}}, "is a list of tools"),
        ({"prompt": "q", "tools": [{"description": "x"}]}, 'a tool of "tools" is'),
        ({"messages": [ASKED, called("not JSON")]}, "the arguments of a tool call are an object"),
        ({"messages": [ASKED, called([1])]}, "the arguments of a tool call are an object"),
        ({"messages": [ASKED, called({}, weight=0)]}, "weight"),
        ({"messages": [{**called({}), "role": "user", "content": "x"}]}, "are the assistant's"),
        ({"messages": [ASKED, {"role": "assistant", "tool_calls": [7]}]}, 'a tool call of "messages" is'),
    ],
)
def test_what_is_no_tool_or_call_is_refused(row: dict[str, Any], problem: str) -> None:
    with pytest.raises(RowError) as error:
        make_task(row, "t", Prompting())
    assert problem in str(error.value)


def test_tools_are_shown_where_answers_are_sampled() -> None:
    task = make_task({"prompt": "Is it warm?", "tools": [WEATHER]}, "t", Prompting())
    assert "Today's weather" in CHAT.show(CHAT.of(task).prompt(task.prompt))


def test_masks_of_a_conversation_learned_in_all_its_turns() -> None:
    """By hand: every token that the assistant says is learned, its end included, and no other."""
    task = task_of(ASKED, SAID, {"role": "user", "content": "And then?"}, {**SAID, "content": "Rain."}, tools=())
    attempt = Trajectory(turns=CHAT.recorded(task.prompt, task.recorded[0]), stop="eos")
    (sample,) = samples([Group(task=task, trajectories=(attempt,), scores=(Score(value=0.0),))])
    tokens = zip(sample.mask.tolist(), sample.ids.tolist(), strict=True)
    runs = [(learns, [token for _, token in run]) for learns, run in groupby(tokens, key=lambda each: each[0])]
    assert [(learns, CHAT.show(run)) for learns, run in runs] == [
        (False, "<|im_start|>user\nIs it warm in Kyōto?<|im_end|>\n<|im_start|>assistant\n"),
        (True, "Yes, 31 degrees.<|im_end|>"),
        (False, "\n<|im_start|>user\nAnd then?<|im_end|>\n<|im_start|>assistant\n"),
        (True, "Rain.<|im_end|>"),
    ]

"""An environment in which the model may call tools before it answers. It knows no tokens and no reward.

The tools are shown by the model's chat template, or, in the plain form, by a text of Togi's. What a tool gives back is
the next message. The attempt ends with the first turn that calls nothing, or when its turns are used up.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from togi.protocols import Env
from togi.sandbox.workers.pool import Pool
from togi.tools.named_tools import open_tools
from togi.tools.read_calls import FORM, read_calls, written
from togi.tools.tool import Call, Kept, Result, Tool
from togi.types import Message, Task

Form = Literal["template", "plain"]
TELL = """You can call these tools:
{tools}
To call one, {form}. Its result comes back in <tool_response>. When you know the answer, give it without a call."""
CUT = " … (cut)"
FILES = "files"  # a column of rows
WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, kw_only=True)
class ToolUse:
    """Makes an episode for each task. An attempt has at most ``turns`` turns, a turn at most ``calls`` calls, and of
    each result at most ``characters`` are shown."""

    tools: Sequence[Tool]
    form: Form = "template"
    turns: int = 8
    calls: int = 8
    characters: int = 2000
    _named: dict[str, Tool] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.form not in get_args(Form):
            raise ValueError(f'form = {self.form!r}: wanted "template" (the chat template shows tools) or "plain"')
        for name, least in (("turns", 2), ("calls", 1), ("characters", 20)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} = {value!r}: wanted a whole number of at least {least}")
        self._named.update({tool.description.name: tool for tool in self.tools})

    def __call__(self, task: Task) -> Env:
        return ToolEpisode(self, task)

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(path for tool in self.tools for path in tool.files))

    @property
    def schemas(self) -> tuple[dict[str, Any], ...]:
        return tuple(tool.description.schema for tool in self.tools)

    def equipped(self, task: Task) -> Task:
        """The task as it is asked where these tools are at hand. Raises ValueError for one that brings its own, and for
        files that are none."""
        files_of_row(task)
        if task.tools:
            raise ValueError(f"task {task.id} has tools of its own, and [env] gives it others: leave one of them out")
        if self.form == "template":
            return replace(task, tools=self.schemas)
        prompt = list(map(_plain, task.prompt))
        if any(message.role == "text" for message in prompt):
            raise ValueError(f"task {task.id} is a raw text, and tools are told in a conversation's system message")
        listed = "\n".join(json.dumps(schema["function"], ensure_ascii=False) for schema in self.schemas)
        told = TELL.format(tools=listed, form=FORM)
        if prompt and prompt[0].role == "system":
            prompt[0] = replace(prompt[0], content=f"{prompt[0].content}\n\n{told}")
        else:
            prompt.insert(0, Message(role="system", content=told))
        recorded = tuple(tuple(map(_plain, answer)) for answer in task.recorded)
        return replace(task, prompt=tuple(prompt), recorded=recorded)

    def has(self, name: str) -> bool:
        return name in self._named

    def answered(self, call: Call, kept: Kept) -> Result:
        """What the model is told of its call."""
        if call.problem:
            return Result(text=f"error: {call.problem}", failed=True)
        tool = self._named.get(call.name)
        if tool is None:
            return Result(text=f"error: there is no tool {call.name!r:.100}: {', '.join(self._named)}", failed=True)
        assert call.arguments is not None
        result = tool.call(call.arguments, kept)
        text = f"error: {result.text}" if result.failed else result.text
        return replace(result, text=text if len(text) <= self.characters else text[: self.characters] + CUT)


class ToolEpisode(Env):
    """``counts`` says what the attempt did: calls in all and by tool, those that failed, those that could not be read,
    those that found the row's answer, those that the model's answer goes by, and whether its turns were used up."""

    def __init__(self, tools: ToolUse, task: Task) -> None:
        self._tools, self._prompt = tools, task.prompt
        self._wanted = _words(str(task.answer)) if isinstance(task.answer, str | int | float) else ()
        self._found: list[tuple[str, ...]] = []  # what calls gave that did not fail
        self._kept = Kept(files=files_of_row(task))
        self._turn = 0
        self.cut = False
        counted = ["calls", "calls_failed", "calls_unreadable", "calls_used", "out_of_turns"]
        counted += ["calls_found"] if self._wanted else []
        self.counts: Counter[str] = Counter(dict.fromkeys(counted, 0))

    def start(self) -> tuple[Message, ...]:
        return self._prompt

    def step(self, message: Message) -> tuple[tuple[Message, ...], float, bool]:
        self._turn += 1
        said = read_calls(message.content, [tool.description for tool in self._tools.tools])
        if not said.calls:
            answer = _words(said.content)
            used = [_within(found, answer) or _within(answer, found) for found in self._found]
            self.counts["calls_used"] += sum(used)
            return (), 0.0, True
        if self._turn == self._tools.turns:
            self.cut = True
            self.counts["out_of_turns"] += 1
            return (), 0.0, True
        return tuple(self._replies(said.calls)), 0.0, False

    def _replies(self, calls: Sequence[Call]) -> list[Message]:
        replies = []
        for number, call in enumerate(calls):
            if number < self._tools.calls:
                result = self._tools.answered(call, self._kept)
            else:
                result = Result(text=f"error: a turn has at most {self._tools.calls} calls", failed=True)
            self.counts["calls"] += 1
            self.counts["calls_failed"] += result.failed
            self.counts["calls_unreadable"] += call.arguments is None
            if not result.failed:
                self._found.append(_words(result.text))
                if self._wanted:
                    self.counts["calls_found"] += _within(self._wanted, self._found[-1])
            if self._tools.has(call.name):
                self.counts[f"calls/{call.name}"] += 1
            replies.append(Message(role="tool", content=result.text, name=call.name, tool_call_id=f"call_{number}"))
        if self._tools.form == "plain":  # one message, since some chat templates want roles to alternate
            return [Message(role="user", content="\n".join(_plain(reply).content for reply in replies))]
        return replies

    def close(self) -> None:
        pass


def _words(text: str) -> tuple[str, ...]:
    return tuple(WORD.findall(text.casefold()))


def _within(part: tuple[str, ...], whole: tuple[str, ...]) -> bool:
    """Whether some words stand in others, one after the other."""
    return bool(part) and any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))


def files_of_row(task: Task) -> dict[str, bytes]:
    """What lies in the folder of an attempt at its start: the texts of the row's column ``files`` by their paths."""
    given = task.info.get(FILES) or {}
    if not isinstance(given, Mapping) or not all(isinstance(each, str) for pair in given.items() for each in pair):
        raise ValueError(f"task {task.id}: files should be texts by their paths; got {given!r:.200}")
    for name in given:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.name or "\0" in name:
            raise ValueError(f"task {task.id}: {name!r:.100} is no path of a file within a folder")
    return {str(PurePosixPath(name)): text.encode("utf-8", "replace") for name, text in given.items()}


def _plain(message: Message) -> Message:
    """The message as the plain form has it: calls and what tools gave back are text."""
    if message.role == "tool":
        name = f' name="{message.name}"' if message.name else ""
        return Message(role="user", content=f"<tool_response{name}>\n{message.content}\n</tool_response>")
    if message.tool_calls:
        calls = "\n".join(written(call.name, call.arguments) for call in message.tool_calls)
        return replace(message, content=f"{message.content}\n{calls}".strip(), tool_calls=())
    return message


def tool_use(settings: Mapping[str, Any], base: Path, pool: Pool) -> ToolUse:
    """The environment that a recipe's settings describe. Raises ValueError."""
    wanted = [name for name in ToolUse.__dataclass_fields__ if not name.startswith("_")]
    if odd := [name for name in settings if name not in wanted]:
        raise ValueError(f"{odd[0]!r} is no setting of tools: there are {', '.join(wanted)}")
    if "tools" not in settings:
        raise ValueError('it needs the tools: settings = { tools = ["calculator", "shop.py:price"] }')
    return ToolUse(**{**settings, "tools": tuple(open_tools(settings["tools"], base, pool))})

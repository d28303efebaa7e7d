"""One row to one task, by TRL's column names and those of known formats; it does not know where rows come from.

``prompt`` is text or a list of messages; beside it ``completion`` (a demonstration, or with a ``label`` that is true
or false an unpaired preference), ``chosen`` and ``rejected`` (a preference pair, whose common beginning is the prompt
when there is none), or ``completions`` (a ranking, or with ``labels`` the steps of one answer). ``messages`` is a
conversation whose last assistant message is the demonstration, or all of them. ``text`` is raw text to learn from.
``system`` is the system message of a prompt that is text, ``tools`` are what the model may call, and
``chat_template_kwargs`` sets variables of the chat template. Further columns go to rewards.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from togi.data.answer_worth import (
    PAIR_COLUMNS,
    RANKING_COLUMNS,
    Worth,
    label_worth,
    pair_worth,
    ranking_worth,
    step_worth,
)
from togi.data.columns import COLUMNS, column_line, under_our_names
from togi.data.conversations import (
    Conversation,
    check_answer,
    read_answer,
    read_messages,
    read_pair,
    read_prompt,
    show,
    text_answer,
)
from togi.data.errors import RowError, RowSkipped
from togi.data.template_args import read_template_args
from togi.data.token_budget import COLUMN as BUDGET, MARK, Between, budget_of
from togi.data.tool_calls import read_tools
from togi.types import Message, Task

Answers = tuple[Conversation, ...]
STEPS = "\n"  # what a row's steps are joined by
Learned = Literal["last", "all"]
"""Which of a conversation's assistant messages are its demonstration."""


@dataclass(frozen=True, kw_only=True)
class Prompting:
    """How plain text is asked. Conversations (lists of messages) are taken as they are, but for ``system``.

    ``system`` is put before every task that has no system message. ``template`` is the user's message, with the
    task's text for ``{prompt}``. ``demonstrate`` names a function ``(row) -> completion text`` that writes the
    recorded answer from a row's columns, "/absolute/file.py:function" or "module:function"; it replaces a recorded
    one. ``format`` "chat" asks plain text as a user's message, since most models are chat models; "text" continues it
    as raw text, as TRL does; a completion is what follows it. ``{budget}`` in ``template`` or ``system`` states how
    many tokens an answer may take: what a row's column "budget" says, else drawn for its question from ``budget``,
    the fewest and the most; rewards find it in ``info``.
    """

    system: str | None = None
    template: str = "{prompt}"
    demonstrate: str | None = None
    format: Literal["chat", "text"] = "chat"
    budget: Between | None = None

    def __post_init__(self) -> None:
        if "{prompt}" not in self.template:
            raise ValueError(f'a prompt template holds "{{prompt}}"; got {self.template!r}')
        if self.format == "text" and self.system is not None:
            raise ValueError('raw text has no system message: remove "system", or use format "chat"')
        if self.budget is not None and not 1 <= self.budget[0] <= self.budget[1]:
            raise ValueError(f"a budget is [FEWEST, MOST] tokens, from 1 upwards; got {list(self.budget)}")
        if self.budget is not None and not self.states_budget:
            raise ValueError(f"a budget that no prompt states is not kept: write {MARK} into template or system")

    @property
    def states_budget(self) -> bool:
        return MARK in self.template or MARK in (self.system or "")

    def stating(self, budget: int) -> Prompting:
        """The same with a task's budget written out."""
        system = self.system.replace(MARK, str(budget)) if self.system else self.system
        return replace(self, template=self.template.replace(MARK, str(budget)), system=system, budget=None)


@dataclass(frozen=True, kw_only=True)
class _Read:
    """What a row asks, the answers it holds, what they are worth, and the columns that said so."""

    prompt: Conversation
    recorded: Answers = ()
    worth: Worth = ()
    step_worth: tuple[Worth, ...] = ()
    columns: tuple[str, ...] = ()


def make_task(
    row: Mapping[str, Any],
    identity: str,
    prompting: Prompting,
    demonstrate: Callable[[dict[str, Any]], str] | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    turns: Learned = "last",
) -> Task:
    """The task of a row. Raises RowError, and RowSkipped for a comparison that compares nothing.

    ``columns`` says what the row calls Togi's columns, see ``under_our_names``; what it calls so stands under its own
    name too: a reward written for the data asks for it so.
    """
    row = under_our_names(row, columns or {})
    if prompting.states_budget:
        row = {**row, BUDGET: budget_of(row, prompting.budget)}
        _refuse_unstated(row, prompting)
        prompting = prompting.stating(row[BUDGET])
    read = _read(row, prompting, turns, judged=demonstrate is None)
    prompt, recorded = read.prompt, read.recorded
    if demonstrate is not None:
        recorded = ((text_answer(_demonstration(demonstrate, row), "demonstrate"),),)
    system = row["system"] if isinstance(row.get("system"), str) else prompting.system
    if system and prompt and prompt[0].role not in ("system", "developer", "text"):
        prompt = (Message(role="system", content=system), *prompt)
    tools, args = read_tools(row), read_template_args(row)
    if (tools or args) and prompt and prompt[0].role == "text":
        without = "shows a model no tools" if tools else f"has no chat template that reads {', '.join(args)}"
        raise RowError(f"raw text {without}: remove that column, or write the row as messages")
    taken = {*COLUMNS, *read.columns, "answer", *(("tools", "functions") if tools else ())}
    return Task(
        id=identity,
        prompt=prompt,
        answer=row.get("answer"),
        recorded=recorded,
        worth=read.worth,
        step_worth=read.step_worth,
        tools=tools,
        template_args=args,
        info={name: value for name, value in row.items() if name not in taken},
    )


def prompt_key(task: Task) -> str:
    """What is asked as text that is equal for equal questions, whatever the system message; raw text is its own."""
    asked = [message for message in task.prompt if message.role not in ("system", "developer")]
    if not any(message.content for message in asked):
        asked = [message for answer in task.recorded for message in answer]
    called = [[call.name, call.arguments] for message in asked for call in message.tool_calls]
    return json.dumps([*([message.role, message.content] for message in asked), *called])


def _refuse_unstated(row: Mapping[str, Any], prompting: Prompting) -> None:
    """Raise RowError for a row whose prompt takes neither the template nor the system message that states a budget."""
    asked = row.get("prompt")
    taken = isinstance(asked, str)
    if MARK not in prompting.template:
        first = asked[0] if isinstance(asked, list) and asked else None
        spoken = isinstance(first, Mapping) and first.get("role") in ("system", "developer")
        taken = asked is not None and not isinstance(row.get("system"), str) and not spoken
    if not taken:
        raise RowError(
            "no budget can be stated: a template is for prompts that are plain text, and the recipe's system message "
            "for rows without one"
        )


def _read(row: Mapping[str, Any], prompting: Prompting, turns: Learned, *, judged: bool) -> _Read:
    """``judged`` false: only the prompt matters, since another answer will be recorded."""
    present = {name for name in COLUMNS if row.get(name) is not None}
    if "chosen" in present or "rejected" in present:
        return _pair(row, prompting, judged=judged)
    if "prompt" in present:
        prompt = read_prompt(row["prompt"], prompting.template, chat=prompting.format == "chat")
        if not judged:
            return _Read(prompt=prompt)
        if "completion" not in present and "completions" in present:
            return _steps(row, prompt) if row.get("labels") is not None else _ranking(row, prompt)
        if "completion" not in present:
            return _Read(prompt=prompt)
        recorded = (read_answer(row["completion"], prompt, "completion"),)
        worth = label_worth(row)
        return _Read(prompt=prompt, recorded=recorded, worth=worth, columns=("label",) if worth else ())
    if "messages" in present:
        return _conversation(read_messages(row["messages"], "messages"), turns)
    if "text" in present:
        if not isinstance(row["text"], str) or not row["text"]:
            raise RowError('"text" is text that is not empty')
        raw = (Message(role="assistant", content=row["text"]),)
        return _Read(prompt=(Message(role="text", content=""),), recorded=(raw,))
    line = column_line(row)
    raise RowError(
        "there is no prompt: a row has prompt, messages, text, or chosen and rejected; this has "
        f"{', '.join(row)[:500] or 'nothing'}{'; write ' if line else ''}{line}"
    )


def _conversation(messages: Conversation, turns: Learned) -> _Read:
    """The last message is the answer, or with all ``turns`` everything from the first message that answers a user."""
    if messages[-1].role != "assistant":
        return _Read(prompt=messages)
    start = len(messages) - 1
    if turns == "all":
        asked = next((index for index, message in enumerate(messages) if message.role == "user"), start)
        start = next(index for index in range(asked, len(messages)) if messages[index].role == "assistant")
    return _Read(prompt=messages[:start], recorded=(check_answer(messages[start:], "messages"),))


def _pair(row: Mapping[str, Any], prompting: Prompting, *, judged: bool) -> _Read:
    if row.get("chosen") is None or row.get("rejected") is None:
        raise RowError("a preference pair has both chosen and rejected")
    chat = prompting.format == "chat"
    if row.get("prompt") is not None:
        prompt = read_prompt(row["prompt"], prompting.template, chat=chat)
        chosen, rejected = (read_answer(row[name], prompt, name) for name in ("chosen", "rejected"))
    else:
        prompt, (chosen, rejected) = read_pair(row["chosen"], row["rejected"], chat=chat)
    if not judged:
        return _Read(prompt=prompt)
    if chosen == rejected:
        raise RowSkipped("chosen and rejected are the same")
    return _Read(prompt=prompt, recorded=(chosen, rejected), worth=pair_worth(row), columns=PAIR_COLUMNS)


def _ranking(row: Mapping[str, Any], prompt: Conversation) -> _Read:
    values = row["completions"]
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise RowError(f'"completions" is a list of answers that is not empty; this is {show(values)}')
    recorded = tuple(read_answer(value, prompt, "completions") for value in values)
    worth = ranking_worth(row, len(recorded))
    best = dict(zip(recorded, worth, strict=True))
    if any(best[answer] != value for answer, value in zip(recorded, worth, strict=True)):
        raise RowSkipped("a ranking holds the same answer twice at different places")
    return _Read(prompt=prompt, recorded=recorded, worth=worth, columns=RANKING_COLUMNS)


def _steps(row: Mapping[str, Any], prompt: Conversation) -> _Read:
    steps = row["completions"]
    if not isinstance(steps, Sequence) or isinstance(steps, str) or not steps:
        raise RowError(f'"completions" is a list of steps that is not empty; this is {show(steps)}')
    for step in steps:
        if not isinstance(step, str) or not step.strip():
            raise RowError(f"a step is text that is not empty; this is {show(step)}")
        if STEPS in step.strip():
            raise RowError(f"a step is one line, since steps end with their line; this has several: {show(step)}")
    recorded = (read_answer(STEPS.join(step.strip() for step in steps), prompt, "completions"),)
    return _Read(prompt=prompt, recorded=recorded, step_worth=(step_worth(row, len(steps)),), columns=("labels",))


def _demonstration(demonstrate: Callable[[dict[str, Any]], str], row: Mapping[str, Any]) -> str:
    try:
        return demonstrate(dict(row))
    except Exception as error:  # a user's function on a user's row: say which row
        raise RowError(f"demonstrate raised {type(error).__name__}: {error}") from error

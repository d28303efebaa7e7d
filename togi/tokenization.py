"""Chat: the only place where text becomes token ids and back. It knows no model, no algorithm and no environment.

Two rules hold everywhere. Ids that were once sampled or recorded are never tokenised again: a conversation grows by
appending to its ids, so what is learned from is what was seen. And text inside a message is data: a control token
written in it (``<|im_end|>``) is encoded as ordinary characters and can end no turn.

Templates that write the start of a thought into the generation prompt: ``Chat.prefill`` holds that text. Its ids
belong to the prompt, so they are never learned from, and a recorded answer that repeats it has it removed; a turn's
text begins with it, so that whoever reads tags sees the thought open. Templates that drop earlier thoughts: they do so
in ``prompt``, where nothing is learned from; ``extend`` keeps earlier ids as they are.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

from transformers import PreTrainedTokenizerBase

from togi.template_data import NO_TOOLS, Fence, data_of, hide_in, refuse_args, refuse_left_out, template_row
from togi.template_process import TemplateError, render
from togi.types import Ids, Message, ReferenceAnswer, Task, Turn

# Used when a tokenizer brings no template. Content starts on its own line, because a prompt that ends in a space
# would cut the first word off its leading-space token.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ':\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:\n' }}{% endif %}"
)
_QUESTION = Message(role="user", content="x")
# Noncharacters of Unicode: never assigned, so no text and no template has a reason to contain them.
_ANSWER = "\ufdd2answer\ufdd3"
_OPENED = re.compile(r"<(\w+)>\s*\Z")


class Chat:
    """Conversations as token ids, for one tokenizer.

    ``end`` is the token that ends the model's turn (the chat template's, else the tokenizer's end of sequence),
    ``eos_ids`` every token that may end it, ``prefill`` the text that the generation prompt puts into the model's
    mouth (mostly empty). A tokenizer without a chat template gets ``PLAIN_TEMPLATE``.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, eos_ids: frozenset[int]) -> None:
        self.tokenizer = tokenizer
        self._tools: tuple[Mapping[str, Any], ...] = ()
        self._args: Mapping[str, Any] = {}
        self._with_args: dict[str, Chat] = {}
        self._template = tokenizer.get_chat_template() if tokenizer.chat_template else PLAIN_TEMPLATE
        self._controls: dict[str, int] = {
            str(token): index for index, token in tokenizer.added_tokens_decoder.items() if token.special
        }
        longest_first = sorted(self._controls, key=len, reverse=True)
        # The empty negative lookahead matches nothing: a tokenizer may have no control tokens.
        self._control = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._begin = self._begin_ids()
        self._read_turns()
        self.eos_ids = eos_ids | {self.end}

    def of(self, task: Task) -> Chat:
        """The chat that asks a task: its template shows the task's tools, and reads its template arguments.

        Raises ValueError for an argument that the template never reads, or that would write control tokens.
        """
        if not task.tools and not task.template_args:
            return self
        chat = copy(self._reading(task))
        chat._tools = task.tools
        return chat

    def prompt(self, messages: Sequence[Message]) -> Ids:
        """The ids a model is to continue: the messages in the chat template, and the opening of its own turn.

        A single message of role ``text`` is encoded as it stands. Raises ValueError when the template refuses the
        messages, or leaves out one of them, a tool or a tool call.
        """
        if not messages:
            raise ValueError("a prompt needs at least one message, got none")
        if any(message.role == "text" for message in messages):
            if len(messages) > 1:
                raise ValueError(
                    f"a message of role 'text' is a whole prompt by itself, got it among {len(messages)} messages; "
                    "use the roles system, user and assistant, or one text"
                )
            return (*self._begin, *self._literal(messages[0].content))
        tools = self._tools
        texts = [json.dumps(list(tools), ensure_ascii=False)] if tools else []
        fence = Fence(self._control, [*map(data_of, messages), *texts])
        hidden = [hide_in(message, fence) for message in messages]
        shown_tools = [json.loads(fence.hide(json.dumps(tool, ensure_ascii=False))) for tool in tools]
        rendered = self._render(hidden, generation=True, tools=shown_tools)
        refuse_left_out(hidden, rendered)
        names = [tool["function"]["name"] for tool in shown_tools]
        bare = self._render(hidden, generation=True) if tools else ""
        if tools and (rendered == bare or any(name not in rendered for name in names)):
            raise ValueError(f"the model's chat template shows no tools ({', '.join(names)}): {NO_TOOLS}")
        return (*(self._begin if self._template == PLAIN_TEMPLATE else ()), *self._encode(rendered, fence))

    def opening(self, messages: Sequence[Message]) -> str:
        """What a prompt of these messages, or replies, begins the model's turn with: ``prefill``, and nothing where
        they are encoded as they stand."""
        return "" if any(message.role == "text" for message in messages) else self.prefill

    def extend(self, ids: Ids, replies: Sequence[Message]) -> Ids:
        """The next turn's prompt: ``ids`` unchanged (prompt and completion), the turn's end if the model did not
        write it, the replies, and the opening of the model's next turn. Replies of role ``text`` are appended as
        they stand, without a template."""
        raw = [reply for reply in replies if reply.role == "text"]
        if raw:
            if len(raw) < len(replies):
                raise ValueError("replies are either all of role 'text' or none is")
            return (*ids, *self._literal("".join(reply.content for reply in raw)))
        fence = Fence(self._control, [*map(data_of, replies)])
        hidden = [hide_in(reply, fence) for reply in replies]
        rendered = self._render([_QUESTION, _answer(), *hidden], generation=True).partition(_ANSWER)[2]
        refuse_left_out([reply for reply in hidden if reply.role == "tool"], rendered)
        following = rendered.lstrip().removeprefix(self._end_text) if self._ends_turn(rendered) else rendered
        # The end token is encoded along and dropped: what follows it may be tokenised differently at a text's start.
        end, *rest = self._encode(self._end_text + following, fence)
        assert end == self.end
        ended = bool(ids) and ids[-1] in self.eos_ids
        return (*ids, *rest) if ended else (*ids, self.end, *rest)

    def completion(self, text: str) -> Ids:
        """A written answer as the model would have emitted it: the text and the token that ends the turn."""
        return (*self._after(self._anchor, self._without_prefill(text)), self.end)

    def _said(self, message: Message) -> Ids:
        """What the model would have emitted to say a message: its text, or its tool calls as the template has them."""
        if not message.tool_calls:
            return self.completion(message.content)
        fence = Fence(self._control, [data_of(message)])
        hidden = hide_in(message, fence)
        rendered = self._render([_QUESTION, hidden], generation=False)
        refuse_left_out([hidden], rendered)
        start = next((each for each in (self._before, self._anchor) if rendered.startswith(each)), None)
        body, ended, rest = rendered[len(start or "") :].rpartition(self._end_text)
        if start is None or not ended or rest.strip():
            raise ValueError(f"the model's chat template does not write tool calls as a turn of its own: {NO_TOOLS}")
        return (*self._after(self._anchor, self._without_prefill(body), fence), self.end)

    def recorded(self, prompt: Sequence[Message], answer: Sequence[Message]) -> tuple[Turn, ...]:
        """A written conversation as turns, one for each assistant message of ``answer``; no log-probabilities.

        ``answer`` starts with an assistant message; what follows each up to the next are that turn's replies.
        Assistant messages inside ``prompt`` are context. Raises ValueError on any other order.
        """
        if not answer or answer[0].role != "assistant":
            got = f"role {answer[0].role!r}" if answer else "no message"
            raise ValueError(f"a recorded answer starts with a message of role 'assistant', got {got}")
        raw = bool(prompt) and prompt[0].role == "text"
        if raw and any(message.tool_calls for message in answer):
            raise ValueError("tool calls are written by a chat template, and raw text has none")
        context, opening = self.prompt(prompt), self.opening(prompt)
        turns = []
        starts = [index for index, message in enumerate(answer) if message.role == "assistant"]
        for start, following in zip(starts, [*starts[1:], len(answer)], strict=True):
            replies = tuple(answer[start + 1 : following])
            if any((reply.role == "text") != raw for reply in replies):
                raise ValueError("a conversation is either all of role 'text' and assistant, or has no 'text' at all")
            text = answer[start].content
            completion = self._raw_completion(prompt[0].content, text) if raw else self._said(answer[start])
            said = opening + self.decode(completion)
            turns.append(Turn(prompt=context, completion=completion, text=said, stop="eos", replies=replies))
            if following < len(answer):
                context = self.extend((*context, *completion), replies)
        return tuple(turns)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids without special tokens."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def show(self, ids: Sequence[int]) -> str:
        """The text of ids as the model sees it, special tokens visible."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def step_ends(self, completion: Sequence[int], separator: str = "\n") -> tuple[int, ...]:
        """The index of the last token of each step of a completion; none for one that says nothing.

        A step is text between separators that is not blank. It ends with the token in which the separator after it is
        complete, and the last one with the completion. Only the text decides how many steps there are, so that they are
        as many when the same text is tokenised again. Raises ValueError for an empty separator.
        """
        if not separator:
            raise ValueError(r'steps are cut at a separator that is not empty, such as "\n"')
        text, ends, at = self.decode(completion), list[int](), 0
        for piece in text.split(separator):
            at += len(piece) + len(separator)
            if piece.strip():
                ends.append(self._token_at(completion, text[:at]))
        return (*ends[:-1], len(completion) - 1) if ends else ()

    def _token_at(self, ids: Sequence[int], text: str) -> int:
        """The first token with which the ids' text begins with ``text``, else the last one."""
        return bisect_left(range(len(ids) - 1), True, key=lambda i: self.decode(ids[: i + 1]).startswith(text))

    def reference(self, task: Task) -> str | None:
        """The task's own answer as text: the first of several, and of it what follows "####"; None without one."""
        answer = task.answer[0] if isinstance(task.answer, list) and task.answer else task.answer
        text = "" if answer is None or isinstance(answer, list) else str(answer).rpartition("####")[2].strip()
        return text or None

    def referenced(self, turn: Turn, answer: str, tag: str, *, thought: bool = True) -> ReferenceAnswer | None:
        """``<tag>answer</tag>`` where the completion last opens the tag, or, without its ``thought``, at its start.

        The completion is cut before the token in which the tag begins, since a tag's last character may stand in one
        token with what follows; the tags and what is between them are encoded anew. None where no tag is opened.
        """
        opening, closing = f"<{tag}>", f"</{tag}>"
        text = self.decode(turn.completion) if thought else ""
        before, found, _ = text.rpartition(opening)
        if thought and not found:
            return None
        # The most tokens whose text ends before the tag; half a character's bytes do not make a beginning of it.
        kept = bisect_right(
            range(len(turn.completion)), len(before), key=lambda n: len(self.decode(turn.completion[:n]))
        )
        kept = next(n for n in range(max(kept - 1, 0), -1, -1) if before.startswith(self.decode(turn.completion[:n])))
        head = before[len(self.decode(turn.completion[:kept])) :] + opening
        ids = self._after(self._anchor, head + answer + closing)
        start = next(n for n in range(len(ids)) if len(self.decode(ids[: n + 1])) > len(head))
        end = next(n for n in range(len(ids), start, -1) if len(self.decode(ids[n - 1 :])) > len(closing))
        said = replace(
            turn,
            prompt=(*turn.prompt, *turn.completion[:kept], *ids[:start]),
            completion=tuple(ids[start:]),
            text=self.decode(ids[start:]),
            stop="eos",
            logp=(),
            replies=(),
            reward=0.0,
        )
        return ReferenceAnswer(turn=said, tokens=end - start)

    def _reading(self, task: Task) -> Chat:
        """The chat whose template reads the task's arguments, made once for all tasks that have the same."""
        args = task.template_args
        if not args:
            return self
        name = json.dumps(args, sort_keys=True)
        if name not in self._with_args:
            chat = copy(self)
            chat._args = args
            try:
                refuse_args(args, self._template, self._control)
                chat._read_turns()
            except ValueError as error:
                raise ValueError(f"task {task.id}: {error}") from error
            if chat.end not in self.eos_ids:
                raise ValueError(f"task {task.id}: with {name} the model's chat template ends turns with another token")
            self._with_args[name] = chat
        return self._with_args[name]

    def _read_turns(self) -> None:
        """How the template, with the arguments that it is given, begins and ends the model's turn."""
        self._anchor = self._render([_QUESTION], generation=True)
        self._before, _, after = self._render([_QUESTION, _answer()], generation=False).partition(_ANSWER)
        self.end, self._end_text = self._end_of_turn(after)
        self.prefill = _prefill(self._anchor, self._before)

    def _render(self, messages: Sequence[Message], *, generation: bool, tools: Sequence[Mapping[str, Any]] = ()) -> str:
        """Arguments of tool calls are given as objects, and as text to a template that refuses those."""
        variables = {**self.tokenizer.special_tokens_map, **self._args}
        called = any(message.tool_calls for message in messages)
        try:
            rows = [template_row(message) for message in messages]
            try:
                return render(self._template, rows, generation=generation, variables=variables, tools=tools)
            except TemplateError:
                if not called:
                    raise
            rows = [template_row(message, parsed=False) for message in messages]
            return render(self._template, rows, generation=generation, variables=variables, tools=tools)
        except TemplateError as error:
            roles = ", ".join(message.role for message in messages[:9])
            raise ValueError(f"the model's chat template refused messages of roles {roles}: {error}") from error

    def _encode(self, rendered: str, fence: Fence) -> list[int]:
        """Template text with its control tokens, and between them data whose control tokens were hidden."""
        ids: list[int] = []
        for text, hidden in fence.split(rendered):
            ids += self._tokenise(text, literal=False) if text else []
            ids += self._literal(hidden) if hidden else []
        return ids

    def _literal(self, text: str) -> list[int]:
        return self._tokenise(text, literal=True)

    def _tokenise(self, text: str, *, literal: bool) -> list[int]:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(f"text holds half of a surrogate pair and cannot be encoded: {text[:80]!r}") from error
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=literal)
        return ids

    def _after(self, anchor: str, text: str, fence: Fence | None = None) -> list[int]:
        """The ids of ``text`` where it follows ``anchor``; alone if the two would melt into one token.

        Some tokenizers put a space before a text's first word, which a text in the middle must not get. With a
        ``fence`` the data in the text is hidden already, and its control tokens are the template's.
        """
        if fence is None:
            fence = Fence(self._control, [text])
            text = fence.hide(text)
        head = self._tokenise(anchor, literal=False)
        ids = self._encode(anchor + text, fence)
        return ids[len(head) :] if ids[: len(head)] == head else self._encode(text, fence)

    def _raw_completion(self, prompt: str, text: str) -> Ids:
        end = self.tokenizer.eos_token_id
        anchor = "" if self._control.search(prompt) else prompt
        return (*self._after(anchor, text), self.end if end is None else int(end))

    def _without_prefill(self, text: str) -> str:
        opened = self.prefill.strip()
        if not opened or not text.lstrip().startswith(opened):
            return text
        if text.startswith(self.prefill):
            return text.removeprefix(self.prefill)
        return text.lstrip().removeprefix(opened).lstrip("\n")

    def _begin_ids(self) -> Ids:
        """What the tokenizer itself puts before a text: the begin-of-sequence token, or nothing."""
        begin = self.tokenizer.bos_token_id
        ids = self.tokenizer.encode("", add_special_tokens=True)
        return (int(begin),) if begin is not None and ids[:1] == [begin] else ()

    def _end_of_turn(self, after: str) -> tuple[int, str]:
        """The token that the template writes right after an answer, else the tokenizer's end of sequence."""
        match = self._control.match(after.lstrip())
        if match:
            return self._controls[match[0]], match[0]
        if self.tokenizer.eos_token_id is None:
            raise ValueError(
                "the tokenizer has no end-of-sequence token and its chat template ends no turn; "
                "set eos_token in the model's tokenizer_config.json"
            )
        return int(self.tokenizer.eos_token_id), str(self.tokenizer.eos_token)

    def _ends_turn(self, rendered: str) -> bool:
        return rendered.lstrip().startswith(self._end_text)


def _answer() -> Message:
    return Message(role="assistant", content=_ANSWER)


def _prefill(anchor: str, before: str) -> str:
    """What a generation prompt, which ends with ``anchor``, holds more than what stands ``before`` a past answer.

    Some templates put an empty thought before past answers: there it is the tag that the prompt opens and they close.
    """
    if anchor.startswith(before):
        return anchor.removeprefix(before)
    tag = _OPENED.search(anchor)
    closed = tag is not None and before.startswith(anchor) and f"</{tag[1]}>" in before[len(anchor) :]
    return tag[0] if tag is not None and closed else ""

"""A model in this process that is asked. It knows no HTTP, and keeps nothing on disk.

The probability of a verdict is computed exactly: that the answer begins with it, and with no longer one ("10" is not
counted as "1"). All questions of a call go through the model together, and the verdicts of one share its prompt.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from weakref import WeakValueDictionary

import numpy as np
import torch
from transformers import PreTrainedModel

from togi.askers.asker import MARK, AskerWarning, Reply, Request
from togi.batch import collate
from togi.engines.open_engine import open_engine
from togi.models.load_model import load_model
from togi.models.microbatch import microbatches
from togi.models.packing import PackedModel
from togi.protocols import Engine
from togi.tokenization import Chat
from togi.types import CUT, Ids, Prompt, Sample, Sampling, Turn

TOKENS = 2400
"""Distinct tokens that go through the model together; bounds memory, never the result."""

FAINT = 0.01
"""Said once when all verdicts together are less likely than this: the model was not going to answer in the form."""

_OPEN: WeakValueDictionary[tuple[str, torch.dtype, str], LocalModel] = WeakValueDictionary()


class LocalModel:
    """A model that is asked. Without ``model`` it only writes: verdicts by probability are then refused."""

    def __init__(self, model: PreTrainedModel | None, engine: Engine, chat: Chat, context: int) -> None:
        self._packed = None if model is None else PackedModel(model)
        self._engine, self._chat, self._context = engine, chat, context
        self._told = False

    def ask(self, questions: Sequence[Request]) -> list[Reply]:
        prompts = [self._chat.prompt(question.messages) for question in questions]
        replies: list[Reply | None] = [self._too_long(q, ids) for q, ids in zip(questions, prompts, strict=True)]
        open_ = [i for i, reply in enumerate(replies) if reply is None]
        writing = [i for i in open_ if questions[i].reason or not questions[i].tokens]
        turns = self._write([questions[i] for i in writing], [prompts[i] for i in writing])
        scored: list[tuple[int, Ids, str]] = [(i, prompts[i], "") for i in open_ if i not in set(writing)]
        for i, turn in zip(writing, turns, strict=True):
            if questions[i].tokens:
                scored.append((i, self._after_reasons(turn), " "))
            else:
                replies[i] = Reply(
                    text=turn.text,
                    cut=turn.stop in CUT,
                    prompt_tokens=len(turn.prompt),
                    completion_tokens=len(turn.completion),
                )
        answers = self._score([(questions[i].options, ids, space) for i, ids, space in scored])
        written = dict(zip(writing, turns, strict=True))
        for (i, _, _), reply in zip(scored, answers, strict=True):
            replies[i] = replace(reply, text=written[i].text) if i in written else reply
        self._tell([reply for reply in answers if reply.status == "ok"])
        return [reply for reply in replies if reply is not None]

    def _too_long(self, question: Request, prompt: Ids) -> Reply | None:
        room = question.max_tokens if question.reason or not question.tokens else 4
        if len(prompt) + room <= self._context:
            return None
        note = f"a question of {len(prompt)} tokens leaves no room in the model's context of {self._context}"
        return Reply(status="error", note=note)

    def _write(self, questions: Sequence[Request], prompts: Sequence[Ids]) -> list[Turn]:
        """What the model writes; reasons end where the verdict would follow."""
        turns: dict[int, Turn] = {}
        kinds: dict[tuple[int, bool, float], dict[Ids, list[int]]] = {}
        for i, (question, ids) in enumerate(zip(questions, prompts, strict=True)):
            kind = (question.max_tokens, question.reason and question.tokens, question.temperature)
            kinds.setdefault(kind, {}).setdefault(ids, []).append(i)
        for (length, reasons, temperature), asked in sorted(kinds.items()):
            sampling = Sampling(max_tokens=length, temperature=temperature, stop=(f"\n{MARK}",) if reasons else ())
            put = [Prompt(ids=ids, seeds=tuple(_seed(ids, questions[i].vote) for i in at)) for ids, at in asked.items()]
            for at, drawn in zip(asked.values(), self._engine.generate(put, sampling), strict=True):
                turns.update(zip(at, drawn, strict=True))
        return [turns[i] for i in range(len(questions))]

    def _after_reasons(self, turn: Turn) -> Ids:
        """The context in which the verdict comes next; the mark is put there when the model did not write it."""
        if turn.stop == "stop_string":
            return turn.prompt + turn.completion
        written = turn.completion[:-1] if turn.stop == "eos" else turn.completion
        return turn.prompt + written + self._ids(f"\n{MARK}")

    def _score(self, wanted: Sequence[tuple[tuple[str, ...], Ids, str]]) -> list[Reply]:
        """Each option's log-probability as the continuation of a context."""
        if not wanted:
            return []
        if self._packed is None:
            raise ValueError('this engine gives no probabilities of chosen tokens: use verdict="text"')
        options = [[self._ids(space + option) for option in names] for names, _, space in wanted]
        samples = [
            _sample(context, ids, number)
            for number, (each, (_, context, _)) in enumerate(zip(options, wanted, strict=True))
            for ids in each
        ]
        logp = [0.0] * len(samples)
        with torch.no_grad():
            for part in microbatches(samples, TOKENS):
                rows = self._packed(collate([samples[i] for i in part])).logp_BT.to(torch.float64).sum(-1)
                for i, value in zip(part, rows.tolist(), strict=True):
                    logp[i] = value
        following = iter(logp)
        replies = []
        for each, (names, context, _) in zip(options, wanted, strict=True):
            exact = exclusive(each, [next(following) for _ in each])
            if not any(map(math.isfinite, exact)):
                replies.append(Reply(status="error", note="the model's log-probabilities are not finite"))
                continue
            kept = {name: value for name, value in zip(names, exact, strict=True) if value > -math.inf}
            replies.append(Reply(logp=kept, prompt_tokens=len(context), completion_tokens=1))
        return replies

    def _ids(self, text: str) -> Ids:
        """The text as the model would have written it, without the end of its turn."""
        return self._chat.completion(text)[:-1]

    def _tell(self, replies: Sequence[Reply]) -> None:
        if self._told or not replies:
            return
        share = sum(sum(map(math.exp, reply.logp.values())) for reply in replies) / len(replies)
        if share < FAINT:
            self._told = True
            warnings.warn(
                f"the model hardly ever answers in the form it is asked for (all verdicts together have a probability "
                f"of {share:.1%}): what it prefers among them may say little.",
                AskerWarning,
                stacklevel=3,
            )


def open_model(source: str, dtype: torch.dtype, device: str) -> LocalModel:
    """A model of this machine; one that is open already is not opened again."""
    found = _OPEN.get((source, dtype, device))
    if found is None:
        loaded = load_model(source, dtype=dtype, device=device)
        engine = open_engine(loaded)
        found = LocalModel(loaded.model, engine, Chat(loaded.tokenizer, loaded.eos_ids), engine.context)
        _OPEN[source, dtype, device] = found
    return found


def exclusive(ids: Sequence[Ids], logp: Sequence[float]) -> list[float]:
    """From the log-probabilities of beginnings those of wholes: that of "1" alone is ``p("1") - p("10")``."""
    exact = []
    for one, value in zip(ids, logp, strict=True):
        longer = [
            other for many, other in zip(ids, logp, strict=True) if len(many) > len(one) and many[: len(one)] == one
        ]
        left = 1.0 - sum(math.exp(min(0.0, other - value)) for other in longer)
        exact.append(value + math.log(left) if left > 0 else -math.inf)
    return exact


def _seed(ids: Ids, vote: int) -> int:
    """A seed in [0, 2^63) from the question alone, so that a resumed run draws the same reasons."""
    return int.from_bytes(hashlib.blake2b(repr((ids, vote)).encode(), digest_size=8).digest(), "big") >> 1


def _sample(context: Ids, option: Ids, number: int) -> Sample:
    ids = np.asarray(context + option, np.int64)
    mask = np.arange(len(ids)) >= len(context)
    zeros = np.zeros(len(ids), np.float32)
    return Sample(ids=ids, mask=mask, logp=zeros, reward=0.0, group=number, trajectory=0, task="", stop="done")

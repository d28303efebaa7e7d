"""A model that learns to call tools from nothing on one core, and its tokenizer. No download.

``caller`` is what the experiments on tools name as their model's source. It reads the words of the calculator and the
search recipe, and single characters else. It is shown tools by their names, and the frame of a call is one token.
"""

from __future__ import annotations

import json
import random
import re
import string
from collections.abc import Sequence

import calculator
import search
from little_model import END, little_llama
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

UNKNOWN = "<unknown>"
MARKS = ("<asked>", "<given>", "<said>")  # before a question, before what a tool gave, before what the model says
FRAMES = (
    '<tool_call>{"name": "calculator", "arguments": {"expression": "',
    '<tool_call>{"name": "search", "arguments": {"query": "',
    '"}}</tool_call>',
)
TEMPLATE = """\
{% for tool in tools or [] %}<asked>{{ tool.function.name }}{% endfor %}{% for m in messages %}\
{% if m.role == 'assistant' %}<said>{{ m.content }}{% for call in m.tool_calls or [] %}\
<tool_call>{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}</tool_call>\
{% endfor %}<end>{% elif m.role == 'tool' %}<given>{{ m.content }}{% else %}<asked>{{ m.content }}{% endif %}\
{% endfor %}{% if add_generation_prompt %}<said>{% endif %}"""


def caller() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """About half a million weights that know nothing yet."""
    tokenizer = word_tokenizer(words())
    return little_llama(tokenizer, width=128, layers=3, positions=512), tokenizer


def words() -> list[str]:
    """What stands in questions, and in the texts that are searched."""
    rng = random.Random(0)
    rows = [make(rng) for make in (calculator.problem, search.problem) for _ in range(1000)]
    return sorted(set(re.findall("[A-Za-z]{2,}", json.dumps([*rows, *search.corpus()]))))


def word_tokenizer(known: Sequence[str]) -> PreTrainedTokenizerBase:
    pieces = [*map(re.escape, FRAMES), rf"\b(?:{'|'.join(known)})\b", r"[\s\S]"]
    vocabulary = [UNKNOWN, END, *MARKS, *FRAMES, *known, *string.printable]
    tokenizer = Tokenizer(models.WordLevel({token: number for number, token in enumerate(vocabulary)}, UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("|".join(pieces)), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        eos_token=END,
        additional_special_tokens=list(MARKS),
        chat_template=TEMPLATE,
    )

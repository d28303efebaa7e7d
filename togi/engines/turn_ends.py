"""How long a completion may grow, and the turn that it is once it has ended; knows nobody who draws."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from togi.engines.stop_strings import Decoder, StopStrings, cut
from togi.protocols import Talk
from togi.types import Ids, Prompt, Sampling, Stop, Turn


def check_prompts(prompts: Sequence[Prompt], vocabulary: int) -> None:
    """Raises ValueError for a prompt without tokens, or with some that the model does not have."""
    for number, prompt in enumerate(prompts):
        if not prompt.ids:
            raise ValueError(f"prompt {number} has no tokens; give it at least one, such as the start token")
        low, high = min(prompt.ids), max(prompt.ids)
        if low < 0 or high >= vocabulary:
            raise ValueError(
                f"prompt {number} has token ids from {low} to {high}, but the model's vocabulary has "
                f"{vocabulary} entries; encode it with the model's own tokenizer"
            )


def limit_of(prompt: Prompt, sampling: Sampling, context: int) -> tuple[int, Stop]:
    """The most tokens of a completion, and what it stops with after them."""
    most: list[tuple[int, Stop]] = [
        (sampling.max_tokens, "length"),
        (max(0, context - len(prompt.ids)), "context"),
    ]
    if prompt.left is not None:
        most.append((prompt.left, "tokens"))
    return min(most, key=lambda each: each[0])


def drawn_by(talk: Talk, prompts: Sequence[Prompt]) -> list[list[Turn]]:
    """The turns of some prompts, all asked for and waited for: one list a prompt, one turn a seed."""
    wanted, turns = sum(len(prompt.seeds) for prompt in prompts), dict[int, Turn]()
    talk.ask(prompts)
    while len(turns) < wanted:
        turns.update(talk.draw())
    following = iter(range(wanted))
    return [[turns[next(following)] for _ in prompt.seeds] for prompt in prompts]


def found_end(
    ids: Ids,
    limit: int,
    full: Stop,
    sampling: Sampling,
    *,
    ends: Collection[int],
    decoder: Decoder,
    said: str,
) -> tuple[int, Stop]:
    """How many tokens count of a completion that a server drew, and why it ends there, found out from its tokens alone.
    ``ends`` are those that end a turn, ``said`` is why the server says that it stopped.

    Raises ValueError for one that ended before its ``limit`` by nothing that it was asked to end by.
    """
    if sampling.stop:
        watch = StopStrings(decoder, sampling.stop)
        for length in range(1, len(ids) + 1):
            if ids[length - 1] not in ends and watch.found(ids[:length]):
                return length, "stop_string"
    if ids and ids[-1] in ends and not sampling.ignore_eos:
        return len(ids), "eos"
    if len(ids) < limit:
        raise ValueError(
            f"the engine ended a completion after {len(ids)} of {limit} tokens, neither with one of the tokens "
            f"{sorted(ends)} that end a turn nor with a stop string ({said or 'it does not say why'}): "
            "serve the model with its own tokenizer, and with a context as long as the model's"
        )
    return len(ids), full


def ended_turn(
    prompt: Ids,
    completion: Ids,
    logp: tuple[float, ...],
    stop: Stop,
    *,
    decoder: Decoder,
    sampling: Sampling,
    version: int,
) -> Turn:
    """The turn with what it says: neither its end token nor a stop string."""
    words = completion[:-1] if stop == "eos" else completion
    text = decoder.decode(words, skip_special_tokens=True) if words else ""
    return Turn(
        prompt=prompt,
        completion=completion,
        text=cut(text, sampling.stop) if stop == "stop_string" else text,
        stop=stop,
        logp=logp,
        temperature=sampling.temperature or 1.0,
        version=version,
    )

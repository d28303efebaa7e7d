"""How long a completion may grow, and the turn that it is once it has ended; knows nobody who draws."""

from __future__ import annotations

from collections.abc import Sequence

from togi.engines.stop_strings import Decoder, cut
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

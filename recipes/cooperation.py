"""Two who must understand each other: the task of the cooperation recipe. One is told which of three digits is meant,
and says one character; the other sees the digits and that character, and picks. Both are paid 1 for the right one.

``question`` makes a row, and ``form`` what one of the two is told, with an answer that mostly is given by chance.
"""

from __future__ import annotations

import random
from typing import Any

DIGITS = "0123456789"
CHOICES = 3
HEEDS = 0.3  # how often who answers by chance does what would help


class Pointing:
    """``channel`` says what the second player hears: what was "said", always the same ("silent"), or what was meant for
    another row ("shuffled")."""

    players = ("speaker", "picker")

    def __init__(self, task: Any, channel: str = "said") -> None:
        self.meant, self.digits = task.prompt[-1].content.split(":")
        self.channel, self.noise, self.player = channel, task.info["noise"], "speaker"
        self.counts = {"named": 0}

    def start(self) -> dict[str, str]:
        return {"speaker": f"{self.meant}:{self.digits}"}

    def step(self, message: Any) -> tuple[dict[str, str], float | dict[str, float], bool]:
        said = message.content[:1]
        if self.player == "picker":
            paid = float(said == self.meant)
            return {}, {"speaker": paid, "picker": paid}, True
        self.player = "picker"
        self.counts["named"] = int(said == self.meant)
        heard = {"said": said or ".", "silent": ".", "shuffled": self.noise}[self.channel]
        return {"picker": f"{''.join(sorted(self.digits))}.{heard}"}, 0.0, False


def question(rng: random.Random) -> dict[str, str]:
    digits = rng.sample(DIGITS, CHOICES)
    return {"prompt": f"{rng.choice(digits)}:{''.join(digits)}", "noise": rng.choice(DIGITS)}


def form(rng: random.Random) -> dict[str, Any]:
    """What one of the two is told, and one of the digits."""
    digits = rng.sample(DIGITS, CHOICES)
    one = rng.choice(digits)
    told = rng.choice([f"{one}:{''.join(digits)}", f"{''.join(sorted(digits))}.{one}"])
    answer = one if rng.random() < HEEDS else rng.choice(digits)
    return {"messages": [{"role": "user", "content": told}, {"role": "assistant", "content": answer}]}

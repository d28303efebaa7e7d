"""How a process ended, in words; it knows no tier and no call."""

from __future__ import annotations

import signal


def ending(code: int) -> str:
    """What became of a process that ended with this exit code. Where a signal ended it, that is the signal's number,
    negative as subprocess gives it, or added to 128 as a shell and bubblewrap do."""
    number = -code if code < 0 else code - 128
    if number == signal.SIGXCPU:
        return "used up its processor time"
    names = {each.value: each.name for each in signal.Signals}
    return f"was killed by {names[number]}" if number in names else f"ended with exit code {code}"

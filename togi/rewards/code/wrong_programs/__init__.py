"""Wrong programs that know how graders work: each looks for a way to be paid without solving anything.

They are shared by the tests of the code reward, which must pay none of them, and by whoever attacks a grader of their
own. This file runs none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from togi.rewards.code.wrong_programs.on_machines import ON_MACHINES
from togi.rewards.code.wrong_programs.on_tests import ON_TESTS
from togi.rewards.code.wrong_programs.on_values import ON_VALUES

HARMFUL = frozenset({"fork_bomb", "memory_bomb", "kill_parent", "output_flood"})


@dataclass(frozen=True, kw_only=True)
class Attack:
    """A wrong program. ``why`` says what it counts on; ``harmful`` ones may hurt a machine that has no jail."""

    name: str
    source: str
    why: str
    harmful: bool = False

    @property
    def completion(self) -> str:
        """The program as a model would write it."""
        return f"```python\n{self.source}\n```"


def programs(function: str, visible: Sequence[tuple[Sequence[Any], Any]] = ()) -> tuple[Attack, ...]:
    """Every attack on tests of ``function``. ``visible`` are (arguments, output) of examples in the prompt; with them
    comes a program that knows just these. Sources must not be run outside of a jail where ``harmful``."""
    if not function.isidentifier():
        raise ValueError(f"attacks are written for the name of a function; got {function!r}")
    attacks = [
        Attack(name=name, why=why, source=source.strip().replace("NAME", function) + "\n", harmful=name in HARMFUL)
        for name, (why, source) in {**ON_VALUES, **ON_TESTS, **ON_MACHINES}.items()
    ]
    if visible:
        known = {repr(tuple(arguments)): output for arguments, output in visible}
        source = f"KNOWN = {known!r}\n\n\ndef {function}(*arguments):\n    return KNOWN.get(repr(arguments))\n"
        attacks.append(
            Attack(name="visible_examples", why="the examples in the prompt may be all tests", source=source)
        )
    return tuple(attacks)

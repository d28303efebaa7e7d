"""Commands of a shell as a tool, in a folder that an attempt keeps. Each command runs in a jail of its own.

Between commands the folder is data in memory, and nothing lies on this machine: what a command started ends with it,
and the folder ends with the attempt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from togi.sandbox.box import AnyTier, Box, Calls, Limits, Ran
from togi.sandbox.tiers.choose_tier import open_box
from togi.tools.tool import Description, Kept, Result, argued, described

NAME = "shell"
LONGEST = 20_000  # characters of a command
OUTPUT = 1 << 18  # bytes that a command may write
MOST, MANY = 1 << 21, 500  # bytes and files of a folder
SIGNALS, LOST = 255, 1 << 31  # the most that a code and a number of files can be: a longer one has no text
STARTING = 3.0  # seconds that a jail, and putting files in and out, may take beside the command
SOURCE = Path(__file__).with_name("command_in_jail.py")


@dataclass(frozen=True, kw_only=True)
class Shell:
    """No command may take longer than ``seconds``. The jail is the strongest that holds here, or that of ``tier``."""

    seconds: float = 10.0
    tier: AnyTier = "auto"
    files: tuple[Path, ...] = ()
    _boxes: list[Box] = field(default_factory=list, compare=False, repr=False)

    @property
    def description(self) -> Description:
        about = "Runs a shell command in your folder, whose files stay for the next command. There is no network."
        return described(NAME, about, command="The command, such as ls -l.")

    def open(self) -> Box:
        """The jail that commands run in. Raises ValueError where none holds."""
        if not self._boxes:
            self._boxes.append(open_box(self.tier, workers=1, commands=True))
        return self._boxes[0]

    def call(self, arguments: Mapping[str, Any], kept: Kept) -> Result:
        given = argued(self.description, arguments)
        if given.problem:
            return Result(text=given.problem, failed=True)
        command = given.texts["command"]
        if len(command) > LONGEST or "\0" in command:
            return Result(text=f"a command has at most {LONGEST:,} characters, and none of them is 0", failed=True)
        asked = (kept.files, command.encode("utf-8", "replace").decode(), self.seconds, OUTPUT, MOST, MANY)
        program = Calls(source=SOURCE.read_text(encoding="utf-8"), function="run", arguments=(asked,))
        (ran,) = self.open().run([program], Limits(seconds=self.seconds + STARTING, output_bytes=2 * MOST))
        said = _said(ran)
        if said is None:
            why = ran.note or next((each.note for each in ran.outcomes if each.note), ran.status)
            return Result(text=f"the command was ended ({why}); the folder is as it was before it", failed=True)
        if said["whole"]:
            kept.files.clear()
            kept.files.update(said["files"])
        return _result(said, self.seconds)


def _said(ran: Ran) -> dict[str, Any] | None:
    """What came out of the jail, which the command may have written itself; None for what is of no such form."""
    value = ran.outcomes[0].value if ran.outcomes and ran.outcomes[0].status == "ok" else None
    match value:
        case {
            "said": bytes(),
            "code": int(code),
            "stopped": str(),
            "files": dict(files),
            "lost": int(lost),
            "whole": bool(),
        }:
            names = all(isinstance(name, str) and isinstance(content, bytes) for name, content in files.items())
            size = sum(map(len, files.values())) if names else MOST + 1
            told = abs(code) <= SIGNALS and 0 <= lost <= LOST
            return value if told and size <= MOST and len(files) <= MANY + 1 else None
    return None


def _result(said: Mapping[str, Any], seconds: float) -> Result:
    lines = []
    if said["stopped"] == "time":
        lines.append(f"ended: it took longer than {seconds:g} s")
    elif said["stopped"]:
        lines.append(f"ended: it wrote more than {OUTPUT:,} bytes")
    elif said["code"]:
        lines.append(f"exit code {said['code']}")
    if not said["whole"]:
        size = f"{MOST >> 20} MB in {MANY} files"
        lines.append(f"the folder would hold more than {size}: it is as it was before this command")
    if said["lost"]:
        lines.append(f"{said['lost']} links or special files are not kept")
    lines.append(said["said"].decode("utf-8", "replace").rstrip("\n"))  # last, since a long text is cut
    text = "\n".join(line for line in lines if line)
    return Result(text=text or "the command printed nothing", failed=bool(said["stopped"]) or not said["whole"])

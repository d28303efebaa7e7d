"""The shell in a jail: a folder that stays for an attempt, and nothing else that stays; limits, and no way out."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from togi.envs.tool_use import ToolEpisode, ToolUse, tool_use
from togi.sandbox.box import Outcome, Ran, Tier
from togi.sandbox.tiers.choose_tier import open_box, why_not
from togi.sandbox.workers.pool import Pool
from togi.tools import shell as shells
from togi.tools.shell import MANY, Shell
from togi.tools.tool import Kept
from togi.types import Message, Task

TIERS: tuple[Tier, ...] = ("bubblewrap", "landlock")


@pytest.fixture(scope="module", params=TIERS)
def shell(request: pytest.FixtureRequest) -> Shell:
    if why := why_not(request.param, True):
        pytest.skip(f"{request.param}: {why}")
    return Shell(seconds=1.0, tier=request.param)


def said(shell: Shell, command: str, kept: Kept | None = None) -> str:
    return shell.call({"command": command}, kept or Kept()).text


SAID = [
    ("echo hi", "hi"),
    ("true", "the command printed nothing"),
    ("false", "exit code 1"),
    ("echo no >&2; exit 3", "exit code 3\nno"),
    ("printf 'b\\na\\n' | sort", "a\nb"),
    ("python3 -c 'print(6 * 7)'", "42"),
    ("awk 'BEGIN { print 3 }'", "3"),
    ("echo x > /dev/null && echo ok", "ok"),
    ("cat", "the command printed nothing"),
    ("sleep 60", "ended: it took longer than 1 s"),
    ("sleep 60 & echo started", "started"),
    ("setsid sleep 60 & echo started", "started"),
    ("printf '\\377'", "\ufffd"),
]


@pytest.mark.parametrize(("command", "text"), SAID, ids=[command for command, _ in SAID])
def test_a_command_says(shell: Shell, command: str, text: str) -> None:
    assert said(shell, command) == text


KEPT = [
    ("echo a > x; mkdir -p d/e; echo b > d/e/y", {"x", "d/", "d/e/", "d/e/y"}),
    ("rm -rf *", set()),
    ("mv x z", {"z", "d/"}),
    ("ln -s /etc/passwd l; mkfifo p", {"x", "d/"}),
    ("rm -rf d; echo > ../outside", {"x"}),
    ("kill -9 $PPID", {"x", "d/"}),
    (f"for i in $(seq {MANY + 1}); do : > $i; done", {"x", "d/"}),
    ("head -c 3000000 /dev/urandom > big", {"x", "d/"}),
    ("touch \"$(printf 'a\\377')\" é", {"x", "d/", "é"}),
]


@pytest.mark.parametrize(("command", "names"), KEPT, ids=[command[:30] for command, _ in KEPT])
def test_the_folder_keeps_its_files_and_nothing_else(shell: Shell, command: str, names: set[str]) -> None:
    kept = Kept(files={} if "mkdir" in command else {"x": b"a\n", "d/": b""})
    said(shell, command, kept)
    assert set(kept.files) == names


NO_WAY_OUT = [
    "cat {bait}",
    "echo x >> {bait}",
    "ls {folder}",
    "kill -9 {victim}",
    "python3 -c 'import socket; socket.socket()'",
    "mount -t tmpfs none /mnt",
    "unshare -r true",
    "touch /usr/x",
    "ln -s {bait} l && cat l",
]


@pytest.mark.parametrize("command", NO_WAY_OUT)
def test_a_command_does_not_get_out(shell: Shell, tmp_path: Path, command: str) -> None:
    bait = tmp_path / "bait.txt"
    bait.write_text("secret")
    with subprocess.Popen(["sleep", "30"]) as victim:
        text = said(shell, command.format(bait=bait, folder=tmp_path, victim=victim.pid))
        assert victim.poll() is None
        victim.kill()
    assert text.startswith("exit code")
    assert "secret" not in text
    assert bait.read_text() == "secret"


def test_a_flood_is_ended_and_says_so_first(shell: Shell) -> None:
    text = said(shell, "yes")
    assert text.startswith("ended: it wrote more than 262,144 bytes\ny\n")


def test_where_no_jail_has_commands_it_is_refused() -> None:
    with pytest.raises(ValueError, match="starts no command"):
        open_box("subset", 1, commands=True)


FORGED = [
    None,
    5,
    {},
    {"said": "text", "code": 0, "stopped": "", "files": {}, "lost": 0, "whole": True},
    {"said": b"", "code": 10**5000, "stopped": "", "files": {}, "lost": 0, "whole": True},
    {"said": b"", "code": 0, "stopped": "", "files": {}, "lost": 10**5000, "whole": True},
    {"said": b"", "code": 0, "stopped": "", "files": {"x": 5}, "lost": 0, "whole": True},
    {"said": b"", "code": 0, "stopped": "", "files": {"x": b"0" * 3_000_000}, "lost": 0, "whole": True},
]


@pytest.mark.parametrize("value", FORGED)
def test_what_comes_out_is_believed_in_its_form_only(value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    class Forges:
        tier: Tier = "bubblewrap"

        def run(self, programs: object, limits: object) -> list[Ran]:
            return [Ran(status="ok", outcomes=(Outcome(value=value),))]

    monkeypatch.setattr(shells, "open_box", lambda *_, **__: Forges())
    kept = Kept(files={"x": b""})
    result = Shell().call({"command": "ls"}, kept)
    assert result.failed
    assert "as it was before" in result.text
    assert kept.files == {"x": b""}


@pytest.mark.parametrize("arguments", [{}, {"command": ["ls"]}, {"command": "x" * 20_001}, {"command": "a\0b"}])
def test_calls_that_are_none(arguments: dict[str, object]) -> None:
    assert Shell().call(arguments, Kept()).failed


def row(files: object) -> Task:
    return Task(id="t", prompt=(Message(role="user", content="?"),), info={"files": files})


@pytest.mark.parametrize("files", [5, ["a"], {"a": 5}, {"/etc/x": ""}, {"../x": ""}, {"a/../../x": ""}, {"": ""}])
def test_files_of_a_row_that_are_none(files: object) -> None:
    with pytest.raises(ValueError, match="task t: "):
        ToolUse(tools=(Shell(),), form="plain").equipped(row(files))


def test_an_attempt_has_a_folder_of_its_own() -> None:
    try:
        with Pool(workers=1, seconds=10) as pool:
            tools = tool_use({"tools": ["shell"], "form": "plain"}, Path(), pool)
    except ValueError as error:
        pytest.skip(str(error))
    one, other = (ToolEpisode(tools, row({"a.txt": "1"})) for _ in range(2))

    def call(episode: ToolEpisode, command: str) -> str:
        text = f'<tool_call>{{"name": "shell", "arguments": {{"command": "{command}"}}}}</tool_call>'
        return episode.step(Message(role="assistant", content=text))[0][0].content

    call(one, "echo 2 > a.txt")
    assert ">\n2\n<" in call(one, "cat a.txt")
    assert ">\n1\n<" in call(other, "cat a.txt")

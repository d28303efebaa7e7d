"""``togi preview --play``: an episode with a person, or a file, in the place of the model. It loads no weights.

What is shown is what the model would see, and what is counted is what it would learn from: the episode is played by the
same play that training uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.text import Text

from togi.batch import samples
from togi.engines.stop_strings import cut
from togi.envs import OneTurn
from togi.evidence.redteam.run_rewards import asks
from togi.harmless_text import shortened, visible
from togi.models.load_model import load_tokenizer
from togi.protocols import Engine, Policy
from togi.rollout import by_role
from togi.run import Evaluation, Run, Stage, play_of, ready, seed_of
from togi.run_folder.manifest import choose_dtype
from togi.tokenization import Chat
from togi.types import Group, Ids, Message, Prompt, Question, Reading, Sampling, Score, Stop, Trajectory, Turn

LONGEST = 20_000  # characters of one piece that are shown
BETWEEN = "---"  # a line that ends a turn in a script
HELP = "You are the model: type what it would say. A line that ends with \\ goes on; Ctrl-D leaves."

Says = Callable[[], str]
"""What the model says next. Raises EOFError where nobody says anything more."""


@dataclass
class Person(Engine):
    """An engine whose completions somebody writes; each is shown with the part of its context that is new."""

    chat: Chat
    context: int
    says: Says
    console: Console
    raw: bool = False
    version: int = 0
    _seen: list[Ids] = field(default_factory=list, init=False)

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, progress: Callable[[int, int], None] | None = None
    ) -> list[list[Turn]]:
        return [[self._turn(prompt.ids, sampling) for _ in prompt.seeds] for prompt in prompts]

    def read(self, turns: Sequence[Turn]) -> list[Reading]:
        raise ValueError("a person's words have no log-probabilities: this stage cannot be played by hand")

    def sync(self, policy: Policy) -> None:
        pass

    def _turn(self, prompt: Ids, sampling: Sampling) -> Turn:
        number = len(self._seen) + 1
        known = max((len(seen) for seen in self._seen if prompt[: len(seen)] == seen), default=0)
        other = " (a conversation that is new, or was written anew)" if self._seen and not known else ""
        self._show(
            f"turn {number}: the model sees, {len(prompt) - known} tokens, masked{other}", prompt[known:], learned=False
        )
        room = self.context - len(prompt)
        if room <= 0:
            return Turn(prompt=prompt, completion=(), text="", stop="context")
        written = self.says()
        kept = cut(written, sampling.stop)
        ids = self._ids(prompt, kept)
        stop: Stop = "eos"
        if kept != written:
            ids, stop = ids[:-1], "stop_string"
        if len(ids) > min(room, sampling.max_tokens):
            stop = "context" if room < sampling.max_tokens else "length"
            ids = ids[: min(room, sampling.max_tokens)]
        ended = {"eos": "", "stop_string": ", ended by a stop string", "length": ", cut at max_tokens"}
        said = ended.get(stop, ", cut: the context is full")
        self._show(f"turn {number}: the model says, {len(ids)} tokens, learned{said}", ids, learned=True)
        self._seen.append((*prompt, *ids))
        return Turn(prompt=prompt, completion=ids, text=self.chat.decode(ids), stop=stop, logp=(0.0,) * len(ids))

    def _ids(self, prompt: Ids, text: str) -> Ids:
        if not self.raw:
            return self.chat.completion(text)
        before = Message(role="text", content=self.chat.show(prompt))
        return self.chat.recorded((before,), (Message(role="assistant", content=text),))[0].completion

    def _show(self, title: str, ids: Ids, *, learned: bool) -> None:
        self.console.print(Text(title, style="bold green" if learned else "bold"))
        self.console.print(
            Text(shortened(self.chat.show(ids), LONGEST), style="green" if learned else "dim"), soft_wrap=True
        )


def play_by_hand(run: Run, says: Says, console: Console, *, stage: str = "", row: int = 1) -> bool:
    """Play one attempt at a row of a stage's tasks; tells whether it came to its end. Raises ValueError."""
    where = _chosen(run, stage)
    name = where.name if isinstance(where, Stage) else "evaluation"
    if not 1 <= row <= len(where.tasks):
        raise ValueError(f"row {row}: {name} has rows 1 to {len(where.tasks)}")
    task = where.tasks[row - 1]
    tokenizer, context = load_tokenizer(run.model.source, run.model.template, seed_of(run, "init"))
    chat = Chat(tokenizer, frozenset())
    raw = any(message.role == "text" for message in task.prompt)
    person = Person(chat=chat.of(task), context=context, says=says, console=console, raw=raw)
    console.print(Text(visible(f"{name}, row {row}, task {task.id}"), style="bold"))
    reward = None if where.reward is None or asks(where.reward) else where.reward
    play = play_of(where, person, chat, ready(reward, run, person, chat, choose_dtype(run)), seed=0)
    try:
        (played,) = play.attempts([Question(task=task)])
    except EOFError:
        console.print(Text("Nothing more was said, and the episode was not over.", style="bold red"))
        return False
    lines = [line for trajectory in played for line in _end(trajectory)]
    if play.reward is None:
        lines.append("score: none; " + ("the reward asks a model" if where.reward else "this stage has no reward"))
    else:
        groups = play.scored([(task, each) for each in by_role(played).values()])
        lines += [line for group in groups for line in _score(group, group.scores[0])]
    for line in lines:
        console.print(Text(visible(line)), soft_wrap=True)
    return True


def _chosen(run: Run, name: str) -> Stage | Evaluation:
    """The stage of that name; without one the first that an environment answers, else the first that samples."""
    if name:
        known: dict[str, Stage | Evaluation] = {stage.name: stage for stage in run.stages}
        known |= {"evaluation": run.evaluation} if run.evaluation else {}
        if name not in known:
            raise ValueError(f"there is no stage {name!r} to play: there are {', '.join(known)}")
        return known[name]
    sampling = [stage for stage in run.stages if stage.algorithm.sampler.writes]
    answered = [stage for stage in sampling if stage.env is not OneTurn]
    if not sampling:
        raise ValueError("no stage of this run samples: name one with --stage, and its tasks are asked")
    return [*answered, *sampling][0]


def _end(trajectory: Trajectory) -> Iterator[str]:
    for number, turn in enumerate(trajectory.turns, start=1):
        if turn.replies and number == len(trajectory.turns):
            yield f"last reply: {shortened(' '.join(reply.content for reply in turn.replies), 400)}"
    who = f"{trajectory.role}: " if trajectory.role else ""
    yield f"{who}over after {len(trajectory.turns)} turns, end: {trajectory.stop}"
    paid = [turn.reward for turn in trajectory.turns]
    if any(paid):
        yield f"paid by turn: {', '.join(f'{each:g}' for each in paid)}"
    if trajectory.counts:
        yield f"counted: {', '.join(f'{name} {value:g}' for name, value in trajectory.counts.items())}"
    if trajectory.error:
        fault = f"the model's own fault: {trajectory.own_fault}" if trajectory.own_fault else "not the model's fault"
        yield f"broke off: {trajectory.error} ({fault})"


def _score(group: Group, score: Score) -> Iterator[str]:
    said = f"{score.value:g}" if score.status == "ok" else f"none, {score.status}"
    parts = "".join(f", {name} {value:g}" for name, value in score.parts.items())
    role = group.trajectories[0].role
    yield f"{f'{role}, ' if role else ''}score: {said}{parts}{f' ({shortened(score.note, 200)})' if score.note else ''}"
    made = samples([group])
    learned = sum(int(sample.mask.sum()) for sample in made)
    seen = sum(len(sample.ids) for sample in made)
    many = "samples" if len(made) != 1 else "sample"
    yield f"to learn from: {len(made)} {many}, {learned} tokens learned and {seen - learned} masked"


def typed(console: Console) -> Says:
    """Turns typed at the terminal."""
    console.print(Text(HELP, style="dim"))

    def says() -> str:
        lines = [console.input("[bold]> [/bold]")]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            lines.append(console.input("[bold]… [/bold]"))
        return "\n".join(lines)

    return says


def scripted(path: Path) -> Says:
    """The turns of a text file, with a line of ``---`` between them. Raises ValueError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the script {path} cannot be read: {error}") from error
    turns = iter("\n".join(lines) for lines in _turns(text.removesuffix("\n").split("\n")))

    def says() -> str:
        for turn in turns:
            return turn
        raise EOFError

    return says


def _turns(lines: Sequence[str]) -> list[list[str]]:
    turns: list[list[str]] = [[]]
    for line in lines:
        if line.strip() == BETWEEN:
            turns.append([])
        else:
            turns[-1].append(line)
    return turns

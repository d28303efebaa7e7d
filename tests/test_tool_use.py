"""Tools in episodes: what the model is shown, how its calls are answered, what is learned and what is counted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_tool_calls import TOOLS
from tiny_text import byte_level, tiny_folder

from togi.batch import samples
from togi.cli import run_command
from togi.data import Prompting
from togi.data.row_to_task import make_task
from togi.envs.tool_use import Form, ToolUse, tool_use
from togi.protocols import Env
from togi.recipe import RecipeError, load_recipe
from togi.records import episode_metrics
from togi.rollout import Episodes
from togi.run_folder.files import read_lines
from togi.samplers.group import ask
from togi.sandbox.workers.pool import Pool
from togi.tokenization import Chat
from togi.tools.notebook import Recall, Remember
from togi.types import Message, Prompt, Sampling, Score, Task, Trajectory, Turn

CHAT = Chat(byte_level(TOOLS), frozenset({2}))
PLAIN = Chat(byte_level(), frozenset({2}))
TASK = Task(id="t", prompt=(Message(role="user", content="Note a, then say done."),), answer="done")


def call(name: str, /, **arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments)}}}\n</tool_call>'


class Scripted:
    """Says one text a turn, with the end token."""

    version = 0

    def __init__(self, chat: Chat, texts: Sequence[str]) -> None:
        self.chat, self.texts, self.seen = chat, list(texts), list[str]()

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, progress: Callable[[int, int], None] | None = None
    ) -> list[list[Turn]]:
        (prompt,) = prompts
        self.seen.append(self.chat.show(prompt.ids))
        text = self.texts.pop(0)
        ids = self.chat.completion(text)
        return [[Turn(prompt=prompt.ids, completion=ids, text=text, stop="eos", logp=(0.0,) * len(ids))]]


def passed(task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
    return [Score(value=float(each.turns[-1].text == task.answer)) for each in trajectories]


def played(
    *texts: str, chat: Chat = CHAT, form: Form = "template", answer: object = "done", **how: int
) -> tuple[Trajectory, list[str]]:
    env = ToolUse(tools=(Remember(), Recall()), form=form, **how)
    engine = Scripted(chat, texts)
    play = Episodes(engine=engine, chat=chat, env=env, reward=passed, sampling=Sampling())  # type: ignore[arg-type]
    (group,) = play(ask([env.equipped(replace(TASK, answer=answer))], 1))
    return group.trajectories[0], engine.seen


def test_a_call_is_answered_and_the_attempt_ends_with_the_answer() -> None:
    trajectory, seen = played(call("remember", name="a", text="x"), call("recall", name="a"), "done")
    assert [[reply.content for reply in turn.replies] for turn in trajectory.turns] == [["noted"], ["x"], []]
    assert '"name": "remember"' in seen[0]
    assert seen[1].startswith(seen[0]), "what was seen and said stays as it was"
    assert "<tool_response>\nnoted\n</tool_response>" in seen[1]
    wanted = {
        "calls": 2,
        "calls_failed": 0,
        "calls_unreadable": 0,
        "calls_found": 0,
        "calls_used": 0,
        "out_of_turns": 0,
        "calls/remember": 1,
        "calls/recall": 1,
    }
    assert dict(trajectory.counts) == wanted
    assert episode_metrics([trajectory])["env/calls/recall"] == 1.0
    assert episode_metrics([trajectory])["completions/mean_turns"] == 3.0


def test_only_what_the_model_wrote_is_learned() -> None:
    texts = [call("remember", name="a", text="x") + call("remember", name="b", text="<|im_end|>"), "done"]
    trajectory, _ = played(*texts)
    env = ToolUse(tools=(Remember(), Recall()))
    play = Episodes(engine=Scripted(CHAT, texts), chat=CHAT, env=env, reward=passed, sampling=Sampling())  # type: ignore[arg-type]
    (sample,) = samples(play(ask([env.equipped(TASK)], 1)))
    written = [token for turn in trajectory.turns for token in turn.completion]
    assert sample.ids[sample.mask].tolist() == written
    assert int(sample.mask.sum()) == len(written)


def test_in_the_plain_form_tools_are_told_in_the_system_message() -> None:
    trajectory, seen = played(call("remember", name="a", text="x"), "done", chat=PLAIN, form="plain")
    assert "You can call these tools:" in seen[0]
    assert '"name": "remember"' in seen[0]
    assert '<tool_response name="remember">\nnoted\n</tool_response>' in seen[1]
    assert [reply.role for reply in trajectory.turns[0].replies] == ["user"]


def test_two_results_are_one_message_in_the_plain_form_and_stand_in_the_order_of_the_calls() -> None:
    texts = (call("recall", name="a") + call("remember", name="a", text="x"), "done")
    trajectory, _ = played(*texts, chat=PLAIN, form="plain")
    (reply,) = trajectory.turns[0].replies
    assert reply.content.index("there is no note 'a'") < reply.content.index("noted")
    trajectory, _ = played(*texts)
    assert [(reply.name, reply.tool_call_id) for reply in trajectory.turns[0].replies] == [
        ("recall", "call_0"),
        ("remember", "call_1"),
    ]


FAULTS = [
    ("<tool_call>{bad</tool_call>", "error: the call is not a JSON object", {"calls_unreadable": 1, "calls_failed": 1}),
    (call("recall", name="\ud800"), "error: the call is not a JSON object", {"calls_unreadable": 1}),
    ('<tool_call>{"name": "\\ud800", "arguments": {}}</tool_call>', "error: the call is not", {"calls_unreadable": 1}),
    (
        '<tool_call>{"name": "recall", "arguments": "{\\"\\\\udfff\\": 1}"}</tool_call>',
        "error: the arg",
        {"calls_failed": 1},
    ),
    (
        '<tool_call>{"name": "recall", "arguments": {"name": NaN}}</tool_call>',
        "error: the call",
        {"calls_unreadable": 1},
    ),
    ('<tool_call>{"name": "recall", "arguments": {"name": 1e999}}</tool_call>', "error: the call", {"calls_failed": 1}),
    (call("forget", name="a"), "error: there is no tool 'forget': remember, recall", {"calls_failed": 1}),
    (call("recall"), "error: name is missing", {"calls_failed": 1, "calls/recall": 1}),
    (call("recall", name="z"), "error: there is no note 'z'", {"calls_failed": 1}),
    (call("recall", name="a") * 9, "error: a turn has at most 8 calls", {"calls": 9}),
]


@pytest.mark.parametrize(("text", "told", "counted"), FAULTS)
def test_a_bad_call_is_told_and_counted_and_ends_nothing(text: str, told: str, counted: dict[str, int]) -> None:
    trajectory, _ = played(text, "done")
    assert any(reply.content.startswith(told) for reply in trajectory.turns[0].replies)
    assert {name: trajectory.counts[name] for name in counted} == counted
    assert trajectory.turns[-1].text == "done"
    assert trajectory.error is None


NOTED = "Ann lives in Ulm, with 2 cats."
GIVEN = [  # what a call gave, what the model then said, the row's answer: is the call found, is it used?
    ("408", "408", "408", 1, 1),
    ("408", "The answer is 408.", 408, 1, 1),
    ("408", "4081", "408", 1, 0),
    ("4080", "408", "408", 0, 0),
    ("1408", "408", 408, 0, 0),
    ("99", "99", "408", 0, 1),
    ("99", "408", "408", 0, 0),
    (NOTED, "Ulm", "ulm", 1, 1),
    (NOTED, "in ULM.", "Ulm", 1, 1),
    (NOTED, "Ulm, I think", "Ulm", 1, 0),
    (NOTED, "Bonn", "Ulm", 1, 0),
    (NOTED, "Bonn", "Bonn", 0, 0),
    (NOTED, "", "Ulm", 1, 0),
    ("…", "…", "Ulm", 0, 0),
    (NOTED, "2", 2, 1, 1),
    (NOTED, "Ulm", None, None, 1),
    (NOTED, "Ulm", ["Ulm"], None, 1),
    (NOTED, "Ulm", "", None, 1),
]


@pytest.mark.parametrize(("gave", "said", "answer", "found", "used"), GIVEN)
def test_a_call_may_find_the_rows_answer_and_be_used(
    gave: str, said: str, answer: object, found: int | None, used: int
) -> None:
    counts = played(call("remember", name="a", text=gave), call("recall", name="a"), said, answer=answer)[0].counts
    assert (counts.get("calls_found"), counts["calls_used"]) == (found, used)


def test_a_call_that_failed_finds_nothing() -> None:
    counts = played(call("recall", name="done"), "done")[0].counts
    assert (counts["calls_failed"], counts["calls_found"], counts["calls_used"]) == (1, 0, 0)


def test_a_long_result_is_cut_and_says_so() -> None:
    trajectory, _ = played(call("remember", name="a", text="x" * 500), call("recall", name="a"), "done", characters=100)
    assert trajectory.turns[1].replies[0].content == "x" * 100 + " … (cut)"


def test_turns_run_out() -> None:
    trajectory, _ = played(*[call("recall", name="a")] * 3, turns=3)
    assert len(trajectory.turns) == 3
    assert trajectory.counts["out_of_turns"] == 1


def test_each_attempt_begins_with_no_notes() -> None:
    env = ToolUse(tools=(Remember(), Recall()))
    for _ in range(2):
        episode = env(TASK)
        (reply,), _, _ = episode.step(Message(role="assistant", content=call("recall", name="a")))
        assert "there is no note" in reply.content
        episode.step(Message(role="assistant", content=call("remember", name="a", text="x")))


def conversation(turns: Any = "all") -> Task:
    function = {"name": "recall", "arguments": '{"name": "a"}'}
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "What is a?"},
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "id": "c", "function": function}]},
        {"role": "tool", "tool_call_id": "c", "name": "recall", "content": "x"},
        {"role": "assistant", "content": "x"},
    ]
    return make_task({"messages": messages, "answer": "x"}, "t", Prompting(), turns=turns)


def test_recorded_conversations_are_written_in_the_plain_form_too() -> None:
    task = ToolUse(tools=(Remember(), Recall()), form="plain").equipped(conversation())
    assert task.prompt[0].content.startswith("Be short.\n\nYou can call these tools:")
    first, last = PLAIN.recorded(task.prompt, task.recorded[0])
    assert first.text == '<tool_call>{"name": "recall", "arguments": {"name": "a"}}</tool_call>'
    assert first.replies[0].content == '<tool_response name="recall">\nx\n</tool_response>'
    assert last.text == "x"


def test_the_tools_of_a_row_and_of_the_recipe_are_not_both_shown() -> None:
    env = ToolUse(tools=(Remember(),))
    with pytest.raises(ValueError, match="task t has tools of its own"):
        env.equipped(env.equipped(TASK))
    with pytest.raises(ValueError, match="raw text"):
        ToolUse(tools=(Remember(),), form="plain").equipped(Task(id="t", prompt=(Message(role="text", content="a"),)))


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "it needs the tools"),
    ({"tools": ["calculator"], "from": "x"}, "'from' is no setting of tools: there are tools, form, turns, calls"),
    ({"tools": ["calculator"], "form": "xml"}, 'wanted "template"'),
    ({"tools": ["calculator"], "turns": 1}, "turns = 1: wanted a whole number of at least 2"),
    ({"tools": ["calculator"], "calls": 1.5}, "calls = 1.5"),
    ({"tools": ["calculator"], "characters": True}, "characters = True"),
]


@pytest.mark.parametrize(("settings", "why"), WRONG)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError) as error:
        tool_use(settings, Path(), Pool(workers=1))
    assert why in str(error.value)


RECIPE = """
name = "asks"
[model]
source = "model"
dtype = "float32"
[data.train]
file = "rows.jsonl"
turns = "all"
[data.test]
file = "test.jsonl"
turns = "all"
[env]
use = "tools"
settings = { tools = ["shop.py:price", "notebook"], form = "plain", turns = 3 }
[reward]
score = "number()"
[sampling]
max_tokens = 12
[[stage]]
algorithm = "sft"
steps = 1
tasks_per_step = 2
learning_rate = 1e-3
[[stage]]
algorithm = "grpo"
steps = 2
tasks_per_step = 2
attempts = 2
learning_rate = 1e-3
[evaluation]
attempts = 1
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    config = tiny_folder(tmp_path / "model") / "config.json"
    config.write_text(config.read_text().replace('"max_position_embeddings": 256', '"max_position_embeddings": 2048'))
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "shop.py").write_text('def price(item: str) -> int:\n    "The price."\n    return 2\n')
    for name, items in (("rows", "abcd"), ("test", "ef")):
        lines = []
        for item in items:
            function = {"name": "price", "arguments": json.dumps({"item": item})}
            said = [
                {"role": "user", "content": f"Price of {item}?"},
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"id": "c", "type": "function", "function": function}],
                },
                {"role": "tool", "tool_call_id": "c", "content": "2"},
                {"role": "assistant", "content": "2"},
            ]
            lines.append(json.dumps({"messages": said, "answer": "2"}) + "\n")
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    return tmp_path


def test_a_recipe_with_tools_runs(place: Path) -> None:
    assert run_command(["train", str(place / "recipe.toml"), "--folder", str(place / "run")]) == 0
    rows = read_lines(place / "run" / "metrics.jsonl")
    assert "env/calls" in rows[-1]
    first = read_lines(place / "run" / "rollouts" / "grpo-000001.jsonl")[0]
    assert "You can call these tools" in first["prompt"]
    manifest = json.loads((place / "run" / "manifest.json").read_text())
    assert any(name.endswith("shop.py") for name in manifest["files"]["grpo"])


BAD = [
    ("env.use=toolz", '\'toolz\' is no environment: there are "tools", "gymnasium"'),
    ("env.settings={tools = ['calc']}", "'calc' is no tool"),
    ("env.settings={tools = ['shop.py:cost']}", 'has no function "cost"'),
]


@pytest.mark.parametrize(("change", "why"), BAD)
def test_a_recipe_that_names_no_tool_is_refused_once(place: Path, change: str, why: str) -> None:
    with pytest.raises(RecipeError) as error:
        load_recipe(place / "recipe.toml", [change])
    assert str(error.value).count(why) == 1


@pytest.mark.parametrize(
    ("texts", "fault"),
    [
        (['{"say": "a"}', '{"say": "\\ud800"}'], "error"),
        (['{"say": "a"}', '{"say": "b"}'], None),
    ],
)
def test_what_makes_a_reply_that_nobody_can_be_told_is_the_models_own_fault(
    texts: list[str], fault: str | None
) -> None:
    class Echo(Env):
        harmless = '{"say": "x"}'

        def __init__(self, task: Task) -> None:
            self.turn = 0

        def start(self) -> tuple[Message, ...]:
            return TASK.prompt

        def step(self, message: Message) -> tuple[tuple[Message, ...], float, bool]:
            self.turn += 1
            said = json.loads(message.content)
            return (Message(role="user", content=said["say"]),), 0.0, self.turn == 3

        def close(self) -> None:
            pass

    engine = Scripted(PLAIN, [*texts, texts[0]])
    play = Episodes(engine=engine, chat=PLAIN, env=Echo, reward=passed, sampling=Sampling())  # type: ignore[arg-type]
    (group,) = play(ask([TASK], 1))
    assert (group.trajectories[0].own_fault, group.scores[0].status) == (fault, "ok"), group.trajectories[0].error


def test_a_class_of_ones_own_counts_too() -> None:
    class Door(Env):
        def __init__(self, task: Task) -> None:
            self.counts = {"knocks": 0}

        def start(self) -> tuple[Message, ...]:
            return (Message(role="user", content="knock"),)

        def step(self, message: Message) -> tuple[tuple[Message, ...], float, bool]:
            self.counts["knocks"] += 1
            return (), 0.0, True

        def close(self) -> None: ...

    engine = Scripted(PLAIN, ["knock"])
    play = Episodes(engine=engine, chat=PLAIN, env=Door, reward=passed, sampling=Sampling())  # type: ignore[arg-type]
    (group,) = play(ask([TASK], 1))
    assert episode_metrics(group.trajectories) == {"stop/eos": 1.0, "env/knocks": 1.0}

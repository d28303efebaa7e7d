"""Togi's rewards and environments as TRL and verifiers take them; with those themselves where they are there."""

from __future__ import annotations

import asyncio
import inspect
import json
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from togi.lent import trl_environment, trl_reward

CHANCE = """
class Chance:
    def __init__(self, task, hint="Again."):
        self.task, self.hint, self.turn = task, hint, 0

    def start(self):
        *before, last = self.task.prompt
        return [*before, {"role": "user", "content": last.content + " One word."}]

    def step(self, message):
        self.turn += 1
        if message.content == "raise" or self.task.answer == "never":
            raise KeyError("mine")
        if message.content == self.task.answer:
            return "", 1.0 if self.turn == 1 else 0.5, True
        return self.hint, 0.0, self.turn == 2


class Other(Chance):
    def start(self):
        return "Something else."


class Two(Chance):
    players = ("a", "b")
    player = "a"
"""
OWN = "def score(task, completion):\n    return task.info['level'] + len(completion)\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "chance.py").write_text(CHANCE)
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path


def messages(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]


def test_a_reward_function_of_trl() -> None:
    reward = trl_reward("number()")
    given = reward(
        prompts=["2 + 2?", "2 + 2?", "3 + 3?"],
        completions=["4", "It is 5.", "6"],
        completion_ids=[[1], [2], [3]],
        answer=["4", "4", "6"],
        trainer_state=SimpleNamespace(global_step=3),
    )
    assert given == [1.0, 0.0, 1.0]


def test_it_reads_conversations_and_their_turns(place: Path) -> None:
    reward = trl_reward('exact() + 0.5 * python("own.py:score")', base=place)
    said = [{"role": "assistant", "content": "yes", "refusal": None}]
    assert reward([messages("a")], [said], answer=["yes"], level=[2]) == [1.0 + 0.5 * 5]
    many = [*said, {"role": "user", "content": "sure?"}, {"role": "assistant", "content": "no"}]
    assert reward([messages("a")], [many], answer=["no"], level=[2]) == [1.0 + 0.5 * 4]


def test_attempts_at_a_task_are_scored_together() -> None:
    reward = trl_reward("majority()")
    assert reward(["q"] * 3 + ["r"] * 2, ["4", "4", "5", "4", "5"], answer=["x"] * 5)[:3] == [1.0, 1.0, 0.0]


def test_no_score_is_none_and_no_zero(place: Path) -> None:
    (place / "own.py").write_text("def score(task, completion):\n    raise OSError('no disk')\n")
    assert trl_reward('python("own.py:score")', base=place)(["q"], ["a"], answer=["x"]) == [None]


WRONG = [
    ("nothing()", "nothing"),
    ("number(", "never closed"),
    ("likelihood()", "likelihood asks models that a run of Togi's opens"),
    ('exact() + python("nowhere.py:f")', "no file"),
]


@pytest.mark.parametrize(("score", "why"), WRONG)
def test_what_cannot_be_lent_is_refused(score: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        trl_reward(score)


def test_an_environment_of_trl(place: Path) -> None:
    made = trl_environment("chance.py:Chance", settings={"hint": "No."}, base=place)()
    assert [name for name, _ in inspect.getmembers(type(made), inspect.isfunction) if name[0] != "_"] == [
        "get_reward",
        "reset",
        "say",
    ]
    for _ in range(2):  # TRL resets the same object
        assert made.reset(prompt=messages("2 + 2?"), answer="4", level=3) == " One word."
        assert made.say("5") == "No."
        assert made.say("4") == made.say("4") == "It is over: answer without a call."
        assert made.get_reward() == 0.5
    for answer, earned in (("4", 0.0), ("never", None)):  # by the model's own fault, or by the environment's
        made.reset(prompt="2 + 2?", answer=answer)
        with pytest.raises(RuntimeError, match="the environment failed: KeyError"):
            made.say("raise")
        assert made.say("4") == "It is over: answer without a call."
        assert made.get_reward() == earned
    other = trl_environment("chance.py:Other", base=place)()
    assert other.reset(prompt="q") == "\nSomething else."


@pytest.mark.parametrize(
    ("use", "settings", "why"),
    [
        ("tools", {"tools": ["calculator"]}, "other trainers take as functions"),
        ("nothing", {}, "is no environment"),
        ("chance.py:Two", {}, "several players"),
        ("chance.py:Chance", {"size": 3}, "cannot be called as"),
    ],
)
def test_what_is_no_environment_is_refused(place: Path, use: str, settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        trl_environment(use, settings=settings, base=place)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("trl") is None, reason="needs TRL")
def test_trl_trains_with_both(place: Path) -> None:
    from datasets import Dataset
    from tiny_text import tiny_folder
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    folder = tiny_folder(place / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = Dataset.from_list([{"prompt": messages("2 + 2?"), "answer": "4", "level": 1}] * 4)
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder),
        processing_class=tokenizer,
        reward_funcs=[trl_reward('python("own.py:score")', base=place), trl_reward("number()")],
        train_dataset=rows,
        args=GRPOConfig(
            output_dir=str(place / "run"),
            max_steps=1,
            per_device_train_batch_size=4,
            num_generations=2,
            max_completion_length=4,
            report_to="none",
            logging_steps=1,
            use_cpu=True,
            save_strategy="no",
        ),
    )
    trainer.train()
    assert trainer.state.log_history[0]["rewards/number()/mean"] >= 0


class Scripted:
    """Answers verifiers as OpenAI's client would, with the next of its texts."""

    def __init__(self, *texts: str) -> None:
        self.texts, self.asked = list(texts), list[Any]()
        self.chat = SimpleNamespace(completions=self)

    async def create(self, messages: Any, **_: Any) -> Any:
        from openai.types.chat import ChatCompletion

        self.asked.append([each["content"] for each in messages])
        said = {"role": "assistant", "content": self.texts.pop(0)}
        choice = {"index": 0, "message": said, "finish_reason": "stop"}
        whole = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
        return ChatCompletion.model_validate(whole)


@pytest.mark.skipif(find_spec("verifiers") is None, reason="needs verifiers")
def test_verifiers_plays_an_environment_and_asks_a_reward(place: Path) -> None:
    import verifiers
    from datasets import Dataset

    from togi.lent import verifiers_environment, verifiers_rubric

    rows = Dataset.from_list([{"prompt": messages("2 + 2?"), "answer": "4"}])
    env = verifiers_environment(
        "chance.py:Chance", base=place, dataset=rows, max_turns=4, rubric=verifiers_rubric("number()")
    )

    def played(*texts: str, answer: str = "4") -> tuple[Any, Scripted]:
        client = Scripted(*texts)
        row = {"prompt": messages("2 + 2?"), "answer": answer, "example_id": 0, "task": "default", "info": {}}
        return asyncio.run(env.run_rollout(row, client, "m", {})), client

    output, client = played("5", "4")
    assert client.asked == [["2 + 2? One word."], ["2 + 2? One word.", "5", "Again."]]
    assert output["reward"] == 0.5 + 1.0
    assert played("4")[0]["reward"] == 2.0
    failed, _ = played("raise", answer="never")
    assert "KeyError" in json.dumps(failed["error"], default=str)
    broken, _ = played("raise")
    assert (broken["error"], broken["reward"]) == (None, 0.0)
    single = verifiers.SingleTurnEnv(dataset=rows, rubric=verifiers_rubric("number()"))
    row = {"prompt": messages("2 + 2?"), "answer": "4", "example_id": 0, "task": "default", "info": {}}
    assert asyncio.run(single.run_rollout(row, Scripted("It is 4."), "m", {}))["reward"] == 1.0

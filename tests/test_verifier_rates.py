"""How good a verifier is: numbers by hand, what is fooled, and the table a reader sees."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from judge_doubles import Scripted
from tiny_text import byte_level

from togi.algorithms.scorers.genrm import KEYS, Chains, Verdicts
from togi.askers.asker import Reply
from togi.evidence.after.measure_reward import measure_verifier, reader
from togi.evidence.after.verifier_rates import (
    LISTED,
    OTHERS,
    VerificationRecord,
    VerifiedAttempt,
    auroc,
    best,
    majority,
    read_verification,
    verification,
    write_verification,
)
from togi.evidence.read_run import read_run
from togi.report import render
from togi.report.verifiers_section import verifiers_view
from togi.rewards import form, gate, number
from togi.rewards.judge.fool_judge import ATTACKS
from togi.tokenization import Chat
from togi.types import Message, Task


def one(p: float | None, correct: bool, answer: str | None = None) -> VerifiedAttempt:
    return VerifiedAttempt(p=p, correct=correct, answer=answer)


def record(name: str = "verifier", **changes: object) -> VerificationRecord:
    tasks = [
        {
            "task": "a",
            "attempts": [one(0.9, True, "7"), one(0.4, False, "8"), one(0.2, False, "8"), one(None, True, "7")],
        },
        {
            "task": "b",
            "attempts": [one(0.6, False, "3"), one(0.7, True, "4"), one(0.7, False, "3"), one(0.1, True, "4")],
        },
    ]
    keys = [
        {"family": "nothing", "text": ":", "listed": True, "p": [0.1, 0.2]},
        {"family": "openers", "text": "Answer:", "listed": False, "p": [0.9, 0.2]},
    ]
    return {"name": name, "step": 3, "reason": False, "tasks": tasks, "keys": keys, **changes}  # type: ignore[typeddict-item]


def test_auroc_by_hand() -> None:
    assert auroc([0.9, 0.4, 0.35, 0.8], [True, False, True, False]) == pytest.approx(0.5)
    assert auroc([0.5, 0.5], [True, False]) == 0.5
    assert auroc([0.2, 0.1, 0.1], [True, False, False]) == 1
    assert auroc([0.2], [True]) is None


def test_choosing_by_hand() -> None:
    attempts = [one(0.7, True, "4"), one(0.7, False, "3"), one(0.1, False, "3")]
    assert best(attempts) == 0.5
    assert majority(attempts) == 0
    assert majority([*attempts, one(0.0, True, "4")]) == 0.5
    assert majority([one(0.5, False, None)]) == 0


def test_what_a_record_says() -> None:
    found = verification(record())
    assert (found.tasks, found.attempts, found.unscored, found.n) == (2, 7, 1, 4)
    # Right: 0.9, 0.7, 0.1; wrong: 0.4, 0.2, 0.6, 0.7: 4 + 3.5 + 0 of 12 pairs.
    assert found.auroc is not None
    assert found.auroc.point == pytest.approx(7.5 / 12)
    assert found.accuracy.point == pytest.approx((3 / 3 + 1 / 4) / 2)
    assert found.right.point == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert found.majority is not None
    assert found.majority.point == pytest.approx((0 + 0.5) / 2)
    assert found.best.point == pytest.approx((1 + 0.5) / 2)
    assert found.any_right.point == 1
    assert found.gain is not None
    assert found.gain.point == pytest.approx(found.best.point - found.majority.point)
    assert {kind: (rate.point, tried) for kind, (rate, tried) in found.passed.items()} == {
        LISTED: (0.0, 2), OTHERS: (0.5, 2), "openers": (0.5, 2),
    }  # fmt: skip
    with pytest.raises(ValueError, match="verified no attempt"):
        verification(record(tasks=[{"task": "a", "attempts": [one(None, True)]}]))


def test_a_verifier_is_measured_as_it_was_taught() -> None:
    """One that knows the truth, but is fooled by the keys it was not taught."""
    tasks = [
        Task(
            id=str(i),
            prompt=(Message(role="user", content=f"What is {i} + 1?"),),
            recorded=tuple((Message(role="assistant", content=f"{text}"),) for text in (i + 1, "No idea", i + 2)),
            worth=(1.0, 0.0, 0.0),
        )
        for i in range(100, 103)
    ]

    def reply(text: str) -> Reply:
        asked, answer = text.split("What is ")[1].split(" + 1?")[0], text.split("[The answer]\n> ")[1].split("\n")[0]
        yes = answer == str(int(asked) + 1) or answer == "Answer:"
        return Reply(logp={"Yes": math.log(0.9 if yes else 0.2)})

    asker, chat = Scripted(reply), Chat(byte_level(), frozenset({2}))
    labelled = Verdicts(master_keys=1)
    read = reader(gate(number(), by=form()))
    found = measure_verifier(labelled, asker, chat, tasks, read, name="v", step=7, attacked=2)
    assert [[a["p"] for a in each["attempts"]] for each in found["tasks"]] == [pytest.approx([0.9, 0.2, 0.2])] * 3
    assert [a["answer"] for a in found["tasks"][0]["attempts"]] == ["101", "No idea", "102"]
    assert len(found["keys"]) == sum(map(len, ATTACKS.values()))
    assert {key["text"] for key in found["keys"] if key["listed"]} == set(KEYS)
    assert {key["text"] for key in found["keys"] if max(key["p"]) >= 0.5} == {"Answer:"}
    assert all(len(key["p"]) == 2 for key in found["keys"])
    taught = {question.prompt for task in tasks for question in Verdicts().questions(task)}
    assert {question.messages for question in asker.asked} >= taught
    chains = Scripted(lambda text: Reply(text="So.", logp={"Yes": -1.0}))
    measure_verifier(Chains(), chains, chat, tasks, read, name="v", step=7, attacked=1)
    assert all(question.reason for question in chains.asked)
    with pytest.raises(ValueError, match="says nothing of the worth"):
        measure_verifier(
            labelled, asker, chat, [Task(id="t", prompt=(), recorded=tasks[0].recorded)], read, name="v", step=7
        )


def test_files_are_checked(tmp_path: Path) -> None:
    path = write_verification(tmp_path, record())
    assert read_verification(path) == record()
    with pytest.raises(ValueError, match="may not contain a path"):
        write_verification(tmp_path, record("../x"))
    faults: tuple[object, ...] = (
        {},
        record(tasks=[{"task": "a", "attempts": [{"p": "0.5", "correct": True}]}]),
        record(keys=[{}]),
        3,
    )
    for broken in faults:
        path.write_text(json.dumps(broken))
        with pytest.raises(ValueError, match="run the stage again"):
            read_verification(path)


def test_one_that_ranks_is_compared_within_tasks_and_gives_no_verdict() -> None:
    found = verification(record(ranks=True))
    assert found.accuracy is None
    assert found.auroc is not None
    assert found.auroc.point == pytest.approx((2 + 1.5) / (2 + 4))
    view = verifiers_view([record(ranks=True)])
    assert view is not None
    assert dict(view.rows)["Verdicts that are right"] == ["not recorded"]


def test_a_reader_sees_a_table_and_is_told(tmp_path: Path) -> None:
    assert verifiers_view([]) is None
    view = verifiers_view([record(), record("<b>other</b>", keys=[])])
    assert view is not None
    assert view.heads == ("verifier", "<b>other</b>")
    assert "There is no evidence that verifier tells right attempts from wrong ones" in view.sentences[0]
    assert "There is no evidence that choosing by verifier beats the most frequent answer" in view.sentences[1]
    assert view.sentences[2] == "verifier called 50.0% of 2 answers right that say nothing and were not trained on."
    assert dict(view.rows)["Answers that say nothing, called right: all others"] == [
        "50.0% (9.5–90.5) of 2",
        "not recorded",
    ]
    (tmp_path / "metrics.jsonl").write_text("")
    write_verification(tmp_path, record("<b>other"))
    page = render(read_run(tmp_path))
    assert "Does the verifier tell right from wrong?" in page
    assert "<b>other" not in page
    (tmp_path / "verification" / "bad.json").write_text("{}")
    assert "bad.json" in render(read_run(tmp_path))

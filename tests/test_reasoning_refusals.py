"""Numbers of trees, replay, mixtures, teachers, lengths and rounds that cannot be: told before torch is imported, at
the key that is at fault."""

from __future__ import annotations

from pathlib import Path

from test_early_errors import QUICKSTART, commands

MIXED = "data.train={{sources=[{{file='rows.jsonl',weight={}}},{{file='rows.jsonl',weight={}}}]}}"


def stage(algorithm: str, settings: str = "", *more: str) -> list[str]:
    """Changes that let the stage learn so."""
    chosen = [f"stage.grpo.settings={{{settings}}}"] if settings else []
    return [f"stage.grpo.algorithm={algorithm}", *chosen, *(f"stage.grpo.{each}" for each in more)]


FAULTS = [
    (stage("treerl", "forks=0"), "settings: forks must be at least 1, got 0"),
    (stage("treerl", "arms=-1"), "settings: arms must be at least 1, got -1"),
    (stage("treerl", "rounds=0"), "settings: rounds must be at least 1, got 0"),
    (stage("treerl", "forks=1.5"), "settings.forks: got 1.5, wanted a whole number"),
    (stage("treerl", "forks=true"), "settings.forks: got true (true/false), wanted a whole number"),
    (stage("treerl", "forks=100,rounds=100"), "settings: that makes"),
    (stage("treerl", "", "attempts=900"), "attempts: that makes 4,500 leaves a task, wanted at most 4,096"),
    (stage("treepo", "segment=0"), "settings: a segment has at least 1 token, got 0"),
    (stage("treepo", "segment=64"), "branches after 64 tokens of an answer, which has at most 64"),
    (stage("treepo", "segment=9,first=9"), "settings: first is between 1 and the 8 attempts, got 9"),
    (stage("treepo", "segment=9", "attempts=1"), "attempts: a tree has at least 2 leaves, got attempts = 1"),
    (stage("treepo", 'segment=9,weighting="even"'), 'settings.weighting: got "even" (text), wanted "equal"'),
    (stage("spo_tree", "levels=1"), "settings: levels must be at least 2, got 1"),
    (stage("spo_tree", "segment=32", "attempts=2"), "branches after 64 tokens of an answer, which has at most 64"),
    (stage("spo_tree", "segment=9", "attempts=1"), "attempts: with attempts = 1 nothing branches"),
    (stage("spo_tree", "segment=9,learn_below=nan", "attempts=2"), "settings.learn_below: got nan"),
    (stage("spo", "cutpoints=0"), "settings: a segment has at least 1 cutpoint, got 0"),
    (stage("spo", "unsure=1.5"), "settings: unsure is a probability above 0, got 1.5"),
    (stage("spo", "continuations=10000000"), "settings.continuations: got 10000000, wanted a number of at most 10000"),
    (stage("vineppo", "continuations=-3"), "settings: attempts and continuations must be at least 1, got 8 and -3"),
    (stage("vineppo", 'separator=""'), "settings: steps are cut at a separator that is not empty"),
    (stage("vineppo", "", "attempts=0"), "attempts: got 0"),
    (stage("grpo", "kl_target=0"), "settings: kl_target must be above 0, got 0.0"),
    (stage("grpo", "entropy_target=-1"), "settings: entropy_target must be above 0, got -1.0"),
    (stage("grpo", "", "replay={share=1}"), "replay.share: got 1, wanted a number below 1"),
    (stage("grpo", "", "replay={share=nan}"), "replay.share: got nan, wanted a finite number"),
    (stage("grpo", "", "replay={oldest=0}"), "replay.oldest: got 0, wanted a number of at least 1"),
    (stage("grpo", "", "replay={oldest=1}", "epochs=4"), "every group would be too old after one: take 4 or more"),
    (stage("grpo", "", "mix_per_step=0"), "mix_per_step: got 0, wanted a number of at least 1"),
    (stage("grpo", "", "until={metric='reward'}"), "until: says where to end with one bound"),
    ([MIXED.format(0, 0)], "weight"),
    ([MIXED.format(-1, 1)], "weight: got -1"),
    ([MIXED.format("nan", 1)], "weight: got nan, wanted a finite number"),
    (["data.train={sources=[{file='rows.jsonl'}],temperature=-1}"], "temperature: got -1, wanted a number above 0"),
    (["repeat=[{stages=['nowhere'],times=2}]"], "nowhere"),
    (["repeat=[{stages=[],times=2}]"], "repeat"),
    (["repeat=[{stages=['grpo'],times=0}]"], "repeat.0.times: got 0"),
    (["prompt.budget=[20,10]"], "a budget is [FEWEST, MOST] tokens, from 1 upwards; got [20, 10]"),
    (["prompt.budget=[0,10]"], "prompt.budget"),
    (stage("gkd", "beta=2"), "settings: beta is from 0, KL(T || S), to 1, KL(S || T), got 2.0"),
    (stage("gkd", "student_share=-1", "teacher=smollm2-135m"), "student_share"),
    (stage("gkd", "beta=0.5"), "teacher: is needed with gkd"),
    (stage("on_policy_distillation", "", "teacher=./nowhere"), "teacher: there is no model"),
]  # fmt: skip


def test_numbers_that_cannot_be_are_told_at_their_key_without_torch(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "1 + 1", "answer": "2"}\n')
    lines = QUICKSTART.read_text().replace("quickstart.py", "q.py").splitlines()
    (tmp_path / "q.toml").write_text("\n".join(line for line in lines if not line.startswith("settings")))
    (tmp_path / "q.py").write_text(QUICKSTART.with_suffix(".py").read_text())
    told = commands([(tmp_path, ["train", "q.toml", *changes]) for changes, _ in FAULTS])
    wrong = [
        (changes, code, error)
        for (changes, said), (code, error) in zip(FAULTS, told, strict=True)
        if code != 2 or said not in error
    ]
    assert not wrong, "\n".join(map(repr, wrong))

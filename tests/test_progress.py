"""The live display: plain lines when there is no terminal, and the numbers in them."""

from __future__ import annotations

import io

from rich.console import Console

from togi.progress import Live, duration, sparkline

METRICS = {
    "reward": 0.5,
    "completions/mean_length": 20.0,
    "completions/clipped_ratio": 0.25,
    "frac_reward_zero_std": 0.5,
}


def play(watch: Live) -> None:
    watch.phase("evaluate base")
    watch.progress(4, 4)
    watch.stage("grpo", 3, 1)
    for step, reward in ((2, 0.0), (3, 1.0)):
        watch.phase("sample")
        watch.progress(1, 8)
        watch.progress(8, 8)
        watch.phase("learn")
        watch.step(step, METRICS | {"reward": reward}, {"sample": 1.0, "learn": 1.0})
    watch.note("a [note]")


def test_plain_lines_when_not_a_terminal() -> None:
    out = io.StringIO()
    with Live(Console(file=out, force_terminal=False, width=40)) as watch:
        play(watch)
    lines = out.getvalue().splitlines()
    assert lines[0] == "evaluate base"
    assert lines[1] == "stage grpo: 3 steps, 1 already done"
    assert lines[2].startswith(
        "grpo 2/3  reward 0.000  length 20  25% cut off  50% of groups without signal  80 tokens/s"
    )
    assert lines[3].startswith("grpo 3/3  reward 1.000 ▁█  length 20")
    assert lines[4] == "a [note]"
    assert lines[5].startswith("grpo: done, 3 of 3 steps, 0:0")
    assert len(lines) == 6


def test_terminal_display_leaves_the_stage_behind() -> None:
    out = io.StringIO()
    with Live(Console(file=out, force_terminal=True, width=100)) as watch:
        watch.stage("sft", 5, 0)
        watch.step(1, {"loss": 1.25}, {"learn": 1.0})
    assert "sft: stopped after step 1, 1 of 5 steps" in out.getvalue()
    assert "loss 1.2500" in out.getvalue()


def test_a_step_that_kept_no_group_says_what_was_dropped() -> None:
    out = io.StringIO()
    dropped = {"dynamic/dropped": 40.0, "dynamic/all_wrong": 0.75, "dynamic/all_correct": 0.25}
    with Live(Console(file=out, force_terminal=False, width=40)) as watch:
        watch.stage("dapo", 3, 0)
        watch.progress(8, 8)
        watch.step(1, METRICS, {"sample": 1.0})
        watch.progress(8, 8)
        watch.step(2, dropped, {"sample": 1.0})
    lines = out.getvalue().splitlines()
    assert lines[2].startswith("dapo 2/3  40 groups dropped (75% of all were wrong, 25% of all were correct)  1.0 s")


def test_attempts_that_were_not_graded_are_told_by_kind() -> None:
    out = io.StringIO()
    with Live(Console(file=out, force_terminal=False, width=40)) as watch:
        watch.stage("grpo", 2, 0)
        watch.step(1, {"unscored/error": 1.0}, {"sample": 1.0})
        watch.progress(8, 8)
        watch.step(2, METRICS | {"unscored/timeout": 0.125, "own_fault/depth": 0.125, "own_fault/time": 0.25}, {})
    lines = out.getvalue().splitlines()
    assert lines[1].startswith("grpo 1/2  100% without a score (error)")
    assert "12% without a score (timeout)  38% 0 by own fault (depth, time)" in lines[2]


def test_sparkline() -> None:
    assert sparkline([0.0, 1.0, 0.5]) == "▁█▅"
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert sparkline([1.0]) == ""
    assert sparkline([float("nan"), 0.0, float("inf"), 1.0]) == "▁█"
    assert len(sparkline([float(i) for i in range(100)], width=10)) == 10


def test_duration() -> None:
    assert [duration(x) for x in (0.4, 59.6, 61, 3600, 3725)] == ["0:00", "1:00", "1:01", "1 h 00 min", "1 h 02 min"]

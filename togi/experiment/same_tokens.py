"""How many steps of recorded answers hold as many tokens as the paid stages of another cell have learned from.

It reads a finished cell and a recipe's recorded answers, and trains nothing.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from togi.run import BASE, Run, open_model
from togi.run_folder.files import read_lines

TOKENS = "tokens/learned"


def learns_instead(stage: str) -> str:
    """Name of the stage that learns recorded answers in the place of a paid one."""
    return f"{stage}_sft"


def steps_of_same_tokens(run: Run, cell: Path) -> list[str]:
    """Changes to the recipe of ``run``, after which its stages that learn in the place of ``cell``'s paid ones learn as
    many tokens, to the nearest step. Raises ValueError when the cell learned nothing in such a stage."""
    from togi.batch import samples
    from togi.samplers.group import recorded
    from togi.tokenization import Chat

    learned = {str(row["stage"]): int(row[TOKENS]) for row in read_lines(cell / "metrics.jsonl") if TOKENS in row}
    replaced = {learns_instead(name): tokens for name, tokens in learned.items()}
    for stage in run.stages:  # a stage that learned in both replaces none
        replaced.pop(learns_instead(stage.name), None)
    loaded = open_model(run, BASE)
    chat, changes = Chat(loaded.tokenizer, loaded.eos_ids), []
    for stage in run.stages:
        if stage.name not in replaced:
            continue
        each = fmean(sum(int(one.mask.sum()) for one in samples([recorded(task, chat)])) for task in stage.tasks)
        steps = max(1, round(replaced[stage.name] / (each * stage.tasks_per_step)))
        changes.append(f"stage.{stage.name}.steps={steps}")
    if not changes:
        raise ValueError(f"{cell} has learned nothing in a paid stage, so there are no tokens to learn as many of")
    return changes

"""``togi data answers``: a recipe's tasks, a teacher's answers, the recipe's reward, and rows of what is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from togi.askers.asker import Asker
from togi.askers.who_is_asked import Who
from togi.corpora.pass_rates import stage_asked
from togi.corpora.recipe_rows import reward_of, rows_behind, table_of
from togi.corpora.teacher_answers import Asking, teacher_answers
from togi.data import DataError
from togi.data.lineage import Lineage, Source
from togi.envs import OneTurn
from togi.models.model_source import check_source
from togi.recipe import load_recipe
from togi.recipe.needed_at_start import check_start
from togi.run import BASE, open_model, ready
from togi.run_folder.files import digest
from togi.run_folder.manifest import choose_dtype
from togi.types import Sampling

CACHE = ".replies.sqlite"
"""What stands behind the file's name for the server's replies, so that none is paid for twice."""


def answered(
    recipe: Path,
    overrides: Sequence[str],
    out: Path,
    who: Who,
    *,
    attempts: int,
    keep: int,
    least: float,
    temperature: float,
    max_tokens: int | None,
    tasks: int | None,
    stage: str,
    progress: Callable[[int, int], None],
) -> Lineage:
    """Write the demonstrations. Raises ValueError."""
    loaded = load_recipe(recipe, overrides)
    run = loaded.run
    asked = stage_asked(run, stage)
    if asked.env is not OneTurn:
        raise DataError(
            f"stage {asked.name} talks with an environment, and a teacher answers once: let a stage with "
            'algorithm = "collect" play it, and learn from its rollouts'
        )
    sampling = Sampling(max_tokens=max_tokens or asked.sampling.max_tokens, temperature=temperature)
    asking = Asking(attempts=attempts, keep=keep, least=least, sampling=sampling)
    chosen = asked.tasks[:tasks]
    if who.base_url and any(message.role == "text" for task in chosen for message in task.prompt):
        raise DataError(
            "a server is asked in messages, and this recipe continues raw text: ask a model of this machine"
        )
    if not who.base_url:
        check_source(who.model)
    check_start(run)
    rows = rows_behind(loaded.reading, table_of(loaded.reading, asked.name), chosen)
    from togi.engines.open_engine import open_engine
    from togi.tokenization import Chat

    dtype = choose_dtype(run)
    learner = open_model(run, BASE, dtype)
    engine, chat = open_engine(learner, run.engine), Chat(learner.tokenizer, learner.eos_ids)
    reward = ready(asked.reward, run, engine, chat, dtype)
    assert reward is not None
    teacher, name = _open(who, out, str(learner.model.device))
    return teacher_answers(
        teacher,
        rows,
        chosen,
        reward,
        chat,
        out,
        asking=asking,
        who=Source(name=name, sha256=digest(name)),
        settings={"stage": asked.name, "reward": reward_of(loaded.reading, asked.name)},
        progress=progress,
    )


def _open(who: Who, out: Path, device: str) -> tuple[Asker, str]:
    """The teacher, and what a lineage calls it."""
    if who.base_url:
        from togi.askers.open_asker import open_server

        return open_server(who, out.with_name(out.name + CACHE)), f"{who.model} at {who.base_url}"
    from togi.askers.local_model import open_model as open_local
    from togi.models.arithmetic_rate import compute_dtype
    from togi.models.device import find_device

    return open_local(who.model, compute_dtype("auto", find_device(device)), device), who.model

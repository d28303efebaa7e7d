"""What keeps in a run's graders and programs on this machine."""

from __future__ import annotations

from contextlib import suppress

from togi.sandbox.box import AnyTier
from togi.sandbox.tiers.choose_tier import open_box
from togi.sandbox.workers.pool import Pool


def standing(asked: AnyTier) -> dict[str, str]:
    """What keeps in the graders and the programs of a run that asked for this tier; "none" where nothing does."""
    kept: dict[str, str] = {"graders": "none", "programs": "none"}
    with suppress(ValueError):
        kept["graders"] = Pool(tier=asked).tier
    with suppress(ValueError):
        kept["programs"] = open_box(asked).tier
    return kept

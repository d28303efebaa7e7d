"""What a stage's weights are called at the cluster, noted in the folder where weights would lie. It asks nobody."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from togi.models.save_model import appearing
from togi.models.weight_files import AT_CLUSTER, ModelError


@dataclass(frozen=True, kw_only=True)
class StageWeights:
    """``state`` goes on learning, ``drawn`` is drawn from; ``base`` is what the cluster calls the model under them."""

    base: str
    state: str
    drawn: str


def note(weights: StageWeights, folder: Path) -> None:
    """Write it to the new folder, or in the place of an earlier note."""
    if folder.exists() and not (folder / AT_CLUSTER).is_file():
        raise ModelError(f"{folder} exists and notes no weights at a cluster: choose another folder")
    with appearing(folder) as work:
        (work / AT_CLUSTER).write_text(json.dumps(asdict(weights), indent=1) + "\n", encoding="utf-8")


def noted(source: str) -> StageWeights | None:
    """The note in a folder; None where the source has none, and is the base. Raises ModelError for a damaged one."""
    path = Path(source) / AT_CLUSTER
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        kept = StageWeights(**found)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read ({error}): bring the file back") from error
    if not all(isinstance(name, str) and name for name in asdict(kept).values()):
        raise ModelError(f"{path} is damaged: base, state and drawn are names at the cluster; bring the file back")
    return kept

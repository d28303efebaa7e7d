"""Log-probabilities of recorded answers under the weights a stage starts from, computed once and kept in a file.

It knows samples and a policy that was not trained yet; it does not know what the numbers are for. Offline stages read
the same answers every epoch: with their reference log-probabilities at hand no second model stays in memory, and no
step computes them again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from togi.models.weight_files import ModelError
from togi.protocols import Policy
from togi.types import FloatArray, Sample

_PART = 256  # samples annotated between two reports of progress


class References:
    """Reference log-probabilities by sample. ``rows`` maps a sample's key to [T]."""

    def __init__(self, rows: Mapping[str, FloatArray]) -> None:
        self._rows = rows

    def annotate(self, samples: Sequence[Sample]) -> list[Sample]:
        """The samples with ``ref_logp``; KeyError for one that was not among those computed."""
        return [replace(sample, ref_logp=self._rows[key(sample)]) for sample in samples]


def references(
    path: Path, samples: Iterable[Sample], policy: Policy, progress: Callable[[int, int], None]
) -> References:
    """Read the file at ``path`` if it holds every one of ``samples``; else compute them and write it.

    ``policy`` must still have the weights the stage starts from: its log-probabilities are the reference's. Raises
    ModelError when the file cannot be written.
    """
    wanted = {key(sample): sample for sample in samples}
    try:
        known = load_file(path)
    except (OSError, SafetensorError):
        known = {}
    if known.keys() >= wanted.keys():
        return References(known)
    distinct = [replace(sample, group=number) for number, sample in enumerate(wanted.values())]
    rows: dict[str, FloatArray] = {}
    for start in range(0, len(distinct), _PART):
        for sample in policy.annotate(distinct[start : start + _PART], frozenset({"old_logp"})):
            assert sample.old_logp is not None
            rows[key(sample)] = np.ascontiguousarray(sample.old_logp)
        progress(min(start + _PART, len(distinct)), len(distinct))
    try:
        path.parent.mkdir(exist_ok=True)
        work = path.with_suffix(".part")
        save_file(rows, work)
        work.replace(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"the reference's log-probabilities could not be written to {path}: {error}") from error
    return References(rows)


def key(sample: Sample) -> str:
    """What two samples with equal reference log-probabilities share: token ids, trained positions, temperature."""
    parts = (sample.ids.tobytes(), np.packbits(sample.mask).tobytes(), str(sample.temperature).encode())
    return hashlib.blake2b(b"\x00".join(parts), digest_size=16).hexdigest()

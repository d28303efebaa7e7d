"""What the verbs of a cluster tell of tokens. Plain names that load nothing: recipes are checked without torch."""

from __future__ import annotations

from togi.types import LOGP, Need, Output

TELLS: frozenset[Output] = LOGP
"""What an algorithm may read of a policy there."""
ANNOTATES: frozenset[Need] = frozenset({"old_logp", "ref_logp"})
"""What samples can be annotated with."""

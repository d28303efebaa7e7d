"""The command line: each command reads its arguments and calls into lower floors. It decides nothing itself.

Exit codes: 0 well, 1 a finding (doctor, preview, verify), 2 bad input, 3 a fault of Togi's own, 128 + n stopped by
signal n.

Commands stand by when they are wanted, ``before_training.py``, ``training.py``, ``after_training.py``, and by what they
are about, ``corpora.py``, ``models.py``, ``reward_design.py``, ``scaling.py`` and ``agents.py``. They import what they
need themselves, when they need it: neither `togi --help` nor a misspelt key waits for rewards, and no mistake in a
recipe or a run folder waits for torch.
``command_app.py`` is what all share, ``invocation.py`` runs one.
"""

from togi.cli import (  # noqa: F401, since they join the app
    after_training,
    agents,
    before_training,
    corpora,
    models,
    reward_design,
    scaling,
    training,
)
from togi.cli.command_app import app
from togi.cli.invocation import main, run_command

__all__ = ["app", "main", "run_command"]

"""Starts commands as processes that end with the run: ``launcher.py`` says what a launcher offers, ``local.py`` starts
them on this machine, each under a ``guard.py``, and ``log_end.py`` reads what they wrote last. It knows no engine, no
learner and no run."""

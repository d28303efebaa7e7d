"""Starts commands as processes that end with the run: ``launcher.py`` says what a launcher offers, ``open_launcher.py``
opens one. ``local.py`` starts them on this machine, each under a ``guard.py``; ``ray_launcher.py`` on the machines of a
Ray cluster, each held there by a ``ray_process.py`` in room of what it ``needs.py``. ``log_end.py`` reads what they
wrote last. It knows no engine, no learner and no run."""

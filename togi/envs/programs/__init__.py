"""A program that has its own loop and asks a model through OpenAI's protocol, as an environment. ``endpoint.py`` is
what it asks, ``session.py`` one episode between its two sides, ``histories.py`` tells what it said anew, ``running.py``
starts and ends it, and ``program_env.py`` is the environment. ``hosted.py`` has other libraries play in one process,
which is ``host.py``, by ``verifiers_player.py`` and ``inspect_player.py``. It knows no tokens."""

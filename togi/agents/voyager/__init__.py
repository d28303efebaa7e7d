"""Voyager (Wang et al. 2023, arXiv:2305.16291): a language model chooses goals in a world, writes code that reaches
them, and keeps what worked as skills that later code can call.

``world.py`` is what a world must offer, ``tech_tree.py`` one that does. ``skill_code.py`` reads what a model wrote,
``play_skill.py`` lets it act, ``library.py`` keeps it. ``asked.py`` has the questions, ``life.py`` the loop, with the
nouns of ``attempt.py``; ``findings.py`` says what came of it, ``told.py`` words that. ``read_voyager.py`` reads the
file of the command, ``run_voyager.py`` runs it in its folder, ``archive.py`` is that folder. ``skill_writing.py``
trains a model on the goals that a run leaves.
"""

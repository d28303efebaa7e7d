"""Eureka (arXiv 2310.12931): a language model writes reward programs, classic RL trains an agent with each, and what
the agents do is measured by a fitness that is not the reward; the next programs are written from what was found.

A program: ``static_check.py`` reads it, ``reward_program.py`` runs it, ``random_programs.py`` makes some by chance.
In the jail: ``jailed.py`` is what runs there, with ``paid_environment.py`` and ``agent.py``; ``packed.py`` has the
arrays that pass its wall. Outside: ``measure.py`` sends programs in, plays what comes out (``episodes.py``) and makes
the fitness; ``frames.py`` takes pictures. The search: ``schema.py`` and ``read_design.py`` read its file,
``environment.py`` opens what it names, ``asked.py`` and ``reflection.py`` word what the model is asked, ``search.py``
is the loop, ``archive.py`` its folder. What comes of it: ``findings.py`` in numbers, ``told.py`` in words.
``run_design.py`` is the command.
"""

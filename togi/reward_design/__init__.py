"""Eureka (arXiv 2310.12931): a language model writes reward programs, classic RL trains an agent with each, and what
the agents do is measured by a fitness that is not the reward; the next programs are written from what was found.

``programs/`` are read and run, agents are trained and measured in ``training/``. ``schema.py`` and ``read_design.py``
read a design's file, ``asked.py`` and ``reflection.py`` word what the model is asked, ``search.py`` is the loop,
``archive.py`` its folder. What comes of it: ``findings.py`` in numbers, ``told.py`` in words. ``run_design.py`` is the
command.
"""

"""Eureka (arXiv 2310.12931): a language model writes reward programs, each trains agents or a language model, and what
these do is measured by a fitness that is not the reward; the next programs are written from what was found.

``schema.py`` and ``read_design.py`` read a design's file, ``programs/`` are read and run, ``asked.py`` and
``reflection.py`` word what the writer is asked. ``search.py`` is the loop and ``archive.py`` its folder. What it trains
is a ``subject.py``: agents in an environment (``training/``), or a language model by a recipe (``language/``). What
comes of it: ``findings.py`` in numbers, ``told.py`` in words. ``run_design.py`` is the command.
"""

"""Rewards for a language model: a recipe trains one with each program, and its evaluation is the fitness.

``read_recipe.py`` finds what the design's file names. Programs are tried on answers that others wrote and attacked
(``try_out.py``), and made by chance (``random_texts.py``). ``trainings.py`` has a recipe run with a program and reads
what came of it. ``by_recipe.py`` is what the search asks.
"""

"""Experiments: arms times seeds, decided beforehand, run by themselves, and read as one.

``schema.py`` and ``read_experiment.py`` turn a file into an ``Experiment`` (``design.py``): arms are recipes with
changes, ``controls.py`` and ``ablation.py`` make those that are asked for by name. ``jobs.py`` says what is run, and
what of it is equal and run once; ``cell.py`` runs one in a process of its own, ``conduct.py`` all of them, and the
``ledger.py`` remembers. ``outcome.py`` reads what came of it.
"""

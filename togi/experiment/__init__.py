"""Experiments: arms times seeds, decided beforehand, run by themselves, and read as one.

``experiment_file.py`` and ``read_experiment.py`` turn a file into an ``Experiment`` (``design.py``): arms are recipes
with changes, ``controls.py`` and ``ablation.py`` make those that are asked for by name, and ``comparable_arms.py``
refuses those that would show nothing. ``jobs.py`` says what is run, and what of it is equal and run once, and
``forecast.py`` how long it will take. ``cell.py`` runs one in a process of its own, ``conduct.py`` all of them; the
``ledger.py`` remembers, and ``spending.py`` counts. ``outcome.py`` reads what came of it, and ``account.py`` holds its
cost against the forecast. ``sweep/`` is a search for an arm, which comes first.
"""

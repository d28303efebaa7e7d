"""Sweeps: the search for better values of a recipe's keys, which runs before the arms and makes one of them.

``read_sweep.py`` turns the table of a file into a ``Sweep`` (``sweep_design.py``). ``next_values.py`` chooses what is
tried, ``search.py`` runs it, ``trial_numbers.py`` reads what it gave, ``trials.py`` what the events tell of it all, and
``search_told.py`` says so.
"""

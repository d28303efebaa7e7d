"""Agents in an environment: trained with a reward in the jail, played and measured outside.

``jailed.py`` is what runs in the jail, with ``paid_environment.py`` and ``agent.py``; ``packed.py`` has the arrays that
pass its wall. Outside, ``measure.py`` sends programs in, has what comes out played (``play.py``, ``episodes.py``) and
makes the fitness. ``environment.py`` opens environments, ``frames.py`` takes pictures. ``in_environment.py`` is what
the search asks.
"""

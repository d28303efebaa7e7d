"""Jails for programs that a model wrote (``tiers/``), and worker processes for graders (``workers/``); both stand on
what the system offers to confine a process (``confine/``). It does not know what they run.

``box.py`` has the nouns and the protocol of a jail, ``codec.py`` the values that pass through its wall.
"""

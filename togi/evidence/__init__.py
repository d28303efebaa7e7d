"""What a run can prove, by when it speaks: ``before/`` training, ``redteam/`` against its rewards, ``during/``
training, and ``after/`` it. ``read_run.py`` reads all that is in a run folder; ``experiment/`` is about several runs.
It knows no recipe file and no page.
"""

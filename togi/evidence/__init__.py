"""What a run can prove, by when it speaks: ``before/`` training, ``redteam/`` against its rewards, ``during/``
training, and ``after/`` it; ``experiment/`` is about several runs. It knows no recipe file and no page.
"""

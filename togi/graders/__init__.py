"""What workers run to grade: pure functions from a completion and the right answer to marks. Users name none of them.

A file a kind of answer. They read a completion with ``answer_place.py`` (where does its answer stand), ``lexemes.py``
and ``answer_words.py`` (what stands beside it), and ``doubt.py`` (does that change the answer).
"""

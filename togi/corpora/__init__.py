"""Rows made of rows, each with a lineage beside: what ``togi data`` does.

``corpus.py`` is what is read and ``written_rows.py`` what is written. A verb is a page each: ``mix.py``, ``dedup.py``,
``decontaminate.py`` work on rows alone; ``difficulty.py`` and ``teacher_answers.py`` ask models at a recipe's tasks
(``recipe_rows.py``). ``told.py`` says what a verb did.
"""

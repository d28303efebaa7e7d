"""Reward programs: read without running them (``static_check.py``), run (``reward_program.py``), made by chance
(``random_programs.py``)."""

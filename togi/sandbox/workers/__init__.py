"""Worker processes with a clock and a memory cap, for graders that may hang or crash; ``pool.py`` is their door."""

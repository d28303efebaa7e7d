"""Engines draw completions; they know nothing of tasks, rewards or training. ``open_engine.py`` is their door."""

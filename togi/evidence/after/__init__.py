"""Measured when training stands still: evaluations, reward models and verifiers on held-out answers, and what it cost.

What measures is apart from what the numbers mean, and both from the files that keep them (``*_file.py``).
"""

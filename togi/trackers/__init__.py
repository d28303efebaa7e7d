"""Where a run's numbers are shown besides its folder: one file a tracker, and ``sending.py``, which keeps the run from
waiting for any of them."""

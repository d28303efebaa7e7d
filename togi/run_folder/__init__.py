"""A run's folder: how its files are written, whose they are, whether they are whole, and how a run goes on."""

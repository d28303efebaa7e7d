"""Togi: reinforcement learning of language models, from the first reward function to a signed-off model."""

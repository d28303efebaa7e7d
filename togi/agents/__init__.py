"""Agents that are more than a policy: a language model that acts by way of skills. Each folder is one of them."""

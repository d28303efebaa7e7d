"""Experiments: arms, seeds and controls, and the claim that their numbers carry. It knows no page.

``verdict.py`` says what the scores of arms prove.
"""

"""Experiments: arms, seeds and controls, and the claims that their numbers carry. It knows no page.

``verdict.py`` says what the scores of arms prove, from ``compare_arms.py`` in the words of ``claim_sentences.py``;
``sharper_or_abler.py`` whether an arm can do more than its start, and ``gain_forecast.py`` what more would bring.
"""

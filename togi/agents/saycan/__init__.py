"""SayCan (Ahn et al. 2022, arXiv:2204.01691): a language model says what would help, value functions say what can be
done, and the skill with the largest product of both is done, until the plan is done.

``world.py`` is what a world must offer. ``skills.py`` trains policies and values of all skills on sparse success,
``chances.py`` measures and calibrates the values on states of their own. ``scores.py`` asks the language model,
``arms.py`` chooses, ``episodes.py`` plays, ``findings.py`` says what came of it. ``read_saycan.py`` reads the command's
file, ``run_saycan.py`` runs it in its folder, ``archive.py`` is that folder, ``frames.py`` draws an episode.
"""

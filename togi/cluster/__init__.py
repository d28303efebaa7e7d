"""Somebody else's cluster, where weights learn and draw by the verbs of Tinker: ``verbs.py`` names them, and
``tinker_service.py`` speaks them; ``cluster_policy.py`` learns by them, ``cluster_engine.py`` draws by them, and
``stage_weights.py`` notes what a stage's weights are called there."""

"""Togi: reinforcement learning of language models, from the first reward function to a signed-off model.

The public names are those of ``__init__.pyi``. Each is imported when it is first used, so that workers that grade,
which import this package, need not load torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

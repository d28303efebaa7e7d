"""Pure loss functions: tensors in, tensors out. They know no model, no batch, no algorithm.

The names are those of ``__init__.pyi``, each imported when it is first used: a recipe is checked without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

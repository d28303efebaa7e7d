"""Models: loading, packing, training, saving. Knows no rewards and no algorithms."""

import os

# oneDNN keeps a thousand compiled products by default, one a shape: where lengths differ from step to step, some 10 MB
# more a step. A few dozen serve a model's layers. It reads this once, at its first product.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")

"""Models: loading, packing, training, saving. Knows no rewards and no algorithms."""

"""The chi-square distribution of whole degrees of freedom: what the variance of a few normal values spreads over."""

from __future__ import annotations

from math import erf, exp, lgamma, log, sqrt


def chi_square_quantile(p: float, degrees: int) -> float:
    """The value below which a share ``p`` lies, 0 < p < 1."""
    low, high = 0.0, 1.0
    while chi_square_cdf(high, degrees) < p:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if chi_square_cdf(middle, degrees) < p else (low, middle)
    return high


def chi_square_cdf(x: float, degrees: int) -> float:
    """The share below ``x`` > 0, by the finite sum that whole degrees of freedom have."""
    half, odd = x / 2, degrees % 2
    terms = (i + odd / 2 for i in range(degrees // 2))
    return (erf(sqrt(half)) if odd else 1.0) - sum(exp(i * log(half) - lgamma(i + 1) - half) for i in terms)

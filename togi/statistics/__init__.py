"""What a set of scores says, and how surely: pass@k, intervals, comparisons, agreement. Numpy only, and seeded.

It knows no task, no model and no file. Missing scores are left out before. ``attempts`` is about several attempts at
one task, ``resampling`` about many tasks, ``over_seeds`` about several trainings on many tasks; ``paired_tests`` has
tests and corrections, ``aggregates`` and ``profiles`` single numbers and curves of a table, ``agreement`` raters.
"""

from togi.statistics.aggregates import beaten, iqm, mean, probability_of_improvement
from togi.statistics.agreement import Agreement, cohen_kappa, fleiss_kappa, krippendorff_alpha
from togi.statistics.attempts import best_of_k, majority_at_k, pass_at_k, pass_hat_k
from togi.statistics.intervals import Interval, wilson
from togi.statistics.over_seeds import (
    Difference,
    Spread,
    deviation_over_seeds,
    difference_over_seeds,
    over_seeds,
    seeds_needed,
    smallest_visible,
    tasks_needed,
)
from togi.statistics.paired_tests import (
    Paired,
    benjamini_hochberg,
    clustered_error,
    holm,
    mcnemar_p,
    paired_difference,
    sign_flip_p,
    smallest_sign_flip_p,
)
from togi.statistics.profiles import performance_profile, within_shares
from togi.statistics.resampling import bootstrap_mean, crossed_bootstrap, replicates, stratified_bootstrap

__all__ = [
    "Agreement",
    "Difference",
    "Interval",
    "Paired",
    "Spread",
    "beaten",
    "benjamini_hochberg",
    "best_of_k",
    "bootstrap_mean",
    "clustered_error",
    "cohen_kappa",
    "crossed_bootstrap",
    "deviation_over_seeds",
    "difference_over_seeds",
    "fleiss_kappa",
    "holm",
    "iqm",
    "krippendorff_alpha",
    "majority_at_k",
    "mcnemar_p",
    "mean",
    "over_seeds",
    "paired_difference",
    "pass_at_k",
    "pass_hat_k",
    "performance_profile",
    "probability_of_improvement",
    "replicates",
    "seeds_needed",
    "sign_flip_p",
    "smallest_sign_flip_p",
    "smallest_visible",
    "stratified_bootstrap",
    "tasks_needed",
    "wilson",
    "within_shares",
]

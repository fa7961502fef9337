"""Metrics: pure functions of arrays, the feature networks they are defined in, and the measuring of models.

The functions below take and return numpy arrays and numbers in float64; the table in docs/metrics.md has shapes, units,
errors and sources.

- Fréchet distance: frechet_distance (of means and covariances), fid (of features), feature_statistics
- other distances of features: kid, mmd2_unbiased, inception_score, precision_recall, density_coverage, memorisation
- perceptual path length: slerp, lerp, path_lengths, percentile_filter, ppl
- linear separability: conditional_entropy, entropy, mutual_information, joint_distribution, linear_svm, separability,
  separability_score

`evaluate` measures a generator against a data set; `parse_metrics("fid50k,pr50k3")` gives it its
protocols.
"""

from stylegan.metrics.during_training import TrainingMetrics, evaluate_during_training
from stylegan.metrics.evaluation import Evaluation, Options, evaluate
from stylegan.metrics.features import FeatureNetwork, open_features
from stylegan.metrics.frechet import FeatureStatistics, feature_statistics, fid, frechet_distance
from stylegan.metrics.inception_scores import inception_score
from stylegan.metrics.kernel import kid, mmd2_unbiased, polynomial_kernel
from stylegan.metrics.linear_separability import (
    conditional_entropy,
    entropy,
    joint_distribution,
    linear_svm,
    most_confident,
    mutual_information,
    separability,
    separability_score,
    svm_side,
)
from stylegan.metrics.manifold import (
    density_coverage,
    kth_neighbour_distances,
    memorisation,
    nearest_neighbours,
    pairwise_distances,
    precision_recall,
)
from stylegan.metrics.path_length import lerp, normalize, path_lengths, percentile_filter, ppl, slerp
from stylegan.metrics.protocols import METRICS, Protocol, parse_metric, parse_metrics
from stylegan.metrics.recognising import confusion_table, recognition

__all__ = [
    "METRICS",
    "Evaluation",
    "FeatureNetwork",
    "FeatureStatistics",
    "Options",
    "Protocol",
    "TrainingMetrics",
    "conditional_entropy",
    "confusion_table",
    "density_coverage",
    "entropy",
    "evaluate",
    "evaluate_during_training",
    "feature_statistics",
    "fid",
    "frechet_distance",
    "inception_score",
    "joint_distribution",
    "kid",
    "kth_neighbour_distances",
    "lerp",
    "linear_svm",
    "memorisation",
    "mmd2_unbiased",
    "most_confident",
    "mutual_information",
    "nearest_neighbours",
    "normalize",
    "open_features",
    "pairwise_distances",
    "parse_metric",
    "parse_metrics",
    "path_lengths",
    "percentile_filter",
    "polynomial_kernel",
    "ppl",
    "precision_recall",
    "recognition",
    "separability",
    "separability_score",
    "slerp",
    "svm_side",
]

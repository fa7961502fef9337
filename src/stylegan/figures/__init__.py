"""The figures of the paper, and some of ours, for any generator: a picture with its caption.

Each function takes a generator, its settings and a `Look`, and returns a `Figure`; the verbs `stylegan figure NAME`
are thin shells over them.
"""

from stylegan.figures.classes import class_means
from stylegan.figures.noise import noise_detail, noise_deviation, noise_layers
from stylegan.figures.page import Figure
from stylegan.figures.samples import UNCURATED_LODS, mixing, truncation, uncurated
from stylegan.figures.walks import interpolation, swap_atlas

__all__ = [
    "UNCURATED_LODS",
    "Figure",
    "class_means",
    "interpolation",
    "mixing",
    "noise_detail",
    "noise_deviation",
    "noise_layers",
    "swap_atlas",
    "truncation",
    "uncurated",
]

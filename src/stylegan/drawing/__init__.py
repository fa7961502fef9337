"""Drawing from a generator: images by seed, sheets and interpolation frames, as uint8 arrays [H, W, C].

Each function takes a generator, seeds and a `Look`; the verbs of the command line are thin shells over them.
"""

from stylegan.drawing.labels import class_of_seed, one_hot, parse_classes
from stylegan.drawing.layout import Sheet
from stylegan.drawing.paths import interpolation_frames, interpolation_path
from stylegan.drawing.render import Look, class_centres, default_look, draw_seeds, map_seeds, render, stream
from stylegan.drawing.sheets import contact_shape, contact_sheet, mixing_sheet, truncation_sheet

__all__ = [
    "Look",
    "Sheet",
    "class_centres",
    "class_of_seed",
    "contact_shape",
    "contact_sheet",
    "default_look",
    "draw_seeds",
    "interpolation_frames",
    "interpolation_path",
    "map_seeds",
    "mixing_sheet",
    "one_hot",
    "parse_classes",
    "render",
    "stream",
    "truncation_sheet",
]

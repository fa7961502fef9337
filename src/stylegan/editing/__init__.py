"""Editing: photos to latents (projection, pivotal tuning), directions in w, edits, and walks between keyframes.

Every function is pure or an object that is stepped from outside; the verbs `project`, `directions`, `edit` and
`walk` are thin shells over them.
"""

from stylegan.editing.audio import audio_envelope, envelope_of, read_audio
from stylegan.editing.boundaries import Scores, from_labels, from_scores, read_scores
from stylegan.editing.curves import Curve
from stylegan.editing.directions import Direction, Directions, directions_sheet, load_directions, save_directions
from stylegan.editing.edits import Edit, apply_edits, parse_direction, parse_edit
from stylegan.editing.factorise import ganspace, sefa
from stylegan.editing.latent_files import Latents, draw, fingerprint, latents_of_seed, load_latents, save_latents
from stylegan.editing.perceptual import open_perceptual
from stylegan.editing.projection import Projected, Projection, ProjectionSettings, State
from stylegan.editing.targets import read_target, target_size
from stylegan.editing.timeline import Drive, Keyframe, Timeline, Track, read_timeline, track_of
from stylegan.editing.tuning import Tuning, TuningSettings
from stylegan.editing.walk import Walk

__all__ = [
    "Curve",
    "Direction",
    "Directions",
    "Drive",
    "Edit",
    "Keyframe",
    "Latents",
    "Projected",
    "Projection",
    "ProjectionSettings",
    "Scores",
    "State",
    "Timeline",
    "Track",
    "Tuning",
    "TuningSettings",
    "Walk",
    "apply_edits",
    "audio_envelope",
    "directions_sheet",
    "draw",
    "envelope_of",
    "fingerprint",
    "from_labels",
    "from_scores",
    "ganspace",
    "latents_of_seed",
    "load_directions",
    "load_latents",
    "open_perceptual",
    "parse_direction",
    "parse_edit",
    "read_audio",
    "read_scores",
    "read_target",
    "read_timeline",
    "save_directions",
    "save_latents",
    "sefa",
    "target_size",
    "track_of",
]

"""Separability of attributes that the most confident half of the samples does not show at all is said to be empty."""

import numpy as np

from stylegan.metrics import parse_metric
from stylegan.metrics.evaluation import _one_sided
from stylegan.metrics.results import score_separability


def test_an_attribute_with_one_value_left_is_named():
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(200, 3))
    rare = np.where(np.arange(200) < 20, 0.1, -5 - rng.random(200))  # 10 % have it, and never surely
    even = latents[:, 0] * 4
    entry = score_separability(
        parse_metric("ls200_w"), latents, np.stack([rare, even], 1), ["rare", "even"], [1.0, 1.0]
    )
    found = entry["attributes"]
    assert found["rare"]["share"] == 0.1
    assert found["rare"]["share_kept"] == 0.0
    assert found["rare"]["conditional_entropy_bits"] == 0.0
    assert 0.4 < found["even"]["share_kept"] < 0.6
    (note,) = _one_sided({"ls200_w": entry, "fid10": {"values": {"fid": 1.0}}})
    assert note.startswith("ls200_w: of rare the most confident half has only one value")
    assert "even" not in note

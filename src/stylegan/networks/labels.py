"""Class labels as the networks take them: float one-hot rows [N, classes]."""

from __future__ import annotations

import torch


def as_one_hot(
    labels: torch.Tensor | None,
    classes: int,
    n: int,
    like: torch.Tensor,
) -> torch.Tensor | None:
    """[N, classes] float32 or, as `like`, float64, from one-hot rows or from a vector of class numbers [N].

    None where the network is unconditional. ValueError where labels are missing, unexpected or of the wrong size.
    """
    if classes == 0:
        if labels is not None and (labels.ndim != 2 or labels.shape[1] > 0):
            raise ValueError(f"labels {list(labels.shape)} given, but this network has no classes; leave them out")
        return None
    if labels is None:
        raise ValueError(f"this network is class-conditional: pass labels [{n}, {classes}] (one-hot) or [{n}] (int)")
    if labels.ndim == 1 and not labels.is_floating_point():
        if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise ValueError(f"labels between {int(labels.min())} and {int(labels.max())}: must be 0 to {classes - 1}")
        labels = torch.nn.functional.one_hot(labels.long(), classes)
    if labels.shape != (n, classes):
        raise ValueError(f"labels {list(labels.shape)}: must be [{n}, {classes}] one-hot, or [{n}] class numbers")
    return labels.to(like.device, torch.promote_types(like.dtype, torch.float32))

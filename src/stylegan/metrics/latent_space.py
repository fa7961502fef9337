"""Measurements along and across latent space: perceptual path length and linear separability (section 4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from stylegan.drawing.render import exact_float32
from stylegan.metrics.exchange import collect
from stylegan.metrics.features import FeatureNetwork
from stylegan.metrics.passes import Measured
from stylegan.metrics.path_length import EPSILON, slerp
from stylegan.metrics.protocols import Protocol
from stylegan.metrics.sampling import Fakes, for_device, stream, to_device, to_levels, to_uint8


def path_distances(
    protocol: Protocol,
    fakes: Fakes,
    network: FeatureNetwork,
    how: Measured,
    face_crop: bool = False,
) -> np.ndarray | None:
    """Perceptual distances [pairs] of steps of 1e-4, in the first process (equations 2 and 3).

    Both images of a pair have the same noise and label. Interpolation is in float64, of the w that enters the first
    layer; images are not quantised. face_crop: compare the middle, from 3/8 to 7/8 of the height and 2/8 to 6/8 of the
    width, as the paper does for faces.
    """
    taken = []
    with exact_float32(fakes.device):
        for part in how.shares(protocol.samples):
            with how.watch.work("latents and noise"):
                noise, labels = fakes.noise(part), fakes.labels(part)
                t = np.zeros((len(part), 1))
                if protocol.sampling == "full":
                    t = np.array([[stream(fakes.seed, i, "t").random()] for i in part])
                z = fakes.latents(part), fakes.latents(part, "z2")
            with how.watch.network("generator"):
                ends = _step(fakes, protocol.space, z, labels, t)
                pictures = [to_levels(fakes.draw(ws, noise)) for ws in ends]
            if face_crop:
                pictures = [crop_face(picture) for picture in pictures]
            with how.watch.network("feature network"):
                taken.append(network.distance(pictures[0], pictures[1]))
            how.tell(protocol.name, part.stop, protocol.samples)
    how.tell(protocol.name, protocol.samples, protocol.samples)
    rows = torch.cat(taken).cpu() if taken else torch.empty(0, dtype=torch.float64)
    return collect(rows, protocol.samples, how.batch, how.processes)


def _step(
    fakes: Fakes, space: str, z: tuple[torch.Tensor, torch.Tensor], labels: torch.Tensor | None, t: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """ws [N, L, D] at t and at t + eps."""
    ends = []
    if space == "z":
        config = fakes.generator.config
        scale = 1.0 if config.normalize_z else float(np.sqrt(config.z_dim))  # unit vectors where length matters
        for place in (t, t + EPSILON):
            latent = slerp(z[0].numpy(), z[1].numpy(), place) * scale
            ends.append(fakes.map(torch.from_numpy(latent).float(), labels))
    else:
        layers = fakes.generator.config.num_layers
        where = torch.device("cpu") if fakes.device.type == "mps" else fakes.device  # MPS has no float64
        first, second = (fakes.map(one, labels)[:, 0].to(where).double() for one in z)
        for place in (t, t + EPSILON):  # `lerp`, on the device
            between = first + (second - first) * to_device(for_device(torch.from_numpy(place), where), where)
            ends.append(between.float().to(fakes.device)[:, None].expand(-1, layers, -1))  # N L D
    return ends[0], ends[1]


def crop_face(pictures: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] -> [N, C, H/2, W/2]: where FFHQ and CelebA-HQ have the face, as in the official program."""
    h, w = pictures.shape[2] // 8, pictures.shape[3] // 8
    return pictures[:, :, 3 * h : 7 * h, 2 * w : 6 * w]


def classified_latents(
    samples: int,
    fakes: Fakes,
    classifier: FeatureNetwork,
    how: Measured,
    spaces: Sequence[str],
) -> tuple[dict[str, np.ndarray], np.ndarray] | None:
    """({space: latents [n, d]}, logits [n, attributes]) of generated images, in the first process."""
    rows: dict[str, list[torch.Tensor]] = {space: [] for space in spaces}
    taken: list[torch.Tensor] = []
    with exact_float32(fakes.device):
        for part in how.shares(samples):
            with how.watch.work("latents and noise"):
                z, labels, noise = fakes.latents(part), fakes.labels(part), fakes.noise(part)
            with how.watch.network("generator"):
                ws = fakes.map(z, labels)
                pictures = to_uint8(fakes.draw(ws, noise))
            with how.watch.network("feature network"):
                logits = classifier(pictures)[1]
            assert logits is not None
            taken.append(logits)
            for space in spaces:
                rows[space].append(z if space == "z" else ws[:, 0].clone())
            how.tell("linear separability", part.stop, samples)
    how.tell("linear separability", samples, samples)
    config = fakes.generator.config
    widths = {"z": config.z_dim, "w": config.w_dim}
    found = {
        space: collect(_joined(rows[space], widths[space]), samples, how.batch, how.processes) for space in spaces
    }
    columns = how.processes.most(taken[0].shape[1] if taken else 0)
    every = collect(_joined(taken, columns), samples, how.batch, how.processes)
    if every is None:
        return None
    return {space: values for space, values in found.items() if values is not None}, every


def _joined(parts: list[torch.Tensor], width: int) -> torch.Tensor:
    return torch.cat(parts).cpu() if parts else torch.empty(0, width)

"""Points of w space in files: `NAME.w.safetensors` holds ws [1, L, D], noise inputs where they belong to it,
and as JSON which model it is for and how it was found.

Which model is told by a fingerprint of its w space, not of the file: half-precision copies and pivotally tuned
generators have the same one, and take the same latents and directions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors import torch as tensors_of

from stylegan import images, latents
from stylegan.drawing import Look, map_seeds, stream
from stylegan.drawing.render import check_styles, exact_float32
from stylegan.errors import UserError
from stylegan.snapshot import write_atomically

if TYPE_CHECKING:
    from stylegan.networks import Generator

FORMAT = 1
KEY = "stylegan-latents"
MAX_BYTES = 256 << 20
ANY_MODEL = "give --any-model to use it all the same"


@dataclass
class Latents:
    """One image's latents: ws [1, L, D], and one noise input [1, 1, h, w] per acting layer or None.

    about: how they came to be, as JSON values.
    """

    ws: torch.Tensor
    noise: list[torch.Tensor] | None = None
    about: dict[str, Any] = field(default_factory=dict)
    name: str = ""


def fingerprint(G: Generator) -> str:
    """16 hex digits of G's w space: the mapping network and the mean w, in half precision."""
    digest = hashlib.sha256()
    config = G.config
    digest.update(json.dumps([config.z_dim, config.w_dim, config.labels, config.num_layers]).encode())
    state = {**G.mapping.state_dict(), "w_avg": G.w_avg}
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().cpu().half().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def latents_of_seed(
    G: Generator,
    seed: int,
    psi: float = 1.0,
    cutoff: int | None = None,
    class_: int | None = None,
    centres: torch.Tensor | None = None,
) -> Latents:
    """The latents of a seed, truncated as asked (cutoff None = every layer); without noise of their own.

    centres: [classes, D], as `drawing.class_centres` makes them, to truncate towards the class's own mean.
    """
    check_styles(G)
    classes = None if class_ is None else [class_]
    with torch.no_grad():
        ws = map_seeds(G, [seed], classes, Look(psi=psi, cutoff=cutoff, centres=centres)).clone()
    about = {"seed": seed, "psi": psi, "cutoff": cutoff, "class": class_}
    return Latents(ws, None, {k: v for k, v in about.items() if v is not None}, f"seed{seed:04d}")


def save_latents(path: str | Path, found: Latents, G: Generator) -> Path:
    """Writes a w file, atomically; the same latents give the same bytes."""
    tensors = {"ws": found.ws.detach().cpu().float().contiguous()}
    for i, noise in enumerate(found.noise or ()):
        tensors[f"noise{i}"] = noise.detach().cpu().float().contiguous()
    header = {"format": FORMAT, "model": fingerprint(G), "lod": G.lod, "about": found.about}
    write_atomically(Path(path), pack(tensors, KEY, header))
    return Path(path)


def load_latents(source: str | Path | bytes, G: Generator, any_model: bool = False) -> Latents:
    """Opens a w file (its path, or its bytes) for G, on G's device.

    UserError: not such a file, damaged, values that are not finite, shapes that do not fit G, or a file made
    for another model (unless any_model).
    """
    check_styles(G)
    name, header, tensors = unpack(source, KEY, "a w file, as `stylegan project` writes it")
    config, device = G.config, G.w_avg.device
    ws = tensors.get("ws")
    shape = (1, config.num_layers, config.w_dim)
    if ws is None or tuple(ws.shape) != shape:
        found = "none" if ws is None else f"[{', '.join(map(str, ws.shape))}]"
        raise UserError(f"{name}: made for another model: its ws are {found}, this one takes {list(shape)}")
    check_model(name, header, G, any_model)
    sizes = G.synthesis.noise_sizes(G.lod)
    noise = [tensors[f"noise{i}"] for i in range(len(sizes)) if f"noise{i}" in tensors]
    if noise and [tuple(n.shape[2:]) for n in noise] != [tuple(size) for size in sizes]:
        noise = []  # of another level of detail: the image is then drawn with the network's own
    about = header.get("about")
    stem = "" if isinstance(source, bytes) else Path(source).name.removesuffix(".safetensors").removesuffix(".w")
    return Latents(
        ws.float().to(device),
        [n.float().to(device) for n in noise] or None,
        about if isinstance(about, dict) else {},
        stem,
    )


def check_model(name: str, header: Mapping[str, Any], G: Generator, any_model: bool) -> None:
    """UserError where the header names another model's w space."""
    own = fingerprint(G)
    if not any_model and header.get("model") != own:
        raise UserError(
            f"{name}: was made for another model (its w space is {header.get('model')}, this one's {own}); {ANY_MODEL}"
        )


def draw(G: Generator, found: Latents, look: Look | None = None) -> np.ndarray:
    """The image of latents, uint8 [h, w, C]: with their own noise if they have some, else as `look` says (stored)."""
    look = (look or Look(noise="stored")).check(G)
    if found.noise is None or not G.config.noise:
        return images.to_uint8(next(iter(stream(G, found.ws, look, [int(found.about.get("seed", 0))]))))
    return images.to_uint8(draw_with_noise(G, found.ws, found.noise, look)[0])


@torch.inference_mode()
def draw_with_noise(G: Generator, ws: torch.Tensor, noise: list[torch.Tensor], look: Look) -> torch.Tensor:
    """ws [N, L, D] and noise [N, 1, h, w] per layer -> images [N, C, h, w] in about [-1, 1]."""
    device = G.w_avg.device
    with exact_float32(device):
        pictures = G.synthesis(ws.to(device), lod=look.lod_of(G), noise=[n.to(device) for n in noise])
    return pictures if look.channels is None else pictures[:, list(look.channels)]


def noise_of(G: Generator, found: Latents) -> list[torch.Tensor]:
    """The noise inputs that belong to latents: their own, their seed's, or the network's stored ones."""
    sizes = G.synthesis.noise_sizes(G.lod)
    if found.noise is not None:
        return found.noise
    if "seed" in found.about:
        return [n.to(G.w_avg.device) for n in latents.noise_from_seeds([int(found.about["seed"])], sizes)]
    return [G.synthesis.get_buffer(f"noise{i}") for i in range(len(sizes))]


def pack(tensors: Mapping[str, torch.Tensor], key: str, header: Mapping[str, Any]) -> bytes:
    """The bytes of a safetensors file with a JSON header under `key`."""
    return bytes(tensors_of.save(dict(tensors), metadata={key: json.dumps(dict(header), ensure_ascii=False)}))


def unpack(source: str | Path | bytes, key: str, kind: str) -> tuple[str, dict[str, Any], dict[str, torch.Tensor]]:
    """(name for messages, header, tensors) of what `pack` wrote. UserError for anything else, saying what `kind` is."""
    name, data = "the file", source
    if not isinstance(source, bytes):
        path = Path(source)
        name = str(path)
        try:
            if path.is_dir() or path.stat().st_size > MAX_BYTES:
                raise UserError(f"{name}: not {kind}")
            data = path.read_bytes()
        except OSError as error:
            raise UserError(f"{name}: cannot be read ({error.strerror or error}); check the path") from None
    assert isinstance(data, bytes)
    try:
        tensors = tensors_of.load(data)
        length = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][key])
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{name}: not {kind}") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise UserError(f"{name}: not {kind} that this version reads; update stylegan-torch")
    if not all(t.is_floating_point() and bool(torch.isfinite(t.float()).all()) for t in tensors.values()):
        raise UserError(f"{name}: holds values that are not finite numbers; make it again")
    return name, header, tensors

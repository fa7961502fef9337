"""Public weights of feature networks: where they lie, where they come from, and that they are the right ones."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import torch

from stylegan.errors import UserError
from stylegan.images import atomic
from stylegan.metrics.features import sha256_of


@dataclass(frozen=True)
class WeightFile:
    """One public file.

    pin: the first digits of its sha256, or all 64. The 8 digits below are those PyTorch's convention puts into
    the file's name; those of LPIPS are of the file in the package lpips 0.1.4 (PyPI). None: the publisher states
    none; such a file is never downloaded by the program, only taken from where the user put it. In every case the
    whole hash of the file used is part of the result.
    """

    key: str  # as in --weights KEY=FILE
    filename: str
    url: str
    pin: str | None
    size: str
    licence: str


FILES = {
    file.key: file
    for file in (
        WeightFile(
            "inception", "pt_inception-2015-12-05-6726825d.pth",
            "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
            "6726825d", "91 MB", "Apache-2.0",
        ),
        WeightFile(
            "vgg16", "vgg16-397923af.pth", "https://download.pytorch.org/models/vgg16-397923af.pth",
            "397923af", "528 MB", "BSD-3-Clause (torchvision)",
        ),
        WeightFile(
            "lpips", "vgg.pth",
            "https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1/vgg.pth",
            "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868", "7 kB", "BSD-2-Clause",
        ),
        WeightFile(
            "dinov2", "dinov2_vitl14_pretrain.pth",
            "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
            None, "1.2 GB", "Apache-2.0",
        ),
    )
}  # fmt: skip


def weights_folder() -> Path:
    """Where the files are looked for, and downloaded to."""
    return Path(platformdirs.user_cache_dir("stylegan-torch")) / "weights"


def find_weights(key: str, given: Mapping[str, Path], download: bool = True) -> tuple[Path, str]:
    """(file, sha256) of public weights: as given, or in the folder above, or downloaded into it.

    UserError where there is no way to get it, or it is not the file that was pinned; it names file and place.
    """
    file = FILES[key]
    place = weights_folder() / file.filename
    path = Path(given[key]).expanduser() if key in given else place
    if key in given and not path.is_file():
        raise UserError(f"--weights {key}={path}: no such file")
    if not path.is_file():
        if file.pin is None or not download:
            reason = "is not here, and its publisher states no sha256, so it is not downloaded unasked"
            raise UserError(remedy(file, reason if file.pin is None else "is not here"))
        _download(file, place)
    digest = sha256_of(path)
    if file.pin is not None and not digest.startswith(file.pin):
        raise UserError(
            f"{path}: its sha256 begins with {digest[: len(file.pin)]} instead of {file.pin}: not the weights of "
            f"{file.key}, or damaged; delete it and get it from {file.url}"
        )
    return path, digest


def remedy(file: WeightFile, reason: str) -> str:
    """What a user without the file is told."""
    return (
        f"the weights of {file.key} ({file.filename}, {file.size}, {file.licence}): {reason}. Get {file.url} on a "
        f"machine with network and put it at {weights_folder() / file.filename}, or give it with --weights "
        f"{file.key}=FILE; --features pixels (in a training --training.metrics_features pixels) needs no file, and "
        f"`stylegan classifier` trains a network on your data"
    )


def _download(file: WeightFile, place: Path) -> None:
    """Fetches a pinned file; what does not fit its pin never appears under its name."""
    assert file.pin is not None
    assert re.fullmatch(r"[0-9a-f]{8,64}", file.pin)
    with atomic(place) as temporary:
        try:
            with urllib.request.urlopen(file.url, timeout=30) as response, open(temporary, "wb") as out:
                while block := response.read(1 << 20):
                    out.write(block)
        except OSError as error:
            reason = getattr(error, "reason", None) or error
            raise UserError(remedy(file, f"cannot be downloaded here ({reason})")) from None
        digest = sha256_of(temporary)
        if not digest.startswith(file.pin):
            raise UserError(remedy(file, f"what {file.url} sent has sha256 {digest[:16]}..., not {file.pin}..."))


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a .pth by name, read as data (weights_only); UserError for anything else."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: cannot be read as weights ({first[:120]}); is the download complete?") from None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UserError(f"{path}: holds something other than named tensors")
    return dict(state)


def fill(network: torch.nn.Module, tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Loads tensors by name, strictly, batch counters aside. UserError where names or shapes differ."""
    expected = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    own = {k: v for k, v in tensors.items() if not k.endswith("num_batches_tracked")}
    missing, extra = sorted(set(expected) - set(own)), sorted(set(own) - set(expected))
    wrong = [k for k in set(own) & set(expected) if own[k].shape != expected[k].shape]
    if missing or extra or wrong:
        raise UserError(
            f"{path}: not the weights of {type(network).__name__}: {len(missing)} missing {missing[:3]}, "
            f"{len(extra)} unknown {extra[:3]}, wrong shapes {sorted(wrong)[:3]}"
        )
    network.load_state_dict(own, strict=False)

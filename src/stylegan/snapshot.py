"""Model files: one safetensors file whose header carries a JSON description. Nothing in it can execute.

Tensors are named `generator.<parameter>` (the EMA weights), and, in files made to go on training from,
`discriminator.<parameter>` and `generator_raw.<parameter>` (the weights the optimizer moves). The header's
`stylegan` entry is JSON: format version, configuration, training facts (kimg, lod, data, lineage), library.
Numbers are stored in 32 or in 16 bits, tensor by tensor; loading gives float32.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from stylegan import __version__, hub, shipped
from stylegan.config import DiscriminatorConfig, GeneratorConfig
from stylegan.errors import UserError
from stylegan.formats import sniff
from stylegan.networks import Discriminator, Generator

FORMAT = 1


@dataclass
class Snapshot:
    """A loaded model file.

    generator: EMA weights, in evaluation mode. discriminator and generator_raw: present where the file was
    made to go on training from. config: the whole training configuration as a dict ({} for imported models).
    training: kimg, lod, data (fingerprint, attribution, class names), lineage, library versions.
    """

    generator: Generator
    discriminator: Discriminator | None = None
    generator_raw: Generator | None = None
    config: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None


def save_snapshot(
    path: str | Path,
    generator: Generator,
    discriminator: Discriminator | None = None,
    generator_raw: Generator | None = None,
    config: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    dtype: torch.dtype | Literal["half"] | None = None,
) -> Path:
    """Writes a model file atomically and returns its path.

    dtype: torch.float16 or bfloat16 halves the file; "half" takes whichever is nearer, tensor by tensor. Loading
    always gives float32. UserError where the path cannot be written.
    """
    path = Path(path)
    header, tensors = pack(generator, discriminator, generator_raw, config, training)
    if dtype == "half":
        tensors = {name: in_16_bits(tensor) for name, tensor in tensors.items()}
    elif dtype is not None:
        tensors = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    write_atomically(path, to_bytes(header, tensors))
    return path


def pack(
    generator: Generator,
    discriminator: Discriminator | None = None,
    generator_raw: Generator | None = None,
    config: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """(header, tensors by name) of a model file."""
    networks: dict[str, nn.Module | None] = {
        "generator": generator,
        "discriminator": discriminator,
        "generator_raw": generator_raw,
    }
    tensors = {
        f"{part}.{name}": tensor.detach().cpu().contiguous()
        for part, network in networks.items()
        if network is not None
        for name, tensor in network.state_dict().items()
    }
    header = {
        "format": FORMAT,
        "generator": generator.config.model_dump(mode="json"),
        "discriminator": None if discriminator is None else discriminator.config.model_dump(mode="json"),
        "lod": generator.lod,
        "config": dict(config or {}),
        "training": dict(training or {}),
        "library": {"stylegan-torch": __version__, "torch": torch.__version__},
    }
    return header, tensors


def to_bytes(header: Mapping[str, Any], tensors: dict[str, torch.Tensor]) -> bytes:
    """The file with this header and these tensors."""
    text = json.dumps(header, ensure_ascii=False)
    return in_order(save(tensors, metadata={"format": "pt", "stylegan": text}))


def in_16_bits(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor as float16 or bfloat16, whichever has the smaller largest error.

    float16 has three more bits of precision, bfloat16 the range of float32: it wins where a number is beyond 65,504
    (which becomes infinite in float16) or where all are tiny (below 6e-8 they become 0).
    """

    def error(dtype: torch.dtype) -> float:
        difference = float((tensor.to(dtype).float() - tensor).abs().max()) if tensor.numel() else 0.0
        return difference if math.isfinite(difference) else math.inf

    return tensor.to(min((torch.float16, torch.bfloat16), key=error))  # float16 where both are alike


def in_order(data: bytes) -> bytes:
    """A safetensors file whose metadata stand in alphabetical order; the library's own order varies by process."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors stay aligned
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def write_atomically(path: Path, data: bytes) -> None:
    """Writes bytes to a temporary file in the same folder, syncs, and renames; UserError where that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from None


def load(path: str | Path, device: str | torch.device = "cpu") -> Snapshot:
    """Opens a model file: `stylegan.load("model.safetensors").generator`; one that ships with the package, by its
    name (`stylegan models` lists them); or one on the Hugging Face Hub, `stylegan.load("hf://user/model")` (also
    `hf://user/model@revision`, `hf://user/model/file.safetensors`).

    UserError where the file is missing, damaged, or not one of this project's, saying which.
    """
    path = hub.fetch(path) if hub.is_reference(path) else shipped.resolve(path)
    header, tensors = read_snapshot(path)
    return from_parts(header, tensors, path, device)


def from_parts(
    header: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
    path: Path,  # where they come from
    device: str | torch.device = "cpu",
) -> Snapshot:
    """The networks that a model file's header and tensors describe. UserError where they do not fit."""
    try:
        generator_config = GeneratorConfig.model_validate(header["generator"])
        discriminator_config = (
            DiscriminatorConfig.model_validate(header["discriminator"]) if header.get("discriminator") else None
        )
    except (ValueError, KeyError) as error:
        raise UserError(f"{path}: its configuration is not understood by version {__version__} ({error})") from None
    lod = float(header.get("lod", 0.0))
    parts = {name.split(".", 1)[0] for name in tensors}

    def network(part: str, made: Generator | Discriminator) -> Any:
        own = {name.split(".", 1)[1]: t.float() for name, t in tensors.items() if name.startswith(part + ".")}
        _fill(path, part, made, own)
        made.lod = lod
        return made.to(device).eval()

    return Snapshot(
        generator=network("generator", Generator(generator_config)),
        discriminator=network("discriminator", Discriminator(discriminator_config))
        if discriminator_config is not None
        else None,
        generator_raw=network("generator_raw", Generator(generator_config)) if "generator_raw" in parts else None,
        config=header.get("config", {}),
        training=header.get("training", {}),
        path=path,
    )


def read_snapshot(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """(header, tensors by name) of a model file, checked for being one; UserError otherwise."""
    if not path.exists():
        raise UserError(f"{path}: {shipped.missing(path)}")
    if path.is_dir():
        candidate = path / "model.safetensors"
        hint = f"; did you mean {candidate}?" if candidate.exists() else ""
        raise UserError(f"{path}: is a folder, not a model file{hint}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if "stylegan" not in metadata:
                raise UserError(f"{path}: a safetensors file, but not one of this project's (no stylegan header)")
            header = json.loads(metadata["stylegan"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        hint = "it may be cut short or another kind"
        if _foreign(path):
            hint = f"another program's is converted first: stylegan convert {path.name} OUT.safetensors"
        raise UserError(f"{path}: not a readable model file ({error}); {hint}") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        found = header.get("format") if isinstance(header, dict) else None
        raise UserError(f"{path}: model format {found}, this version ({__version__}) reads {FORMAT}; update it")
    return header, tensors


def _foreign(path: Path) -> bool:
    """Whether a file begins like a model of another program."""
    try:
        return path.stat().st_size > 0 and sniff(path) != "snapshot"
    except (UserError, OSError):
        return False


def _fill(path: Path, part: str, network: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Loads tensors strictly: every name and shape must fit, or the error says which do not."""
    expected = network.state_dict()
    missing, extra = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    wrong = [
        f"{name} {list(tensors[name].shape)} instead of {list(expected[name].shape)}"
        for name in sorted(set(expected) & set(tensors))
        if tensors[name].shape != expected[name].shape
    ]
    if missing or extra or wrong:
        raise UserError(
            f"{path}: the weights do not fit the {part} its header describes: "
            f"{len(missing)} missing {missing[:4]}, {len(extra)} left over {extra[:4]}, wrong shapes {wrong[:4]}"
        )
    network.load_state_dict(tensors)

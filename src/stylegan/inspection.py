"""What a model file is, without running anything in it or drawing from it.

Works on this project's model files, run folders and checkpoints (headers only, no weights are read), official
pickles, and checkpoints of other programs. `inspect(path)` gives a `Report`; `stylegan inspect` prints it.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import nn

from stylegan import shipped
from stylegan.config import DiscriminatorConfig, GeneratorConfig
from stylegan.config.presets import preset
from stylegan.errors import UserError
from stylegan.foreign.checkpoint import read_checkpoint
from stylegan.formats import sniff
from stylegan.importing import kimg_in_name, reached_lod
from stylegan.networks import Discriminator, Generator
from stylegan.official.pickles import read_pickle
from stylegan.snapshot import FORMAT


@dataclass
class Layer:
    """One row of the architecture table."""

    name: str  # as in the weights' names
    what: str
    shape: list[int]  # of its output, without the batch
    parameters: int


@dataclass
class NetworkReport:
    """One network of a file."""

    role: str
    kind: str  # generator, discriminator
    parameters: int
    layers: list[Layer]


@dataclass
class Report:
    """Everything `stylegan inspect` tells. None: the file does not say."""

    file: str
    format: str
    size: int
    sha256: str | None
    configuration: str | None = None  # letter of Table 1, and what differs from it
    resolution: list[int] | None = None  # height, width
    channels: int | None = None
    labels: int | None = None
    class_names: list[str] | None = None
    lod: float | None = None
    kimg: float | None = None
    attribution: str | None = None
    precision: str | None = None  # of the numbers as stored
    lineage: list[dict[str, Any]] = field(default_factory=list)
    networks: list[NetworkReport] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """The report as JSON."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)


def inspect(path: str | Path) -> Report:
    """Looks at a model file, run folder or checkpoint folder. UserError where it is none."""
    path = shipped.resolve(path)
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise UserError(f"{path}: {shipped.missing(path)}")
    kind = sniff(path)
    if kind == "snapshot":
        in_run = path.name == "tensors.safetensors" and (path.parent / "state.json").exists()
        return _folder(path.parent) if in_run else _snapshot(path)
    return _pickle(path) if kind == "pickle" else _checkpoint(path)


def _report(path: Path, text: str) -> Report:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Report(str(path), text, path.stat().st_size, digest)


# --- formats ----------------------------------------------------------------------------------------------


def _snapshot(path: Path) -> Report:
    report = _report(path, "model file of stylegan-torch (safetensors)")
    metadata, shapes, report.precision = _header(path)
    try:
        header = json.loads(metadata.get("stylegan", "null"))
    except json.JSONDecodeError:
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise UserError(f"{path}: a safetensors file, but not a model of this project that this version can read")
    try:
        generator = GeneratorConfig.model_validate(header.get("generator"))
        discriminator = header.get("discriminator")
        discriminator = DiscriminatorConfig.model_validate(discriminator) if discriminator else None
    except ValidationError as error:
        raise UserError(f"{path}: its configuration is not understood ({error.errors()[0]['msg']})") from None
    if generator.mapping_layers > len(shapes):
        raise UserError(f"{path}: {generator.mapping_layers} mapping layers and {len(shapes)} tensors do not agree")
    config, training = header.get("config") or {}, header.get("training") or {}
    mixing = (config.get("loss") or {}).get("mixing", training.get("mixing"))
    _describe(report, generator, mixing, training)
    report.lod = header.get("lod", 0.0)
    stored = header.get("stored") or {}
    if stored:
        report.notes.append(f"made of a file in 32 bits, whose images it gives to {stored.get('psnr_db')} dB (PSNR)")
    roles = [
        role
        for role in ("generator", "generator_raw", "discriminator")
        if any(n.startswith(role + ".") for n in shapes)
    ]
    with torch.device("meta"):
        for role in roles:
            if role == "discriminator" and discriminator is None:
                raise UserError(f"{path}: has weights of a discriminator and no configuration of one")
            network = (
                Discriminator(discriminator) if role == "discriminator" and discriminator else Generator(generator)
            )
            _compare(path, role, network, shapes)
            report.networks.append(describe_network(role, network))
    return report


def _pickle(path: Path) -> Report:
    file = read_pickle(path)
    report = Report(str(path), "official pickle", file.size, file.sha256, lineage=[file.lineage() | {"event": "read"}])
    for role, network in file.networks.items():
        try:
            planned = network.plan()
        except UserError as error:
            report.notes.append(f"{role} cannot be converted: {error}")
            continue
        if isinstance(planned, Generator):
            mixing = network.kwargs.get("style_mixing_prob", 0.9) or 0.0
            _describe(report, planned.config, mixing, {})
            report.lod = network.lod
        else:
            _describe_discriminator(report, planned.config)
        report.networks.append(describe_network(role, planned))
    report.kimg = kimg_in_name(path)
    return report


def _checkpoint(path: Path) -> Report:
    checkpoint = read_checkpoint(path)
    report = _report(path, f"checkpoint of {checkpoint.program.NAME}")
    for role, state in checkpoint.states.items():
        make = checkpoint.program.discriminator if role == "discriminator" else checkpoint.program.generator
        try:
            network = make(state, str(path))
        except UserError as error:
            report.notes.append(f"{role} cannot be converted: {error}")
            continue
        if isinstance(network, Generator):
            _describe(report, network.config, None, {})
            report.lod, told_by = reached_lod(checkpoint, role, path, network.config.top)
            report.notes.append(f"{role}: lod {report.lod:g} is told by {told_by}")
        else:
            _describe_discriminator(report, network.config)
        report.networks.append(describe_network(role, network))
    return report


def _folder(path: Path) -> Report:
    """A run (its newest model file, and its checkpoints) or one checkpoint of a run."""
    if (path / "model.safetensors").exists():
        report = _snapshot(path / "model.safetensors")
        for state in sorted(path.glob("checkpoints/[0-9]*/state.json")):
            report.notes.append(f"checkpoint {state.parent.name}: {_progress(state)}")
        return report
    if not (path / "state.json").exists():
        raise UserError(f"{path}: neither a run folder (model.safetensors) nor a checkpoint (state.json)")
    tensors = path / "tensors.safetensors"
    report = _report(tensors, "checkpoint of a run of stylegan-torch (safetensors and JSON)")
    _, shapes, report.precision = _header(tensors)
    run = path.parent.parent
    try:
        config = json.loads((run / "config.json").read_text())
        generator = GeneratorConfig.model_validate(config["generator"])
        discriminator = DiscriminatorConfig.model_validate(config["discriminator"])
        _describe(report, generator, config["loss"]["mixing"], _facts_beside(run))
    except (OSError, ValueError, KeyError, TypeError):
        report.notes.append("the run's config.json is not beside it; sizes are unknown")
    else:
        with torch.device("meta"):
            made: dict[str, Generator | Discriminator] = {
                "G_ema": Generator(generator),
                "G": Generator(generator),
                "D": Discriminator(discriminator),
            }
        for role, network in made.items():
            _compare(tensors, role, network, shapes)
            report.networks.append(describe_network(role, network))
    parts: dict[str, int] = {}
    for name, shape in shapes.items():
        parts[name.split(".")[0]] = parts.get(name.split(".")[0], 0) + torch.Size(shape).numel()
    try:
        progress = json.loads((path / "state.json").read_text())["progress"]
        report.kimg, report.lod = progress["nimg"] / 1000, max(float(progress["lod"]), 0.0)
    except (OSError, ValueError, KeyError, TypeError):
        report.kimg = None
    report.notes.append(_progress(path / "state.json"))
    report.notes += [f"{part}: {count:,} numbers" for part, count in parts.items()]
    return report


def _facts_beside(run: Path) -> dict[str, Any]:
    """Training facts (data, lineage) from a run's model file; {} where there is none yet."""
    try:
        facts = json.loads(_header(run / "model.safetensors")[0]["stylegan"])["training"]
        return dict(facts) if isinstance(facts, dict) else {}
    except (UserError, ValueError, KeyError, TypeError):
        return {}


def _progress(path: Path) -> str:
    try:
        progress = json.loads(path.read_text())["progress"]
        done = ", finished" if progress.get("finished") else ""
        return f"{progress['nimg'] / 1000:,.1f} kimg, lod {progress['lod']:g}{done}"
    except (OSError, ValueError, KeyError, TypeError):
        return "damaged state.json"


_TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def _header(path: Path) -> tuple[dict[str, str], dict[str, list[int]], str]:
    """(metadata, shape by tensor name, precision in words) of a safetensors file; no weights are read."""
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {name: list(part.get_shape()) for name, part in slices.items()}
            types = Counter(_TYPES.get(part.get_dtype(), part.get_dtype()) for part in slices.values())
            if len(types) < 2:
                return file.metadata() or {}, shapes, "".join(types)
            return file.metadata() or {}, shapes, ", ".join(f"{k} ({n} tensors)" for k, n in types.most_common())
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error}); it may be cut short") from None


def _compare(path: Path, role: str, network: nn.Module, shapes: dict[str, list[int]]) -> None:
    own = {name.removeprefix(role + "."): shape for name, shape in shapes.items() if name.startswith(role + ".")}
    expected = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    wrong = sorted(name for name in set(own) | set(expected) if own.get(name) != expected.get(name))
    if wrong:
        raise UserError(f"{path}: the weights do not fit the {role} its header describes: {', '.join(wrong[:4])}")


def _describe(report: Report, config: GeneratorConfig, mixing: float | None, training: dict[str, Any]) -> None:
    report.configuration = configuration(config, mixing)
    report.resolution, report.channels, report.labels = list(config.resolution), config.channels, config.labels
    data = training.get("data") or {}
    report.class_names = training.get("class_names") or data.get("class_names")
    report.attribution = training.get("attribution") or data.get("attribution")
    report.kimg = training.get("kimg")
    report.lineage = training.get("lineage") or report.lineage


def _describe_discriminator(report: Report, config: DiscriminatorConfig) -> None:
    """Sizes of a file without a generator; a generator's, where there is one, have the last word."""
    if report.resolution is None:
        report.resolution, report.channels, report.labels = list(config.resolution), config.channels, config.labels


# --- architecture -----------------------------------------------------------------------------------------

_LETTER_FIELDS = (
    "styles", "constant_input", "noise", "pixel_norm", "instance_norm", "blur", "label_input", "normalize_z",
    "nonlinearity", "equalized", "norm_eps", "bias_before_blur", "shared_noise",
)  # fmt: skip


def configuration(config: GeneratorConfig, mixing: float | None = None) -> str:
    """The letter of Table 1 whose generator this is, or the nearest one and what differs.

    mixing: probability of style mixing in training, which tells E from F; None = not known.
    """
    differences: dict[str, list[str]] = {}
    for letter in "FDCBA":
        other = preset(f"table1-{letter.lower()}", 8).generator
        names = [name for name in _LETTER_FIELDS if name != "label_input" or config.labels]
        found = [
            f"{name}={_short(getattr(config, name))}" for name in names if getattr(config, name) != getattr(other, name)
        ]
        if bool(config.mapping_layers) != bool(other.mapping_layers) or (
            letter in "CDF" and config.mapping_layers != 8
        ):
            found.append(f"mapping_layers={config.mapping_layers}")
        differences[letter] = found
    letter = min(differences, key=lambda key: len(differences[key]))
    found = differences[letter]
    if letter == "F" and mixing is not None and not mixing:
        letter = "E"
    if letter == "F" and mixing is None:
        letter = "F (or E: mixing is not recorded)"
    return letter + (f", but {', '.join(found)}" if found else "")


def _short(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def describe_network(role: str, network: Generator | Discriminator) -> NetworkReport:
    """Layers with output shapes and parameters; the weights are not looked at (they may be on `meta`)."""
    generator = isinstance(network, Generator)
    layers = _generator_layers(network) if isinstance(network, Generator) else _discriminator_layers(network)
    total = _count(network)
    assert total == sum(layer.parameters for layer in layers)
    return NetworkReport(role, "generator" if generator else "discriminator", total, layers)


def _count(module: nn.Module | nn.Parameter | None) -> int:
    if module is None:
        return 0
    return module.numel() if isinstance(module, nn.Parameter) else sum(p.numel() for p in module.parameters())


def _generator_layers(network: Generator) -> list[Layer]:
    config = network.config
    mapping: Any = network.mapping
    synthesis: Any = network.synthesis
    rows = []
    if mapping.label_embedding is not None:
        rows.append(
            Layer("mapping.label_embedding", "label embedding", [config.z_dim], _count(mapping.label_embedding))
        )
    for i, layer in enumerate(mapping.layers):
        rows.append(Layer(f"mapping.layers.{i}", "dense", [int(layer.weight.shape[0])], _count(layer)))
    what = "constant" if config.constant_input else "dense"
    rows.append(Layer("synthesis.input", what, [config.fmaps(1), *config.size(0)], _count(synthesis.input)))
    extras = [name for name, on in (("noise", config.noise), ("style", config.styles)) if on]
    for i, layer in enumerate(synthesis.layers):
        level = i // 2
        conv = [] if i == 0 else ["conv"] if i % 2 else ["up-conv", "blur"] if config.blur else ["up-conv"]
        shape = [config.fmaps(level + 1), *config.size(level)]
        rows.append(Layer(f"synthesis.layers.{i}", ", ".join([*conv, *extras]) or "bias", shape, _count(layer)))
    for k, layer in enumerate(synthesis.to_rgb):
        rows.append(Layer(f"synthesis.to_rgb.{k}", "1x1 conv", [config.channels, *config.size(k)], _count(layer)))
    return rows


def _discriminator_layers(network: Discriminator) -> list[Layer]:
    config = network.config
    rows = []
    for k in range(config.top, -1, -1):
        shape = [config.fmaps(k + 1), *config.size(k)]
        rows.append(Layer(f"from_rgb.{k}", "1x1 conv", shape, _count(network.from_rgb[k])))
    for k in range(config.top, 0, -1):
        block: Any = network.blocks[k - 1]
        middle, down = [int(block.conv.weight.shape[0]), *config.size(k)], [config.fmaps(k), *config.size(k - 1)]
        rows.append(Layer(f"blocks.{k - 1}.conv", "conv", middle, _count(block.conv)))
        what = "blur, down-conv" if config.blur else "down-conv"
        rows.append(Layer(f"blocks.{k - 1}.down", what, down, _count(block.down) + _count(block.down_bias)))
    head: Any = network.head
    what = "minibatch stddev, conv" if config.mbstd_group > 1 else "conv"
    rows.append(Layer("head.conv", what, [config.fmaps(1), *config.size(0)], _count(head.conv)))
    rows.append(Layer("head.dense0", "dense", [config.fmaps(0)], _count(head.dense0)))
    rows.append(Layer("head.dense1", "dense", [max(config.labels, 1)], _count(head.dense1)))
    return rows

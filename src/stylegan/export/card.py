"""What is published with a model: the card (README.md), its sheet of samples, and a copy without local paths."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stylegan import __version__, images
from stylegan.drawing import contact_sheet, default_look
from stylegan.errors import UserError
from stylegan.snapshot import Snapshot, read_snapshot, to_bytes

_ABSOLUTE = re.compile(r"(?:/|~|[A-Za-z]:[\\/]|\\\\)[^\n]*")
SHEET_SIDE = 2048  # pixels, at most


def public_copy(path: Path) -> bytes:
    """The model file, with nothing but the last part of every absolute path in its header."""
    header, tensors = read_snapshot(path)
    return to_bytes(without_paths(header), tensors)


def without_paths(value: Any) -> Any:
    """The same with nothing but the last part of every absolute path in it."""
    if isinstance(value, Mapping):
        return {without_paths(key): without_paths(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_paths(inner) for inner in value]
    if isinstance(value, str) and _ABSOLUTE.fullmatch(value):
        return re.split(r"[\\/]", value.rstrip("\\/"))[-1]
    return value


_without_paths = without_paths


def samples(model: Snapshot, count: int | None = None) -> tuple[np.ndarray, str]:
    """(uncurated sheet uint8 [H, W, C], how it was drawn). count None: 32, or 12 above 256 pixels."""
    G = model.generator
    side = max(G.synthesis.noise_sizes(G.lod)[-1])
    count = count or (32 if side <= 256 else 12)
    channels = None if G.config.channels in images.MODES else (0, 1, 2) if G.config.channels > 3 else (0,)
    look = default_look(G, noise="random", batch=4, channels=channels)
    sheet = contact_sheet(G, range(count), look)
    factor = -(-max(sheet.shape[:2]) // SHEET_SIDE)
    psi = f"psi {look.psi:g}" if look.psi is not None and G.truncatable else "no truncation"
    reduced = f", shown at 1/{factor} of their size" if factor > 1 else ""
    return (images.reduce(sheet, factor) if factor > 1 else sheet), f"seeds 0 to {count - 1}, {psi}{reduced}"


def read_metrics(path: Path, model_sha256: str) -> dict[str, Any]:
    """What `stylegan evaluate --out` wrote. UserError where it is something else, or about another model."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"--metrics {path}: cannot be read ({error})") from None
    if not isinstance(found, dict) or found.get("format") != "stylegan-metrics":
        raise UserError(f"--metrics {path}: not written by `stylegan evaluate --out`")
    measured = (found.get("model") or {}).get("sha256")
    if measured and measured != model_sha256:
        raise UserError(
            f"--metrics {path}: measured on another model file (sha256 {measured[:16]}..., this one has "
            f"{model_sha256[:16]}...); evaluate this one"
        )
    return found


def card(
    model: Snapshot,
    name: str,  # user/model
    sampled: str,  # how the sheet samples.png was drawn
    license: str | None = None,  # identifier of the Hub; None: not stated
    metrics: Mapping[str, Any] | None = None,  # from read_metrics
) -> str:
    """README.md in the Hub's form: YAML front matter, samples, use, facts, metrics with protocol, data, licence."""
    labels = model.generator.config.labels
    tags = ["stylegan", "gan", "image-generation", "safetensors"] + ["class-conditional"] * bool(labels)
    # JSON is YAML, which spares a package
    front: dict[str, Any] = {"license": license or "unknown", "library_name": "stylegan-torch", "tags": tags}
    if not labels:
        front["pipeline_tag"] = "unconditional-image-generation"
    lines = ["---", *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items()), "---", ""]
    place = Place(f"hf://{name}", "samples.png", False, "pip install 'stylegan-torch[hub]'")
    return "\n".join(lines) + "\n" + local_card(model, name.split("/")[1], place, sampled, license, metrics)


@dataclass(frozen=True)
class Place:
    """Where a model and its sheet are found by whoever reads the card."""

    model: str  # what `stylegan.load` and the verbs take
    picture: str  # file name of the sheet, beside the card
    ships: bool = False  # whether it comes with the package
    install: str = ""  # a command that comes first


def local_card(
    model: Snapshot,
    name: str,
    place: Place,
    sampled: str,
    license: str | None = None,
    metrics: Mapping[str, Any] | None = None,
    notice: str | None = None,  # licence and origin of the data in full; None: the attribution in the file
) -> str:
    """The card without the Hub's front matter: samples, use, facts, settings, data, metrics with protocol, licence."""
    labels = model.generator.config.labels
    lines = [f"# {name}", "", f"![Uncurated samples: {sampled}]({place.picture})", ""]
    lines += [f"Uncurated samples: {sampled}.", "", "## Use", "", "```", *([place.install] if place.install else [])]
    lines += [f"stylegan generate {place.model} --seeds 0-31 --out drawings", "```", "", "```python", "import stylegan"]
    comment = "  # comes with the package" if place.ships else ""
    lines += ["", f'G = stylegan.load("{place.model}").generator{comment}', _example(labels), "```", ""]
    lines += ["## The model", "", "| | |", "|---|---|"]
    lines += [f"| {key} | {_cell(value)} |" for key, value in (_facts(model) | _settings(model)).items()]
    lines += ["", "## Training data", "", *_data(model.training, notice), "", "## Metrics", "", *_metrics(metrics)]
    lines += ["", "## Licence", "", _license(license, model.training), ""]
    return "\n".join(lines)


def _example(labels: int) -> str:
    z = "stylegan.z_from_seeds([0, 1, 2], G.config.z_dim)"
    if labels:
        return f"images = G({z}, labels=torch.tensor([0, 1, 0]))  # [3, C, H, W] in about [-1, 1]; import torch"
    return f"images = G({z})  # [3, C, H, W] in about [-1, 1]"


def _facts(model: Snapshot) -> dict[str, Any]:
    G, training = model.generator, model.training
    config = G.config
    height, width = G.synthesis.noise_sizes(G.lod)[-1]
    full = f" (grown to lod {G.lod:g} of {config.resolution[1]}x{config.resolution[0]})" if G.lod else ""
    kimg = training.get("kimg")
    facts: dict[str, Any] = {
        "images": f"{width}x{height}, {config.channels} channels{full}",
        "generator": f"{sum(p.numel() for p in G.parameters()):,} parameters, averaged weights",
        "classes": _classes(model) if config.labels else "none",
        "trained on": "not recorded" if kimg is None else f"{float(kimg):,.1f} thousand images shown",
    }
    loss = (model.config.get("loss") or {}).get("kind")
    if loss:
        gammas = {"R1": model.config["loss"].get("r1_gamma"), "R2": model.config["loss"].get("r2_gamma")}
        shown = [f"{name} gamma {gamma}" for name, gamma in gammas.items() if gamma]
        facts["loss"] = ", ".join([loss, *shown])
    for entry in training.get("lineage") or []:
        if "from" in entry:  # of `train --from`
            before = f" after {float(entry['kimg']):,.1f} thousand images" if "kimg" in entry else ""
            before += f" and {float(entry['seconds']) / 60:,.1f} minutes" if "seconds" in entry else ""
            facts["started from"] = f"{without_paths(str(entry['from']))}{before}, sha256 {entry.get('sha256')}"
            continue
        file = without_paths(str(entry.get("file", "")))
        facts[str(entry.get("event", "origin"))] = (
            f"from {entry.get('format', 'a file')}, {file}, sha256 {entry.get('sha256')}"
        )
    library = training.get("library") or {}
    if not isinstance(library, dict):  # a training notes its version alone
        library = {"stylegan-torch": library}
    facts["made with"] = ", ".join(f"{k} {v}" for k, v in library.items()) or f"stylegan-torch {__version__}"
    return facts


def _settings(model: Snapshot) -> dict[str, Any]:
    """What the training was like, as far as the file says: nothing for imported models."""
    config, facts = model.config, {}
    schedule, training = config.get("schedule") or {}, config.get("training") or {}
    if model.training.get("seconds"):
        facts["training time"] = f"{float(model.training['seconds']) / 60:,.1f} minutes"
    for name, key in (("batch", "batch"), ("learning rate", "lr")):
        if key in schedule:
            table = schedule.get(f"{key}_by_resolution") or {}
            at = ", ".join(f"{value:g} at {side}x{side}" for side, value in table.items())
            facts[name] = f"{schedule[key]:g}" + (f" ({at})" if at else "")
    if schedule.get("grow") and {"initial_resolution", "fade_kimg", "stable_kimg"} <= schedule.keys():
        first, fade, stable = (schedule[key] for key in ("initial_resolution", "fade_kimg", "stable_kimg"))
        facts["growing"] = f"from {first}x{first}; a size fades in over {fade:g} kimg and is stable for {stable:g}"
    if "mirror" in (config.get("data") or {}):
        facts["mirrored"] = "half of the images" if config["data"]["mirror"] else "no"
    if "policy" in (config.get("augment") or {}):
        facts["augmentation"] = ", ".join(config["augment"]["policy"]) or "none"
    for name, key in (("averaging", "ema_kimg"), ("precision", "precision"), ("seed", "seed")):
        if key in training:
            facts[name] = f"half-life {training[key]:g} kimg" if key == "ema_kimg" else training[key]
    return facts


def _classes(model: Snapshot) -> str:
    count, data = model.generator.config.labels, model.training.get("data") or {}
    names = model.training.get("class_names") or data.get("class_names") or []
    shown = ", ".join(map(str, names[:16])) + (", ..." if len(names) > 16 else "")
    return f"{count}" + (f": {shown}" if shown else "")


def _data(training: Mapping[str, Any], notice: str | None = None) -> list[str]:
    data = training.get("data") or {}
    attribution = notice or training.get("attribution") or data.get("attribution")
    if attribution and "\n" in attribution:
        lines = [f"> {line}".rstrip() + "  " for line in attribution.splitlines()]  # two spaces: a line of its own
    else:
        lines = [f"Attribution: {attribution}" if attribution else "Attribution: not recorded."]
    if data.get("images") is not None:
        lines.append(f"\n{data['images']:,} images; fingerprint of the prepared set: `{data.get('fingerprint')}`.")
    return lines


def _metrics(record: Mapping[str, Any] | None) -> list[str]:
    if not record:
        return ["None given."]
    settings, data = record.get("settings") or {}, record.get("data") or {}
    lines = ["| metric | value | standard error | samples | features | what |", "|---|---|---|---|---|---|"]
    for name, entry in (record.get("metrics") or {}).items():
        for key, value in (entry.get("values") or {}).items():
            label = name if len(entry["values"]) == 1 else f"{name}: {key}"
            error = (entry.get("standard_error") or {}).get(key)
            cells = [label, _number(value), _number(error), entry.get("samples"), _network(entry), entry.get("what")]
            lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    psi = [] if "psi" not in settings else ["no truncation" if settings["psi"] is None else f"psi {settings['psi']}"]
    rest = [f"{key} {settings[key]}" for key in ("noise", "seed", "batch", "device") if key in settings]
    told = ", ".join(psi + rest)
    lines += ["", f"Protocol: {told}; compared with {data.get('images', '?')} images"]
    lines[-1] += f" (fingerprint `{data.get('fingerprint')}`), mirrored: {'yes' if data.get('mirror') else 'no'}; "
    lines[-1] += ", ".join(f"{key} {value}" for key, value in (record.get("library") or {}).items()) + "."
    return lines


def _network(entry: Mapping[str, Any]) -> str:
    """The feature network of a metric, with the beginning of its hash; distances of different ones do not compare."""
    network = entry.get("network") or {}
    sha256 = network.get("sha256")
    return str(network.get("name") or "") + (f", sha256 {sha256[:8]}..." if sha256 else "")


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _cell(value: Any) -> str:
    return " ".join(str("" if value is None else value).replace("|", "\\|").split())


def _license(license: str | None, training: Mapping[str, Any]) -> str:
    text = f"The weights: {license}." if license else "The licence of the weights was not stated by whoever published."
    if any("from" not in entry for entry in training.get("lineage") or []):
        text += " They come from another file (see above), whose terms apply as well."
    return text + " The program stylegan-torch: Apache-2.0."


def config_json(model: Snapshot) -> bytes:
    """config.json for the repository: what other programs look at first."""
    generator = model.generator.config.model_dump(mode="json")
    made = {"library_name": "stylegan-torch", "lod": model.generator.lod, "generator": generator}
    return (json.dumps(made, indent=1) + "\n").encode()

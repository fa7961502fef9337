"""From what the user typed, the data and the machine, to one configuration."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import click
import torch
from rich.table import Table

from stylegan import hub
from stylegan.cli._tables import show
from stylegan.config import Config
from stylegan.config.auto import Choice, Facts, choose
from stylegan.config.presets import Diff, check_name, complete, merge, preset
from stylegan.data.cache import open_or_prepare
from stylegan.data.dataset import Dataset
from stylegan.data.report import PreparedInfo, summary
from stylegan.distributed import choose_device
from stylegan.errors import UserError
from stylegan.lod import nominal, split_size
from stylegan.training.run import begun, check_place, stored_config


@dataclass
class Setup:
    """A configuration that fits its data, and why automatic settings are what they are."""

    config: Config
    dataset: Dataset
    choices: list[Choice] = field(default_factory=list)


def configure(
    data: Path,
    out: Path | None,
    preset_name: str = "auto",
    changes: Diff | None = None,
    resolution: str | None = None,
    labels: bool | None = None,
    device: str = "auto",
    start_from: Path | None = None,
    tell: bool = False,
) -> Setup:
    """Resolves a preset, the data's facts and the user's changes, in that order. UserError for what does not fit.

    An existing run that was started with the same preset keeps what was chosen for it then, so that it goes on
    wherever it is resumed; the user's changes are compared with it by the run folder. out None: there is no run.
    tell: say what becomes of images that have to be prepared first.
    """
    torch_device = choose_device(device)
    if preset_name != "auto":
        check_name(preset_name)  # this, and the place, before anything is prepared
    if out is not None:
        check_place(out)
    dataset = open_or_prepare(data, tell=_tell, progress="bar") if tell else open_or_prepare(data)
    changes = dict(changes or {})
    height, width = _resolution(resolution, dataset)
    use_labels = bool(labels if labels is not None else changes.get("data", {}).get("use_labels", False))
    if use_labels and dataset.num_classes == 0:
        raise UserError(
            f"{data}: has no classes, so labels cannot be used; leave --labels out, or prepare it with --classes "
            f"(sub-folders as classes) or a dataset.json"
        )
    classes = dataset.num_classes if use_labels else 0
    changes = merge(changes, {"data": {"path": str(data.resolve()), "use_labels": use_labels}})
    own, stored = changes, None if out is None else stored_config(out)
    stored = stored if out is not None and begun(out) else None  # where a first command failed, another may follow
    same = stored is not None and stored.preset == preset_name
    if stored is not None and same and start_from is not None and stored.training.start_from == _named(start_from):
        origin: list[Choice] = []  # what came from there is in the run, which can go on without it
    else:
        changes, origin = _from_source(start_from, changes, height, width, classes)
    if stored is not None and same:
        return Setup(_changed(stored, changes, resolution, labels, (height, width), classes), dataset)
    if preset_name == "auto":
        facts = _facts(dataset, height, width, classes, torch_device, changes)
        diff, choices = choose(facts, _number(changes, "schedule", "total_kimg"), _number(changes, "loss", "r1_gamma"))
        config = complete(merge(diff, changes), "auto", (height, width), dataset.channels, classes)
        return Setup(config, dataset, [*[_as_set(choice, changes, own) for choice in choices], *origin])
    return Setup(preset(preset_name, (height, width), dataset.channels, classes, changes), dataset, origin)


def _tell(info: PreparedInfo) -> None:
    click.echo(f"prepared, so that later trainings begin at once:\n{summary(info)}", err=True)


def _from_source(
    start_from: Path | None, changes: Diff, height: int, width: int, classes: int
) -> tuple[Diff, list[Choice]]:
    """The user's changes on top of what starting from other weights asks for, and what that was."""
    blocks = changes.get("training", {}).get("freeze_d", 0)
    _, _, top = split_size(height, width)
    if start_from is None and not blocks:
        return changes, []
    from stylegan import shipped
    from stylegan.training.transfer import check_freezing, read_source

    start_from = None if start_from is None else shipped.resolve(start_from)
    source = None if start_from is None else read_source(start_from)
    check_freezing(blocks, source, top)
    if start_from is None or source is None:
        return changes, []
    first = min(max(source.resolution, 8), nominal(top))
    diff = merge(source.architecture(classes), {"schedule": {"initial_resolution": first}})
    diff = merge(diff, {"training": {"start_from": _named(start_from)}})
    reasons = [
        Choice("networks", f"as in {start_from}", "so that its weights fit", ("generator.fmap_max",)),
        Choice("first resolution", f"{first}x{first}", "what the weights have been trained to"),
    ]
    return merge(diff, changes), reasons


def _named(start_from: Path) -> str:
    """A model to start from as a run remembers it: an absolute path, or its name on the Hub."""
    return str(hub.parse(start_from)) if hub.is_reference(start_from) else str(start_from.resolve())


def _as_set(choice: Choice, changes: Diff, own: Diff) -> Choice:
    """The choice, or what the user set instead of it (`own`), or the model that training starts from."""
    given = {
        name: changes[section][field]
        for name in choice.fields
        for section, field in [name.split(".")]
        if field in changes.get(section, {})
    }
    if not given:
        return choice
    value = ", ".join(f"{name.split('.')[1]} {value}" for name, value in given.items() if value != {})
    mine = all(name.split(".")[1] in own.get(name.split(".")[0], {}) for name in given)
    return Choice(choice.setting, value, "set by you" if mine else "as in the model to start from")


def _changed(
    stored: Config, changes: Diff, resolution: str | None, labels: bool | None, size: tuple[int, int], classes: int
) -> Config:
    """A stored configuration with the user's changes on top."""
    merged = stored.model_dump()
    for section, values in changes.items():
        merged[section] = {**merged[section], **values}
    if labels is None and "use_labels" not in changes.get("data", {}):
        merged["data"]["use_labels"] = stored.data.use_labels
    for network in ("generator", "discriminator"):
        if resolution is not None:
            merged[network] |= {"resolution": size, "base": (0, 0)}
        if labels is not None:
            merged[network]["labels"] = classes
    return Config.model_validate(merged)


def _resolution(text: str | None, dataset: Dataset) -> tuple[int, int]:
    """(height, width) to train at: the data's, or a lower level of it."""
    if text is None:
        return dataset.size
    from stylegan.data.pyramid import parse_resolution

    wanted = parse_resolution(text)
    size = (wanted, wanted) if isinstance(wanted, int) else tuple(wanted)
    if size not in [tuple(level) for level in dataset.levels]:
        sizes = ", ".join(f"{w}x{h}" for h, w in dataset.levels)
        raise UserError(f"--resolution {text}: the data set has the sizes {sizes}; choose one, or prepare it again")
    return size[0], size[1]


def _number(changes: Diff, section: str, name: str) -> float | None:
    """What the user set; None where that is nothing, or no number, which the configuration says."""
    value = changes.get(section, {}).get(name)
    return value if isinstance(value, int | float) else None


def _facts(dataset: Dataset, height: int, width: int, classes: int, device: torch.device, changes: Diff) -> Facts:
    cuda = device.type == "cuda"
    loss, augment = changes.get("loss", {}), changes.get("augment", {})
    adapting = bool(augment.get("policy")) and augment.get("target", "default") is not None
    return Facts(
        images=len(dataset),
        height=height,
        width=width,
        channels=dataset.channels,
        classes=classes,
        device=device.type,
        memory_gb=torch.cuda.get_device_properties(device).total_memory / 1e9 if cuda else 0.0,
        processes=int(os.environ.get("WORLD_SIZE", "1")),
        bf16=cuda and torch.cuda.is_bf16_supported(including_emulation=False),
        unpaired=adapting or loss.get("kind", "relativistic") != "relativistic",
    )


def print_choices(setup: Setup) -> None:
    """What was chosen and why, as a table."""
    if not setup.choices:
        return
    table = Table(title="settings chosen from the data and the machine (preset auto)", title_justify="left", box=None)
    for column in ("setting", "value", "why"):
        table.add_column(column)
    for choice in setup.choices:
        table.add_row(choice.setting, choice.value, choice.reason)
    show(table, stderr=True)

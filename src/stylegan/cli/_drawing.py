"""What the drawing verbs share: options, opening the model, progress, and the settings stored in files."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stylegan import __version__
from stylegan.errors import UserError

if TYPE_CHECKING:
    import torch

    from stylegan.drawing import Look
    from stylegan.networks import Generator
    from stylegan.snapshot import Snapshot

Command = TypeVar("Command", bound=Callable[..., Any])


def drawing_options(psi: str, noise: str) -> Callable[[Command], Command]:
    """The argument MODEL and the options every drawing verb takes; `psi` "" leaves that option out."""

    def decorate(command: Command) -> Command:
        options = [
            click.argument("model", type=click.Path(path_type=Path)),
            click.option("--psi", metavar="PSI", help=f"Truncation psi; 1 = none.  [default: {psi}]"),
            click.option(
                "--cutoff",
                metavar="N|all",
                help="How many layers are truncated.  [default: "
                + ("the model's, usually 8]" if psi else "all, as in the paper]"),
            ),
            click.option(
                "--class",
                "class_text",
                metavar="N|NAME",
                help="Class to draw, by number or name, or several with commas.  [default: all in turn]",
            ),
            click.option(
                "--towards",
                type=click.Choice(["all", "class"]),
                default="all",
                show_default=True,
                help="Truncate towards the mean w of all (as officially), or of the image's own class.",
            ),
            click.option(
                "--noise",
                type=click.Choice(["random", "stored", "none"]),
                default=noise,
                show_default=True,
                help="Noise inputs: drawn from the seed, the network's stored ones, or none.",
            ),
            click.option("--channels", metavar="LIST", help="Image channels to draw, such as 0,1,2.  [default: all]"),
            click.option(
                "--batch",
                type=int,
                default=16,
                show_default=True,
                help="Images per pass on a GPU. On the CPU it changes nothing: images are computed one at a "
                "time there, so that a seed gives the same file to the byte.",
            ),
            click.option(
                "--device",
                type=click.Choice(["auto", "cpu", "cuda", "mps"]),
                default="auto",
                show_default=True,
                help="Where to compute.",
            ),
        ]
        if not psi:
            del options[1]
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@dataclass
class Session:
    """An opened model and how to draw from it."""

    model: Snapshot
    look: Look
    classes: tuple[int, ...] | None
    device: torch.device

    @property
    def generator(self) -> Generator:
        return self.model.generator

    def parameters(self, command: str, **settings: Any) -> dict[str, Any]:
        """What is stored in a file: the settings in full, the model's identity, and the library version."""
        config, training, path = self.generator.config, self.model.training, self.model.path
        assert path is not None
        found: dict[str, Any] = {
            "command": f"stylegan {command}",
            **settings,
            "psi": 1.0 if self.look.psi is None else self.look.psi,
            "cutoff": config.num_layers if self.look.cutoff is None else self.look.cutoff,
            "towards": "class" if self.look.centres is not None else None,
            "noise": self.look.noise if config.noise else "none",
            "lod": self.look.lod_of(self.generator),
            "device": self.device.type,
            "model": {"file": path.name, "sha256": self.sha256, "kimg": training.get("kimg")},
            "attribution": training.get("attribution") or (training.get("data") or {}).get("attribution"),
            "library": f"stylegan-torch {__version__}",
        }
        if self.look.channels is not None:
            found["channels"] = list(self.look.channels)
        return {key: value for key, value in found.items() if value is not None}

    def class_settings(self, seed: int) -> dict[str, Any]:
        """The class a seed is drawn with, by number and name; nothing for an unconditional model."""
        if not self.classes:
            return {}
        from stylegan.drawing import class_of_seed

        number, names = class_of_seed(seed, self.classes), class_names(self.model)
        return {"class": number} | ({"class_name": names[number]} if number < len(names) else {})

    @property
    def sha256(self) -> str:
        """Of the model file, in full; read once."""
        if not hasattr(self, "_sha256"):
            assert self.model.path is not None
            with open(self.model.path, "rb") as file:
                self._sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return self._sha256


def class_names(model: Snapshot) -> list[str]:
    """The names of the model's classes in order; empty where the data had none."""
    names = model.training.get("class_names") or (model.training.get("data") or {}).get("class_names")
    return [str(name) for name in names or []]


def open_session(
    model: Path,
    psi: str | None,
    cutoff: str | None,
    class_text: str | None,
    noise: str,
    channels: str | None,
    batch: int,
    device: str,
    towards: str = "all",
) -> Session:
    """Loads the model and settles every setting. UserError for whatever does not fit.

    psi None = the model's own, cutoff None = the model's own.
    """
    from stylegan.drawing import class_centres, default_look, parse_classes
    from stylegan.ops.switch import describe, ops_mode
    from stylegan.snapshot import load

    where = choose_device(device)
    if where.type != "cpu" or ops_mode() != "auto":
        click.echo(f"drawing on {where}, operators: {describe(where)}", err=True)
    chosen = None if channels is None else tuple(int(c) for c in numbers(channels, "--channels", whole=True))
    snapshot = load(model, device=where)
    G = snapshot.generator
    look = default_look(G, noise=noise, batch=batch, channels=chosen)
    if psi is not None:
        look = replace(look, psi=float(one_number(psi, "--psi")))
    if cutoff is not None:
        whole = None if cutoff.strip().lower() == "all" else int(one_number(cutoff, "--cutoff", whole=True))
        look = replace(look, cutoff=whole)
    look = look.check(G)
    classes = parse_classes(class_text, G.config.labels, class_names(snapshot))
    if towards == "class":
        look = replace(look, centres=class_centres(G, classes))
    if look.lod_of(G) > 0:
        h, w = G.synthesis.noise_sizes(look.lod_of(G))[-1]
        full_h, full_w = G.config.resolution
        click.echo(
            f"note: {model.name} is grown to lod {look.lod_of(G):g} of {full_w}x{full_h}: drawing {w}x{h}",
            err=True,
        )
    return Session(snapshot, look, classes, where)


def choose_device(name: str) -> torch.device:
    """The device; "auto" = CUDA, then Apple's MPS, then the CPU. UserError where the named one is missing."""
    import torch

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if cuda else "mps" if mps else "cpu"
    if name == "cuda" and not cuda:
        built = torch.version.cuda is None and getattr(torch.version, "hip", None) is None
        cause = (
            "this PyTorch was built without CUDA; install one from pytorch.org/get-started"
            if built
            else "no GPU is visible; check the driver with nvidia-smi, and CUDA_VISIBLE_DEVICES"
        )
        raise UserError(f"--device cuda: {cause}, or use --device cpu")
    if name == "mps" and not mps:
        raise UserError("--device mps: PyTorch finds no Apple GPU here; use --device cpu or auto")
    return torch.device(name)


def numbers(text: str, option: str, whole: bool = False) -> list[float]:
    """Numbers from "1,0.7,-1". UserError where one is not finite, or not a whole number if `whole`."""
    found = []
    for part in text.split(","):
        try:
            value = float(int(part)) if whole else float(part)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            kind = "a whole number" if whole else "a number"
            raise UserError(f"{option} {text}: {part.strip()!r} is not {kind}")
        found.append(value)
    return found


def one_number(text: str, option: str, whole: bool = False) -> float:
    """A single number; UserError otherwise."""
    found = numbers(text, option, whole)
    if len(found) != 1:
        raise UserError(f"{option} {text}: must be one number")
    return found[0]


def check_output(path: Path, suffixes: Sequence[str]) -> None:
    """UserError, before anything slow, where the output file's kind or place is wrong."""
    from stylegan import images

    if path.suffix.lower() not in suffixes:
        raise UserError(f"{path}: the output must end in {' or '.join(suffixes)}")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give a file name for the output")
    images.prepare_folder(path.parent)


@contextmanager
def progress(title: str, total: int | None = None, rate: bool = True) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr with time left, and the rate if images are counted; yields the callback (done, in all)."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:.1f} img/s", style="progress.data.speed")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *([Rate()] if rate else []),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done, count: bar.update(task, completed=done, total=count)

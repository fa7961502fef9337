"""`stylegan demo`: draws from the model that ships with the package, then the main job end to end: training on data
that comes with scikit-learn. Nothing is downloaded."""

from __future__ import annotations

import time
from pathlib import Path

import click

from stylegan.errors import UserError

ATTRIBUTION = (
    "Optical Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak, 1998), UCI Machine Learning Repository, "
    "doi:10.24432/C50P49, CC BY 4.0, as distributed with scikit-learn"
)


@click.command("demo")
@click.option("--out", default="demo", show_default=True, type=click.Path(path_type=Path), help="Folder to write to.")
@click.option("--kimg", type=float, help="Train longer or shorter than the preset `digits`.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
def command(out: Path, kimg: float | None, device: str) -> None:
    """Draw from the model that comes with the package, then train on handwritten digits and draw from the result.

    The first takes seconds. The training is on the 1,797 digits of scikit-learn: it grows through 8x8, 16x16 and
    32x32 pixels with the classes as labels, a few minutes on two CPU cores. Run it again after a stop and it goes on.
    """
    begin = time.monotonic()
    draw_shipped(out, device)
    dataset = prepare_digits(out / "digits")
    model = train_digits(dataset, out / "run", kimg, device)
    files = draw(model, out, device)
    click.echo(f"\nDone in {(time.monotonic() - begin) / 60:.1f} minutes. Look at:")
    for path, text in files:
        click.echo(f"  {path}  {text}")
    click.echo(f"\nDraw more: stylegan generate {model} --seeds 0-99 --class 7 --out {out / 'sevens'}")


def draw_shipped(out: Path, device: str) -> None:
    """Draws from the first model that ships with the package, if there is one, and says where the files are."""
    from stylegan import shipped

    known = shipped.names()
    if not known:
        return
    begin, name, folder = time.monotonic(), known[0], out / known[0]
    click.echo(f"First, what a trained model can do: {name}, which comes with the package.")
    sheets = [
        ("generate", ["--seeds", "0-39", "--psi", "0.7", "--grid", "8x5"], folder / "samples", "40 uncurated images"),
        ("mix", ["--rows", "0-2", "--cols", "10-14"], folder / "mixing.png", "style mixing"),
        (
            "interpolate",
            ["--seeds", "0-4", "--frames", "100"],
            folder / "interpolation.mp4",
            "a walk between 5 of them",
        ),
    ]
    files = _drawn(name, sheets, device)
    click.echo(f"\n{name}, in {time.monotonic() - begin:.0f} seconds:")
    for path, text in files:
        click.echo(f"  {path}  {text}")
    click.echo("\nNow a training of your own, on handwritten digits.")


def prepare_digits(out: Path) -> Path:
    """The digits as a prepared data set of 32x32 grey images with 10 classes; returns `out`."""
    import numpy as np
    from PIL import Image

    from stylegan.data import prepare_arrays

    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UserError("the demo's digits are in scikit-learn, which is missing; pip install scikit-learn") from None
    digits = load_digits()
    small = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # n 8 8
    large = [np.asarray(Image.fromarray(image).resize((28, 28), Image.Resampling.BICUBIC)) for image in small]
    framed = np.pad(np.stack(large), ((0, 0), (2, 2), (2, 2)))  # n 32 32
    prepare_arrays(
        framed[:, None],  # n 1 32 32
        digits.target,
        out,
        class_names=[str(i) for i in range(10)],
        attribution=ATTRIBUTION,
        description="scikit-learn's digits, 8x8 enlarged to 28x28 (bicubic) in a black frame of 32x32",
    )
    return out


def train_digits(data: Path, run: Path, kimg: float | None, device: str) -> Path:
    """Trains, or goes on training, the preset `digits`; returns the model file."""
    from stylegan.cli.configuring import configure
    from stylegan.training import train

    changes = {} if kimg is None else {"schedule": {"total_kimg": kimg}}
    setup = configure(data, run, "digits", changes, labels=True, device=device)
    result = train(setup.config, run, device, setup.dataset)
    if result.stopped:
        raise click.exceptions.Exit(143 if result.stopped == "SIGTERM" else 130)
    return run / "model.safetensors"


def draw(model: Path, out: Path, device: str) -> list[tuple[Path, str]]:
    """All four kinds of drawing, by the verbs a user would type; returns (path, what it is)."""
    sheets = [
        ("generate", ["--seeds", "0-99", "--psi", "1"], out / "samples", "100 digits, one class per column"),
        ("truncation", ["--seeds", "0-9"], out / "truncation.png", "truncation sweep"),
        ("mix", ["--rows", "0,11,22,33", "--cols", "44-51"], out / "mixing.png", "style mixing"),
        ("interpolate", ["--seeds", "0-9", "--frames", "240"], out / "interpolation.mp4", "a walk through the digits"),
    ]
    files = [(out / "run" / "reals.png", "the training data"), (out / "run" / "timelapse.mp4", "how it grew")]
    return files + _drawn(str(model), sheets, device)


def _drawn(model: str, sheets: list[tuple[str, list[str], Path, str]], device: str) -> list[tuple[Path, str]]:
    """Runs verbs on a model: of each (verb, options, output, what it is) the place and what it is."""
    from stylegan.cli import cli

    files = []
    for verb, options, path, text in sheets:
        arguments = [verb, model, *options, "--out", str(path), "--device", device.split(":")[0]]
        cli.main(arguments, standalone_mode=False)
        files.append((path / "sheet.png" if path.is_dir() else path, text))
    return files

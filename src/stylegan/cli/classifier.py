"""`stylegan classifier`: a network that tells a data set's classes apart, for `evaluate --features`."""

from __future__ import annotations

import math
import time
from pathlib import Path

import click

from stylegan.errors import UserError


@click.command(
    "classifier",
    epilog="""\b
Examples:
  stylegan classifier data/cells --out cells.safetensors --mirror --flip
  stylegan evaluate model.safetensors data/cells --metrics fid10k,recognition5k --features cells.safetensors
""",
)
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", required=True, metavar="FILE.safetensors", type=click.Path(path_type=Path), help="The network.")
@click.option("--kimg", type=float, default=400.0, show_default=True, help="Thousands of images it is shown.")
@click.option("--batch", type=int, default=128, show_default=True, help="Images per step.")
@click.option("--lr", type=float, default=0.002, show_default=True, help="Highest learning rate.")
@click.option("--width", type=int, default=256, show_default=True, help="Channels at most, and number of features.")
@click.option("--mirror/--no-mirror", default=False, show_default=True, help="Flip half of the images left-right.")
@click.option("--flip/--no-flip", default=False, show_default=True, help="And half upside down.")
@click.option("--balanced/--no-balanced", default=True, show_default=True,
              help="Answer as if all classes were equally frequent.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Also chooses the tenth that is held out.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
def command(
    data: Path, out: Path, kimg: float, batch: int, lr: float, width: int, mirror: bool, flip: bool, balanced: bool,
    seed: int, device: str,
) -> None:  # fmt: skip
    """Train a network that tells the classes of DATA apart, and say how well on images it has not seen.

    `stylegan evaluate --features FILE` then measures with it: FID and all other metrics in its features, the
    Inception score with its classes, and with `recognition5k` how many images of a class-conditional model show
    the class they were asked for. DATA is a prepared set with classes, or a folder or zip that has them.
    """
    from stylegan.cli._drawing import progress
    from stylegan.data import open_or_prepare
    from stylegan.distributed import choose_device
    from stylegan.metrics.classifier import save_classifier
    from stylegan.metrics.features import sha256_of
    from stylegan.metrics.recognising import ClassRecipe, recognition, train_on_classes

    if out.suffix.lower() != ".safetensors" or out.is_dir():
        raise UserError(f"--out {out}: give a file name that ends in .safetensors")
    if not data.exists():
        raise UserError(f"{data}: no such data; give a prepared data set, or a folder or zip of images")
    if not 0 <= seed < 2**63:
        raise UserError(f"--seed {seed}: must be 0 or more")
    if not lr > 0:
        raise UserError(f"--lr {lr:g}: must be above 0")
    recipe = ClassRecipe(
        kimg=kimg, batch=batch, lr=lr, seed=seed, mirror=mirror, flip=flip, width=width, balanced=balanced
    )
    recipe.check()
    chosen, begun = choose_device(device), time.perf_counter()
    with progress("training the classifier") as tell:
        found = train_on_classes(open_or_prepare(data), recipe, chosen, tell)
    seconds = time.perf_counter() - begun
    recalls = [None if math.isnan(value) else value for value in found.recalls]
    facts = {**found.facts, "accuracy": found.accuracy, "confusion": found.confusion.tolist()}
    facts |= {"seconds": round(seconds, 1), "device": chosen.type}
    save_classifier(out, found.network, found.names, recalls, facts)
    longest = max(map(len, found.names))
    for name, recall, row in zip(found.names, recalls, found.confusion, strict=True):
        said = "none held out" if recall is None else f"{100 * recall:5.1f} %"
        click.echo(f"  {name:<{longest}}  {said}  of {row.sum()}")
    click.echo(
        f"held-out accuracy {100 * found.accuracy:.2f} % of {found.confusion.sum()} images, mean of the classes "
        f"{100 * recognition(found.confusion):.2f} %; {kimg:g} kimg in {seconds:.1f} s on {chosen.type}"
    )
    click.echo(f"written: {out} (sha256 {sha256_of(out)})")

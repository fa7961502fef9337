"""`stylegan convert`: a model of another program -> a model file of this project."""

from __future__ import annotations

from pathlib import Path

import click

from stylegan.errors import UserError
from stylegan.formats import sniff
from stylegan.official.pickles import read_pickle


@click.command("convert")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("out", metavar="OUT.safetensors", type=click.Path(path_type=Path))
@click.option("--training", is_flag=True, help="Also the discriminator and the raw generator, to train on.")
@click.option(
    "--w-avg",
    type=click.Choice(["stored", "recompute"]),
    default="stored",
    show_default=True,
    help="The mean of w that truncation pulls to: as in the file (where it has one), or computed afresh.",
)
@click.option("--resolution", type=int, help="Side that the training had reached, where the file does not tell.")
def command(source: Path, out: Path, training: bool, w_avg: str, resolution: int | None) -> None:
    """Convert IN, told by its content: an official .pkl of StyleGAN or Progressive GAN, or a PyTorch checkpoint
    of rosinality/style-based-gan-pytorch or huangzh13/StyleGAN.pytorch. Nothing in IN is run.

    OUT holds the averaged generator. Where the file came from stands in it; `stylegan inspect OUT` shows it.

    Example: stylegan convert karras2019stylegan-ffhq-1024x1024.pkl ffhq.safetensors
    """
    if out.suffix != ".safetensors":
        raise UserError(f"{out}: the converted model must be named .safetensors")
    if out.exists() and source.exists() and out.samefile(source):
        raise UserError(f"{out}: is the file to convert; choose another name")
    if sniff(source) == "pickle":
        read_pickle(source).check(training)  # what is refused is refused before PyTorch is loaded
    from stylegan.importing import read
    from stylegan.snapshot import save_snapshot

    made = read(source, training, w_avg, resolution)  # type: ignore[arg-type]
    save_snapshot(out, made.generator, made.discriminator, made.generator_raw, training=made.training)
    config = made.generator.config
    height, width = config.size(config.top - int(made.generator.lod))
    parts = "generator" if made.discriminator is None else "generator, raw generator, discriminator"
    classes = f", {config.labels} classes" if config.labels else ""
    click.echo(f"{out}: {parts}; {width}x{height}{classes}, lod {made.generator.lod:g}")
    for note in made.notes:
        click.echo(f"note: {note}")

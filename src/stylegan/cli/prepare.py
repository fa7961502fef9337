"""`stylegan prepare`: a folder or zip of images -> a data set for training."""

from __future__ import annotations

from pathlib import Path

import click

from stylegan.data.prepare import prepare
from stylegan.data.pyramid import FILTERS, FITS
from stylegan.data.report import summary
from stylegan.errors import UserError


@click.command("prepare")
@click.argument("src", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--resolution", metavar="N|WxH", help="N for NxN, or WIDTHxHEIGHT; chosen from the images if absent."
)
@click.option(
    "--fit",
    type=click.Choice(FITS),
    default="crop",
    show_default=True,
    help="crop: the centre; letterbox: all of the image, with borders; native: the images' own aspect, "
    "cropped as little as possible (--resolution N is then the longest side).",
)
@click.option("--classes", is_flag=True, help="The top-level sub-folders are classes.")
@click.option(
    "--channels", type=int, help="1 grey, 3 RGB, 4 RGBA; grey or RGB, as the images are, if absent."
)
@click.option(
    "--filter", type=click.Choice(list(FILTERS)), default="lanczos", show_default=True, help="For resizing."
)
@click.option(
    "--background",
    default="white",
    show_default=True,
    help="Colour behind transparent places and around letterboxed images.",
)
@click.option("--workers", type=int, help="Processes; one per core if absent.")
@click.option(
    "--attribution",
    default="",
    metavar="TEXT|@FILE",
    help="Credit to store with data and models.  [default: a NOTICE.txt among the images]",
)
@click.option("--overwrite", is_flag=True, help="Start afresh where OUT holds another prepared set.")
def command(
    src: Path,
    out: Path,
    resolution: str | None,
    fit: str,
    classes: bool,
    channels: int | None,
    filter: str,
    background: str,
    workers: int | None,
    attribution: str,
    overwrite: bool,
) -> None:
    """Turn the images of SRC, a folder or zip, into a data set for training in the folder OUT.

    Every image is converted with care (orientation, colour profile, transparency, 16 bits) and stored at all
    resolutions from the full size down to 4x4. Labels come from a dataset.json in SRC, or from sub-folders
    with --classes. Files that cannot be read are named and left out.

    Interrupted? Run the same command again: it continues.

    Example: stylegan prepare photos/ data/photos256 --resolution 256
    """
    try:
        info = prepare(
            src,
            out,
            resolution=resolution,
            fit=fit,
            classes=classes,
            channels=channels,
            filter=filter,
            background=background,
            workers=workers,
            attribution=_text(attribution),
            overwrite=overwrite,
            progress="bar",
        )
    except KeyboardInterrupt:
        click.echo("interrupted; run the same command again to continue", err=True)
        raise
    click.echo(summary(info))
    click.echo(f"next: stylegan train {out} --out RUN")


def _text(attribution: str) -> str:
    """The text itself, or the content of @FILE."""
    if not attribution.startswith("@"):
        return attribution.strip()
    try:
        return Path(attribution[1:]).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"attribution file {attribution[1:]}: cannot be read ({error})") from error

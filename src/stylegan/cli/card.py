"""`stylegan card`: the card of a model, from what its file says and from measurements."""

from __future__ import annotations

from pathlib import Path

import click

from stylegan.errors import UserError


@click.command("card")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--out", metavar="CARD.md", type=click.Path(path_type=Path), help="[default: beside MODEL, ending in .md]"
)
@click.option("--metrics", metavar="FILE.json", type=click.Path(path_type=Path), help="From `stylegan evaluate --out`.")
@click.option("--license", metavar="TEXT", help="Licence of the weights, such as Apache-2.0.")
@click.option(
    "--notice", metavar="FILE", type=click.Path(path_type=Path), help="Licence and origin of the data, in full."
)
@click.option("--samples", type=int, metavar="N", help="Images on the sheet.  [default: 32; 12 above 256 pixels]")
def command(
    model: Path, out: Path | None, metrics: Path | None, license: str | None, notice: Path | None, samples: int | None
) -> None:
    """Write CARD.md about MODEL, and a sheet of uncurated samples, CARD.png, beside it.

    The card has the samples, how to use the model, its settings and training, the metrics and the data's
    attribution; all but the metrics is read from the model file. `stylegan push` writes one by itself.

    Example: stylegan card fruit.safetensors --metrics fruit.json --license Apache-2.0 --notice NOTICE.txt
    """
    from stylegan import images, shipped
    from stylegan.export import card
    from stylegan.export.files import sha256_of
    from stylegan.snapshot import load, write_atomically

    opened = load(model)
    assert opened.path is not None
    out = out or opened.path.with_suffix(".md")
    if out.suffix.lower() != ".md":
        raise UserError(f"{out}: the card must end in .md")
    if samples is not None and not 1 <= samples <= 1024:
        raise UserError(f"--samples {samples}: must lie between 1 and 1024")
    try:
        text = None if notice is None else notice.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise UserError(f"--notice {notice}: cannot be read ({error})") from None
    record = card.read_metrics(metrics, sha256_of(opened.path)) if metrics is not None else None
    sheet, sampled = card.samples(opened, samples)
    picture = out.with_suffix(".png")
    ships = opened.path.parent == shipped.FOLDER
    name = opened.path.stem if ships or opened.path.stem != "model" else opened.path.resolve().parent.name
    place = card.Place(opened.path.stem if ships else opened.path.name, picture.name, ships)
    written = card.local_card(opened, name, place, sampled, license, record, text)
    write_atomically(out, written.encode())
    images.write_png(picture, sheet, {"command": "stylegan card", "drawn": sampled})
    click.echo(f"{out} and {picture.name}")
    if license is None:
        click.echo("note: the card says that the licence is not stated; --license states it", err=True)
    if record is None:
        click.echo("note: the card has no metrics; --metrics FILE.json adds them", err=True)

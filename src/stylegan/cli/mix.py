"""`stylegan mix`: a style-mixing sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from stylegan.cli._drawing import check_output, drawing_options, open_session, progress


@click.command("mix")
@click.option("--rows", default="0-5", show_default=True, help="Seeds of the sources A, down the side.")
@click.option("--cols", default="10-14", show_default=True, help="Seeds of the sources B, along the top.")
@click.option(
    "--layers",
    metavar="RANGE",
    help="Layers taken from B: coarse (0-3), middle (4-7), fine (8 and up), or numbers such as 4-7,9.  "
    "[default: figure 3, the rows shared out to all three]",
)
@click.option("--out", required=True, metavar="FILE.png", type=click.Path(path_type=Path), help="Image to write.")
@drawing_options(psi="1, as in the paper", noise="stored")
def command(rows: str, cols: str, layers: str | None, out: Path, **options: Any) -> None:
    """Draw a style-mixing sheet (paper, figure 3) from MODEL.

    Each cell is its row's image with the styles of some layers taken from its column's. Without --layers,
    the upper rows take the coarse styles, those below the middle ones, the lowest the fine ones.

    Example: stylegan mix model.safetensors --rows 0-3 --cols 10-15 --layers coarse --out mix.png
    """
    from stylegan import images
    from stylegan.drawing import mixing_sheet
    from stylegan.drawing.render import check_styles
    from stylegan.latents import parse_layers, parse_seeds

    row_seeds, column_seeds = parse_seeds(rows), parse_seeds(cols)
    options["psi"] = options["psi"] or "1"
    session = open_session(**options)
    check_styles(session.generator)
    check_output(out, [".png"])
    chosen = None
    if layers is not None:
        chosen = {f"{layers.capitalize()} from B": parse_layers(layers, session.look.layers_of(session.generator))}
    with progress("mixing") as report:
        page = mixing_sheet(session.generator, row_seeds, column_seeds, chosen, session.look, session.classes, report)
    settings: dict[str, Any] = {"rows": row_seeds, "columns": column_seeds}
    settings["layers"] = "figure 3" if chosen is None else list(next(iter(chosen.values())))
    if session.classes:
        settings["classes"] = list(session.classes)
    images.write_png(out, page, session.parameters("mix", **settings))
    click.echo(f"{len(row_seeds)} x {len(column_seeds)} sources mixed in {out}")

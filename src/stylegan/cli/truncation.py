"""`stylegan truncation`: a sweep over the truncation psi."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from stylegan.cli._drawing import check_output, drawing_options, numbers, open_session, progress


@click.command("truncation")
@click.option("--seeds", default="0-7", show_default=True, help="One row each, such as 0-7,100.")
@click.option("--psis", default="1,0.7,0.5,0,-0.5,-1", show_default=True, help="One column each.")
@click.option("--out", required=True, metavar="FILE.png", type=click.Path(path_type=Path), help="Image to write.")
@drawing_options(psi="", noise="stored")
def command(seeds: str, psis: str, out: Path, **options: Any) -> None:
    """Draw a truncation sweep (paper, figure 8) from MODEL.

    One row per seed, one column per psi: 1 is the plain image, 0 the average w, negative values the opposite
    of the image.

    Example: stylegan truncation model.safetensors --seeds 0-7 --psis 1,0.7,0.5,0,-0.5,-1 --out sweep.png
    """
    from stylegan import images
    from stylegan.drawing import truncation_sheet
    from stylegan.drawing.render import check_truncatable
    from stylegan.latents import parse_seeds

    row_seeds, sweep = parse_seeds(seeds), numbers(psis, "--psis")
    options["cutoff"] = options["cutoff"] or "all"
    session = open_session(psi=None, **options)
    check_truncatable(session.generator)
    check_output(out, [".png"])
    with progress("sweeping") as report:
        page = truncation_sheet(session.generator, row_seeds, sweep, session.look, session.classes, report)
    settings: dict[str, Any] = {"seeds": row_seeds, "psis": sweep}
    if session.classes:
        settings["classes"] = list(session.classes)
    parameters = session.parameters("truncation", **settings)
    del parameters["psi"]
    images.write_png(out, page, parameters)
    click.echo(f"{len(row_seeds)} seeds at {len(sweep)} psis in {out}")

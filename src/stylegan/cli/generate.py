"""`stylegan generate`: single images and a contact sheet from seeds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from stylegan.cli._drawing import Session, drawing_options, open_session, progress
from stylegan.errors import UserError


@click.command("generate")
@click.option("--seeds", default="0-63", show_default=True, help="Numbers and ranges, such as 0-63,100,7.")
@click.option("--out", required=True, metavar="DIR", type=click.Path(path_type=Path), help="Folder to write to.")
@click.option("--grid", metavar="COLUMNSxROWS", help="Shape of the contact sheet, or none.  [default: fits the seeds]")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["png", "npy"]),
    default="png",
    show_default=True,
    help="Of the single images; npy keeps the network's float32 values, any number of channels.",
)
@drawing_options(psi="the model's, usually 0.7", noise="random")
def command(seeds: str, out: Path, grid: str | None, file_format: str, **options: Any) -> None:
    """Draw one image per seed, and a contact sheet, from MODEL.

    A seed gives the same image whatever else is drawn with it and whatever the batch size. The settings
    are stored in each PNG (text key "parameters"). A conditional model draws its classes in turn.

    Example: stylegan generate model.safetensors --seeds 0-63 --psi 0.7 --out drawings
    """
    from stylegan import images
    from stylegan.latents import parse_seeds

    numbers = parse_seeds(seeds)
    shape = parse_grid(grid)
    session = open_session(**options)
    if file_format == "png":
        look = session.look
        images.check_channels(session.generator.config.channels if look.channels is None else len(look.channels))
    images.prepare_folder(out)
    with progress("drawing") as report:
        size, sheet_note = _draw(session, numbers, out, shape, grid == "none", file_format, report)
    files = f"{len(numbers)} images of {size}" if len(numbers) > 1 else f"1 image of {size}"
    click.echo(f"{files}{sheet_note} in {out}")


def parse_grid(text: str | None) -> tuple[int, int] | None:
    """(columns, rows) from "8x4"; None for no text and for none. UserError for anything else."""
    if text is None or text == "none":
        return None
    match = re.fullmatch(r"\s*([1-9]\d{0,3})\s*[xX]\s*([1-9]\d{0,3})\s*", text)
    if match is None:
        raise UserError(f"--grid {text}: write columns x rows, such as 8x4, or none")
    return int(match[1]), int(match[2])


def _draw(
    session: Session,
    seeds: list[int],
    out: Path,
    shape: tuple[int, int] | None,
    no_sheet: bool,
    file_format: str,
    report: Any,
) -> tuple[str, str]:
    """Writes the files as they are drawn; returns the size in words and what became of the sheet."""
    from stylegan import images
    from stylegan.drawing import Sheet, contact_shape, draw_seeds

    G, sheet, size = session.generator, None, ""
    columns, rows = shape or contact_shape(G, len(seeds), session.classes)
    note = "" if no_sheet else " and sheet.png"
    base = session.parameters("generate")
    for i, picture in enumerate(draw_seeds(G, seeds, session.look, session.classes, report)):
        path = out / f"seed{seeds[i]:04d}.{file_format}"
        channels, height, width = picture.shape
        shown = picture if channels in images.MODES else picture[: 3 if channels > 3 else 1]
        image = images.to_uint8(shown)
        if i == 0:
            size = f"{width}x{height}"
            if shown is not picture and not no_sheet:
                note += f" (of the first {len(shown)} of {channels} channels)"
        if file_format == "npy":
            images.write_npy(path, picture)
        else:
            images.write_png(path, image, {**base, "seed": seeds[i], **session.class_settings(seeds[i])})
        if not no_sheet and i < columns * rows:
            sheet = sheet or Sheet(rows, columns, image.shape)
            sheet.place(i // columns, i % columns, image)
    if sheet is not None:
        settings = {"seeds": seeds[: columns * rows], "columns": columns, "rows": rows}
        if session.classes:
            settings["classes"] = list(session.classes)
        images.write_png(out / "sheet.png", sheet.image(), {**base, **settings})
    if columns * rows < len(seeds) and not no_sheet:
        note += f" (its first {columns * rows})"
    return size, note

"""`stylegan edit`: seeds and projected photos moved along directions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stylegan.cli._drawing import Session, drawing_options, open_session, progress
from stylegan.errors import UserError

if TYPE_CHECKING:
    from stylegan.editing import Latents


@click.command("edit")
@click.option("--seeds", help="Numbers and ranges, such as 0-7,100.")
@click.option("--w", "files", multiple=True, metavar="FILE", type=click.Path(path_type=Path), help="w files, repeated.")
@click.option(
    "--direction",
    "directions",
    multiple=True,
    required=True,
    metavar="FILE:NAME=STRENGTH[@LAYERS]",
    help="In standard deviations of w; LAYERS: coarse, middle, fine or 4-7. Repeat for several.",
)
@click.option("--out", required=True, metavar="DIR", type=click.Path(path_type=Path), help="Folder to write to.")
@click.option("--sheet/--no-sheet", default=True, show_default=True, help="sheet.png, before and after.")
@click.option("--save-w", is_flag=True, help="The edited latents as w files too.")
@click.option("--any-model", is_flag=True, help="Take files of another model with the same shape of w.")
@drawing_options(psi="the model's for seeds; files are drawn as they are", noise="random")
def command(
    seeds: str | None,
    files: tuple[Path, ...],
    directions: tuple[str, ...],
    out: Path,
    sheet: bool,
    save_w: bool,
    any_model: bool,
    **options: Any,
) -> None:
    """Draw seeds or projected photos from MODEL, moved along directions.

    Photos keep the noise that was found for them. At strength 0 a seed is the image of `stylegan generate`.

    Example: stylegan edit model.safetensors --seeds 0-3 --direction d.safetensors:sefa-0=2@coarse --out edited
    """
    from stylegan import editing, images

    if seeds is None and not files:
        raise UserError("nothing to edit: give --seeds 0-3, or --w FILE of a projected photo")
    session = open_session(**options)
    G = session.generator
    opened: dict[str, editing.Directions] = {}
    edits = [editing.parse_edit(text, G, any_model, opened) for text in directions]
    starts = collect(session, seeds, files, any_model)
    from stylegan.cli.project import unique_names
    from stylegan.drawing import Sheet
    from stylegan.drawing.sheets import tile_shape

    shape = tile_shape(G, session.look)
    images.prepare_folder(out)
    names = unique_names([start.name for start in starts])
    page = Sheet(len(starts), 2, shape, row_labels=names, column_labels=["before", "after"]) if sheet else None
    base = session.parameters("edit", directions=[text_of(text) for text in directions])
    with progress("drawing") as report:
        for i, (name, start) in enumerate(zip(names, starts, strict=True)):
            moved = editing.Latents(editing.apply_edits(start.ws, edits), start.noise, {**start.about}, name)
            moved.about["edits"] = [*start.about.get("edits", []), *map(text_of, directions)]
            picture = editing.draw(G, moved, session.look)
            images.write_png(out / f"{name}.png", picture, {**base, "of": start.about.get("seed", start.name)})
            if save_w:
                editing.save_latents(out / f"{name}.w.safetensors", moved, G)
            if page is not None:
                page.place(i, 0, editing.draw(G, start, session.look))
                page.place(i, 1, picture)
            report(i + 1, len(starts))
    if page is not None:
        images.write_png(out / "sheet.png", page.image(), {**base, "of": names})
    plural = "s" if len(starts) > 1 else ""
    click.echo(f"{len(starts)} image{plural}{' and sheet.png' if sheet else ''} in {out}")


def collect(session: Session, seeds: str | None, files: tuple[Path, ...], any_model: bool) -> list[Latents]:
    """The latents to edit: of seeds, truncated as the look says, then of files as they are."""
    from stylegan import editing
    from stylegan.latents import parse_seeds

    G, look = session.generator, session.look
    psi = 1.0 if look.psi is None else look.psi
    found = [
        editing.latents_of_seed(G, seed, psi, look.cutoff, session.class_settings(seed).get("class"), look.centres)
        for seed in (parse_seeds(seeds) if seeds is not None else [])
    ]
    return found + [editing.load_latents(file, G, any_model) for file in files]


def text_of(direction: str) -> str:
    """A direction as given, with the file's name alone: folders of this machine stay out of the pictures."""
    file, colon, rest = direction.rpartition(":")
    return f"{Path(file).name}{colon}{rest}"

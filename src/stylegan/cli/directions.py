"""`stylegan directions`: directions in w, and a sheet that shows each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stylegan.cli._drawing import Session, check_output, class_names, drawing_options, numbers, open_session, progress
from stylegan.errors import UserError

if TYPE_CHECKING:
    from stylegan.editing import Directions


@click.command("directions")
@click.option(
    "--method",
    type=click.Choice(["sefa", "ganspace", "labels"]),
    help="Factorised style weights, principal components of w, or boundaries of classes or scores.  "
    "[default: sefa, or labels where --scores is given]",
)
@click.option("--scores", metavar="FILE.csv", type=click.Path(path_type=Path), help="Scores of seeds or files.")
@click.option("--count", default=8, show_default=True, help="How many, by sefa and ganspace.")
@click.option(
    "--layers",
    multiple=True,
    metavar="RANGE",
    help="Layers: coarse, middle, fine or numbers such as 4-7. Several times: a set for each.  [default: all]",
)
@click.option("--samples", default=20000, show_default=True, help="Random w looked at, by ganspace and labels.")
@click.option("--seed", default=0, show_default=True, help="Of the random w.")
@click.option("--out", required=True, metavar="FILE.safetensors", type=click.Path(path_type=Path), help="To write.")
@click.option("--sheet/--no-sheet", default=True, show_default=True, help="FILE.png with every direction at work.")
@click.option("--strengths", default="-3,-1.5,0,1.5,3", show_default=True, help="Columns of the sheet, in std of w.")
@click.option("--of-seed", default=0, show_default=True, help="The image on the sheet.")
@click.option("--of", "of_file", metavar="FILE", type=click.Path(path_type=Path), help="A w file instead of a seed.")
@click.option("--any-model", is_flag=True, help="Take w files of another model with the same shape of w.")
@drawing_options(psi="the model's, usually 0.7", noise="stored")
def command(out: Path, sheet: bool, strengths: str, of_seed: int, of_file: Path | None, **options: Any) -> None:
    """Find directions in the w space of MODEL, for `stylegan edit` and `stylegan walk`.

    A CSV of scores has a column seed (or file: w files, or PNGs of `stylegan generate`), optionally class, and one
    column per score; each gives a direction of its name.

    Example: stylegan directions model.safetensors --method sefa --layers coarse --out coarse.safetensors
    """
    from stylegan import editing, images

    check_output(out, [".safetensors"])
    columns = numbers(strengths, "--strengths")
    own = {name: options.pop(name) for name in ("method", "scores", "count", "layers", "samples", "seed", "any_model")}
    own["classes"] = options["class_text"] is not None
    session = open_session(**options)
    G = session.generator
    found = find(session, own)
    editing.save_directions(out, found)
    note = ""
    if sheet:
        if of_file is not None:
            start = editing.load_latents(of_file, G, own["any_model"])
        else:
            psi = 1.0 if session.look.psi is None else session.look.psi
            class_ = session.class_settings(of_seed).get("class")
            start = editing.latents_of_seed(G, of_seed, psi, session.look.cutoff, class_, session.look.centres)
        with progress("drawing") as report:
            page = editing.directions_sheet(G, found, start, columns, session.look, report)
        place = out.with_suffix(".png")
        of = {"of": of_file.name} if of_file is not None else {"of_seed": of_seed}
        settings = {"method": found.method, "strengths": columns, **of}
        images.write_png(place, page, session.parameters("directions", **settings))
        note = f", shown in {place}"
    for direction in found:
        facts = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in direction.about.items())
        click.echo(f"{direction.name}: layers {direction.layers[0]}-{direction.layers[-1]}, {facts}")
    click.echo(f"{len(found)} directions in {out}{note}")


def find(session: Session, options: dict[str, Any]) -> Directions:
    """The directions that the options ask for."""
    from stylegan import editing
    from stylegan.editing.factorise import joined
    from stylegan.latents import parse_layers

    G, scores, method = session.generator, options["scores"], options["method"]
    samples, seed, count = options["samples"], options["seed"], options["count"]
    if scores is not None and method not in (None, "labels"):
        raise UserError(f"--scores: goes with --method labels, not with {method}")
    method = method or ("labels" if scores is not None else "sefa")
    if not 2 <= samples <= 10_000_000 or seed < 0:
        raise UserError(f"--samples {samples} --seed {seed}: samples must be 2 to 10 million, the seed 0 or more")
    active = session.look.layers_of(G)
    given = options["layers"]
    chosen: list[tuple[str, tuple[int, ...] | None]] = [(text, parse_layers(text, active)) for text in given]
    chosen = chosen or [("", None)]
    if method == "labels":
        if len(chosen) > 1:
            raise UserError("--layers: --method labels takes it once; `edit` chooses layers with @")
        if scores is not None:
            return editing.from_scores(G, editing.read_scores(scores, G, options["any_model"]), chosen[0][1], seed)
        return editing.from_labels(G, class_names(session.model), samples, seed, chosen[0][1])
    parts = []
    for text, own in chosen:
        name = {"sefa": "sefa", "ganspace": "pca"}[method] + (f"-{text.replace(',', '+')}" if text else "")
        if method == "sefa":
            parts.append(editing.sefa(G, count, own, name, seed))
        else:
            classes = session.classes if options["classes"] else None
            parts.append(editing.ganspace(G, count, samples, seed, own, classes, name))
    return joined(parts)

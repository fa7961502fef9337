"""`stylegan figure NAME`: the figures of the paper, and some of ours, with captions."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from stylegan.cli._drawing import (
    Command,
    Session,
    check_output,
    class_names,
    drawing_options,
    numbers,
    one_number,
    open_session,
    progress,
)
from stylegan.errors import UserError

if TYPE_CHECKING:
    from stylegan.figures import Figure

OUT = click.option("--out", required=True, metavar="FILE.png", type=click.Path(path_type=Path), help="Image to write.")
REALISATIONS = click.option("--realisations", type=int, default=100, show_default=True, help="Noises of the deviation.")


class Figures(click.Group):
    """A click group that shows the first sentence of each command's help whole."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, (c.help or "").split("\n\n")[0]) for name, c in sorted(self.commands.items())])


@click.group("figure", cls=Figures, context_settings={"max_content_width": 110})
def command() -> None:
    """Draw a figure of the paper, or one of ours, from MODEL, with its caption.

    PNGs carry the whole command and the settings (text key "parameters"). `stylegan figure NAME --help` has the
    options of each.

    Example: stylegan figure noise-detail model.safetensors --seeds 0-2 --out noise.png
    """


def figure(name: str, psi: str, noise: str, without: tuple[str, ...] = ()) -> Callable[[Command], click.Command]:
    """Registers a function as a figure with the drawing options, less those that have no meaning for it."""

    def decorate(function: Command) -> click.Command:
        own = len(getattr(function, "__click_params__", []))
        made = command.command(name)(drawing_options(psi, noise)(OUT(function)))
        model, shared = made.params[0], made.params[1 : len(made.params) - own - 1]
        rest = [param for param in shared if param.name not in without]
        made.params = [model, *made.params[len(made.params) - own :], made.params[-own - 1], *rest]
        return made

    return decorate


def _open(options: dict[str, Any], **settings: Any) -> Session:
    """The session of a figure's options; `settings` stand in for options the figure does not have."""
    return open_session(**{"psi": None, "cutoff": None, "noise": "random", **options, **settings})


def _draw(out: Path, session: Session, title: str, make: Callable[[Any], Figure]) -> None:
    """Draws with progress and writes the page."""
    check_output(out, [".png"])
    with progress(title) as report:
        made = make(report)
    _write(out, session, made, command_line(click.get_current_context()))
    click.echo(f"{made.title}: {out}")


def _write(out: Path, session: Session, made: Figure, typed: str) -> None:
    from stylegan import images

    settings = dict(made.settings)
    if session.classes and "classes" not in settings:
        settings["classes"] = list(session.classes)
    parameters = {**session.parameters(typed.removeprefix("stylegan "), **settings), **made.settings}
    if "psis" in settings:
        del parameters["psi"]
    parameters["caption"] = f"{made.title}. {made.caption}"
    images.write_png(out, made.page(_facts(session, parameters)), parameters)


def _facts(session: Session, parameters: dict[str, Any]) -> str:
    """The grey line: the model and how it was drawn."""
    kimg = session.model.training.get("kimg")
    height, width = session.generator.synthesis.noise_sizes(session.look.lod_of(session.generator))[-1]
    parts = [str(parameters["model"]["file"])]
    parts += [f"{kimg:,.0f} kimg"] if kimg else []
    parts += [f"{width}x{height}"]
    if session.generator.truncatable and "psi" in parameters:
        every = parameters["cutoff"] >= session.look.layers_of(session.generator)
        where = "all layers" if every else f"layers 0-{parameters['cutoff'] - 1}"
        parts.append(f"psi {parameters['psi']:g}" + ("" if parameters["psi"] == 1 else f" in {where}"))
    parts.append(f"noise {parameters['noise']}")
    return " - ".join(parts)


def command_line(context: click.Context) -> str:
    """The command as it was given, without what stands at its default."""
    words = ["stylegan", "figure", str(context.info_name)]
    for param in context.command.params:
        assert param.name is not None
        value = context.params.get(param.name)
        if isinstance(param, click.Argument):
            words.append(str(value))
        elif context.get_parameter_source(param.name) is ParameterSource.COMMANDLINE and value is not False:
            words += [param.opts[0]] if value is True else [param.opts[0], str(value)]
    return shlex.join(words)


def _seeds(text: str) -> list[int]:
    from stylegan.latents import parse_seeds

    return parse_seeds(text)


@figure("uncurated", "the model's, usually 0.7", "random")
@click.option("--seeds", help="One image each.  [default: 0-63; 0-80 for images of 256 pixels and more]")
@click.option("--layout", type=click.Choice(["auto", "sizes", "grid"]), default="auto", show_default=True,
              help="Figure 2's decreasing sizes, or equal tiles; auto: sizes from 256 pixels up.")  # fmt: skip
def uncurated(seeds: str | None, layout: str, out: Path, **options: Any) -> None:
    """Samples that nobody chose (figures 2 and 10-12)."""
    session = _open(options)
    _draw(out, session, "drawing", lambda report: _uncurated(session, seeds, layout, report))


def _uncurated(session: Session, seeds: str | None, layout: str, report: Any) -> Figure:
    from stylegan import figures
    from stylegan.figures.samples import LARGE

    G = session.generator
    large = min(G.synthesis.noise_sizes(session.look.lod_of(G))[-1]) >= LARGE
    chosen = _seeds(seeds or ("0-80" if layout == "sizes" or (layout == "auto" and large) else "0-63"))
    sizes = None if layout == "auto" else layout == "sizes"
    return figures.uncurated(G, chosen, session.look, session.classes, sizes, report)


@figure("mixing", "1, as in the paper", "stored")
@click.option("--rows", default="0-5", show_default=True, help="Seeds of the sources A, down the side.")
@click.option("--cols", default="10-14", show_default=True, help="Seeds of the sources B, along the top.")
def mixing(rows: str, cols: str, out: Path, **options: Any) -> None:
    """Coarse, middle and fine styles from another image (figure 3)."""
    from stylegan import figures

    options["psi"] = options["psi"] or "1"
    session, a, b = _open(options), _seeds(rows), _seeds(cols)
    _draw(out, session, "mixing", lambda report: figures.mixing(
        session.generator, a, b, None, session.look, session.classes, report
    ))  # fmt: skip


@figure("noise-detail", "the model's, usually 0.7", "random", without=("noise",))
@click.option("--seeds", default="0-2", show_default=True, help="One row each.")
@REALISATIONS
@click.option("--zoom", type=int, default=4, show_default=True, help="How many times the part is enlarged.")
@click.option("--white", metavar="LEVELS", help="Deviation shown as white, in levels of 255.  [default: fits]")
def noise_detail(seeds: str, realisations: int, zoom: int, white: str | None, out: Path, **options: Any) -> None:
    """Different noises enlarged, and each pixel's standard deviation (figure 4)."""
    from stylegan import figures

    session, rows = _open(options), _seeds(seeds)
    limit = None if white is None else one_number(white, "--white")
    _draw(out, session, "drawing", lambda report: figures.noise_detail(
        session.generator, rows, realisations, zoom, session.look, session.classes, limit, report
    ))  # fmt: skip


@figure("noise-layers", "the model's, usually 0.7", "random", without=("noise",))
@click.option("--seeds", default="0-2", show_default=True, help="One row each.")
@click.option("--split", type=int, help="First fine layer.  [default: 8, which is 64x64; the middle if smaller]")
def noise_layers(seeds: str, split: int | None, out: Path, **options: Any) -> None:
    """Noise in all layers, none, the fine ones, the coarse ones (figure 5)."""
    from stylegan import figures

    session, rows = _open(options), _seeds(seeds)
    _draw(out, session, "drawing", lambda report: figures.noise_layers(
        session.generator, rows, split, session.look, session.classes, report
    ))  # fmt: skip


@figure("truncation", "", "stored")
@click.option("--seeds", default="0-4", show_default=True, help="One row each.")
@click.option("--psis", default="1,0.7,0.5,0,-0.5,-1", show_default=True, help="One column each.")
def truncation(seeds: str, psis: str, out: Path, **options: Any) -> None:
    """A sweep over the truncation psi, to its negative (figure 8)."""
    from stylegan import figures

    options["cutoff"] = options["cutoff"] or "all"
    session, rows, sweep = _open(options), _seeds(seeds), numbers(psis, "--psis")
    _draw(out, session, "sweeping", lambda report: figures.truncation(
        session.generator, rows, sweep, session.look, session.classes, report
    ))  # fmt: skip


@figure("interpolation", "the model's, usually 0.7", "stored")
@click.option("--seeds", help="Pairs of seeds, one row each; with --corners four.  [default: 0-7, or 0-3]")
@click.option("--steps", type=int, default=9, show_default=True, help="Images from one seed to the next.")
@click.option("--corners", is_flag=True, help="One square between four seeds, bilinear in w.")
@click.option("--space", type=click.Choice(["w", "z"]),
              help="Lines in W, or great circles in Z.  [default: w; z without a mapping network]")  # fmt: skip
def interpolation(seeds: str | None, steps: int, corners: bool, space: Any, out: Path, **options: Any) -> None:
    """Ours: steps between pairs of seeds, or between four."""
    from stylegan import figures

    session, chosen = _open(options), _seeds(seeds or ("0-3" if corners else "0-7"))
    _draw(out, session, "drawing", lambda report: figures.interpolation(
        session.generator, chosen, steps, corners, space, session.look, session.classes, report
    ))  # fmt: skip


@figure("swap-atlas", "the model's, usually 0.7", "stored")
@click.option("--a", default="0-4", show_default=True, help="Seeds of the images that are changed.")
@click.option("--b", default="10-14", show_default=True, help="Seeds the styles come from, one for each of --a.")
@click.option("--cumulative", is_flag=True, help="Take all layers up to the row's, not only that one.")
def swap_atlas(a: str, b: str, cumulative: bool, out: Path, **options: Any) -> None:
    """Ours: each layer's style taken from another image."""
    from stylegan import figures

    session, sources, donors = _open(options), _seeds(a), _seeds(b)
    _draw(out, session, "swapping", lambda report: figures.swap_atlas(
        session.generator, sources, donors, cumulative, session.look, session.classes, report
    ))  # fmt: skip


@figure("class-means", "0.5", "stored", without=("cutoff",))
@click.option("--seeds", default="0-5", show_default=True, help="Samples of each class.")
@click.option("--mean-of", type=int, default=1000, show_default=True, help="Latents that each mean is taken of.")
def class_means(seeds: str, mean_of: int, out: Path, **options: Any) -> None:
    """Ours: the mean w of each class, and samples near it."""
    session, chosen = _open({**options, "psi": None}), _seeds(seeds)
    psi = one_number(options["psi"] or "0.5", "--psi")
    _draw(out, session, "drawing", lambda report: _class_means(session, chosen, psi, mean_of, report))


def _class_means(session: Session, seeds: list[int], psi: float, mean_of: int, report: Any) -> Figure:
    from stylegan import figures

    names = class_names(session.model)
    return figures.class_means(session.generator, seeds, psi, session.classes, names, mean_of, session.look, report)


@command.command("all")
@click.option("--out", required=True, metavar="DIR", type=click.Path(path_type=Path), help="Folder to write to.")
@REALISATIONS
@drawing_options("", "random")
@click.pass_context
def everything(context: click.Context, out: Path, **options: Any) -> None:
    """Every figure that the model allows, into a folder, with the defaults of each."""
    from stylegan import images

    images.prepare_folder(out)
    realisations = options.pop("realisations")
    common = {name: options[name] for name in ("model", "class_text", "channels", "batch", "device")}
    written, skipped = 0, []
    for name, sub in command.commands.items():
        if name == "all":
            continue
        arguments = {"out": out / f"{name}.png", **common}
        arguments |= {"realisations": realisations} if name == "noise-detail" else {}
        words = _words(sub, arguments)
        try:
            with sub.make_context(name, words, parent=context.parent) as ready:
                sub.invoke(ready)
            written += 1
        except UserError as error:
            skipped.append(f"{name}: left out: {error}")
    for line in skipped:
        click.echo(line)
    click.echo(f"{written} figures in {out}")
    if not written:
        raise UserError("no figure could be drawn; see above why")


def _words(sub: click.Command, arguments: dict[str, Any]) -> list[str]:
    """Values by parameter name -> the words somebody would type."""
    words = []
    for param in sub.params:
        value = arguments.get(str(param.name))
        if value is not None:
            words += [str(value)] if isinstance(param, click.Argument) else [param.opts[0], str(value)]
    return words

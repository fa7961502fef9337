"""`stylegan evaluate`: metrics of a model against a data set."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stylegan.errors import UserError

if TYPE_CHECKING:
    from stylegan.data import Dataset
    from stylegan.distributed import Processes
    from stylegan.metrics import Options
    from stylegan.snapshot import Snapshot


T = TypeVar("T")


class EvaluateCommand(click.Command):
    """A command whose help ends with the metrics."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from stylegan.metrics.protocols import METRICS

        super().format_epilog(ctx, formatter)
        with formatter.section("Metrics (any count may stand in a name: fid2k, kid10k, pr5k3)"):
            formatter.write_dl([(row.example, f"{row.what} [{row.network or 'own'}]") for row in METRICS.values()])


@click.command(
    cls=EvaluateCommand,
    epilog="""\b
Examples:
  stylegan evaluate model.safetensors photos/ --metrics fid50k,kid50k --out metrics.json
  stylegan evaluate model.safetensors photos/ --metrics fid2k,nn --features pixels
  torchrun --nproc-per-node 4 -m stylegan evaluate model.safetensors data/ --metrics fid50k,ppl_w_end
""",
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--metrics", "names", default="fid50k", show_default=True, help="Names with commas; see below.")
@click.option("--features", metavar="NAME|FILE", help="One feature network for all: inception, vgg16, lpips, dinov2, "
              "pixels, or a .onnx, .safetensors or TorchScript file.  [default: each metric's own]")  # fmt: skip
@click.option("--classifier", metavar="FILE", type=click.Path(path_type=Path),
              help="For recognition, from `stylegan classifier`.  [default: what --features names]")  # fmt: skip
@click.option("--weights", "weight_files", metavar="NAME=FILE", multiple=True, help="Where public weights lie: "
              "inception=, vgg16=, lpips=, dinov2=.")  # fmt: skip
@click.option("--resize", metavar="FILTER", help="tf1, bilinear, triangle, bicubic, box.  [default: the network's own]")
@click.option("--psi", default="none", show_default=True, help="Truncation of all layers; metrics are defined without.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the generated images.")
@click.option("--batch", type=int, help="Images per pass.  [default: 32; on a GPU by image size and memory]")
@click.option("--mirror/--no-mirror", default=None, help="Flip half of the data set.  [default: as in training]")
@click.option("--face-crop", is_flag=True, help="Path length on the middle of the image, as in the paper for faces.")
@click.option("--attributes", metavar="FILE.csv", type=click.Path(path_type=Path),
              help="Attributes of every image, for ls.  [default: the data's classes]")  # fmt: skip
@click.option("--classifier-kimg", type=float, default=200.0, show_default=True, help="Training of ls's classifier.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--cache", metavar="DIR|none", help="Where data statistics are kept.  [default: the user's cache]")
@click.option("--trust-torchscript", is_flag=True, help="Run the program in a TorchScript file given as --features.")
@click.option("--out", metavar="FILE.json", type=click.Path(path_type=Path), help="Write everything there as JSON.")
def command(model: Path, data: Path, names: str, device: str, out: Path | None, **given: Any) -> None:
    """Measure MODEL against DATA: a prepared data set, or a folder or zip of images.

    A name carries its protocol: fid50k compares 50,000 generated images with 50,000 of the data set (all, if it has
    fewer; fid50k_full: all in any case). Nothing is truncated unless --psi asks for it.
    """
    from stylegan.cli._drawing import check_output
    from stylegan.distributed import start
    from stylegan.metrics import evaluate, parse_metrics
    from stylegan.snapshot import load

    protocols = parse_metrics(names)
    if out is not None:
        check_output(out, (".json",))
    with start(device) as processes:
        snapshot = load(model, processes.device)
        options = _options(snapshot, **given)
        dataset = _open_data(data, snapshot)
        with _progress(processes.first) as progress:
            found = _fitting(options, snapshot, processes, lambda: evaluate(
                snapshot.generator, dataset, protocols, options, processes, progress
            ))  # fmt: skip
        if found is not None:
            _write(found, snapshot, dataset, options, out, processes.world)
        processes.barrier()


def _fitting(options: Options, snapshot: Snapshot, processes: Processes, work: Callable[[], T]) -> T:
    """The work, again with half the images per pass where memory did not suffice; images do not depend on it.

    UserError where it cannot be halved, or where others share the work, who would wait for this process.
    """
    from stylegan.metrics.sampling import default_batch
    from stylegan.training.memory import is_out_of_memory, release

    while True:
        try:
            return work()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        batch = options.batch or default_batch(snapshot.generator)
        release(processes.device)
        if batch == 1 or processes.world > 1:
            raise UserError(
                f"--batch {batch}: out of memory; give a smaller one, measure on another --device, or wait until "
                f"others have left this one"
            )
        options.batch = batch // 2
        click.echo(f"out of memory: begins again with --batch {options.batch}", err=True)


def _options(
    snapshot: Snapshot, psi: str, mirror: bool | None, cache: str | None, classifier_kimg: float,
    weight_files: tuple[str, ...], **rest: Any,
) -> Options:  # fmt: skip
    from stylegan.metrics import Options
    from stylegan.metrics.cached import default_folder
    from stylegan.metrics.classifier import Recipe
    from stylegan.metrics.weights import FILES

    weights = {}
    for text in weight_files:
        name, _, path = text.partition("=")
        if name not in FILES or not path:
            raise UserError(f"--weights {text}: write NAME=FILE with one of the names {', '.join(FILES)}")
        weights[name] = Path(path)
    try:
        value = None if psi.strip().lower() == "none" else float(psi)
    except ValueError:
        raise UserError(f"--psi {psi}: must be none or a number") from None
    if classifier_kimg <= 0:
        raise UserError(f"--classifier-kimg {classifier_kimg}: must be above 0")
    folder = None if cache == "none" else default_folder() if cache is None else Path(cache)
    if mirror is None:
        mirror = bool((snapshot.config.get("data") or {}).get("mirror", False))
    recipe = Recipe(kimg=classifier_kimg)
    return Options(psi=value, weights=weights, mirror=mirror, cache=folder, recipe=recipe, **rest)


def _open_data(path: Path, snapshot: Snapshot) -> Dataset:
    """A prepared set as it is; a folder or zip at the model's size and channels."""
    from stylegan.data import open_or_prepare
    from stylegan.data.sources import is_prepared

    if not path.exists():
        raise UserError(f"{path}: no such data; give a prepared data set, or a folder or zip of images")
    if path.is_dir() and is_prepared(path):
        return open_or_prepare(path)
    config = snapshot.generator.config
    height, width = config.resolution
    return open_or_prepare(path, resolution=f"{width}x{height}", channels=config.channels)


@contextmanager
def _progress(shown: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """One bar per stage on stderr, with rate and time left."""
    if not shown:
        yield None
        return
    from stylegan.cli._drawing import progress

    stack: dict[str, Any] = {}

    def close() -> None:
        for manager, _ in stack.values():
            manager.__exit__(None, None, None)
        stack.clear()

    def tell(what: str, done: int, total: int) -> None:
        if what not in stack:
            close()
            manager = progress(what, total)
            stack[what] = manager, manager.__enter__()
        stack[what][1](done, total)

    try:
        yield tell
    finally:
        close()


def _write(found: Any, snapshot: Snapshot, dataset: Dataset, options: Options, out: Path | None, world: int) -> None:
    """The table on stdout; JSON and the sheet of pairs where a file was named."""
    from rich.table import Table

    from stylegan import images
    from stylegan.cli._tables import show
    from stylegan.metrics.features import sha256_of
    from stylegan.metrics.report import neighbour_sheet, record, sheet_path

    assert snapshot.path is not None
    model = {
        "file": snapshot.path.name,
        "sha256": sha256_of(snapshot.path),
        "kimg": snapshot.training.get("kimg"),
    }
    written = record(found, snapshot.generator, dataset, options, model, world)
    table = Table(box=None, pad_edge=False)
    for title in ("metric", "value", "+-", "better", "network"):
        table.add_column(title, justify="right" if title in ("value", "+-") else "left")
    for name, entry in found.metrics.items():
        for value, number in entry["values"].items():
            error = (entry["standard_error"] or {}).get(value)
            table.add_row(
                name if len(entry["values"]) == 1 else f"{name} {value}",
                f"{number:.4f}",
                "" if error is None else f"{error:.4f}",
                entry["better"][value].replace("none", ""),
                f"{entry['network']['name']} ({entry['network']['resize']})",
            )
    show(table)
    psi = "no truncation" if options.psi is None else f"psi {options.psi:g}"
    seconds = found.seconds["total"]
    for name, entry in found.metrics.items():
        if "classes" in entry:
            shares = (f"{kind} {'-' if share != share else f'{share:.3f}'}" for kind, share in entry["classes"].items())
            click.echo(f"{name} by class: {', '.join(shares)}")
    split = found.split
    click.echo(
        f"{psi}, seed {options.seed}, {len(dataset):,} images of data; {seconds:.1f} s: generator "
        f"{split['generator']:.1f} s, feature networks {split['feature network']:.1f} s, elsewhere "
        f"{split['elsewhere']:.1f} s ({100 * found.share_outside_networks:.0f} % outside of the networks)"
    )
    for note in found.notes:
        click.echo(f"note: {note}")
    if out is None:
        return
    sheet = neighbour_sheet(found, snapshot.generator, dataset, options)
    if sheet is not None:
        settings = {"command": "stylegan evaluate", "model": model, **written["settings"]}
        images.write_png(sheet_path(out), sheet, settings)
        written["neighbours"] = {
            "sheet": sheet_path(out).name,
            "generated": list(range(len(found.neighbours[1]))),
            "nearest": [int(i) for i in found.neighbours[2]],
            "distances": [float(d) for d in found.neighbours[1]],
        }
    with images.atomic(out) as temporary:
        temporary.write_text(json.dumps(written, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    click.echo(f"written: {out}" + (f" and {sheet_path(out).name}" if sheet is not None else ""))

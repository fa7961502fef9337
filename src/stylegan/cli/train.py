"""`stylegan train`: train on a folder, a zip or a prepared data set; the same command again resumes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from stylegan.config.overrides import help_lines, parse_overrides
from stylegan.config.presets import Diff, merge
from stylegan.errors import UserError


class TrainCommand(click.Command):
    """A command whose help ends with every configuration field."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        with formatter.section("Every setting (lists as 1,2 or JSON; tables as JSON: '{\"64\": 32}')"):
            formatter.write_dl(help_lines())


@click.command(
    cls=TrainCommand,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    epilog="""\b
Examples:
  stylegan train photos/ --out runs/photos
  stylegan train photos.zip --out runs/p2 --mirror --kimg 2000 --loss.r1_gamma 5
  torchrun --nproc-per-node 4 -m stylegan train data/ --out runs/p3 --preset ffhq1024
""",
)
@click.argument("data", type=click.Path())
@click.option("--out", required=True, type=click.Path(), help="Run folder; an existing run goes on from its end.")
@click.option("--preset", "preset_name", default="auto", show_default=True, help="See `stylegan presets`.")
@click.option("--resolution", help="Train at a lower size than the data's, as 128 or WIDTHxHEIGHT.")
@click.option("--labels/--no-labels", default=None, help="Class-conditional training with the data's classes.")
@click.option("--mirror/--no-mirror", default=None, help="Flip half of the images left-right.")
@click.option("--kimg", type=float, help="Length in thousands of images (schedule.total_kimg).")
@click.option("--batch", type=int, help="One global batch for all resolutions.")
@click.option("--gamma", type=float, help="Weight of the R1 penalty (loss.r1_gamma).")
@click.option("--seed", type=int, help="Seed of everything (training.seed).")
@click.option("--from", "start_from", type=click.Path(path_type=Path), help="Start from a model file or a run folder.")
@click.option("--freeze-d", type=int, help="Keep the discriminator's first N blocks, as --from brings them.")
@click.option("--metrics", help="Measure while training, as fid2k,kid2k; the best model is kept.")
@click.option("--every", help="How often, as 200kimg.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--stop-kimg", type=float, help="End this session, resumably, at so many kimg.")
@click.option("--stop-minutes", type=float, help="End this session, resumably, after so many minutes of training.")
@click.option("--extend", is_flag=True, help="Let an existing run become longer (with a larger --kimg).")
@click.option("--dry-run", is_flag=True, help="Print the resolved configuration and stop.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.pass_context
def command(ctx: click.Context, data: str, out: str, preset_name: str, **options: Any) -> None:
    """Train a StyleGAN on DATA: a folder or zip of images, or a prepared data set.

    Without further settings everything is chosen from the data and the machine, and said. Run the same command
    again to go on after any stop; a finished run says so.
    """
    from stylegan.cli.configuring import configure, print_choices

    diff = _shortcuts(options)
    for name, value in parse_overrides(ctx.args).items():
        diff = merge(diff, {name: value})
    kimg = diff.get("schedule", {}).get("total_kimg")
    if isinstance(kimg, int | float) and not kimg > 0:  # before phases are made of it, which would be wrong as well
        raise UserError(f"schedule.total_kimg {kimg:g}: should be greater than 0")
    quiet = options["quiet"] or int(os.environ.get("RANK", "0")) > 0
    setup = configure(
        data=Path(data), out=Path(out), preset_name=preset_name, changes=diff, resolution=options["resolution"],
        labels=options["labels"], device=options["device"], start_from=options["start_from"],
        tell=not quiet,
    )  # fmt: skip
    if not quiet:
        print_choices(setup)
    if options["dry_run"]:
        from stylegan.training.schedule import shortfall

        if short := shortfall(setup.config.schedule, setup.config.generator):
            click.echo(f"note: {short}", err=True)
        click.echo(setup.config.model_dump_json(indent=1))
        return
    from stylegan.training import train

    result = train(
        setup.config, out, options["device"], setup.dataset, options["stop_kimg"], options["extend"], options["quiet"],
        options["stop_minutes"],
    )  # fmt: skip
    if result.stopped in ("SIGINT", "SIGTERM"):
        ctx.exit(130 if result.stopped == "SIGINT" else 143)


def _shortcuts(options: dict[str, Any]) -> Diff:
    """Settings with a short name, as a nested difference."""
    targets: dict[str, Callable[[Any], Diff]] = {
        "mirror": lambda v: {"data": {"mirror": v}},
        "kimg": lambda v: {"schedule": {"total_kimg": v}},
        "batch": lambda v: {"schedule": {"batch": v, "batch_by_resolution": {}}},
        "gamma": lambda v: {"loss": {"r1_gamma": v}},
        "seed": lambda v: {"training": {"seed": v}},
        "metrics": lambda v: {"training": {"metrics": v}},
        "every": lambda v: {"training": {"metrics_every_kimg": _kimg(v)}},
        "freeze_d": lambda v: {"training": {"freeze_d": v}},
    }
    diff: Diff = {}
    for name, make in targets.items():
        if options[name] is not None:
            diff = merge(diff, make(options[name]))
    return diff


def _kimg(text: str) -> float:
    """'200kimg' or '200' -> 200.0."""
    try:
        return float(text.lower().removesuffix("kimg"))
    except ValueError:
        raise UserError(f"--every {text}: write a number of kimg, such as 200kimg") from None

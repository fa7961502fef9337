"""The `stylegan` command. Each verb lives in its own module and is imported only when it is called."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click
from pydantic import ValidationError

from stylegan import __version__, environment
from stylegan.errors import UserError

# verb -> one line of help, in the order in which a newcomer meets them
VERBS = {
    "demo": "Draw from a model that comes along, then train on handwritten digits in a few minutes.",
    "doctor": "Check the images of a folder, zip or prepared set; alone: check this machine.",
    "prepare": "Turn a folder or zip of images into a data set for training.",
    "train": "Train a StyleGAN on a folder of images; run again to resume.",
    "runs": "List runs with their state, progress and disk use.",
    "generate": "Draw images from seeds: single PNGs and a contact sheet.",
    "mix": "Draw a style-mixing sheet (paper, figure 3).",
    "interpolate": "Draw a clip that moves between seeds.",
    "truncation": "Draw a truncation sweep (paper, figure 8).",
    "project": "Find the latents of photos: w, w+, noise, and a tuned generator if asked.",
    "directions": "Find directions in w: factorisation, principal components, or boundaries from labels.",
    "edit": "Move seeds or projected photos along directions.",
    "walk": "Draw a clip between keyframes: seeds, photos, layer groups, sound.",
    "studio": "Open the web studio: explore, mix, edit, project, watch training.",
    "figure": "Draw a figure of the paper, or one of ours, with its caption.",
    "classifier": "Train a network on the data's classes, to measure models with.",
    "evaluate": "Measure a model: FID, KID, precision and recall, path length, and more.",
    "study": "Train and measure a table of the paper (1, 2 or 4) on your data.",
    "convert": "Convert an official pickle or another program's checkpoint to a model file.",
    "snapshot": "Write a model anew: in 16 bits, or with all that training on needs.",
    "models": "List the models that ship with the package, or show the card of one.",
    "card": "Write the card of a model: samples, use, settings, metrics, data.",
    "inspect": "Show what a model is: architecture, training, origin.",
    "export": "Write a model as ONNX, as a torch.export program, or as a page for the browser.",
    "push": "Publish a model with its card on the Hugging Face Hub.",
    "benchmark": "Measure speed, and what the device would allow.",
    "presets": "List the presets, or show one.",
}


# How long PyTorch's idle threads wait awake for more to do, in turns of a loop, where OpenMP's default is some 300,000:
# where other work shares the cores, they keep that work, and each other, from running. A training on two cores lost 3 %
# on a quiet machine and was 1.6 times as quick beside two busy processes (docs/performance.md, On a CPU).
SPIN = "50000"


class Verbs(click.Group):
    """A click group whose commands are imported on demand, so that `stylegan --help` is instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"stylegan.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="stylegan")
def cli() -> None:
    """StyleGAN (2018) and Progressive GAN: prepare data, train, draw. `stylegan VERB --help` tells more."""


def describe(problem: Any) -> str:
    """One sentence from one of pydantic's findings: the field, the value, the rule."""
    where = ".".join(str(part) for part in problem["loc"])
    text = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if problem["type"] == "value_error":
        return text if not where or text.startswith(where) else f"{where}: {text}"
    return f"{where} {problem['input']!r}: {text}"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. Bad input prints one sentence and exits with 2; Ctrl-C exits with 130."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN)  # read when PyTorch is imported, which is later
    try:
        environment.check()
        code = cli.main(args=arguments, prog_name="stylegan", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("stopped", err=True)
        code = 130
    except click.ClickException as error:
        error.show()
        code = 2
    except ValidationError as error:
        for problem in error.errors():
            click.echo(f"error: {describe(problem)}", err=True)
        code = 2
    except UserError as error:
        click.echo(f"error: {error}", err=True)
        code = 2
    sys.exit(code if isinstance(code, int) else 0)

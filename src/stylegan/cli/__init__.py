"""The `stylegan` command. Each verb lives in its own module and is imported only when it is called."""

from __future__ import annotations

import importlib
import sys

import click
from pydantic import ValidationError

from stylegan import __version__
from stylegan.errors import UserError

# verb -> one line of help, in the order in which a newcomer meets them
VERBS = {
    "demo": "Train on handwritten digits in a few minutes and draw from the result.",
    "prepare": "Turn a folder or zip of images into a data set for training.",
    "train": "Train a StyleGAN on a folder of images; run again to resume.",
    "generate": "Draw images from seeds: single PNGs and a contact sheet.",
    "mix": "Draw a style-mixing sheet (paper, figure 3).",
    "interpolate": "Draw a clip that moves between seeds.",
    "truncation": "Draw a truncation sweep (paper, figure 8).",
    "presets": "List the presets, or show one.",
}


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


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. Bad input prints one sentence and exits with 2; Ctrl-C exits with 130."""
    try:
        code = cli.main(args=arguments, prog_name="stylegan", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("stopped", err=True)
        code = 130
    except click.ClickException as error:
        error.show()
        code = 2
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        text = first["msg"].removeprefix("Value error, ")
        click.echo(f"error: {where + ': ' if where else ''}{text}", err=True)
        code = 2
    except UserError as error:
        click.echo(f"error: {error}", err=True)
        code = 2
    sys.exit(code if isinstance(code, int) else 0)

"""`stylegan presets`: the table of presets, or one in full."""

from __future__ import annotations

import json

import click
from rich.table import Table

from stylegan.cli._tables import show
from stylegan.config.presets import PRESETS, preset


@click.command()
@click.argument("name", required=False)
@click.option("--resolution", default=1024, show_default=True, help="Side of the images, for the full listing.")
def command(name: str | None, resolution: int) -> None:
    """List all presets, or print the complete configuration of preset NAME as JSON."""
    if name is not None and name != "auto":
        click.echo(preset(name, resolution).model_dump_json(indent=1))
        return
    table = Table(box=None)
    table.add_column("preset")
    table.add_column("what it is")
    table.add_column("differs from the defaults in")
    table.add_row("auto", "the default: chosen from the data and the machine by `stylegan train`", "")
    for key, (text, diff) in PRESETS.items():
        changes = [f"{part}.{field}={json.dumps(value)}" for part, v in diff.items() for field, value in v.items()]
        table.add_row(key, text, " ".join(changes))
    show(table)

"""`stylegan models`: the models that ship with the package."""

from __future__ import annotations

import click

from stylegan import shipped
from stylegan.errors import UserError


@click.command("models")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the models that ship with the package, or print the card of model NAME.

    Every verb that takes a MODEL takes such a name as well, and so does stylegan.load.
    """
    known = shipped.names()
    if name is None:
        if not known:
            click.echo("no model ships with this version")
            return
        _list(known)
        return
    if name not in known:
        raise UserError(
            f"{name}: no model of that name ships with stylegan-torch; there is: {', '.join(known) or 'none'}"
        )
    card = shipped.card_of(name)
    click.echo(card.read_text(encoding="utf-8") if card else f"{shipped.file_of(name)}: has no card")


def _list(known: list[str]) -> None:
    from rich.table import Table

    from stylegan.cli._tables import show
    from stylegan.inspection import inspect

    table = Table(box=None, pad_edge=False)
    for column in ("model", "images", "classes", "kimg", "size", "data"):
        table.add_column(column)
    for name in known:
        report = inspect(shipped.file_of(name))
        height, width = report.resolution or (0, 0)
        kimg = "" if report.kimg is None else f"{report.kimg:,.0f}"
        attribution = (report.attribution or "not recorded").splitlines()[0]
        size = f"{report.size / 1e6:.1f} MB"
        table.add_row(name, f"{width}x{height}", str(report.labels or "none"), kimg, size, attribution)
    show(table)
    click.echo(f"draw from one: stylegan generate {known[0]} --seeds 0-31 --out drawings")

"""`stylegan studio`: look, mix, edit, project and watch training in the browser."""

from __future__ import annotations

from pathlib import Path

import click

from stylegan import hub
from stylegan.cli._drawing import choose_device
from stylegan.errors import UserError


@click.command("studio")
@click.argument("places", nargs=-1, metavar="[MODEL or RUNS FOLDER]...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others need a token.")
@click.option("--port", default=8765, show_default=True, type=click.IntRange(0, 65535), help="0 = any that is free.")
@click.option("--token", is_flag=True, help="Ask for an access token on the loopback too (shared machines).")
@click.option("--name", "names", multiple=True, metavar="HOST", help="Further host name the studio answers to.")
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    show_default=True,
    help="Where to compute.",
)
def command(
    places: tuple[str, ...], host: str, port: int, token: bool, names: tuple[str, ...], no_browser: bool, device: str
) -> None:
    """Open the web studio for MODELs and for the runs and models below FOLDERs.

    Without either: this folder, and where that holds nothing, the models that come with the package.

    Explore, mix, edit and project with a model, make clips, watch trainings. It listens on this machine only
    unless --host says otherwise; then whoever has the printed address, which contains an access token, may use it.

    Example: stylegan studio runs/
    """
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"the studio needs {error.name}, which is not installed; pip install 'stylegan-torch[studio]'"
        ) from None
    from stylegan import shipped
    from stylegan.studio import Studio, serve

    chosen = [place if hub.is_reference(place) else str(shipped.resolve(place)) for place in places] or ["."]
    kind = choose_device(device).type
    studio = Studio(chosen, kind)
    if not places and not studio.library.models() and not studio.library.runs():
        studio = Studio([*chosen, *(str(shipped.file_of(name)) for name in shipped.names())], kind)
    if not studio.library.models() and not studio.library.runs():
        where = ", ".join(str(Path(place)) for place in chosen)
        click.echo(f"note: no model and no run in {where} yet; they appear in the studio once they are there", err=True)
    serve(studio, host, port, token, names, not no_browser, click.echo)

"""`stylegan push`: a model and its card to the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

import click

from stylegan import hub
from stylegan.errors import UserError


@click.command("push")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("name", metavar="USER/NAME")
@click.option("--private", is_flag=True, help="Make the repository private, where it does not exist yet.")
@click.option("--license", metavar="ID", help="Licence of the weights, as the Hub names it, such as cc-by-4.0.")
@click.option("--metrics", metavar="FILE.json", type=click.Path(path_type=Path), help="From `stylegan evaluate --out`.")
@click.option("--samples", type=int, metavar="N", help="Images on the sheet.  [default: 32; 12 above 256 pixels]")
@click.option("--token", help="Access token.  [default: HF_TOKEN, or the one `hf auth login` stored]")
@click.option("--dry-run", metavar="DIR", type=click.Path(path_type=Path), help="Only write the files there.")
def command(
    model: Path,
    name: str,
    private: bool,
    license: str | None,
    metrics: Path | None,
    samples: int | None,
    token: str | None,
    dry_run: Path | None,
) -> None:
    """Publish MODEL as USER/NAME: the model file, a card with samples and facts, and config.json.

    Absolute paths inside the model file are cut to their last part first. `stylegan.load("hf://USER/NAME")` opens
    it again, as does every verb that takes a MODEL.

    Example: stylegan push model.safetensors me/cats --license cc-by-4.0 --metrics metrics.json
    """
    hub.check_name(name)
    if samples is not None and not 1 <= samples <= 1024:
        raise UserError(f"--samples {samples}: must lie between 1 and 1024")
    if dry_run is None:
        hub.check_installed()
    import io

    from PIL import Image

    from stylegan.export import card
    from stylegan.export.files import sha256_of
    from stylegan.snapshot import load, write_atomically

    opened = load(model)
    assert opened.path is not None
    record = card.read_metrics(metrics, sha256_of(opened.path)) if metrics is not None else None
    sheet, sampled = card.samples(opened, samples)
    picture = io.BytesIO()
    Image.fromarray(sheet.squeeze()).save(picture, "png", optimize=True)
    files = {
        "README.md": card.card(opened, name, sampled, license, record).encode(),
        "samples.png": picture.getvalue(),
        "config.json": card.config_json(opened),
        hub.DEFAULT_FILE: card.public_copy(opened.path),
    }
    if license is None:
        click.echo("note: the card says that the licence is not stated; --license states it", err=True)
    if dry_run is not None:
        for file, data in files.items():
            write_atomically(dry_run / file, data)
        click.echo(f"{dry_run}: {', '.join(files)}; nothing was uploaded")
        return
    kimg = opened.training.get("kimg")
    message = "Model" if kimg is None else f"Model at {float(kimg):,.1f} kimg"
    url = hub.push(files, name, message, private, token)
    click.echo(f'{url}: {", ".join(files)}; open it with stylegan.load("hf://{name}")')

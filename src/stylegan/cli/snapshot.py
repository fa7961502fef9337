"""`stylegan snapshot`: a model file anew: in 16 bits, without local paths, or with all that training needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stylegan.errors import UserError

if TYPE_CHECKING:
    import torch


@click.command("snapshot")
@click.argument("source", metavar="MODEL|RUN", type=click.Path(path_type=Path))
@click.argument("out", metavar="OUT.safetensors", type=click.Path(path_type=Path))
@click.option("--half", is_flag=True, help="Store numbers in 16 bits: half the size. Loading gives 32 again.")
@click.option("--training", is_flag=True, help="Also the discriminator and the raw generator, to train on (--from).")
@click.option("--most", type=float, metavar="MB", help="Refuse to write a file of more than so many million bytes.")
def command(source: Path, out: Path, half: bool, training: bool, most: float | None) -> None:
    """Write MODEL, or what RUN has come to, as OUT.safetensors, to keep, send or publish.

    Everything known about the training stays in it, but of local paths only the last part. With --half each tensor
    becomes float16 or bfloat16, whichever is nearer, and images are drawn before and after and compared.

    \b
    Examples:
      stylegan snapshot runs/fruit/model.safetensors fruit.safetensors --half --most 10
      stylegan snapshot runs/fruit travelling.safetensors --half --training
    """
    if out.suffix != ".safetensors":
        raise UserError(f"{out}: the model must be named .safetensors")
    if out.exists() and source.exists() and out.samefile(source):
        raise UserError(f"{out}: is the file to read; choose another name")
    from stylegan.export import half as halves
    from stylegan.export.card import without_paths
    from stylegan.snapshot import from_parts, to_bytes, write_atomically

    header, tensors = _read(source, training)
    header = without_paths(header)
    lines = []
    if half:
        small, told = halves.halved(tensors)
        before, after = (from_parts(header, part, source).generator for part in (tensors, small))
        found = halves.agreement(before, after)
        header["stored"] = {"made_of": halves.digest(tensors), "psnr_db": round(min(found.psnr, 999.0), 1)}
        lines = [told, f"before and after: {found}"]
        tensors = small
    data = to_bytes(header, tensors)
    size = f"{len(data) / 1e6:,.2f} MB ({len(data):,} bytes)"
    if most is not None and len(data) > most * 1e6:
        raise UserError(
            f"{out}: would have {size}, more than --most {most:g}: {halves.sizes(tensors, header)}; "
            + ("train narrower networks (generator.fmap_max)" if half else "add --half")
        )
    write_atomically(out, data)
    parts = ", ".join(dict.fromkeys(name.split(".", 1)[0].replace("_", " ") for name in tensors))
    click.echo(f"{out}: {parts}; {size}: {halves.sizes(tensors, header)}")
    for line in lines:
        click.echo(line)


def _read(source: Path, training: bool) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """(header, tensors) of a model file or of a run."""
    from stylegan import hub, shipped
    from stylegan.snapshot import read_snapshot

    if source.is_dir() and (source / "checkpoints").is_dir() and training:
        return _read_run(source)
    if source.is_dir() and (source / "model.safetensors").is_file():
        source = source / "model.safetensors"
    header, tensors = read_snapshot(hub.fetch(source) if hub.is_reference(source) else shipped.resolve(source))
    if training and not header.get("discriminator"):
        raise UserError(f"{source}: has no discriminator, so --training has nothing to add; give the folder of its run")
    if not training:
        tensors = {name: tensor for name, tensor in tensors.items() if name.startswith("generator.")}
        header |= {"discriminator": None}
    return header, tensors


def _read_run(run: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The newest checkpoint of a run, as a model file of all three networks, with the facts of its model file."""
    from stylegan.networks import Discriminator, Generator
    from stylegan.snapshot import pack, read_snapshot
    from stylegan.training import checkpoint
    from stylegan.training.run import stored_config

    config = stored_config(run)
    loaded, _ = checkpoint.latest(run / "checkpoints")
    if config is None or loaded is None:
        raise UserError(f"{run}: has no checkpoint to read; train it further, or give a model file")
    facts = read_snapshot(run / "model.safetensors")[0]["training"] if (run / "model.safetensors").is_file() else {}
    networks = {"G_ema": Generator(config.generator), "G": Generator(config.generator)}
    networks["D"] = Discriminator(config.discriminator)  # type: ignore[assignment]
    for name, network in networks.items():
        own = {key.removeprefix(f"{name}."): t for key, t in loaded.tensors.items() if key.startswith(f"{name}.")}
        network.load_state_dict(own)
        network.lod = max(loaded.progress.lod, 0.0)
    progress = {"kimg": loaded.progress.nimg / 1000, "lod": networks["G"].lod}
    progress["seconds"] = round(loaded.progress.seconds, 1)
    return pack(
        networks["G_ema"],
        networks["D"],  # type: ignore[arg-type]
        networks["G"],
        config.model_dump(mode="json"),
        facts | progress,
    )

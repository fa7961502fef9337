"""`stylegan doctor`: is this data well? Without data: is this machine?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stylegan.errors import UserError

if TYPE_CHECKING:
    from stylegan.doctor.diagnosis import Diagnosis
    from stylegan.doctor.quarantine import Outcome

SHOWN = 10  # files named after moving


@click.command("doctor")
@click.argument("data", required=False, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder for report.html and report.json.  "
              "[default: doctor-NAME, here]")  # fmt: skip
@click.option("--classes", is_flag=True, help="The top-level sub-folders are classes.")
@click.option("--quarantine", type=click.Path(path_type=Path), metavar="DIR", help="Move bad files of a folder there.")
@click.option("--kinds", default="default", show_default=True, metavar="LIST",
              help="What --quarantine moves, such as default,aspect or unreadable,truncated.")  # fmt: skip
@click.option("--restore", type=click.Path(path_type=Path), metavar="DIR", help="Put quarantined files back.")
@click.option("--json", "json_file", is_flag=False, flag_value="-", metavar="[FILE]", default=None,
              help="Write the findings as JSON to FILE too; to the terminal where no FILE follows.")  # fmt: skip
@click.option("--workers", type=int, help="Processes; one per core if absent.")
@click.option("--strict", is_flag=True, help="Exit with 1 where there are problems (notes are none).")
@click.pass_context
def command(
    ctx: click.Context,
    data: Path | None,
    out: Path | None,
    classes: bool,
    quarantine: Path | None,
    kinds: str,
    restore: Path | None,
    json_file: str | None,
    workers: int | None,
    strict: bool,
) -> None:
    """Look at every image of DATA (a folder, zip or prepared set) and report what is wrong with it.

    Finds files that are unreadable, truncated, no images, decompression bombs, tiny, blank, of extreme aspect,
    duplicates and near-duplicates, and labels that do not fit; recommends a size and crop; writes report.html
    with pictures, and report.json. Nothing is changed unless --quarantine is given, which moves files and can be
    undone with --restore.

    Without DATA: reports the versions, devices and missing parts of this machine.

    \b
    Examples:
      stylegan doctor photos/
      stylegan doctor photos/ --quarantine photos-bad
      stylegan doctor --restore photos-bad
    """
    if workers is not None and workers < 1:
        raise UserError(f"workers {workers}: must be at least 1")
    if restore is not None:
        if data is not None or quarantine is not None:
            raise UserError("--restore: goes alone; the quarantine knows where its files came from")
        _restore(restore)
        return
    if data is None:
        if quarantine is not None or out is not None or classes:
            raise UserError("no DATA: name the folder, zip or prepared set to look at")
        ctx.exit(1 if _environment(json_file) and strict else 0)
    diagnosis = _diagnose(data, out, classes, quarantine, kinds, json_file, workers)
    ctx.exit(1 if strict and diagnosis.problems else 0)


def _diagnose(
    data: Path,
    out: Path | None,
    classes: bool,
    place: Path | None,
    kinds: str,
    json_file: str | None,
    workers: int | None,
) -> Diagnosis:
    from stylegan.data.sources import is_prepared
    from stylegan.doctor.diagnosis import diagnose
    from stylegan.doctor.page import render
    from stylegan.doctor.quarantine import check_place, parse_kinds, quarantine
    from stylegan.doctor.summary import summary
    from stylegan.images import atomic, prepare_folder

    chosen = parse_kinds(kinds)
    if not data.exists():
        raise UserError(f"{data}: there is no such folder or zip; check the path")
    if place is not None:
        kind = "prepared" if data.is_dir() and is_prepared(data) else "folder" if data.is_dir() else "zip"
        check_place(data, kind, place)
    quiet = json_file == "-"
    out = out or Path(f"doctor-{data.resolve().stem or 'data'}")
    if out.resolve() == data.resolve():
        raise UserError(f"--out {out}: is the folder of the images themselves; choose another for the report")
    prepare_folder(out)
    diagnosis = diagnose(data, classes, workers, progress=True, exclude=out)
    found = diagnosis.as_json()
    click.echo(summary(diagnosis), err=quiet)
    with atomic(out / "report.json") as temporary:
        temporary.write_text(json.dumps(found, indent=1), encoding="utf-8")
    with atomic(out / "report.html") as temporary:
        temporary.write_text(render(diagnosis), encoding="utf-8")
    _write_json(found, json_file)
    click.echo(f"{'report':<12} {out / 'report.html'}, {out / 'report.json'}", err=quiet)
    if place is not None:
        named = {
            kind: {diagnosis.name(index): reason for index, reason in images.items()}
            for kind, images in diagnosis.findings.items()
        }
        outcome = quarantine(data, place, named, chosen)
        _say(outcome, f"moved to {place}; `stylegan doctor --restore {place}` puts them back", quiet)
    return diagnosis


def _restore(place: Path) -> None:
    from stylegan.doctor.quarantine import restore

    _say(restore(place), "put back")


def _say(outcome: Outcome, what: str, quiet: bool = False) -> None:
    from stylegan.data.report import printable

    click.echo(f"{len(outcome.done):,} files {what}", err=quiet)
    for name, reason in outcome.left[:SHOWN]:
        click.echo(f"  left alone: {printable(name)}: {reason}", err=True)
    if len(outcome.left) > SHOWN:
        click.echo(f"  ... and {len(outcome.left) - SHOWN:,} more", err=True)


def _write_json(found: dict[str, Any], json_file: str | None) -> None:
    from stylegan.images import atomic

    if json_file == "-":
        click.echo(json.dumps(found, indent=1))
    elif json_file is not None:
        with atomic(json_file) as temporary:
            temporary.write_text(json.dumps(found, indent=1), encoding="utf-8")


def _environment(json_file: str | None) -> list[str]:
    """Prints the report on this machine; returns what is not well."""
    from rich.table import Table

    from stylegan.cli._tables import show
    from stylegan.doctor.environment import environment

    found = environment()
    advice: list[str] = found["advice"]
    if json_file is not None:
        _write_json(found, json_file)
        if json_file == "-":
            return advice
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for row in _rows(found):
        table.add_row(*row)
    show(table)
    return advice


def _rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    cpu, torch, gigabytes = found["cpu"], found["torch"], 1e9
    rows = [
        ("stylegan-torch", found["stylegan-torch"]),
        ("Python", f"{found['python']}  {found['executable']}"),
        ("system", found["system"]),
        ("CPU", f"{cpu['name']}, {cpu['cores']} cores, {cpu['usable']} usable"),
        ("memory", f"{found['memory_bytes'] / gigabytes:.1f} GB" if found["memory_bytes"] else "unknown"),
    ]
    if "error" in torch:
        rows.append(("PyTorch", f"cannot be imported: {torch['error']}"))
    else:
        built = f"CUDA {torch['cuda']}" if torch["cuda"] else f"ROCm {torch['hip']}" if torch["hip"] else "CPU only"
        rows.append(("PyTorch", f"{torch['version']}, built for {built}, {torch['threads']} threads"))
        if torch["mps_available"]:
            rows.append(("GPU", "Apple MPS"))
    for gpu in found["gpus"]:
        if "error" in gpu:
            rows.append(("GPU", gpu["error"]))
            continue
        memory = f"{gpu['memory_bytes'] / gigabytes:.0f} GB ({gpu['free_bytes'] / gigabytes:.0f} GB free)"
        rows.append(("GPU", f"{gpu['name']}, {memory}, capability {gpu['capability']}, driver {gpu['driver'] or '?'}"))
    if not found["gpus"] and not torch.get("mps_available"):
        rows.append(("GPU", "none"))
    kernels = found["kernels"]
    forms = f"{kernels['training']} for training, {kernels['drawing']} for drawing (STYLEGAN_OPS={kernels['mode']})"
    rows.append(("operators", forms + ("" if kernels["triton"] else "; no Triton")))
    rows.append(("packages", ", ".join(f"{n} {v}" for n, v in found["packages"].items() if n != "torch")))
    for part in found["optional"]:
        rows.append(
            (part["part"], f"present ({part['for']})" if part["present"] else f"missing: {part['for']}; {part['get']}")
        )
    for name, place in found["disk"].items():
        rows.append((f"disk, {name}", f"{place['free_bytes'] / gigabytes:,.1f} GB free at {place['path']}"))
    rows.append(("cache", f"{found['cache']['path']}, {found['cache']['bytes'] / 1e6:,.1f} MB"))
    rows += [("advice", line) for line in found["advice"]]
    return rows

"""`stylegan export`: a model as ONNX, as a torch.export program, or as a page that draws in the browser."""

from __future__ import annotations

from pathlib import Path

import click

from stylegan.errors import UserError


@click.command("export")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--format", "kind", type=click.Choice(["onnx", "pt2", "web"]), help="[default: by OUT's ending]")
@click.option(
    "--part",
    type=click.Choice(["generator", "mapping", "synthesis"]),
    default="generator",
    show_default=True,
    help="mapping: z to ws, truncated. synthesis: ws to images. generator: both.",
)
@click.option(
    "--noise",
    type=click.Choice(["inputs", "stored", "none"]),
    help="One input per layer, the network's stored noise, or none.  [default: inputs; for web, stored]",
)
@click.option("--opset", type=int, default=18, show_default=True, help="Version of ONNX's operators, 18 to 23.")
@click.option("--lod", type=float, help="Levels below full resolution to draw at.  [default: the model's]")
@click.option("--cutoff", type=int, metavar="N", help="Layers that psi acts on.  [default: the model's, usually 8]")
@click.option("--half", is_flag=True, help="Weights in 16 bits: half the size, arithmetic as without.")
@click.option(
    "--float64/--no-float64",
    default=True,
    show_default=True,
    help="Styles and lowest levels in float64, as PyTorch's are here; without it for runtimes that lack float64.",
)
@click.option("--runtime", metavar="DIR", type=click.Path(path_type=Path), help="Folder of onnxruntime-web.")
def command(
    model: Path,
    out: Path,
    kind: str | None,
    part: str,
    noise: str | None,
    opset: int,
    lod: float | None,
    cutoff: int | None,
    half: bool,
    float64: bool,
    runtime: Path | None,
) -> None:
    """Write MODEL for other programs: OUT.onnx, OUT.pt2, or with --format web the folder of a page.

    Inputs: z [N, Z]; labels [N, classes] where the model has classes; psi, one number; noise0, noise1, ...
    [N, 1, h, w]. Output: images [N, C, H, W] in about [-1, 1]. N is free. Every file is run beside the network
    before it is written, and refused where the two differ.

    \b
    Examples:
      stylegan export model.safetensors model.onnx
      stylegan export model.safetensors page --format web
    """
    kind = kind or {".onnx": "onnx", ".pt2": "pt2"}.get(out.suffix.lower())
    if kind is None:
        raise UserError(f"{out}: end it in .onnx or .pt2, or say --format web for a page")
    if kind != "web" and (out.is_dir() or out.suffix.lower() != f".{kind}"):
        raise UserError(f"{out}: give a file name that ends in .{kind}")
    if runtime is not None and kind != "web":
        raise UserError("--runtime: only for --format web")
    from stylegan.export import files, web
    from stylegan.export.program import Plan
    from stylegan.snapshot import load

    plan = Plan(part, noise or ("stored" if kind == "web" else "inputs"), lod, cutoff, half, float64)  # type: ignore[arg-type]
    opened = load(model)
    if kind == "onnx":
        made = files.export_onnx(opened, out, plan, opset)
    elif kind == "pt2":
        made = files.export_pt2(opened, out, plan)
    else:
        made = web.export_web(opened, out, plan, opset, runtime)
    shown = ", ".join(_short(made.facts["inputs"]))
    by = "torch.export.load" if kind == "pt2" else f"onnxruntime, opset {opset}"
    click.echo(f"{made.path}: {part}, {shown} -> {made.facts['output']}")
    click.echo(f"checked with {by}: {made.agreement}")
    if kind == "web":
        click.echo(f"to see it: python -m http.server -d {out}, then open http://localhost:8000")


def _short(inputs: list[str]) -> list[str]:
    noise = [name for name in inputs if name.startswith("noise")]
    rest = [name for name in inputs if name not in noise]
    return rest + ([f"{noise[0]} ... {noise[-1]}"] if noise else [])

"""`stylegan interpolate`: a clip that moves between seeds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stylegan.cli._drawing import drawing_options, open_session, progress
from stylegan.errors import UserError

if TYPE_CHECKING:
    import numpy as np


@click.command("interpolate")
@click.option("--seeds", default="0-7", show_default=True, help="Stations of the walk, such as 0-7,100.")
@click.option("--frames", default=240, show_default=True, help="Length of the clip in frames.")
@click.option("--fps", default=30.0, show_default=True, help="Frames per second.")
@click.option(
    "--space",
    type=click.Choice(["z", "w"]),
    default="z",
    show_default=True,
    help="Great circles in Z, or straight lines in W.",
)
@click.option("--loop/--no-loop", default=True, show_default=True, help="Return to the first seed at the end.")
@click.option(
    "--easing",
    type=click.Choice(["linear", "smooth"]),
    default="linear",
    show_default=True,
    help="Even speed, or slower near each seed.",
)
@click.option(
    "--out",
    required=True,
    metavar="FILE|DIR",
    type=click.Path(path_type=Path),
    help="FILE.mp4, FILE.webp, FILE.gif, or a folder for PNG frames.",
)
@click.option("--frames-dir", metavar="DIR", type=click.Path(path_type=Path), help="PNG frames as well, here.")
@drawing_options(psi="the model's, usually 0.7", noise="stored")
def command(
    seeds: str,
    frames: int,
    fps: float,
    space: str,
    loop: bool,
    easing: str,
    out: Path,
    frames_dir: Path | None,
    **options: Any,
) -> None:
    """Draw a clip that moves between seeds of MODEL.

    Small frames are enlarged by a whole factor in clips; PNG frames keep the network's size. The noise
    stands still; with --noise random it is the first seed's.

    Example: stylegan interpolate model.safetensors --seeds 0-7 --frames 240 --out walk.mp4
    """
    from stylegan import images, video
    from stylegan.drawing import interpolation_frames
    from stylegan.drawing.sheets import tile_shape
    from stylegan.latents import parse_seeds

    stations = parse_seeds(seeds)
    clip = out if out.suffix and not out.is_dir() else None
    if clip is not None:
        video.check_format(clip)
    elif frames_dir is not None:
        raise UserError(f"--out {out}: already a folder for frames; leave --frames-dir out, or give FILE.mp4")
    if not 0 < fps <= 240:
        raise UserError(f"--fps {fps:g}: must be above 0 and at most 240")
    session = open_session(**options)
    tile_shape(session.generator, session.look)
    if clip is not None:
        images.prepare_folder(clip.parent)
    folder = out if clip is None else frames_dir
    if folder is not None:
        images.prepare_folder(folder)
    settings: dict[str, Any] = {"seeds": stations, "frames": frames, "fps": fps}
    settings |= {"space": space, "loop": loop, "easing": easing}
    if session.classes:
        settings["classes"] = list(session.classes)
    parameters = session.parameters("interpolate", **settings)

    def kept(drawn: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """The frames, each written into the folder if there is one."""
        for i, frame in enumerate(drawn):
            if folder is not None:
                images.write_png(folder / f"frame{i:05d}.png", frame, {**parameters, "frame": i})
            yield frame

    with progress("walking") as report:
        walk = kept(
            interpolation_frames(
                session.generator,
                stations,
                frames,
                "w" if space == "w" else "z",
                loop,
                "smooth" if easing == "smooth" else "linear",
                session.classes,
                session.look,
                report,
            )
        )
        if clip is None:
            count = sum(1 for _ in walk)
        else:
            count = video.write_video(clip, walk, fps, loop, parameters)
    click.echo(f"{count} frames ({count / fps:.1f} s at {fps:g} fps) in {out}")

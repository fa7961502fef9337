"""`stylegan walk`: a clip between keyframes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stylegan.cli._drawing import Session, numbers, one_number, open_session, progress
from stylegan.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from stylegan.editing import Keyframe, Timeline

ONLY_HERE = ("keyframes", "tracks", "directions", "drives", "audio", "band", "smooth")  # not beside --timeline


@click.command("walk")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--keyframes", metavar="LIST", help='Seeds and w files: "0, 5, photo.w.safetensors".')
@click.option("--track", "tracks", multiple=True, metavar="LAYERS:LIST", help='Of some layers: "coarse: 7, 8".')
@click.option("--timeline", metavar="FILE", type=click.Path(path_type=Path), help="All of it from .json or .toml.")
@click.option("--frames", type=int, help="Length of the clip in frames.  [default: 240]")
@click.option("--seconds", type=float, help="Length of the clip in seconds instead.")
@click.option("--fps", type=float, help="Frames per second.  [default: 30]")
@click.option("--loop/--no-loop", default=None, help="Return to the first keyframe at the end.  [default: loop]")
@click.option("--interpolation", type=click.Choice(["linear", "spline"]), help="In w.  [default: linear]")
@click.option("--easing", type=click.Choice(["linear", "smooth", "hold"]), help="Between keyframes.  [default: linear]")
@click.option(
    "--noise",
    type=click.Choice(["stored", "none", "random", "animated", "keyframes"]),
    help="The network's, none, a seed's, flowing, or each keyframe's, blended.  [default: stored]",
)
@click.option("--noise-seed", type=int, help="Of random and animated noise.  [default: 0]")
@click.option("--noise-seconds", type=float, help="In which animated noise becomes another.  [default: 1]")
@click.option("--psi", metavar="PSI", help="Truncation psi of seeds; 1 = none.  [default: the model's, usually 0.7]")
@click.option("--cutoff", metavar="N|all", help="How many layers are truncated.  [default: the model's, usually 8]")
@click.option("--class", "class_text", metavar="N|NAME", help="Class of the seeds.  [default: in turn]")
@click.option(
    "--towards",
    type=click.Choice(["all", "class"]),
    help="Truncate towards the mean w of all (as officially), or of the seed's own class.  [default: all]",
)
@click.option("--direction", "directions", multiple=True, metavar="FILE:NAME=STRENGTH[@LAYERS]", help="All along.")
@click.option("--audio", metavar="FILE", help="Sound whose loudness moves what --drive names.")
@click.option(
    "--drive",
    "drives",
    multiple=True,
    metavar="FILE:NAME=STRENGTH[@LAYERS]|psi=STRENGTH",
    help="What the sound moves, and how far at its loudest.",
)
@click.option("--band", metavar="LOW-HIGH", help="Frequencies in Hz that count, such as 20-200.  [default: all]")
@click.option("--smooth", type=float, help="Seconds over which loudness is smoothed.  [default: 0.1]")
@click.option("--mux/--no-mux", default=True, show_default=True, help="The sound in the clip too (mp4, webm).")
@click.option(
    "--out",
    required=True,
    metavar="FILE|DIR",
    type=click.Path(path_type=Path),
    help="FILE.mp4, .webm, .webp or .gif, or a folder for PNG frames.",
)
@click.option("--any-model", is_flag=True, help="Take files of another model with the same shape of w.")
@click.option("--channels", metavar="LIST", help="Image channels to draw, such as 0,1,2.  [default: all]")
@click.option("--batch", type=int, default=16, show_default=True, help="Frames per pass on a GPU.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    show_default=True,
    help="Where to compute.",
)
def command(
    model: Path,
    psi: str | None,
    cutoff: str | None,
    class_text: str | None,
    channels: str | None,
    batch: int,
    device: str,
    out: Path,
    mux: bool,
    any_model: bool,
    timeline: Path | None,
    **options: Any,
) -> None:
    """Draw a clip from MODEL that moves through w between keyframes: seeds, and w files of `stylegan project`.

    A --timeline file can say more: times, truncation, class and easing of each keyframe, several bands of the
    sound. See docs/editing.md.

    Example: stylegan walk model.safetensors --keyframes "0, 5, 9" --interpolation spline --out walk.mp4
    """
    from stylegan import editing, images, video
    from stylegan.drawing.sheets import tile_shape

    clip = out if out.suffix and not out.is_dir() else None
    if clip is not None:
        video.check_format(clip)
    score = settle(timeline, options, psi, cutoff)
    session = open_session(model, psi, cutoff, class_text, "stored", channels, batch, device)
    tile_shape(session.generator, session.look)
    score = with_class(score, session, class_text)
    folder = Path() if timeline is None else timeline.parent
    walk = editing.Walk(session.generator, score, folder=folder, look=session.look, any_model=any_model)
    images.prepare_folder(out if clip is None else clip.parent)
    sound = folder / score.audio if score.audio and mux and clip and clip.suffix in video.CODECS else None
    described = score.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    parameters = session.parameters("walk", timeline=bare(described))
    with progress("walking") as report:
        if clip is not None:
            count = video.write_video(clip, walk.frames(report), score.fps, score.loop, parameters, sound)
        else:
            count = sum(1 for _ in written(out, walk.frames(report), parameters))
    click.echo(f"{count} frames ({count / score.fps:.1f} s at {score.fps:g} fps) in {out}")


def written(folder: Path, frames: Iterator[np.ndarray], parameters: dict[str, Any]) -> Iterator[Path]:
    """Writes each frame as a PNG."""
    from stylegan import images

    for i, frame in enumerate(frames):
        place = folder / f"frame{i:05d}.png"
        images.write_png(place, frame, {**parameters, "frame": i})
        yield place


def settle(file: Path | None, options: dict[str, Any], psi: str | None, cutoff: str | None) -> Timeline:
    """The timeline of a file or of the options; single settings given as options replace those of the file."""
    from stylegan.editing import Timeline, read_timeline

    seconds, given = options.pop("seconds"), {name: options.pop(name) for name in ONLY_HERE}
    changes = {name: value for name, value in options.items() if value is not None}
    if psi is not None:
        changes["psi"] = one_number(psi, "--psi")
    if cutoff is not None:
        changes["cutoff"] = None  # settled by the look
    if file is not None:
        wrong = [name for name, value in given.items() if value]
        if wrong:
            raise UserError(f"--{wrong[0].rstrip('s')} beside --timeline: write it into {file}")
        data = read_timeline(file).model_dump(by_alias=True)
    else:
        data = from_options(given)
    if seconds is not None:
        if "frames" in changes:
            raise UserError("--frames and --seconds: give one of them")
        fps = changes.get("fps", data.get("fps", 30.0))
        if not 0 < seconds * fps <= 1_000_000:
            raise UserError(f"--seconds {seconds:g}: must be above 0, and at most a million frames")
        changes["frames"] = max(1, round(seconds * fps))
    return Timeline.model_validate({**data, **changes})


def from_options(given: dict[str, Any]) -> dict[str, Any]:
    """A timeline, as data, of the options that a file would replace."""
    from stylegan.editing import track_of

    tracks = [given["keyframes"]] if given["keyframes"] else []
    tracks += given["tracks"]
    if not tracks:
        raise UserError('nothing to walk through: give --keyframes "0, 5, 9", or --timeline FILE')
    if given["drives"] and not given["audio"]:
        raise UserError("--drive: needs --audio FILE, whose loudness drives")
    if given["audio"] and not given["drives"]:
        raise UserError("--audio: name what it moves, such as --drive psi=0.3 or --drive d.safetensors:sefa-0=2")
    low = high = None
    if given["band"]:
        ends = numbers(given["band"].replace("-", ","), f"--band {given['band']}, which is LOW-HIGH:")
        if len(ends) != 2:
            raise UserError(f"--band {given['band']}: write LOW-HIGH in Hz, such as 20-200")
        low, high = ends
    drives = []
    for text in given["drives"]:
        target, equals, amount = text.rpartition("=")
        amount, _, layers = amount.partition("@")
        if not equals or not target:
            raise UserError(f"--drive {text}: write FILE:NAME=STRENGTH[@LAYERS], or psi=STRENGTH")
        drive = {"target": target, "strength": one_number(amount, "--drive"), "layers": layers or None}
        smooth = 0.1 if given["smooth"] is None else given["smooth"]
        drives.append({**drive, "low": low, "high": high, "smooth": smooth})
    return {
        "tracks": [track_of(text).model_dump(by_alias=True) for text in tracks],
        "edits": given["directions"],
        "audio": given["audio"],
        "drives": drives,
    }


def with_class(score: Timeline, session: Session, class_text: str | None) -> Timeline:
    """The timeline with --class as the class of seeds that have none of their own."""
    if class_text is None or not session.classes:
        return score
    if len(session.classes) > 1:
        raise UserError(f"--class {class_text}: name one class; a timeline gives each keyframe its own")
    own = session.classes[0]

    def settled(key: Keyframe) -> Keyframe:
        free = isinstance(key.source, int) and key.class_ is None
        return key.model_copy(update={"class_": own}) if free else key

    tracks = [t.model_copy(update={"keyframes": tuple(map(settled, t.keyframes))}) for t in score.tracks]
    return score.model_copy(update={"tracks": tuple(tracks)})


def bare(data: Any) -> Any:
    """File names without their folders: those of this machine stay out of the clip."""
    if isinstance(data, dict):
        return {key: bare(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [bare(value) for value in data]
    return data.replace("\\", "/").rpartition("/")[2] if isinstance(data, str) else data

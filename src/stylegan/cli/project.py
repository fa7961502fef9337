"""`stylegan project`: photos to latents."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stylegan.cli._drawing import Session, open_session
from stylegan.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from stylegan.editing import Projected, State

CLIP_FRAMES, CLIP_FPS, CLIP_SIDE = 90, 30, 512  # 3 s of descent, then 1 s of the result


@click.command("project")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("photos", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, metavar="DIR", type=click.Path(path_type=Path), help="Folder to write to.")
@click.option("--steps", default=600, show_default=True, help="Length of the descent.")
@click.option(
    "--space",
    type=click.Choice(["w+", "w"]),
    default="w+",
    show_default=True,
    help="One w per layer (nearer to the photo), or one for all (easier to edit).",
)
@click.option(
    "--noise",
    type=click.Choice(["optimise", "stored", "none"]),
    default="optimise",
    show_default=True,
    help="Noise inputs: found as well and kept white, the network's own, or none.",
)
@click.option("--class", "class_text", metavar="N|NAME", help="Class of the photos.  [default: guessed for each]")
@click.option(
    "--fit",
    type=click.Choice(["crop", "letterbox"]),
    default="crop",
    show_default=True,
    help="Centre crop to the model's aspect, or the whole photo on white.",
)
@click.option(
    "--loss",
    type=click.Choice(["auto", "lpips", "pyramid"]),
    default="auto",
    show_default=True,
    help="LPIPS (needs its weights; auto takes it where they are at hand), or squared differences at every scale.",
)
@click.option("--weights", multiple=True, metavar="KEY=FILE", help="Weights of LPIPS: vgg16=FILE and lpips=FILE.")
@click.option("--batch", default=4, show_default=True, help="Photos that are optimised together.")
@click.option("--starts", default=4, show_default=True, help="Places in w that the descent of each photo starts from.")
@click.option("--tune", is_flag=True, help="Pivotal tuning: fine-tune the generator for these photos, as a new model.")
@click.option("--tune-steps", default=200, show_default=True, help="Length of the tuning.")
@click.option("--seed", default=0, show_default=True, help="Of everything random in it.")
@click.option(
    "--clip",
    type=click.Choice(["mp4", "webm", "webp", "none"]),
    default="mp4",
    show_default=True,
    help="Format of the clip of the descent.",
)
@click.option("--preview-every", default=5.0, show_default=True, help="Seconds between previews; 0 = no preview.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    show_default=True,
    help="Where to compute.",
)
def command(
    model: Path,
    photos: tuple[Path, ...],
    out: Path,
    class_text: str | None,
    weights: tuple[str, ...],
    tune: bool,
    tune_steps: int,
    device: str,
    **options: Any,
) -> None:
    """Find the latents of each IMAGE in the w space of MODEL.

    Writes, for each, NAME.w.safetensors (for `edit` and `walk`), the reconstruction, a side-by-side, a clip of the
    descent and NAME.json with PSNR and perceptual distance. While it runs, preview.png in DIR shows how far it is.

    Example: stylegan project model.safetensors portrait.jpg --out projected
    """
    from stylegan import editing, images, video

    if not 1 <= options["batch"] <= 1024:
        raise UserError(f"--batch {options['batch']}: must be 1 to 1024")
    if options["clip"] != "none":
        video.check_format(out / f"clip.{options['clip']}")
    settings = editing.ProjectionSettings(
        steps=options["steps"],
        space=options["space"],
        noise=options["noise"],
        starts=options["starts"],
        seed=options["seed"],
    ).check()
    tuning = editing.TuningSettings(steps=tune_steps, seed=options["seed"]).check()
    session = open_session(model, None, None, class_text, "stored", None, 16, device)
    given = session.classes[0] if class_text is not None and session.classes else None
    if class_text is not None and session.classes and len(session.classes) > 1:
        raise UserError(f"--class {class_text}: name one class; without --class each photo's is guessed")
    perceptual = editing.open_perceptual(options["loss"], session.device, weight_files(weights))
    targets = [editing.read_target(photo, session.generator, options["fit"]) for photo in photos]
    names = unique_names([photo.stem for photo in photos])
    images.prepare_folder(out)
    size = "x".join(map(str, targets[0].shape[1::-1]))
    plural = "s" if len(photos) > 1 else ""
    click.echo(f"{len(photos)} image{plural} at {size}, loss {perceptual.name}, on {session.device.type}", err=True)
    begin, done, found = time.monotonic(), 0, []
    parts = [slice(i, i + options["batch"]) for i in range(0, len(photos), options["batch"])]
    writer = Writer(session, out, settings, perceptual.name, options["clip"])
    with previewing(out / "preview.png", options["preview_every"]) as preview:
        for part in parts:
            projection = editing.Projection(
                session.generator, targets[part], settings, perceptual, [given] * len(targets[part])
            )
            films = Films(targets[part], projection.total if options["clip"] != "none" else 0)
            with descent_bar(f"{done + 1}-{done + len(targets[part])} of {len(photos)}", projection.total) as show:
                for state in projection:
                    show(state)
                    films.add(state, projection.images)
                    preview(targets[part], projection.images)
            results = projection.result()
            for name, photo, target, result, film in zip(
                names[part], photos[part], targets[part], results, films.frames, strict=True
            ):
                writer.write(name, photo, target, result, film)
            found += results
            done += len(results)
        if tune:
            run = editing.Tuning(session.generator, targets, [r.latents for r in found], tuning, perceptual)
            with descent_bar("tuning", run.total) as show:
                for state in run:
                    show(state)
                    preview(targets, run.images)
            place = writer.write_tuned(run, names, photos, targets, found, asdict(tuning))
            click.echo(f"the tuned generator is in {place}")
    seconds = time.monotonic() - begin
    click.echo(f"{done} image{plural} in {out}, {seconds:.0f} s")


def weight_files(texts: Sequence[str]) -> dict[str, Path]:
    """{"vgg16": Path} from "vgg16=FILE"."""
    found = {}
    for text in texts:
        key, equals, file = text.partition("=")
        if not equals or not file:
            raise UserError(f"--weights {text}: write KEY=FILE, such as vgg16=vgg16-397923af.pth")
        found[key] = Path(file)
    return found


def unique_names(stems: Sequence[str]) -> list[str]:
    """One name per file; equal ones are numbered: a, a-2."""
    names: list[str] = []
    for stem in stems:
        name, number = stem, 1
        while name in names:
            number += 1
            name = f"{stem}-{number}"
        names.append(name)
    return names


class Writer:
    """The files of each photo."""

    def __init__(self, session: Session, out: Path, settings: Any, loss: str, clip: str) -> None:
        self.session, self.out, self.clip, self.loss = session, out, clip, loss
        self.parameters = session.parameters("project", settings={**asdict(settings), "loss": loss})
        for name in ("psi", "cutoff", "noise"):  # of drawing: nothing here is truncated
            del self.parameters[name]

    def write(self, name: str, photo: Path, target: np.ndarray, result: Projected, film: list[np.ndarray]) -> None:
        """All of one photo; the summary comes last, so that where it is, everything is."""
        from stylegan import editing, images, video

        parameters = {**self.parameters, "image": photo.name}
        result.latents.about |= {"image": photo.name, "psnr": round(result.psnr, 3)}
        editing.save_latents(self.out / f"{name}.w.safetensors", result.latents, self.session.generator)
        images.write_png(self.out / f"{name}.reconstruction.png", result.image, parameters)
        images.write_png(self.out / f"{name}.side-by-side.png", beside(target, result.image), parameters)
        if self.clip != "none":
            frames = [*film, *[beside(*reduced(target, result.image))] * CLIP_FPS]
            video.write_video(self.out / f"{name}.descent.{self.clip}", frames, CLIP_FPS, False, parameters)
        summary = {**parameters, **self.measured(result)}
        self._write_json(name, summary)
        click.echo(f"{name}: PSNR {result.psnr:.1f} dB, {self.loss} {result.perceptual:.4g}{self._class(result)}")

    def write_tuned(
        self,
        run: Any,
        names: Sequence[str],
        photos: Sequence[Path],
        targets: Sequence[np.ndarray],
        found: Sequence[Projected],
        settings: dict[str, Any],
    ) -> Path:
        """The tuned model, its reconstructions, and their errors beside those before."""
        from stylegan import __version__, images
        from stylegan.snapshot import save_snapshot

        model = self.session.model
        entry = {
            "kind": "pivotal tuning",
            "from": {"file": model.path.name if model.path else "", "sha256": self.session.sha256},
            "images": [photo.name for photo in photos],
            "settings": settings,
            "loss": self.loss,
            "by": f"stylegan-torch {__version__}",
        }
        training = {**model.training, "lineage": [*(model.training.get("lineage") or []), entry]}
        place = save_snapshot(self.out / "tuned.safetensors", run.generator, config=model.config, training=training)
        for name, photo, target, before, after in zip(names, photos, targets, found, run.result(), strict=True):
            parameters = {**self.parameters, "image": photo.name, "tuning": settings}
            images.write_png(self.out / f"{name}.tuned.png", after.image, parameters)
            picture = beside(target, before.image, after.image)
            images.write_png(self.out / f"{name}.side-by-side.png", picture, parameters)
            self._write_json(name, {**parameters, **self.measured(before), "tuned": self.measured(after)})
            click.echo(f"{name}, tuned: PSNR {after.psnr:.1f} dB, {self.loss} {after.perceptual:.4g}")
        return place

    def measured(self, result: Projected) -> dict[str, Any]:
        """The errors of a reconstruction, as JSON values."""
        found: dict[str, Any] = {
            "psnr": round(result.psnr, 3),
            "perceptual": {"measure": self.loss, "distance": float(f"{result.perceptual:.5g}")},
        }
        return found | ({} if result.class_ is None else {"class": result.class_})

    def _class(self, result: Projected) -> str:
        from stylegan.cli._drawing import class_names

        if result.class_ is None:
            return ""
        names = class_names(self.session.model)
        return f", class {names[result.class_] if result.class_ < len(names) else result.class_}"

    def _write_json(self, name: str, summary: dict[str, Any]) -> None:
        from stylegan.snapshot import write_atomically

        write_atomically(self.out / f"{name}.json", (json.dumps(summary, indent=1, ensure_ascii=False) + "\n").encode())


class Films:
    """Frames of the descents, target beside reconstruction, evenly over the steps."""

    def __init__(self, targets: Sequence[np.ndarray], total: int) -> None:
        self.targets, self.every = targets, max(1, total // CLIP_FRAMES) if total else 0
        self.frames: list[list[np.ndarray]] = [[] for _ in targets]

    def add(self, state: State, images: Callable[[], list[np.ndarray]]) -> None:
        """Keeps this step where its turn has come."""
        if self.every and state.step % self.every == 0:
            for film, target, image in zip(self.frames, self.targets, images(), strict=True):
                film.append(beside(*reduced(target, image)))


def reduced(*pictures: np.ndarray) -> list[np.ndarray]:
    """Pictures no larger than the clip shows them."""
    from stylegan import images

    factor = -(-max(pictures[0].shape[:2]) // CLIP_SIDE)
    return [images.reduce(picture, factor) for picture in pictures]


def beside(*pictures: np.ndarray) -> np.ndarray:
    """Pictures of one height in a row."""
    import numpy as np

    return np.concatenate(pictures, axis=1)


@contextmanager
def previewing(path: Path, every: float) -> Iterator[Callable[[Sequence[np.ndarray], Callable[[], Any]], None]]:
    """Yields what rewrites the preview, targets above reconstructions, each `every` seconds; it goes at the end."""
    from stylegan import images

    last = time.monotonic()

    def show(targets: Sequence[np.ndarray], drawn: Callable[[], Any]) -> None:
        nonlocal last
        if every <= 0 or time.monotonic() - last < every:
            return
        pictures = [*targets[:16], *drawn()[:16]]
        images.write_png(path, images.grid(pictures, columns=len(pictures) // 2))
        last = time.monotonic()

    try:
        yield show
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def descent_bar(title: str, total: int) -> Iterator[Callable[[State], None]]:
    """A bar on stderr with stage, mean PSNR, rate and time left; yields the callback."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    begin = time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, rate="")

        def show(state: State) -> None:
            rate = f"{state.step / max(time.monotonic() - begin, 1e-9):.1f} steps/s"
            mean = sum(state.psnr) / len(state.psnr)
            text = f"{title}: {state.stage}, PSNR {mean:.1f} dB"
            bar.update(task, completed=state.step, description=text, rate=rate)

        yield show

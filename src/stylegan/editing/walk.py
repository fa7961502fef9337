"""Walks: a timeline resolved for a generator, and its frames.

Tracks move through w (one w for all layers) and w+ (files of projections) alike: keyframes are [L, D], and each
layer group takes the track that names it last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from stylegan import images, latents
from stylegan.drawing import Look, class_centres, class_of_seed, default_look, stream
from stylegan.drawing.render import Progress, check_styles, check_truncatable
from stylegan.editing.audio import envelope_of, read_audio
from stylegan.editing.curves import Curve
from stylegan.editing.directions import Directions
from stylegan.editing.edits import Edit, apply_edits, parse_direction, parse_edit
from stylegan.editing.latent_files import Latents, draw_with_noise, latents_of_seed, load_latents, noise_of
from stylegan.editing.timeline import Drive, Keyframe, Timeline, Track
from stylegan.errors import UserError

if TYPE_CHECKING:
    from stylegan.networks import Generator

Opener = Callable[[str], Latents]


class Walk:
    """The frames of a timeline.

    Truncation is towards the look's class centres where it has some, or where the timeline says "class"; between two
    keyframes of different classes the centre moves as w does.

    Sources that are not seeds come from `latents` by their text, or, where a folder is given, from w files in it;
    without one no file is opened (nor those of directions and sound). envelopes: of the drives, [frames] each,
    instead of their sound. UserError: whatever of the timeline does not fit the generator.
    """

    def __init__(
        self,
        G: Generator,
        timeline: Timeline,
        latents: Mapping[str, Latents] | None = None,
        folder: Path | None = None,
        look: Look | None = None,
        any_model: bool = False,
        directions: Mapping[str, Directions] | None = None,
        envelopes: Sequence[np.ndarray] | None = None,
    ) -> None:
        check_styles(G)
        self.G, self.timeline, self.folder, self.any_model = G, timeline, folder, any_model
        look = (look or default_look(G, noise="stored")).check(G)
        if timeline.psi is not None:
            look = replace(look, psi=timeline.psi)
        if timeline.cutoff is not None:
            look = replace(look, cutoff=timeline.cutoff)
        still = timeline.noise if timeline.noise in ("stored", "none", "random") else "stored"
        self.look = replace(look, noise=still).check(G)
        self.opened: dict[str, Directions] = dict(directions or {})
        self.given = dict(latents or {})
        self.centres = self._class_centres()
        self.tracks = [self._track(track) for track in timeline.tracks]
        loose = set(range(look.layers_of(G))) - {i for layers, *_ in self.tracks for i in layers}
        if loose:
            raise UserError(f"layers {sorted(loose)}: no track has them; let the first one be of all layers")
        self.edits = [parse_edit(text, G, any_model, self.opened, self._folder(text)) for text in timeline.edits]
        self.drives = self._open_drives(envelopes)

    def _folder(self, what: str) -> Path:
        """The folder files are looked for in; UserError where the walk may open none and `what` is not at hand."""
        if self.folder is None and not any(what.startswith(name + ":") for name in self.opened):
            raise UserError(f"{what}: not at hand here")
        return self.folder or Path()

    def _class_centres(self) -> np.ndarray | None:
        """The means of classes to truncate towards, [classes, D]; None = the mean of all."""
        found = self.look.centres
        if found is None and self.timeline.towards == "class":
            keys = [key for track in self.timeline.tracks for key in track.keyframes]
            classes = [self._class(key) for key in keys]
            # a file's class is known only when it is open: then the means of all classes are wanted
            found = class_centres(self.G, None if None in classes else [c for c in classes if c is not None])
        return None if found is None else found.cpu().double().numpy()

    def _class(self, key: Keyframe, found: Latents | None = None) -> int | None:
        """The class of a keyframe: its own, the seed's turn, or what the file says; None where nobody knows."""
        labels, own = self.G.config.labels, key.class_
        if isinstance(key.source, int):
            if own is not None and own >= labels:
                raise UserError(f"class {own} of seed {key.source}: this generator has {labels or 'no'} classes")
            return own if own is not None or not labels else class_of_seed(key.source, range(labels))
        told = found.about.get("class") if found is not None else None
        return told if isinstance(told, int) and 0 <= told < labels else None

    def _centre(self, key: Keyframe, found: Latents) -> np.ndarray:
        """The w [D] a keyframe is truncated towards."""
        number = None if self.centres is None else self._class(key, found)
        if self.centres is None or number is None:
            return np.asarray(self.G.w_avg.cpu().double().numpy())
        return np.asarray(self.centres[number])

    def _track(self, track: Track) -> tuple[tuple[int, ...], Curve, Curve, Curve, list[Latents]]:
        """(layers, curve of ws [L, D], curve of psi, curve of the centre [D], the keyframes' latents)."""
        timeline, G = self.timeline, self.G
        acting = self.look.layers_of(G)
        layers = tuple(range(acting)) if track.layers == "all" else latents.parse_layers(track.layers, acting)
        if layers == tuple(range(acting)):
            layers = tuple(range(G.config.num_layers))
        found = [self._latents(key) for key in track.keyframes]
        count = len(found)
        times = [key.at for key in track.keyframes]
        if any(t is None for t in times):
            end = timeline.seconds if timeline.loop else (timeline.frames - 1) / timeline.fps
            steps = count if timeline.loop else max(count - 1, 1)
            times = [end * i / steps for i in range(count)]
            if count > 1 and end <= 0:
                times = [float(i) for i in range(count)]  # a single frame shows the first
        seconds = [float(t) for t in times if t is not None]
        if seconds[-1] > timeline.seconds and count > 1 and timeline.frames > 1:
            raise UserError(f"a keyframe at {seconds[-1]:g} s: the clip has {timeline.seconds:g} s")
        easings = [key.easing or timeline.easing for key in track.keyframes]
        period = timeline.seconds if timeline.loop else None
        if period is not None and count > 1 and seconds[-1] >= period:
            raise UserError(f"a keyframe at {seconds[-1]:g} s: this loop is back at its first by {period:g} s")
        ws = np.stack([own.ws[0].cpu().double().numpy() for own in found])
        psis = np.array([self._psi(key) for key in track.keyframes])
        centres = np.stack([self._centre(key, own) for key, own in zip(track.keyframes, found, strict=True)])
        spline = timeline.interpolation == "spline"
        return (
            layers,
            Curve(seconds, ws, period, spline, easings),
            Curve(seconds, psis, period, False, easings),
            Curve(seconds, centres, period, spline, easings),
            found,
        )

    def _latents(self, key: Keyframe) -> Latents:
        """A keyframe's latents, untruncated."""
        if isinstance(key.source, int):
            self._class(key)  # refuses one there is not
            return latents_of_seed(self.G, key.source, class_=key.class_)
        if key.source in self.given:
            return self.given[key.source]
        if self.folder is None:
            raise UserError(f"{key.source}: not at hand here; give a seed")
        return load_latents(self.folder / key.source, self.G, self.any_model)

    def _psi(self, key: Keyframe) -> float:
        """Truncation at a keyframe: its own, else the look's for seeds and none for files."""
        own = key.psi if key.psi is not None else (self.look.psi if isinstance(key.source, int) else None)
        if own is not None and own != 1:
            check_truncatable(self.G)
        return 1.0 if own is None else float(own)

    def _open_drives(self, envelopes: Sequence[np.ndarray] | None) -> list[tuple[Drive, Edit | None, np.ndarray]]:
        timeline, G = self.timeline, self.G
        if envelopes is not None and len(envelopes) != len(timeline.drives):
            raise ValueError(f"{len(envelopes)} envelopes for {len(timeline.drives)} drives")
        sound: dict[Path, np.ndarray] = {}
        found = []
        for i, drive in enumerate(timeline.drives):
            edit = None
            if drive.target != "psi":
                where = self._folder(drive.target)
                direction = parse_direction(drive.target, G, self.any_model, self.opened, where)
                layers = latents.parse_layers(drive.layers, self.look.layers_of(G)) if drive.layers else None
                edit = Edit(direction, drive.strength, layers)
            else:
                check_truncatable(G)
            if envelopes is not None:
                found.append((drive, edit, np.asarray(envelopes[i], np.float64)))
                continue
            name = drive.audio or timeline.audio
            if name is None:
                raise UserError(f"drive of {drive.target}: no sound given; add audio = FILE")
            path = self._folder(name) / name
            if path not in sound:
                sound[path] = read_audio(path, timeline.seconds)
            loud = envelope_of(sound[path], timeline.frames, timeline.fps, drive.low, drive.high, drive.smooth)
            found.append((drive, edit, loud))
        for drive, _, loud in found:
            if loud.shape != (timeline.frames,) or not np.isfinite(loud).all():
                raise UserError(f"drive of {drive.target}: its envelope must be {timeline.frames} finite numbers")
        return found

    def ws_at(self, frame: int) -> torch.Tensor:
        """The ws of one frame, [1, L, D] on the generator's device: tracks, then truncation, edits and drives."""
        G, t = self.G, frame / self.timeline.fps
        layers, width = G.config.num_layers, G.config.w_dim
        driven = sum(float(loud[frame]) * drive.strength for drive, edit, loud in self.drives if edit is None)
        cutoff = layers if self.look.cutoff is None else self.look.cutoff
        made = np.empty((layers, width))
        for chosen, curve, psis, centres, _ in self.tracks:
            rows = curve(t)
            psi = float(psis(t)) + driven
            if psi != 1:
                short = np.arange(layers)[:, None] < cutoff
                centre = centres(t)
                rows = np.where(short, centre + psi * (rows - centre), rows)
            made[list(chosen)] = rows[list(chosen)]
        ws = torch.from_numpy(made)[None].float().to(G.w_avg.device)
        moving = [replace(e, strength=e.strength * float(loud[frame])) for _, e, loud in self.drives if e is not None]
        return apply_edits(ws, [*self.edits, *moving])

    def path(self) -> torch.Tensor:
        """The ws of all frames, [frames, L, D]."""
        return torch.cat([self.ws_at(i) for i in range(self.timeline.frames)])

    def noise_at(self, frame: int) -> list[torch.Tensor] | None:
        """The noise inputs of one frame where they move, [1, 1, h, w] each; None where they stand still."""
        timeline, G = self.timeline, self.G
        if not G.config.noise:
            return None
        if timeline.noise == "keyframes":
            _, curve, _, _, found = self.tracks[0]
            before, after, share = curve.place(frame / timeline.fps)
            return blend(noise_of(G, found[before]), noise_of(G, found[after]), share)
        if timeline.noise != "animated":
            return None
        count = max(2, round(timeline.seconds / timeline.noise_seconds))
        place = frame / (timeline.frames if timeline.loop else max(timeline.frames - 1, 1)) * count
        before, share = int(place), place - int(place)
        after = (before + 1) % count if timeline.loop else before + 1
        return blend(self._anchor(before), self._anchor(after), share)

    def _anchor(self, number: int) -> list[torch.Tensor]:
        if not hasattr(self, "_anchors"):
            sizes, device = self.G.synthesis.noise_sizes(self.look.lod_of(self.G)), self.G.w_avg.device
            seed = self.timeline.noise_seed
            draw = lru_cache(4)(lambda n: [x.to(device) for x in latents.noise_from_seeds([seed + n], sizes)])
            self._anchors = draw
        return self._anchors(number)

    def frame(self, i: int) -> np.ndarray:
        """One frame, uint8 [h, w, C]; the same whatever is drawn before it."""
        if not 0 <= i < self.timeline.frames:
            raise UserError(f"frame {i}: the clip has frames 0-{self.timeline.frames - 1}")
        return next(self._drawn([i]))

    def frames(self, progress: Progress | None = None) -> Iterator[np.ndarray]:
        """All frames in order, drawn as they are asked for; a batch at a time on a GPU."""
        total = self.timeline.frames
        step = 1 if self.G.w_avg.device.type == "cpu" else self.look.batch
        for start in range(0, total, step):
            part = range(start, min(start + step, total))
            yield from self._drawn(part)
            if progress is not None:
                progress(part.stop, total)

    def _drawn(self, part: Sequence[int]) -> Iterator[np.ndarray]:
        ws = torch.cat([self.ws_at(i) for i in part])
        moving = [self.noise_at(i) for i in part]
        if moving[0] is None:
            for image in stream(self.G, ws, self.look, [self.timeline.noise_seed] * len(ws)):
                yield images.to_uint8(image)
            return
        rows = [noise for noise in moving if noise is not None]
        noise = [torch.cat(layer) for layer in zip(*rows, strict=True)]
        yield from images.to_uint8(draw_with_noise(self.G, ws, noise, self.look))


def blend(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor], share: float) -> list[torch.Tensor]:
    """From noise a to noise b along a quarter circle, on which independent noise keeps its variance of 1."""
    if share == 0.0:
        return list(a)
    if share == 1.0:
        return list(b)
    angle = share * math.pi / 2
    return [math.cos(angle) * x + math.sin(angle) * y for x, y in zip(a, b, strict=True)]

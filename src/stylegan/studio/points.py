"""Recipes -> styles: seeds, planes, walks, mixed layers and edits, as ws [1, L, D] ready to be drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from stylegan import latents
from stylegan.drawing import class_centres, class_of_seed, default_look, map_seeds
from stylegan.drawing.render import Look as DrawnLook
from stylegan.drawing.render import check_styles, truncate_towards
from stylegan.errors import UserError
from stylegan.studio.messages import Edit, KeptPoint, Look, Mix, Path, PathPoint, PlanePoint, Recipe, SeedPoint

if TYPE_CHECKING:
    from stylegan.networks import Generator

KEPT = 4096  # ws of seeds kept per model


class Points:
    """The points of one model. `kept` and `directions` map ids to what jobs have found and pages have kept."""

    def __init__(
        self,
        generator: Generator,
        kept: Mapping[str, Any] | None = None,
        directions: Mapping[str, Any] | None = None,
    ) -> None:
        self.generator = generator
        self.kept = kept if kept is not None else {}
        self.directions = directions if directions is not None else {}
        self._seeds: dict[Any, torch.Tensor] = {}
        self._centres: torch.Tensor | None = None  # [classes, D], rows found when they are first needed
        self._centred: set[int] = set()  # which are
        self._walks: dict[Any, Any] = {}

    def look(self, look: Look) -> DrawnLook:
        """Truncation and noise as the drawing functions take them; the model's own where the page says nothing."""
        G = self.generator
        settings: dict[str, Any] = {"noise": look.noise.mode if G.config.noise else "none"}
        if look.psi is not None and G.truncatable:
            settings["psi"] = look.psi
        if look.towards == "class" and G.config.labels and G.truncatable:
            if self._centres is None:
                self._centres = G.w_avg.detach().float().repeat(G.config.labels, 1)
            settings["centres"] = self._centres
        if look.cutoff is not None:
            settings["cutoff"] = None if look.cutoff < 0 else min(look.cutoff, G.config.num_layers)
        return default_look(G, **settings).check(G)

    def styles(self, recipe: Recipe, look: DrawnLook) -> torch.Tensor:
        """ws [1, L, D] of a recipe: place, mixed layers, edits. UserError for what this model does not have."""
        ws = self._place(recipe.place, look)
        for mix in recipe.mix:
            ws = self._mixed(ws, mix, look)
        return self._edited(ws, recipe.edits) if recipe.edits else ws

    def noise_seed(self, recipe: Recipe) -> int:
        """The seed whose noise a recipe is drawn with: its own, or that of its first point; 0 where none has one."""
        place = first_point(recipe)
        if isinstance(place, KeptPoint):
            return int(self.found(place).about.get("seed", 0))
        return place.seed

    def _place(self, place: Any, look: DrawnLook) -> torch.Tensor:
        if isinstance(place, SeedPoint):
            return self._seed(place, look)
        if isinstance(place, KeptPoint):
            return self.found(place).ws
        if isinstance(place, PlanePoint):
            a, b, c = (self._place(corner, look) for corner in place.corners)
            if not place.x and not place.y:
                return a
            return a + place.x * (b - a) + place.y * (c - a)
        return self._path(place, look)

    def _seed(self, place: SeedPoint, look: DrawnLook) -> torch.Tensor:
        """The truncated w of a seed. The untruncated one is kept, one seed per pass as `stylegan generate` does."""
        G, labels = self.generator, self.generator.config.labels
        chosen = class_of_place(place, labels)
        key = (place.seed, chosen)
        ws = self._seeds.get(key)
        if ws is None:
            if len(self._seeds) >= KEPT:
                self._seeds.clear()
            ws = map_seeds(G, [place.seed], None if chosen is None else [chosen])
            self._seeds[key] = ws
        cutoff = G.config.num_layers if look.cutoff is None else look.cutoff
        with torch.inference_mode():
            if look.centres is None or chosen is None:
                return G.truncate(ws, look.psi, cutoff)
            return truncate_towards(self._with_centres(look.centres, [chosen])[[chosen]], ws, look.psi, cutoff)

    def _with_centres(self, centres: torch.Tensor, classes: Sequence[int]) -> torch.Tensor:
        """`centres` [classes, D], in which the means of these classes are there from now on."""
        if missing := [number for number in dict.fromkeys(classes) if number not in self._centred]:
            centres[missing] = class_centres(self.generator, missing)[missing]
            self._centred.update(missing)
        return centres

    def found(self, place: KeptPoint) -> Any:
        """What was kept under an id, fit for this model; UserError where it is gone or belongs to another model."""
        found = self.kept.get(place.id)
        if found is None:
            raise UserError("this image is gone: the studio was started anew, or newer ones took its place")
        config, ws = self.generator.config, found.ws
        if tuple(ws.shape[1:]) != (config.num_layers, config.w_dim):
            raise UserError("this image was made with another model; project it with this one")
        return found

    def walk(self, path: Path, look: DrawnLook) -> Any:
        """The walk of `stylegan.editing`; the last few are kept."""
        from stylegan import editing

        key = (path.model_dump_json(exclude={"kind", "frame"}), look.psi, look.cutoff, look.centres is None)
        if key not in self._walks:
            frames = [
                editing.Keyframe(source=point.seed, class_=class_of_place(point, self.generator.config.labels))
                if isinstance(point, SeedPoint)
                else editing.Keyframe(source=f"kept {point.id}", psi=1.0 if self.generator.truncatable else None)
                for point in path.points
            ]
            if look.centres is not None:
                self._with_centres(look.centres, [key.class_ for key in frames if key.class_ is not None])
            latents = {f"kept {point.id}": self.found(point) for point in path.points if isinstance(point, KeptPoint)}
            timeline = editing.Timeline(
                frames=path.frames, fps=path.fps, loop=path.loop, easing=path.easing, interpolation=path.interpolation,
                noise="stored" if path.noise == "still" else path.noise, tracks=(editing.Track(keyframes=frames),),
            )  # fmt: skip
            while len(self._walks) >= 4:
                del self._walks[next(iter(self._walks))]
            self._walks[key] = editing.Walk(self.generator, timeline, latents, look=look)
        return self._walks[key]

    def _path(self, place: PathPoint, look: DrawnLook) -> torch.Tensor:
        if place.frame >= place.frames:
            raise UserError(f"frame {place.frame}: this walk has {place.frames}")
        ws: torch.Tensor = self.walk(place, look).ws_at(place.frame)
        return ws

    def _mixed(self, ws: torch.Tensor, mix: Mix, look: DrawnLook) -> torch.Tensor:
        check_styles(self.generator)
        layers = [layer for layer in mix.layers if layer < ws.shape[1]]
        return latents.style_mix(ws, self._place(mix.point, look), layers)

    def _edited(self, ws: torch.Tensor, edits: Sequence[Edit]) -> torch.Tensor:
        from stylegan import editing

        steps, acting = [], len(self.generator.synthesis.noise_sizes(self.generator.lod))
        for edit in edits:
            found = self.directions.get(edit.direction)
            if found is None or edit.index >= len(found):
                raise UserError("these directions are gone: the studio was started anew; find them again")
            layers = tuple(range(edit.first, min(edit.last, acting - 1) + 1))
            if edit.strength and layers:
                steps.append(editing.Edit(found[edit.index], edit.strength, layers))
        with torch.inference_mode():
            return editing.apply_edits(ws, steps) if steps else ws


def first_point(recipe: Recipe) -> SeedPoint | KeptPoint:
    """The point that lends a recipe its noise: its own, the first corner, the first keyframe."""
    place = recipe.place
    if isinstance(place, PlanePoint):
        return place.corners[0]
    return place.points[0] if isinstance(place, PathPoint) else place


def class_of_place(place: SeedPoint, labels: int) -> int | None:
    """The class a seed is drawn with; None for a model without classes. UserError: no such class."""
    if not labels:
        return None
    if place.cls is None:
        return class_of_seed(place.seed, range(labels))
    if place.cls >= labels:
        raise UserError(f"class {place.cls}: this model has classes 0 to {labels - 1}")
    return place.cls

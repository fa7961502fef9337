"""Projection: the latents whose image is nearest to a given one (StyleGAN2, 1912.04958, appendix D, in three stages).

w: one w for all layers, from several starts. w+: one w per layer (Image2StyleGAN, 1904.03189). noise: w+ and the
noise inputs together, which stay white. A `Projection` is an iterator over its own steps, so that a program can
show each, or stop after any.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from stylegan import images
from stylegan.drawing.render import check_styles, exact_float32
from stylegan.editing.latent_files import Latents, draw
from stylegan.editing.perceptual import Pyramid, check_size, open_perceptual
from stylegan.editing.starting import batches, candidates, w_statistics
from stylegan.editing.targets import target_size
from stylegan.editing.whiteness import autocorrelation, renormalise
from stylegan.errors import UserError
from stylegan.ops.record import repeated

if TYPE_CHECKING:
    from stylegan.networks import Generator

Pass = tuple[torch.Tensor, torch.Tensor, Sequence[Any]]  # loss [n], images, gradients or None
BETAS = (0.9, 0.99)
RAMP_UP, RAMP_DOWN = 0.05, 0.5  # shares of a stage in which the learning rate rises and falls
W_JITTER_UNTIL = 0.75  # share of the w stage after which no noise is added to w
SHARES = {"w": 0.25, "w+": 0.4, "noise": 0.35}  # of the steps


@dataclass(frozen=True)
class ProjectionSettings:
    """How to project. Learning rates are per step, in standard deviations of w (of N(0, 1) for noise)."""

    steps: int = 600  # of the descent, over all stages
    space: Literal["w", "w+"] = "w+"
    noise: Literal["optimise", "stored", "none"] = "optimise"
    candidates: int = 256  # random w compared with the target before the descent
    starts: int = 4  # how many of them the w stage descends from
    lr: float = 0.1
    noise_lr: float = 0.1
    jitter: float = 0.05  # noise added to w at first, in standard deviations of w
    whiteness: float = 1e-3  # weight of the noise inputs' autocorrelation
    batch: int = 16  # samples per pass
    seed: int = 0

    def check(self) -> ProjectionSettings:
        """The settings; UserError names one that cannot be."""
        if self.space not in ("w", "w+"):
            raise UserError(f"--space {self.space}: must be w or w+")
        if self.noise not in ("optimise", "stored", "none"):
            raise UserError(f"--noise {self.noise}: must be optimise, stored or none")
        for name in ("steps", "candidates", "starts", "batch"):
            if not 1 <= getattr(self, name) <= 1_000_000:
                raise UserError(f"{name} {getattr(self, name)}: must be 1 or more, and at most a million")
        if self.seed < 0:
            raise UserError(f"seed {self.seed}: must be 0 or more")
        for name in ("lr", "noise_lr", "jitter", "whiteness"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"{name} {getattr(self, name)}: must be a number, 0 or more")
        return self

    def stages(self) -> dict[str, int]:
        """Steps of each stage that takes place; stages left out give theirs to the one before."""
        shares = dict(SHARES)
        if self.noise != "optimise":
            shares["w+"] += shares.pop("noise")
        if self.space == "w":
            shares["w"] += shares.pop("w+")
        counts = {name: max(1, round(self.steps * share)) for name, share in shares.items()}
        counts["w"] = max(1, counts["w"] + self.steps - sum(counts.values()))
        return counts


@dataclass(frozen=True)
class State:
    """One step of a descent: how far, which stage, and per image the loss and the PSNR in dB."""

    step: int
    total: int
    stage: str
    loss: list[float]
    psnr: list[float]


@dataclass
class Projected:
    """What was found for one image. perceptual: distance by the projection's measure; class_: given or guessed."""

    latents: Latents
    image: np.ndarray
    psnr: float
    perceptual: float
    class_: int | None = None


class Projection:
    """Steps towards the latents of targets, uint8 [h, w, C] each, all together; iterate to take them.

    classes: of each target, None = guessed. perceptual None = as `open_perceptual("auto")`. The generator is
    copied and never changed. UserError: a generator without styles, targets of another size, an unknown class.
    """

    def __init__(
        self,
        G: Generator,
        targets: Sequence[np.ndarray],
        settings: ProjectionSettings | None = None,
        perceptual: Pyramid | None = None,
        classes: Sequence[int | None] | None = None,
    ) -> None:
        check_styles(G)
        self.settings = (settings or ProjectionSettings()).check()
        self.generator = copy.deepcopy(G).eval().requires_grad_(False)
        self.device = G.w_avg.device
        self.target = stack_targets(G, targets).to(self.device)
        self.perceptual = perceptual or open_perceptual("auto", self.device)
        check_size(self.perceptual, target_size(G), G.config.channels)
        if not G.config.noise:
            self.settings = ProjectionSettings(**{**asdict(self.settings), "noise": "none"})
        self.classes = check_classes(G, classes, len(targets))
        n, layers, width = len(self.target), G.config.num_layers, G.config.w_dim
        self._ws = self.generator.w_avg.expand(n, layers, width).clone()
        sizes = G.synthesis.noise_sizes(G.lod)
        if self.settings.noise == "none":
            self._noise = [torch.zeros(n, 1, *size, device=self.device) for size in sizes]
        else:
            buffers = [self.generator.synthesis.get_buffer(f"noise{i}") for i in range(len(sizes))]
            self._noise = [b.expand(n, -1, -1, -1).clone() for b in buffers]
        self._images = self.target.clone()
        self._searching = math.ceil(self.settings.candidates / self.settings.batch)
        self.total = self._searching + sum(self.settings.stages().values())
        self.step = 0
        self._steps = self._descend()

    def __iter__(self) -> Iterator[State]:
        return self

    def __next__(self) -> State:
        with exact_float32(self.device):
            return next(self._steps)

    def images(self) -> list[np.ndarray]:
        """The present reconstructions, uint8 [h, w, C] each."""
        return list(images.to_uint8(self._images))

    def latents(self) -> list[Latents]:
        """The present latents; also after the iteration was left early."""
        own_noise = self.settings.noise != "stored" and self.generator.config.noise
        kept = self._noise_rows() if own_noise else [None] * len(self._ws)
        about = {"projection": {**asdict(self.settings), "loss": self.perceptual.name}}
        return [
            Latents(self._ws[i : i + 1].clone(), kept[i], {**about, "class": self.classes[i]})
            for i in range(len(self._ws))
        ]

    def result(self) -> list[Projected]:
        """What was found, drawn anew from the latents as they are saved."""
        return reconstructions(self.generator, self.latents(), self.target, self.perceptual)

    def _noise_rows(self) -> list[Any]:
        return [[layer[i : i + 1].clone() for layer in self._noise] for i in range(len(self._ws))]

    def _state(self, stage: str, loss: torch.Tensor) -> State:
        self.step += 1
        return State(self.step, self.total, stage, loss.tolist(), psnr(self._images, self.target).tolist())

    def _descend(self) -> Iterator[State]:
        starts = yield from self._search()  # N R D
        stages = self.settings.stages()
        yield from self._stage_w(starts, stages["w"])
        if "w+" in stages:
            yield from self._stage_joint("w+", stages["w+"], 0.5, noise=False)
        if "noise" in stages:
            yield from self._stage_joint("noise", stages["noise"], 0.25, noise=True)

    def _search(self) -> Any:
        """Compares candidates with every target; returns the best w of each, [N, R, D]."""
        settings, G = self.settings, self.generator
        self.statistics = w_statistics(G, seed=settings.seed)
        tried, classes = candidates(self.statistics, settings.candidates)
        size = math.ceil(len(tried) / self._searching)
        rows: list[torch.Tensor] = []
        best = torch.full((len(self.target),), math.inf, device=self.device)
        for part in batches(len(tried), size):
            with torch.no_grad():
                drawn = self._draw(tried[part], [layer[:1] for layer in self._noise])
                found = torch.stack([Pyramid().against(t[None])(drawn) for t in self.target])  # N n
            least, where = found.min(1)
            better = least < best
            best = torch.where(better, least, best)
            self._images = torch.where(better[:, None, None, None], drawn[where], self._images)
            if not rows:
                self._images = drawn[where]
            rows.append(found)
            yield self._state("start", best)
        distance = torch.cat(rows, 1)  # N n
        picked = []
        for i, own in enumerate(distance):
            self.classes[i], allowed = self._guess(own, classes, self.classes[i])
            own = own.masked_fill(~allowed, math.inf)
            count = min(settings.starts, int(allowed.sum()))
            order = own.topk(count, largest=False).indices
            picked.append(order[torch.arange(settings.starts, device=order.device) % count])
        return tried[torch.stack(picked)]  # N R D

    def _guess(
        self, distance: torch.Tensor, classes: list[int | None], given: int | None
    ) -> tuple[int | None, torch.Tensor]:
        """(class, which candidates may be started from [n]): given, or that of the nearest candidate.

        Measured on a model of 8 kinds of blood cells, the nearest candidate is of the right class more often than
        the nearest mean of a class: 65 % against 56 % of 48 samples.
        """
        everything = torch.ones_like(distance, dtype=torch.bool)
        if self.statistics.class_means is None:
            return None, everything
        if given is None:
            return classes[1 + int(distance[1:].argmin())], everything
        return given, torch.tensor([c in (None, given) for c in classes], device=distance.device)

    def _draw(self, w: torch.Tensor, noise: list[torch.Tensor]) -> torch.Tensor:
        """w [n, D] or [n, L, D] -> images."""
        ws = w[:, None].expand(-1, self.generator.config.num_layers, -1) if w.ndim == 2 else w
        drawn: torch.Tensor = self.generator.synthesis(ws, noise=noise)
        return drawn

    def _stage_w(self, starts: torch.Tensor, steps: int) -> Iterator[State]:
        """One w for all layers, from several starts at once; half of them go after each third of the stage."""
        settings, spread = self.settings, self.statistics.spread
        n, copies, _ = starts.shape
        w = starts.flatten(0, 1).clone().requires_grad_(True)  # N·R D
        optimizer = torch.optim.Adam([w], betas=BETAS)
        random = torch.Generator().manual_seed(settings.seed)
        moved = torch.zeros_like(w, requires_grad=False)
        passes = self._passes_in_w(w, moved, copies)
        thirds = {math.ceil(steps / 3), math.ceil(steps * 2 / 3)}
        for step in range(steps):
            t = step / steps
            jitter = settings.jitter * spread * max(0.0, 1.0 - t / W_JITTER_UNTIL) ** 2
            moved.copy_(torch.randn(w.shape, generator=random).to(self.device) * jitter)
            gradient, losses, drawn = torch.zeros_like(w), [], []
            for one_pass in passes:
                loss, image, (found,) = one_pass()
                gradient += found
                losses.append(loss)
                drawn.append(image)
            loss = torch.cat(losses).view(n, copies)
            best = loss.argmin(1) + torch.arange(n, device=self.device) * copies
            self._images = torch.cat(drawn)[best]
            self._ws = w.detach()[best][:, None].repeat(1, self.generator.config.num_layers, 1)  # N L D
            w.grad = gradient
            self._adam(optimizer, [settings.lr * spread], t)
            if step in thirds and copies > 1:
                fewer = math.ceil(copies / 2)
                kept = loss.topk(fewer, largest=False).indices + torch.arange(n, device=self.device)[:, None] * copies
                w, optimizer = thinned(w, optimizer, kept.flatten())
                copies = fewer
                moved = torch.zeros_like(w, requires_grad=False)
                passes = self._passes_in_w(w, moved, copies)
            yield self._state("w", loss.min(1).values)

    def _passes_in_w(self, w: torch.Tensor, moved: torch.Tensor, copies: int) -> list[Callable[[], Pass]]:
        """The passes of a step of the w stage: loss, images and gradient by w of some rows of w + moved each."""
        owner = torch.arange(len(self.target), device=self.device).repeat_interleave(copies)

        def pass_over(part: slice) -> Callable[[], Pass]:
            noise = [layer[owner[part]] for layer in self._noise]
            loss_of = self.perceptual.objective(self.target[owner[part]])

            def work() -> Pass:
                image = self._draw(w[part] + moved[part], noise)
                loss = loss_of(image)
                return loss.detach(), image.detach(), torch.autograd.grad(loss.sum(), w)

            return repeated(work, self.device)

        return [pass_over(part) for part in self._parts(len(w))]

    def _stage_joint(self, name: str, steps: int, pace: float, noise: bool) -> Iterator[State]:
        """w+ (or w, where that is the space), with the noise inputs or without."""
        settings, spread = self.settings, self.statistics.spread
        common = settings.space == "w"
        ws = (self._ws[:, :1] if common else self._ws).clone().requires_grad_(True)
        maps = [layer.clone().requires_grad_(True) for layer in self._noise] if noise else []
        optimizer = torch.optim.Adam([{"params": [p]} for p in (ws, *maps)], betas=BETAS)
        rates = [settings.lr * pace * spread, *[settings.noise_lr] * len(maps)]

        def pass_over(part: slice) -> Callable[[], Pass]:
            loss_of = self.perceptual.objective(self.target[part])
            given = maps or self._noise

            def work() -> Pass:
                own = [layer[part] for layer in given]
                image = self._draw(ws[part].expand(-1, self.generator.config.num_layers, -1), own)
                loss = loss_of(image)
                total = loss.sum() + (settings.whiteness * autocorrelation(own).sum() if noise else 0.0)
                # layers above the present level of detail, and noise without strength, have no part in the image
                found = torch.autograd.grad(total, (ws, *maps), allow_unused=True)
                return loss.detach(), image.detach(), found

            return repeated(work, self.device)

        passes = [pass_over(part) for part in self._parts(len(ws))]
        for step in range(steps):
            gradients = [torch.zeros_like(p) for p in (ws, *maps)]
            losses, drawn = [], []
            for one_pass in passes:
                loss, image, found = one_pass()
                for sum_, gradient in zip(gradients, found, strict=True):
                    if gradient is not None:
                        sum_ += gradient
                losses.append(loss)
                drawn.append(image)
            for parameter, gradient in zip((ws, *maps), gradients, strict=True):
                parameter.grad = gradient
            self._images = torch.cat(drawn)
            self._adam(optimizer, rates, step / steps)
            renormalise(maps)
            self._ws = ws.detach().expand(-1, self.generator.config.num_layers, -1)
            if noise:
                self._noise = [layer.detach() for layer in maps]
            yield self._state(name, torch.cat(losses))

    def _parts(self, count: int) -> list[slice]:
        return list(batches(count, self.settings.batch))

    @staticmethod
    def _adam(optimizer: torch.optim.Adam, rates: list[float], t: float) -> None:
        """A step at share t of a stage: the learning rate rises linearly, then falls along a cosine."""
        down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1.0 - t) / RAMP_DOWN))
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * down * min(1.0, (t + 1e-3) / RAMP_UP)
        optimizer.step()


def thinned(w: torch.Tensor, optimizer: torch.optim.Adam, kept: torch.Tensor) -> tuple[torch.Tensor, torch.optim.Adam]:
    """Some rows of a parameter, with an Adam that remembers what it knew of them."""
    fewer = w.detach()[kept].clone().requires_grad_(True)
    made = torch.optim.Adam([fewer], betas=BETAS)
    state = optimizer.state[w]
    made.state[fewer] = {k: v[kept].clone() if v.ndim else v.clone() for k, v in state.items()}
    return fewer, made


def stack_targets(G: Generator, targets: Sequence[np.ndarray]) -> torch.Tensor:
    """uint8 [h, w, C] each -> [N, C, h, w] in [-1, 1]; UserError where one is no image of G's shape."""
    if not len(targets):
        raise UserError("nothing to project: give at least one image")
    wanted = (*target_size(G), G.config.channels)
    for image in targets:
        if image.dtype != np.uint8 or image.shape != wanted:
            raise UserError(f"a target of {image.shape} {image.dtype}: must be uint8 {wanted}; use read_target")
    return images.to_float(np.stack(list(targets)))


def check_classes(G: Generator, classes: Sequence[int | None] | None, count: int) -> list[int | None]:
    """One class or None per target; UserError for classes that G does not have."""
    found: list[int | None] = list(classes) if classes is not None else [None] * count
    if len(found) != count:
        raise ValueError(f"{len(found)} classes for {count} targets: give one per target, or none")
    for class_ in found:
        if class_ is not None and not 0 <= class_ < G.config.labels:
            has = f"classes 0-{G.config.labels - 1}" if G.config.labels else "no classes"
            raise UserError(f"class {class_}: this generator has {has}")
    return found


def psnr(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio in dB of images [N, C, h, w] in [-1, 1], both as 8 bits: [N]; 100 where equal."""
    eight = [(x.float() * 127.5 + 127.5).round().clamp(0, 255) for x in (a, b)]
    error = (eight[0] - eight[1]).square().mean((1, 2, 3))
    return (10.0 * torch.log10(255.0**2 / error.clamp_min(1e-10))).clamp_max(100.0)


def reconstructions(
    G: Generator, found: Sequence[Latents], target: torch.Tensor, perceptual: Pyramid
) -> list[Projected]:
    """Each image drawn from its latents, with its distances from the target [N, C, h, w]."""
    results = []
    for i, own in enumerate(found):
        image = draw(G, own)
        drawn = images.to_float(image)[None].to(target.device)
        wanted = target[i : i + 1]
        class_ = own.about.get("class")
        results.append(
            Projected(own, image, float(psnr(drawn, wanted)), float(perceptual.distance(drawn, wanted)), class_)
        )
    return results

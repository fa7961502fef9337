"""One training step of the discriminator and one of the generator, mirroring each other.

Order and details are those of the official program: the fakes of the D step carry the labels of the reals,
those of the G step are drawn from the data's labels; style mixing and the running mean of w act in both;
there is no truncation; G_ema follows G after the D step, before the G step.

Shapes: N global batch, n rows of one micro-batch of this process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from stylegan import lod as lods
from stylegan.config import Config
from stylegan.distributed import Processes
from stylegan.networks import Discriminator, Generator
from stylegan.ops.fade import fade_reals
from stylegan.ops.images import from_bytes
from stylegan.ops.switch import kernels, laid_out
from stylegan.training import losses
from stylegan.training.adam import Adam
from stylegan.training.augment import adapted, augment, draw_augmentation
from stylegan.training.beside import Beside
from stylegan.training.draws import LatentDraw, draw_latents, draw_noise, noise_buffer, noise_layers, seed_of, sent
from stylegan.training.ema import ema_beta, update_ema
from stylegan.training.graphs import Finish, Half, Pass, StaticHalves
from stylegan.training.memory import together
from stylegan.training.schedule import Point
from stylegan.training.statistics import STATISTICS, gradient_norm, means


@dataclass
class MicroBatch:
    """Samples that go through the networks together."""

    rows: torch.Tensor  # [n], their places in the global batch
    images: torch.Tensor  # uint8 [n, C, h, w]
    labels: torch.Tensor  # float [n, classes], of the reals
    drawn_labels: torch.Tensor  # float [n, classes], drawn for the G step


class Trainer:
    """G, D, the averaged G, and their optimizers, on one device."""

    def __init__(self, config: Config, processes: Processes | None = None) -> None:
        self.config = config
        self.processes = processes or Processes()
        device = self.processes.device
        torch.manual_seed(seed_of(config.training.seed, "weights") % 2**63)
        self.G = Generator(config.generator).to(device)
        self.D = Discriminator(config.discriminator).to(device)
        self.G_ema = Generator(config.generator).to(device).requires_grad_(False)
        update_ema(self.G_ema, self.G, 0.0)
        betas, eps = config.training.adam_betas, config.training.adam_eps
        self.adam_g = Adam(self.G.parameters(), config.schedule.lr, betas, eps)
        self.adam_d = Adam(self.D.parameters(), config.schedule.lr, betas, eps)
        self.d_steps = 0
        self.frozen: tuple[str, ...] = ()  # parts of D that training leaves as they are (FreezeD), as "blocks.3"
        self._half_done = -1  # nimg of the step whose D half is done
        self.given: dict[str, torch.Tensor] | None = None  # what a half step takes instead of drawing it (graphs)
        self.halves = StaticHalves(config, device)
        self.beside = Beside(device)
        self.statistics = torch.zeros(len(STATISTICS), device=device)
        self.augment_p = torch.tensor(config.augment.p, device=device)  # probability of each transformation
        self._set_precision()

    def _set_precision(self) -> None:
        precision = self.config.training.precision
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        for network in (self.G.synthesis, self.G_ema.synthesis, self.D):
            network.compute_dtype = dtype
        if self.processes.device.type == "cuda":
            for module in (self.G, self.G_ema, self.D):
                for p in module.parameters():  # as convolutions take them, so that none is rearranged in each pass
                    p.data = laid_out(p.data) if p.ndim == 4 else p.data
            torch.backends.cuda.matmul.allow_tf32 = precision != "fp32"
            torch.backends.cudnn.allow_tf32 = precision != "fp32"
            torch.backends.cudnn.benchmark = True  # few shapes, each used for hours
            # the host draws a few numbers and launches; to wake its idle threads for them took milliseconds
            torch.set_num_threads(1)

    def reset_optimizers(self) -> None:
        """Adam starts afresh, as officially whenever floor or ceil of lod changes."""
        self.adam_g.reset()
        self.adam_d.reset()
        self.halves.forget()

    def step(self, point: Point, nimg: int, micro_batches: Sequence[MicroBatch]) -> None:
        """One D step, the EMA update and one G step on a global batch; `nimg` images were shown before it.

        OutOfMemory, in every process, where one ran out: call it again with smaller micro-batches. What was
        done before is kept.
        """
        self.adam_d.set_lr(point.d_lr)
        self.adam_g.set_lr(point.g_lr)
        if self._half_done != nimg:
            self.d_step(point, nimg, micro_batches)
            self._half_done = nimg
        self.g_step(point, nimg, micro_batches)
        self._half_done = -1
        self.statistics[0] += 1

    def d_step(self, point: Point, nimg: int, micro_batches: Sequence[MicroBatch]) -> None:
        """Discriminator: reals against fakes, with the gradient penalty the configuration asks for; then G_ema."""
        config = self.config.loss
        penalised = self.d_steps % config.penalty_interval == 0
        self.G.requires_grad_(False)
        self.D.requires_grad_(True)
        for part in self.frozen:
            self.D.get_submodule(part).requires_grad_(False)
        self.adam_d.zero_grad(set_to_none=True)

        def one_pass(part: MicroBatch) -> tuple[torch.Tensor, torch.Tensor]:
            lod = self._lod(point)
            loss, penalty, real_scores, fake_scores, w = self._d_loss(point, part, lod, nimg, penalised)
            total = loss if penalty is None else loss + penalty * config.penalty_interval
            with self.beside.statistics.beside(self._static):
                row = means(point.batch, loss_d=loss, penalty=penalty, score_real=real_scores, score_fake=fake_scores)
                mean_w = w.sum(dim=0) / point.batch
            total.sum().div(point.batch).backward()
            self.beside.join()
            return row, mean_w

        def finish(sums: torch.Tensor, mean_w: torch.Tensor) -> None:
            sums[STATISTICS.index("penalty_steps")].fill_(float(penalised and self._has_penalty))
            sums[STATISTICS.index("grad_d")].copy_(gradient_norm(self.D))
            self.statistics += sums
            self._adapt_augmentation(sums, point.batch)
            self.adam_d.update()
            self.G.update_w_avg(mean_w)
            update_ema(self.G_ema, self.G, ema_beta(point.batch, self.config.training.ema_kimg))

        self._half(("d", penalised, point), nimg, micro_batches, one_pass, finish)
        self.d_steps += 1

    def g_step(self, point: Point, nimg: int, micro_batches: Sequence[MicroBatch]) -> None:
        """Generator: fakes against the discriminator as it stands."""
        config = self.config.loss
        paired = config.kind == "relativistic"
        self.D.requires_grad_(False)
        self.G.requires_grad_(True)
        self.adam_g.zero_grad(set_to_none=True)

        def one_pass(part: MicroBatch) -> tuple[torch.Tensor, torch.Tensor]:
            lod = self._lod(point)
            labels = part.labels if paired else part.drawn_labels
            with self.beside.ahead.used(self._static):
                fakes, w = self._fakes("g", point, lod, nimg, part, labels)
                fake_scores = self.D(self._augmented(fakes, "g", part, nimg, point.batch), labels, lod)
            if paired:
                reals = self._reals(part, lod, nimg, point.batch)
                with torch.no_grad():
                    real_scores = self.D(self._augmented(reals, "reals", part, nimg, point.batch), labels, lod)
                loss = losses.g_relativistic(fake_scores, real_scores)
            elif config.kind == "logistic":
                loss = losses.g_nonsaturating(fake_scores)
            else:
                loss = losses.g_wgan(fake_scores)
            with self.beside.statistics.beside(self._static):
                row, mean_w = means(point.batch, loss_g=loss), w.detach().sum(dim=0) / point.batch
            loss.sum().div(point.batch).backward()
            self.beside.join()
            return row, mean_w

        def finish(sums: torch.Tensor, mean_w: torch.Tensor) -> None:
            sums[STATISTICS.index("grad_g")].copy_(gradient_norm(self.G))
            self.statistics += sums
            self.adam_g.update()
            self.G.update_w_avg(mean_w)

        self._half(("g", False, point), nimg, micro_batches, one_pass, finish)

    def _half(self, key: Half, nimg: int, micro_batches: Sequence[MicroBatch], one_pass: Pass, finish: Finish) -> None:
        """The passes of a half step, the sum over processes, and what is done with it."""
        half, _, point = key
        network, adam = (self.D, self.adam_d) if half == "d" else (self.G, self.adam_g)
        if self.halves.take(len(micro_batches), point):
            static = self.halves.run(self, key, nimg, micro_batches[0], one_pass)
            adam.advance()
            self.halves.finish(self, static, finish)
            return
        sums, mean_w = torch.zeros_like(self.statistics), torch.zeros_like(self.G.w_avg)

        def passes() -> None:
            for part in micro_batches:
                row, w = one_pass(part)
                sums.add_(row)
                mean_w.add_(w)

        together(self.processes, passes)
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        self.processes.sum_([*gradients, sums, mean_w])
        adam.advance()
        finish(sums, mean_w)

    def _lod(self, point: Point) -> float:
        """The lod of a pass; where its inputs are given, its fade is one of them."""
        fade = None if self.given is None else self.given.get("fade")
        return point.lod if fade is None else lods.FadeInTensor(point.lod, fade)

    @property
    def _static(self) -> bool:
        """Whether this pass is of a static half step, for a graph: only there is work done beside other work."""
        return self.given is not None

    @property
    def _has_penalty(self) -> bool:
        config = self.config.loss
        return config.kind == "wgan-gp" or config.r1_gamma > 0 or config.r2_gamma > 0

    def _d_loss(
        self, point: Point, part: MicroBatch, lod: float, nimg: int, penalised: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor, torch.Tensor, torch.Tensor]:
        """(loss [n, 1], penalty [n, 1] or None, real scores [n, 1], fake scores [n, 1], w [n, D])."""
        config, batch = self.config.loss, point.batch
        r1, r2 = penalised and config.r1_gamma > 0, penalised and config.r2_gamma > 0

        def scores(images: torch.Tensor, purpose: str) -> torch.Tensor:
            return self.D(self._augmented(images, purpose, part, nimg, batch), part.labels, lod)

        penalties = []
        with self.beside.fakes.beside(self._static), self.beside.fakes_ahead.used(self._static):
            fakes, w = self._fakes("d", point, lod, nimg, part, part.labels)
            fakes.requires_grad_(r2)
            fake_scores = scores(fakes, "fakes")
            if r2:
                penalties.append(losses.r1_penalty(fake_scores, fakes, config.r2_gamma, lod))
        with self.beside.ahead.used(self._static):
            reals = self._reals(part, lod, nimg, batch).requires_grad_(r1)
            real_scores = scores(reals, "reals")
        if r1:
            penalties.append(losses.r1_penalty(real_scores, reals, config.r1_gamma, lod))
        self.beside.fakes.join()
        game = {
            "logistic": losses.d_logistic,
            "wgan-gp": losses.d_wgan,
            "hinge": losses.d_hinge,
            "relativistic": losses.d_relativistic,
        }[config.kind]
        loss = game(real_scores, fake_scores)
        if config.kind == "wgan-gp":
            loss = loss + losses.drift_penalty(real_scores, config.wgan_drift)
            if penalised:
                t = self._taken("between", lambda: self.draw_between(part, nimg, batch))
                between = losses.interpolate(reals.detach(), fakes.detach(), t).requires_grad_(True)
                penalties.append(
                    losses.wgan_penalty(scores(between, "fakes"), between, config.wgan_lambda, config.wgan_target, lod)
                )
        penalty = torch.stack(penalties).sum(dim=0)[:, None] if penalties else None
        return loss, penalty, real_scores, fake_scores, w

    def _draw(self, purpose: str, point: Point, nimg: int) -> tuple[LatentDraw, int]:
        seed = self.config.training.seed
        latents = draw_latents(
            self.config.generator, self.config.loss.mixing, point.lod, point.batch, seed_of(seed, purpose, nimg)
        )
        return latents, seed_of(seed, purpose, "noise", nimg)

    def _fakes(
        self, half: str, point: Point, lod: float, nimg: int, part: MicroBatch, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Images of the generator in training, [n, C, h, w], and their un-mixed w [n, D]."""
        synthesis, device = self.G.synthesis, self.processes.device
        if self.given is not None:
            given, noise = self.given, self.given["noise"]
            if "noise_seed" in given:
                with self.beside.noise.beside():
                    draw_noise(synthesis, lod, point.batch, given["noise_rows"], given["noise_seed"], noise)
        else:
            latents, noise_seed = self._draw(half, point, nimg)
            given = {k: sent(v, device) for k, v in latents.given(part.rows, self.G.config.num_layers).items()}
            noise = noise_buffer(synthesis, lod, len(part.rows), device)
            draw_noise(synthesis, lod, point.batch, part.rows, noise_seed, noise)
        w, ws = self._mapped(given, labels if self.G.config.labels else None)
        self.beside.noise.join()
        with self.beside.styles.offered() if self._static else nullcontext():
            return synthesis(ws, lod, noise_layers(synthesis, lod, noise) or "none"), w

    def _mapped(
        self, given: dict[str, torch.Tensor], one_hot: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """w [n, D] and mixed ws [n, L, D]; both latents of a sample go through the mapping network as one batch."""
        if not (self.G.config.styles and self.config.loss.mixing > 0):
            ws = self.G.mapping(given["z"], one_hot)
            return ws[:, 0], ws
        twice = None if one_hot is None else torch.cat([one_hot, one_hot])
        ws, mixed = self.G.mapping(torch.cat([given["z"], given["z_mixed"]]), twice).chunk(2)  # each n L D
        return ws[:, 0], torch.where(given["mixes"][None, :, None], mixed, ws)

    def _reals(self, part: MicroBatch, lod: float, nimg: int, batch: int) -> torch.Tensor:
        """Real images as the discriminator sees them: [-1, 1], mirrored, cross-faded; [n, C, h, w]."""
        images, flips = part.images.to(self.processes.device, non_blocking=True), None
        if self.config.data.mirror:
            flips = self._taken("flips", lambda: self.draw_flips(part, nimg, batch))
        return fade_reals(from_bytes(images, flips), lod)

    def _augmented(self, images: torch.Tensor, purpose: str, part: MicroBatch, nimg: int, batch: int) -> torch.Tensor:
        """What the discriminator is shown of images [n, C, h, w]: the same unless config.augment says otherwise."""
        policy = self.config.augment.policy
        if not policy:
            return images
        draws = self._taken(f"augment_{purpose}", lambda: self.draw_augmentation(purpose, part, nimg, batch))
        return augment(images, policy, draws, self._taken("augment_p", lambda: self.augment_p))

    # --- what is drawn on the host for some rows of a global batch -----------------------------------------------

    def _taken(self, name: str, draw: Callable[[], torch.Tensor]) -> torch.Tensor:
        return sent(draw(), self.processes.device) if self.given is None else self.given[name]

    def _host_generator(self, *purpose: int | str) -> torch.Generator:
        return torch.Generator().manual_seed(seed_of(self.config.training.seed, *purpose))

    def draw_flips(self, part: MicroBatch, nimg: int, batch: int) -> torch.Tensor:
        """Which reals are mirrored, bool [n]."""
        flip = torch.rand(batch, generator=self._host_generator("mirror", nimg)) >= 0.5
        return flip[part.rows]

    def draw_between(self, part: MicroBatch, nimg: int, batch: int) -> torch.Tensor:
        """Where WGAN-GP measures its gradient, [n, 1, 1, 1] in [0, 1)."""
        t = torch.rand(batch, 1, 1, 1, generator=self._host_generator("gp", nimg))
        return t[part.rows]

    def draw_augmentation(self, purpose: str, part: MicroBatch, nimg: int, batch: int) -> torch.Tensor:
        """Random numbers of the augmentation, [n, transformations, 4]."""
        seed = seed_of(self.config.training.seed, "augment", purpose, nimg)
        return draw_augmentation(self.config.augment.policy, batch, seed)[part.rows]

    def draw_all(
        self, half: str, point: Point, nimg: int, part: MicroBatch, into: dict[str, torch.Tensor] | None = None
    ) -> dict[str, torch.Tensor]:
        """Everything a half step ("d" or "g") takes from outside, by name, for `given`; partly on the host.

        into: what `given` was before; noise, which is large, is drawn where it lay, on a GPU by the half step itself.
        """
        config, device, batch = self.config, self.processes.device, point.batch
        latents, noise_seed = self._draw(half, point, nimg)
        room = into["noise"] if into else noise_buffer(self.G.synthesis, point.lod, len(part.rows), device)
        reals = half == "d" or config.loss.kind == "relativistic"
        found = {
            "labels": part.labels,
            "drawn_labels": part.drawn_labels,
            "noise": room,
            **latents.given(part.rows, config.generator.num_layers),
        }
        if kernels(room):
            found |= {"noise_seed": torch.tensor(noise_seed), "noise_rows": part.rows}
        else:
            draw_noise(self.G.synthesis, point.lod, batch, part.rows, noise_seed, room)
        if lods.fade_of(point.lod):
            found["fade"] = torch.full((), lods.fade_of(point.lod))
        if reals:
            found["images"] = part.images.to(device, non_blocking=True)
        if reals and config.data.mirror:
            found["flips"] = self.draw_flips(part, nimg, batch)
        if config.loss.kind == "wgan-gp" and half == "d":
            found["between"] = self.draw_between(part, nimg, batch)
        if config.augment.policy:
            found["augment_p"] = self.augment_p
            for purpose in ("reals", "fakes", "g"):
                found[f"augment_{purpose}"] = self.draw_augmentation(purpose, part, nimg, batch)
        return found

    def _adapt_augmentation(self, sums: torch.Tensor, batch: int) -> None:
        config = self.config.augment
        if config.policy and config.target is not None:
            sign_real = sums[STATISTICS.index("sign_real")]
            self.augment_p.copy_(adapted(self.augment_p, sign_real, config.target, batch, config.full_kimg))

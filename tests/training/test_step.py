"""One step: what enters the networks, what moves, and the details of the official program that are easy to miss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from stylegan import lod as lods
from stylegan.config import Config
from stylegan.ops.fade import fade_reals
from stylegan.training import schedule
from stylegan.training.batches import split_batch
from stylegan.training.draws import draw_latents, draw_noise, noise_buffer, noise_layers, rows_of_part, seed_of
from stylegan.training.schedule import Point
from stylegan.training.step import STATISTICS, MicroBatch, Trainer
from tests.training.small import pictures, small

# Adam divides a gradient by its size, so one that is zero but for rounding moves a weight by ±lr. A large epsilon
# makes steps smooth in the gradient, and so comparable.
SMOOTH = {"adam_eps": 0.1}
AT = {0.0: 100, 0.5: 84, 1.0: 60, 1.5: 36, 2.0: 0}  # lod -> images shown, in the small schedule


def point_at(config: Config, lod: float) -> Point:
    point = schedule.at(config.schedule, config.generator.top, AT[lod])
    assert point.lod == pytest.approx(lod, abs=1e-9)
    return point


def batch_at(config: Config, point: Point, trainer: Trainer, limit: int = 0) -> list[MicroBatch]:
    """The same global batch, divided into micro-batches of at most `limit`."""
    data = pictures(config.generator.channels)
    indices, drawn = np.arange(point.batch), np.arange(point.batch)[::-1] + 2
    parts = []
    for rows in split_batch(config, trainer.processes, point.batch, limit):
        images = torch.from_numpy(data.read(indices[rows], config.generator.size(point.level)))
        ours, others = data.labels(indices[rows]), data.labels(drawn[rows])
        keep = slice(None) if config.generator.labels else slice(0, 0)
        parts.append(MicroBatch(rows, images, torch.from_numpy(ours)[:, keep], torch.from_numpy(others)[:, keep]))
    return parts


def stepped(config: Config, lod: float, limit: int = 0, steps: int = 2) -> Trainer:
    trainer = Trainer(config)
    for p in trainer.G.parameters():  # so that noise and biases count
        p.data += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
    point = point_at(config, lod)
    for i in range(steps):
        trainer.step(point, point.nimg + i * point.batch, batch_at(config, point, trainer, limit))
    return trainer


# --- accumulation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lod", [0.0, 1.5])
@pytest.mark.parametrize(
    "loss", [{}, {"kind": "wgan-gp"}, {"kind": "relativistic", "r2_gamma": 2.0}, {"kind": "hinge"}], ids=str
)
def test_accumulation_changes_nothing_but_rounding(loss: dict[str, Any], lod: float) -> None:
    """16 samples in one pass, in 2 of 8 and in 4 of 4: groups of the minibatch stddev stay whole."""
    config = small(loss=loss, schedule={"batch": 16, "lr": 0.1}, training=SMOOTH)
    whole = stepped(config, lod)
    for limit in (8, 4):
        parts = stepped(config, lod, limit)
        torch.testing.assert_close(parts.statistics, whole.statistics, rtol=1e-4, atol=1e-5)
        for a, b in ((parts.G, whole.G), (parts.D, whole.D), (parts.G_ema, whole.G_ema)):
            for (name, value), other in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
                torch.testing.assert_close(value, other, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("batch", [4, 6, 8, 12, 16, 32])
@pytest.mark.parametrize("group", [0, 1, 4, 65536])
def test_parts_are_a_partition_that_keeps_groups(batch: int, group: int) -> None:
    for parts in (k for k in range(1, batch + 1) if batch % k == 0):
        rows = [rows_of_part(batch, j, parts, group) for j in range(parts)]
        assert sorted(torch.cat(rows).tolist()) == list(range(batch))
        members = min(max(group, 1), batch)
        if batch % members or (batch // members) % parts:
            continue  # groups cannot stay whole
        for part in rows:
            local = part.reshape(members, -1)  # as the stddev layer groups them
            columns = batch // members
            assert bool((local % columns == local[:1] % columns).all())


# --- w_avg, truncation, mixing ----------------------------------------------------------------------------


def test_w_avg_follows_the_unmixed_w_of_the_whole_batch_in_both_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    config = small(loss={"mixing": 1.0}, schedule={"batch": 8})
    trainer = Trainer(config)
    point = point_at(config, 0.0)
    batch = batch_at(config, point, trainer, limit=4)
    labels = torch.cat([part.labels for part in batch])
    drawn = torch.cat([part.drawn_labels for part in batch])
    order = torch.cat([part.rows for part in batch])
    expected = torch.zeros(8)
    for purpose, given in (("d", labels), ("g", drawn)):
        draw = draw_latents(config.generator, 1.0, 0.0, 8, seed_of(config.training.seed, purpose, point.nimg))
        assert draw.cutoff is not None
        with torch.no_grad():  # the mapping network has not moved before the G step
            w = trainer.G.mapping.w(draw.z[order], given)
        expected = expected * 0.995 + w.mean(dim=0) * 0.005
    trainer.step(point, point.nimg, batch)
    torch.testing.assert_close(trainer.G.w_avg, expected)
    monkeypatch.undo()


def test_training_never_truncates(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise AssertionError("truncated")

    config = small(generator={"truncation_psi": 0.1, "truncation_cutoff": 6})
    trainer = Trainer(config)
    monkeypatch.setattr(type(trainer.G), "truncate", fail)
    trainer.step(point_at(config, 0.0), 100, batch_at(config, point_at(config, 0.0), trainer))


@pytest.mark.parametrize("lod", [0.0, 0.5, 1.0, 1.5, 2.0])
def test_mixing_probability_and_cutoffs(lod: float) -> None:
    """0.9 of the batches mix, at a cutoff uniform in [1, active layers − 1]."""
    config = small().generator
    draws = [draw_latents(config, 0.9, lod, 2, seed_of("mix", i)).cutoff for i in range(3000)]
    cutoffs = [cutoff for cutoff in draws if cutoff is not None]
    assert len(cutoffs) / len(draws) == pytest.approx(0.9, abs=0.025)
    wanted = range(1, lods.active_layers(config.num_layers, lod))
    assert set(cutoffs) == set(wanted)
    for cutoff in wanted:
        assert cutoffs.count(cutoff) / len(cutoffs) == pytest.approx(1 / len(wanted), abs=0.04)
    assert all(draw_latents(config, 0.0, lod, 2, i).cutoff is None for i in range(20))
    assert all(draw_latents(config, 1.0, lod, 2, i).cutoff is not None for i in range(20))


def test_traditional_generators_do_not_mix() -> None:
    config = small(generator={"styles": False}).generator
    assert all(draw_latents(config, 1.0, 0.0, 2, i).cutoff is None for i in range(20))


def test_mixed_layers_take_the_second_latent(monkeypatch: pytest.MonkeyPatch) -> None:
    config = small(loss={"mixing": 1.0})
    trainer = Trainer(config)
    point = point_at(config, 0.0)
    (part,) = batch_at(config, point, trainer)
    latents, _ = trainer._draw("d", point, 0)
    assert latents.cutoff is not None
    seen = {}
    original = trainer.G.synthesis.forward
    monkeypatch.setattr(
        trainer.G.synthesis, "forward", lambda ws, *rest: seen.setdefault("ws", ws) is None or original(ws, *rest)
    )
    _, w = trainer._fakes("d", point, point.lod, 0, part, part.labels)
    first = trainer.G.mapping.w(latents.z[part.rows], part.labels)
    second = trainer.G.mapping.w(latents.z_mixed[part.rows], part.labels)
    assert torch.equal(w, first)
    for i in range(config.generator.num_layers):
        assert torch.equal(seen["ws"][:, i], first if i < latents.cutoff else second)


# --- what the discriminator sees --------------------------------------------------------------------------


def test_fakes_carry_the_labels_of_the_reals_in_d_and_drawn_ones_in_g(monkeypatch: pytest.MonkeyPatch) -> None:
    config = small()
    trainer = Trainer(config)
    point = point_at(config, 0.0)
    (part,) = batch_at(config, point, trainer)
    assert not torch.equal(part.labels, part.drawn_labels)
    calls: list[tuple[str, torch.Tensor]] = []
    mapping, discriminator = trainer.G.mapping.forward, trainer.D.forward

    def map_(z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        calls.append(("G", labels))
        return mapping(z, labels)

    def judge(images: torch.Tensor, labels: torch.Tensor, lod: float) -> torch.Tensor:
        calls.append(("D", labels))
        return discriminator(images, labels, lod)

    monkeypatch.setattr(trainer.G.mapping, "forward", map_)
    monkeypatch.setattr(trainer.D, "forward", judge)
    trainer.d_step(point, 0, [part])
    assert {name for name, _ in calls} == {"G", "D"}
    both = {"D": 1, "G": 2}  # latents of a sample that G's mapping network takes at once: those of style mixing too
    assert all(torch.equal(labels, part.labels.repeat(both[name], 1)) for name, labels in calls)
    calls.clear()
    trainer.g_step(point, 0, [part])
    assert all(torch.equal(labels, part.drawn_labels.repeat(both[name], 1)) for name, labels in calls)


@pytest.mark.parametrize("lod", [0.0, 0.5, 1.0])
def test_reals_are_mirrored_one_by_one_and_cross_faded(lod: float) -> None:
    config = small(schedule={"batch": 16})
    trainer = Trainer(config)
    point = point_at(config, lod)
    (part,) = batch_at(config, point, trainer)
    plain = fade_reals(part.images.float() / 127.5 - 1, point.lod)
    flips = []
    for nimg in range(40):
        reals = trainer._reals(part, point.lod, nimg, 16)
        for i in range(16):
            flipped = torch.allclose(reals[i], plain[i].flip(2))
            assert flipped != torch.allclose(reals[i], plain[i])
            flips.append(flipped)
    assert 0.4 < np.mean(flips) < 0.6
    assert any(0 < sum(flips[i : i + 16]) < 16 for i in range(0, len(flips), 16))
    unmirrored = Trainer(small(schedule={"batch": 16}, data={"mirror": False}))
    torch.testing.assert_close(unmirrored._reals(part, point.lod, 0, 16), plain)


def test_noise_is_fresh_per_sample_layer_and_step() -> None:
    synthesis = Trainer(small()).G.synthesis

    def drawn(rows: torch.Tensor, seed: int) -> list[torch.Tensor]:
        room = noise_buffer(synthesis, 0.0, len(rows), torch.device("cpu"))
        return noise_layers(synthesis, 0.0, draw_noise(synthesis, 0.0, 4, rows, seed, room))

    a, b = drawn(torch.arange(4), 1), drawn(torch.arange(4), 2)
    assert [tuple(n.shape[1:]) for n in a] == [(1, s, s) for s in (4, 4, 8, 8, 16, 16)]
    assert not torch.equal(a[0], b[0])
    assert not torch.equal(a[0], a[1])
    assert not torch.equal(a[0][0], a[0][1])
    part = drawn(torch.tensor([1, 3]), 1)
    assert torch.equal(part[2], a[2][[1, 3]])


# --- penalties --------------------------------------------------------------------------------------------


def gradients_of_d(config: Config, d_steps: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The gradients of D's step number `d_steps`, and its statistics."""
    trainer = Trainer(config)
    trainer.d_steps = d_steps
    trainer.adam_d.step = lambda closure=None: None  # type: ignore[method-assign]
    point = point_at(config, 0.5)
    trainer.d_step(point, point.nimg, batch_at(config, point, trainer))
    return {n: p.grad for n, p in trainer.D.named_parameters() if p.grad is not None}, trainer.statistics


@pytest.mark.parametrize("loss", [{}, {"kind": "wgan-gp"}, {"kind": "relativistic", "r2_gamma": 3.0}], ids=str)
def test_lazy_penalty_acts_every_kth_step_k_times_as_strong(loss: dict[str, Any]) -> None:
    """Over k steps on the same data the gradient is the one of k steps with the penalty each time."""
    every, sums = gradients_of_d(small(loss=loss), 0)
    k = 4
    lazy = [gradients_of_d(small(loss={**loss, "penalty_interval": k}), step) for step in range(2 * k)]
    for name, gradient in every.items():
        mean = torch.stack([step[0].get(name, torch.zeros_like(gradient)) for step in lazy]).mean(dim=0)
        torch.testing.assert_close(mean, gradient, rtol=1e-4, atol=1e-6)
    counted = [bool(step[1][STATISTICS.index("penalty_steps")]) for step in lazy]
    assert counted == [True, False, False, False] * 2
    shown = STATISTICS.index("penalty")  # reported as it is, not times k
    assert lazy[0][1][shown].item() == pytest.approx(sums[shown].item(), rel=1e-5)


def test_ema_moves_between_the_two_halves_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """G_ema takes in G as it was before this step's update of G, as officially."""
    config = small(training={"ema_kimg": 0.0})
    trainer = Trainer(config)
    point = point_at(config, 0.0)
    before = [p.detach().clone() for p in trainer.G.parameters()]
    trainer.step(point, 0, batch_at(config, point, trainer))
    assert all(torch.equal(a, b) for a, b in zip(trainer.G_ema.parameters(), before, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(trainer.G.parameters(), before, strict=True))


def test_only_the_layers_of_the_lod_are_trained() -> None:
    config = small()
    trainer = Trainer(config)
    before = {name: p.detach().clone() for name, p in trainer.D.named_parameters()}
    point = point_at(config, 1.0)
    trainer.reset_optimizers()
    trainer.step(point, 0, batch_at(config, point, trainer))
    moved = {name for name, p in trainer.D.named_parameters() if not torch.equal(p, before[name])}
    assert not any(name.startswith(("from_rgb.2", "blocks.1", "from_rgb.0")) for name in moved)
    assert any(name.startswith("from_rgb.1") for name in moved)

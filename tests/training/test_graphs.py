"""Static half steps (what a CUDA graph replays) are the plain ones; and no step waits for the device."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from stylegan.config import Config
from stylegan.config.presets import preset
from stylegan.distributed import Processes
from stylegan.networks import Replay
from stylegan.ops import packed
from stylegan.ops.switch import using_ops
from stylegan.training.graphs import StaticHalves
from stylegan.training.schedule import Point
from stylegan.training.step import MicroBatch, Trainer
from tests.training.small import small
from tests.training.test_step import batch_at, point_at

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "always mixing": {"loss": {"mixing": 1.0}},
    "lazy penalty": {"loss": {"penalty_interval": 2}},
    "wgan-gp": {"loss": {"kind": "wgan-gp"}},
    "relativistic": {"loss": {"kind": "relativistic", "r2_gamma": 1.0}},
    "augmented": {"augment": {"policy": ["flip", "translate", "brightness"], "p": 0.5, "target": 0.6}},
    "augmented by everything": {"augment": {"policy": ["bgc", "cutout"], "p": 0.5, "target": 0.6}},
    "no noise": {"generator": {"noise": False}},
    "bf16": {"training": {"precision": "bf16"}},
}


def configured(name: str, graphs: str) -> Config:
    changes = dict(CONFIGURATIONS[name])
    training = changes.pop("training", {})
    return small(training={"graphs": graphs, **training}, **changes)


def trained(config: Config, lods: list[float], device: str = "cpu") -> tuple[Trainer, list[int]]:
    """A trainer after two steps at each lod, and how many half steps were static."""
    trainer, static = Trainer(config, Processes(device=torch.device(device))), []
    original = trainer.halves.run
    trainer.halves.run = lambda *a: static.append(1) or original(*a)  # type: ignore[method-assign,func-returns-value]
    for lod in lods:
        point = point_at(config, lod)
        for i in range(2):
            nimg = point.nimg + i * point.batch
            parts = batch_at(config, point, trainer)
            for part in parts:
                part.labels, part.drawn_labels = part.labels.to(device), part.drawn_labels.to(device)
            trainer.step(point, nimg, parts)
    return trainer, static


def tensors(trainer: Trainer) -> dict[str, torch.Tensor]:
    found = {"statistics": trainer.statistics, "augment_p": trainer.augment_p}
    for name in ("G", "D", "G_ema"):
        found |= {f"{name}.{k}": v for k, v in getattr(trainer, name).state_dict().items()}
    return found


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_static_steps_are_the_plain_steps_to_the_last_bit(name: str) -> None:
    """Growing through a fade and back to a size known already, so that buffers are used again and dropped."""
    lods = [1.0, 0.5, 0.0, 0.0, 1.0]
    plain, none = trained(configured(name, "off"), lods)
    static, halves = trained(configured(name, "on"), lods)
    assert none == []
    assert len(halves) == 2 * 2 * len(lods)  # two halves of two steps at each, the fade too
    theirs = tensors(plain)
    different = [k for k, v in tensors(static).items() if not torch.equal(v, theirs[k])]
    assert not different


def test_where_half_steps_are_static() -> None:
    def takes(setting: str, device: str, micro_batches: int = 1, lod: float = 0.0) -> bool:
        halves = StaticHalves(small(training={"graphs": setting}), torch.device(device))
        return halves.take(micro_batches, Point(0, lod, 2, 16, 4, 1e-3, 1e-3, 1.0, 1, 1))

    assert takes("on", "cpu")
    assert not takes("on", "cpu", micro_batches=2)
    assert takes("on", "cpu", lod=0.5)
    assert not takes("off", "cuda")
    assert not takes("auto", "cpu")
    assert takes("auto", "cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_graphs_replay_the_plain_steps(name: str) -> None:
    """Network by network: Adam turns the last bits of tiny gradients into whole steps of single parameters.

    Where images are moved, gradients are added in an order that changes: two plain runs tell how much that does.
    """
    lods = [1.0, 0.5, 0.5, 0.0, 0.0]
    plain, again = (
        tensors(trained(configured(name, "off"), lods, "cuda")[0]) for _ in range(2)
    )
    graphs, _ = trained(configured(name, "on"), lods, "cuda")
    known = list(graphs.halves._known.values())
    assert known
    assert all(static.graph is not None and static.finish_graph is not None for static in known)
    for part in ("G.", "D.", "G_ema.", "statistics", "augment_p"):
        x, y, z = (
            torch.cat([v.flatten() for k, v in found.items() if k.startswith(part)])
            for found in (tensors(graphs), plain, again)
        )
        assert float((x - y).norm()) <= 2e-3 * float(y.norm()) + 4 * float((z - y).norm()), part


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize(("side", "packs"), [(64, 0), (256, 0), (128, 128)])
def test_gradients_of_graphs_with_their_branches_are_the_plain_ones(
    side: int, packs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At real widths, where branches run far ahead of each other: memory given to another too early shows here."""
    monkeypatch.setattr(packed, "_from_side", packs)

    def gradients(graphs: str) -> list[list[torch.Tensor]]:
        trainer = Trainer(preset("ffhq1024", 1024, changes={"training": {"graphs": graphs, "precision": "bf16"}}), gpu)
        draw = torch.Generator("cuda").manual_seed(1)
        with torch.no_grad():
            for parameter in (*trainer.G.parameters(), *trainer.D.parameters()):
                if parameter.ndim == 1:
                    parameter.copy_(0.1 * torch.randn(parameter.shape, generator=draw, device="cuda"))
        level, batch, found = side.bit_length() - 3, 8, []
        images = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8, device="cuda", generator=draw)
        none = torch.zeros(batch, 0, device="cuda")
        point = Point(0, float(trainer.config.generator.top - level), level, side, batch, 1e-3, 1e-3, 1.0, 1, 1)
        for adam in (trainer.adam_g, trainer.adam_d):
            monkeypatch.setattr(adam, "update", lambda: None)
        for i in range(3):
            trainer.step(point, 0, [MicroBatch(torch.arange(batch), images, none, none)])
            for network in (trainer.G, trainer.D) if i else ():  # what is recorded in the first step clears D's
                found.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
        return found

    gpu = Processes(device=torch.device("cuda"))
    plain, graphs = gradients("off"), gradients("on")
    for ours, wanted in zip(graphs, plain, strict=True):
        error = sum(float((x - y).square().sum()) for x, y in zip(ours, wanted, strict=True))
        assert error <= 1e-6 * sum(float(y.square().sum()) for y in wanted)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_what_graphs_have_trained_is_drawn_as_it_stands() -> None:
    """A graph changes weights unseen by PyTorch, whose versions tell `Replay` what to make anew."""
    config = small(training={"graphs": "on"})
    trainer, _ = trained(config, [0.0, 0.0], "cuda")
    draw, z = Replay(trainer.G_ema), torch.ones(2, config.generator.z_dim, device="cuda")
    labels, point, images = torch.tensor([0, 1], device="cuda"), point_at(config, 0.0), []
    for i in range(3):
        with torch.no_grad():
            images.append(draw(z, labels, noise="stored"))
            torch.testing.assert_close(images[-1], trainer.G_ema(z, labels, noise="stored"), rtol=1e-3, atol=1e-3)
        parts = batch_at(config, point, trainer)
        for part in parts:
            part.labels, part.drawn_labels = part.labels.cuda(), part.drawn_labels.cuda()
        trainer.step(point, point.nimg + (4 + i) * point.batch, parts)
    assert all(static.finish_graph is not None for static in trainer.halves._known.values())
    assert float((images[-1] - images[0]).abs().max()) > 1e-3


# --- no synchronisation -----------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("graphs", ["on", "off"])
def test_no_step_makes_the_host_wait_for_a_gpu(graphs: str) -> None:
    """Copies from memory that is not pinned wait too, which only the driver sees."""
    config = small(training={"graphs": graphs}, data={"mirror": True})
    trainer = Trainer(config, Processes(device=torch.device("cuda")))
    point = point_at(config, 0.0)
    parts = batch_at(config, point, trainer)
    for part in parts:
        part.images, part.labels, part.drawn_labels = (t.cuda() for t in (part.images, part.labels, part.drawn_labels))
    for i in range(4):  # compiled, chosen, recorded
        trainer.step(point, i * point.batch, parts)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for i in range(4, 7):
            trainer.step(point, i * point.batch, parts)
    finally:
        torch.cuda.set_sync_debug_mode("default")


WAITING = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal.default", "masked_select", "unique", "item")


class Watching(TorchDispatchMode):
    """Notes operators that would make the host wait for a GPU, but for those on the host's own random draws."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(word in str(func) for word in WAITING):
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("ops", ["reference", "fast"])
@pytest.mark.parametrize("graphs", ["on", "off"])
@pytest.mark.parametrize("name", ["plain", "wgan-gp", "augmented by everything"])
def test_no_step_waits_for_the_device(name: str, graphs: str, ops: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the second step on, without the host's own numbers: the mixing decision, and Adam's step counts on a CPU."""
    from stylegan.training import step

    config = small(training={"graphs": graphs}, **CONFIGURATIONS[name])
    trainer = Trainer(config)
    point = point_at(config, 0.0)
    parts = batch_at(config, point, trainer)
    draws = {half: step.draw_latents(config.generator, 1.0, 0.0, point.batch, 1) for half in ("d", "g")}
    monkeypatch.setattr(step, "draw_latents", lambda *a: draws["d"])
    with using_ops(ops):
        trainer.step(point, 0, parts)
        for adam in (trainer.adam_g, trainer.adam_d):
            monkeypatch.setattr(adam, "update", lambda: None)
        with Watching() as watching:
            trainer.step(point, point.batch, parts)
    assert watching.found == []

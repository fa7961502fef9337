"""Run by torchrun in tests: gradients summed beside the backward pass, against those summed after it.

    torchrun --nproc-per-node N -m tests.training.sums cpu|cuda

Three trainers with the same weights take the same steps, the first as static half steps (on GPUs: CUDA graphs); every
gradient of every step is compared with the second's. How far the third, which does as the second, is from it tells what
a GPU's order of additions makes of the same pass. At the end the networks of all processes are compared.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from stylegan import distributed
from stylegan import lod as lods
from stylegan.config.presets import preset
from stylegan.ops.switch import using_ops
from stylegan.training import exchange
from stylegan.training.batches import split_batch
from stylegan.training.faults import check_same
from stylegan.training.schedule import Point
from stylegan.training.step import MicroBatch, Trainer

REPEATS = 6


def gradients(trainer: Trainer, *step: Any) -> dict[str, torch.Tensor]:
    """All gradients of one step, as its optimizers take them."""
    found: dict[str, torch.Tensor] = {}
    for name, network, adam in (("D", trainer.D, trainer.adam_d), ("G", trainer.G, trainer.adam_g)):

        def advance(name: str = name, network: torch.nn.Module = network, adam: Any = adam) -> None:
            for part, p in network.named_parameters():
                if p.grad is not None:
                    found[f"{name}.{part}"] = p.grad.clone()
            type(adam).advance(adam)

        adam.advance = advance  # type: ignore[method-assign]
    trainer.step(*step)
    return found


def distances(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], where: str) -> list[tuple[float, str]]:
    """How far each gradient is from theirs, over its size and a ten-thousandth of the whole network's."""
    assert ours.keys() == theirs.keys()
    found = []
    for kind in ("D.", "G."):
        names = [name for name in theirs if name.startswith(kind)]
        size = torch.stack([theirs[name].norm() for name in names]).norm()
        for name in names:
            wrong = (ours[name] - theirs[name]).norm() / (theirs[name].norm() + 1e-4 * size)
            found.append((float(wrong), f"{name}, {where}"))
    return found


def compare(processes: distributed.Processes) -> None:
    device = processes.device.type
    exchange.BUCKET = 2**20 if device == "cuda" else 2**12  # many of them
    trainers = []
    for graphs in ("on", "off", "off"):
        changes: Any = {"training": {"precision": "fp32", "graphs": graphs}, "schedule": {"lr": 1e-9}}
        trainers.append(Trainer(preset("ffhq1024" if device == "cuda" else "tiny", 32, changes=changes), processes))
    config = trainers[0].config
    found: list[tuple[float, str]] = []
    again: list[tuple[float, str]] = []
    with using_ops("fast"):
        for level in (config.generator.top - 1, config.generator.top):
            batch, lod = 4 * processes.world, float(config.generator.top - level)
            point = Point(0, lod, level, lods.nominal(level), batch, 1e-9, 1e-9, 1.0, 1, 1)
            none = torch.zeros(4, 0, device=processes.device)
            for i in range(REPEATS):
                (rows,) = split_batch(config, processes, batch)
                generator = torch.Generator().manual_seed(i)
                shape = (batch, config.generator.channels, *config.generator.size(level))
                images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)[rows]
                parts = [MicroBatch(rows, images.to(processes.device), none, none)]
                ours, theirs, repeated = (gradients(trainer, point, i * batch, parts) for trainer in trainers)
                where = f"level {level}, step {i}"
                found += distances(ours, theirs, where)
                again += distances(repeated, theirs, where)
            known = trainers[0].halves._known.values()
            buckets = [len(half.exchange.buckets) for half in known if half.exchange is not None]
            assert len(buckets) == 2, buckets
            assert min(buckets) > 2, buckets
            assert all((half.graph is not None) == (device == "cuda") for half in known)
    for trainer in trainers:
        check_same(trainer, 0, Path())
        trainer.halves.forget()
    worst, noise = max(found), max(again)
    told = f"{len(found)} gradients, off by at most {worst[0]:.1e} ({worst[1]}); the same pass again by {noise[0]:.1e}"
    print(f"process {processes.rank}: {told} ({noise[1]}); {buckets} buckets", flush=True)
    assert noise[0] < 2e-2, sorted(again)[-10:]
    assert worst[0] < max(1e-4, 4 * noise[0]), sorted(found)[-10:]


if __name__ == "__main__":
    with distributed.start(sys.argv[1]) as together:
        compare(together)

"""The training data as the steps take it: which rows of a global batch, read ahead, with their labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from stylegan import lod as lods
from stylegan.config import Config
from stylegan.data.dataset import Dataset
from stylegan.data.loader import Loader, Request
from stylegan.data.sampler import epoch_indices, split
from stylegan.distributed import Processes
from stylegan.errors import UserError
from stylegan.training import schedule
from stylegan.training.draws import rows_of_part, seed_of, sent
from stylegan.training.schedule import Point
from stylegan.training.step import MicroBatch


def check_schedule(config: Config, world: int) -> None:
    """UserError for a schedule that never grows, or a batch that cannot be divided among `world` processes."""
    plan, top = config.schedule, config.generator.top
    first = plan.initial_resolution.bit_length() - 3 if plan.grow else top
    if first < top and plan.stable_kimg + plan.fade_kimg == 0:
        raise UserError(
            "schedule.stable_kimg 0 and schedule.fade_kimg 0: the networks would never grow; set schedule.grow "
            "false to train at full resolution from the start"
        )
    for level in range(first, top + 1):
        side = lods.nominal(level)
        batch = plan.batch_by_resolution.get(side, plan.batch)
        if batch % world:
            low = max(batch // world, 1) * world
            raise UserError(
                f"a batch of {batch} (at {side}x{side}) cannot be divided among {world} processes; set "
                f"schedule.batch or schedule.batch_by_resolution to a multiple of {world}, such as {low}, or use "
                f"another number of processes"
            )


def split_batch(config: Config, processes: Processes, batch: int, limit: int = 0) -> list[torch.Tensor]:
    """Rows [n] of the global batch for each micro-batch of this process, n at most `limit` (0 = no limit)."""
    own = batch // processes.world
    rounds = next(k for k in range(1, own + 1) if own % k == 0 and (limit == 0 or own // k <= limit))
    group, parts = config.discriminator.mbstd_group, processes.world * rounds
    return [rows_of_part(batch, processes.rank * rounds + j, parts, group) for j in range(rounds)]


class Batches:
    """Micro-batches in the order of the schedule, read ahead by threads; used as a context manager."""

    def __init__(self, config: Config, dataset: Dataset, processes: Processes, nimg: int, limit: int) -> None:
        self.config, self.dataset, self.processes = config, dataset, processes
        self.shown, _ = split(len(dataset), config.data.holdout)  # rows of the data set that are trained on
        self.limit = min(n for n in (limit, config.training.micro_batch, 1 << 30) if n)  # samples per pass
        self._loader = Loader(dataset, self._iterations(nimg), after=self._tensors)

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *exception: object) -> None:
        self._loader.close()

    def rows(self, batch: int) -> list[torch.Tensor]:
        """This process's rows of a global batch, by micro-batch."""
        return split_batch(self.config, self.processes, batch, self.limit)

    def next(self, point: Point, nimg: int) -> list[MicroBatch]:
        """The micro-batches of the step that follows `nimg` images."""
        images, labels = next(self._loader)
        conditional, device = self.config.generator.labels > 0, self.processes.device
        generator = torch.Generator().manual_seed(seed_of(self.config.training.seed, "labels", nimg))
        drawn = torch.from_numpy(self.shown)[torch.randint(len(self.shown), (point.batch,), generator=generator)]
        result, start = [], 0
        for rows in self.rows(point.batch):
            piece = slice(start, start + len(rows))
            ours, others = labels[piece], torch.from_numpy(self.dataset.labels(drawn[rows].numpy()))
            if not conditional:
                ours, others = ours[:, :0], others[:, :0]
            result.append(MicroBatch(rows, images[piece], sent(ours, device), sent(others, device)))
            start += len(rows)
        return result

    def _tensors(self, batch: tuple[np.ndarray, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        """Images and labels as tensors; for a GPU in memory that it fetches by itself while the host goes on."""
        images, labels = (torch.from_numpy(array) for array in batch)
        return images.pin_memory() if self.processes.device.type == "cuda" else images, labels

    def halve(self, point: Point, nimg: int) -> int:
        """Halves the micro-batch and reads again from the step after `nimg` images; the new limit.

        UserError where it is down to one sample.
        """
        now = len(self.rows(point.batch)[0])
        if now == 1:
            h, w = self.config.generator.size(point.level)
            raise UserError(
                f"out of memory at {w}x{h} with one sample at a time; train at a lower resolution (--resolution), "
                f"with fewer channels (generator. and discriminator.fmap_max), with --training.precision bf16, or "
                f"on a device with more memory"
            )
        self.limit = now // 2
        self._loader.close()
        done = (nimg - point.nimg) // point.batch  # steps of this look at the schedule
        self._loader = Loader(self.dataset, self._steps_from(point, done), after=self._tensors)
        return self.limit

    def _steps_from(self, point: Point, done: int) -> Iterator[Request]:
        repeats = self.config.schedule.repeats
        yield from (self._request(point, i) for i in range(done, repeats))
        yield from self._iterations(point.nimg + repeats * point.batch)

    def _iterations(self, start: int) -> Iterator[Request]:
        for point in schedule.iterations(self.config.schedule, self.config.generator.top, start):
            yield from (self._request(point, i) for i in range(self.config.schedule.repeats))

    def _request(self, point: Point, i: int) -> Request:
        """What this process has to read for the i-th step of a look at the schedule."""
        position = point.nimg + i * point.batch
        shown = self.shown[epoch_indices(self.config.training.seed, position, point.batch, len(self.shown))]
        rows: np.ndarray = torch.cat(self.rows(point.batch)).numpy()
        return Request(shown[rows], self.config.generator.size(point.level))

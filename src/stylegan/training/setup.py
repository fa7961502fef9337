"""What all processes of a training must agree on before it begins: the data, and a configuration that fits it."""

from __future__ import annotations

from stylegan.config import Config
from stylegan.data.dataset import Dataset
from stylegan.data.sampler import split
from stylegan.distributed import Processes
from stylegan.errors import UserError


def open_data(config: Config, processes: Processes) -> Dataset:
    """The data set of a configuration; the first process prepares it where that is still to be done."""
    from stylegan.data.cache import open_or_prepare

    if not config.data.path:
        raise UserError("data.path is empty: name a folder, a zip or a prepared data set, or pass dataset=")
    if processes.first:
        dataset = open_or_prepare(config.data.path)
        processes.barrier()
        return dataset
    processes.barrier()
    return open_or_prepare(config.data.path)


def agreed(config: Config, dataset: Dataset, processes: Processes) -> Config:
    """The first process's configuration with the data's identity; UserError where networks and data do not fit."""
    g = config.generator
    if tuple(g.resolution) not in [tuple(size) for size in dataset.levels]:
        sizes = ", ".join(f"{w}x{h}" for h, w in dataset.levels)
        raise UserError(
            f"generator.resolution {g.resolution[1]}x{g.resolution[0]}: the data set has the sizes {sizes}; "
            f"choose one of them, or prepare it again"
        )
    if g.channels != dataset.channels:
        raise UserError(f"generator.channels {g.channels}: the data set has {dataset.channels} channels")
    if g.labels not in (0, dataset.num_classes):
        raise UserError(f"generator.labels {g.labels}: the data set has {dataset.num_classes or 'no'} classes")
    split(len(dataset), config.data.holdout)  # UserError where that many cannot be held out
    data = config.data.model_copy(update={"fingerprint": dataset.fingerprint})
    config = processes.share(config.model_copy(update={"data": data}))
    if processes.any(config.data.fingerprint != dataset.fingerprint):
        raise UserError(f"{data.path}: the processes of this training see different data sets; give all the same")
    return config

"""Metrics during training: measured every so many kimg, the best model kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stylegan.config import Config
from stylegan.data.dataset import Dataset
from stylegan.distributed import Processes
from stylegan.networks import Generator
from stylegan.snapshot import save_snapshot, write_atomically

HIGHER_IS_BETTER = ("is", "pr", "dc", "ls_accuracy")


class Scoring:
    """What `training.metrics` asks for; nothing where it is empty.

    The first value of the first metric decides which model is kept as RUN/best.safetensors, with its number and
    place in RUN/best.json.
    """

    def __init__(self, config: Config, generator: Generator, run: Path, processes: Processes) -> None:
        self.run, self.processes = run, processes
        self.every = config.training.metrics_every_kimg * 1000
        self._metrics: Any = None
        if config.training.metrics:
            from stylegan.metrics.during_training import TrainingMetrics
            from stylegan.metrics.evaluation import Options

            options = Options(features=config.training.metrics_features or None, mirror=config.data.mirror)
            self._metrics = TrainingMetrics(generator, config.training.metrics, options, processes)

    def due(self, before: int, now: int, done: bool) -> bool:
        """Whether a measurement falls between two reports, or the training ends."""
        return self._metrics is not None and (done or int(before / self.every) != int(now / self.every))

    def measure(self, generator: Generator, dataset: Dataset, lod: float) -> dict[str, float]:
        """All metrics of a generator that draws at `lod`, in every process."""
        values: dict[str, float] = self._metrics.measure(generator, dataset, lod)
        return values

    def keep_if_best(
        self, values: dict[str, float], generator: Generator, config: Config, facts: dict[str, Any]
    ) -> bool:
        """Writes best.safetensors where no earlier model of this run was better; whether it did."""
        name, value = next(iter(values.items()))
        sign = -1 if name.startswith(HIGHER_IS_BETTER) else 1
        file = self.run / "best.json"
        if file.exists():
            best = json.loads(file.read_text())
            if best["kimg"] < facts["kimg"] and best["metric"] == name and sign * best["value"] <= sign * value:
                return False
        settings, facts = config.model_dump(mode="json"), facts | {"metrics": values}
        save_snapshot(self.run / "best.safetensors", generator, config=settings, training=facts)
        entry = {"metric": name, "value": value, "kimg": facts["kimg"]}
        write_atomically(file, json.dumps(entry, indent=1).encode())
        return True

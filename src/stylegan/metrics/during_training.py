"""Metrics while a model trains: `--metrics fid2k --every 200kimg`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from stylegan.data import Dataset
from stylegan.distributed import Processes
from stylegan.metrics.evaluation import Networks, Options, evaluate
from stylegan.metrics.protocols import parse_metrics
from stylegan.networks import Generator


class TrainingMetrics:
    """Metrics to be taken again and again of one training: networks stay open, data statistics are computed once.

    names: "fid2k,kid2k". Options as for `stylegan evaluate`. UserError at once where a name is unknown or a
    network's weights are missing, so that a training does not find out after hours.
    """

    def __init__(
        self,
        generator: Generator,
        names: str | Sequence[str],
        options: Options | None = None,
        processes: Processes | None = None,
    ) -> None:
        self.protocols = parse_metrics(names if isinstance(names, str) else ",".join(names))
        self.options = options or Options()
        self.processes = processes or Processes(device=generator.w_avg.device)
        self.networks = Networks(generator, self.options, generator.w_avg.device)
        for protocol in self.protocols:
            if protocol.kind != "ls":
                self.networks.of(protocol)

    def measure(self, generator: Generator, dataset: Dataset, lod: float | None = None) -> dict[str, float]:
        """Flat numbers, the same in every process: {"fid2k": 31.4, "pr2k3_precision": 0.6, ...}.

        All processes call it together. lod: what the generator draws at; None = its own.
        """
        options = replace(self.options, lod=lod)
        self.networks.options = options
        found = evaluate(generator, dataset, self.protocols, options, self.processes, networks=self.networks)
        values: dict[str, float] = self.processes.share(None if found is None else flat(found.metrics))
        return values


def flat(metrics: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Metrics of an evaluation as name -> number; those of several values get the value's name appended."""
    return {
        name if len(found["values"]) == 1 else f"{name}_{value}": float(number)
        for name, found in metrics.items()
        for value, number in found["values"].items()
    }


def evaluate_during_training(
    generator: Generator,
    dataset: Dataset,
    names: str | Sequence[str],
    options: Options | None = None,
    processes: Processes | None = None,
    lod: float | None = None,
) -> dict[str, float]:
    """`TrainingMetrics.measure` for a single time."""
    return TrainingMetrics(generator, names, options, processes).measure(generator, dataset, lod)

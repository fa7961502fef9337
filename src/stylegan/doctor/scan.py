"""One pass over all images in several processes. Facts are spooled to files, so that memory stays bounded."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stylegan.data.sources import Item
from stylegan.data.workers import IN_PROCESS, Report, default_workers, run_jobs
from stylegan.doctor.look import SMALL_BYTES, Facts, examine

PER_JOB = 256


@dataclass(frozen=True)
class ScanJob:
    """A range of items to look at; see `data.workers.Job`."""

    number: int
    items: Sequence[Item]
    out: str
    skip: dict[int, str] = field(default_factory=dict)
    journal: str | None = None

    def build(self, tick: Callable[[], None]) -> None:
        """Looks at the items and writes NUMBER.json and NUMBER.raw (small pictures)."""
        records: list[dict[str, Any]] = []
        pictures = bytearray()
        for index, item in enumerate(self.items):
            if self.journal:
                Path(self.journal).write_text(str(index))
            if index in self.skip:
                facts, picture = Facts(problem="unreadable", notes={"unreadable": self.skip[index]}), b""
            else:
                facts, picture = examine(item)
            records.append(asdict(facts))
            pictures += picture or bytes(SMALL_BYTES)
            tick()
        (Path(self.out) / f"{self.number:06d}.json").write_text(json.dumps(records))
        (Path(self.out) / f"{self.number:06d}.raw").write_bytes(pictures)


def scan(
    items: Sequence[Item],
    workers: int | None = None,  # processes; None = one per core
    report: Report = lambda done: None,
) -> tuple[list[Facts], np.ndarray]:
    """(facts of each item, uint8 [n, SMALL_BYTES] small pictures). OSError: no room for temporary files."""
    count = workers or (1 if len(items) < IN_PROCESS else default_workers())
    per_job = max(1, min(PER_JOB, -(-len(items) // (4 * count))))
    facts: list[Facts] = []
    pictures = np.empty((len(items), SMALL_BYTES), np.uint8)
    with tempfile.TemporaryDirectory(prefix="stylegan-doctor-") as folder:
        jobs = [
            ScanJob(number, items[start : start + per_job], folder)
            for number, start in enumerate(range(0, len(items), per_job))
        ]
        run_jobs(jobs, min(count, len(jobs)), report)
        for job in jobs:
            base = Path(folder) / f"{job.number:06d}"
            rows = np.fromfile(base.with_suffix(".raw"), np.uint8).reshape(-1, SMALL_BYTES)
            pictures[len(facts) : len(facts) + len(rows)] = rows
            facts += [Facts(**record) for record in json.loads(base.with_suffix(".json").read_text())]
    return facts, pictures

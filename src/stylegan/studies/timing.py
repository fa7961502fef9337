"""How far a study is, and how long the rest will take, from the rates measured in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stylegan.config import Config
from stylegan.lod import nominal
from stylegan.studies.jobs import Job, statistics
from stylegan.training.eta import Eta, human_time


class Clock:
    """Progress and time left of all jobs. Nothing is guessed before it has been measured once."""

    def __init__(self, jobs: Sequence[Job], slots: int) -> None:
        self.jobs, self.slots = list(jobs), slots
        self.configs: dict[str, Config] = {job.name: job.plan.config(job.run, job.seed) for job in self.jobs}
        self.done_nimg: dict[str, int] = {}
        self.rates: dict[str, dict[int, float]] = {}  # job -> level -> seconds per image
        self.measuring: dict[str, float] = {}  # job -> seconds of its finished measurement

    def look(self) -> None:
        """Reads how far every job is."""
        for job in self.jobs:
            reports = statistics(job.folder)
            self.done_nimg[job.name] = int(reports[-1]["nimg"]) if reports else 0
            self.rates[job.name] = _rates(reports)
            record = job.measured() if job.stage == "done" and job.name not in self.measuring else None
            if record is not None:
                self.measuring[job.name] = float(record["time"]["seconds"]["total"])

    def training_left(self, job: Job) -> float | None:
        """Seconds of training that a job still needs; None before any rate is known.

        A configuration that has not begun is taken to be as fast as one that has.
        """
        if job.trained() is not None:
            return 0.0
        eta = Eta(self.configs[job.name])
        others = [rates for name, rates in self.rates.items() if rates and name != job.name]
        for rates in [*others, self.rates.get(job.name, {})]:
            eta.measured.update(rates)
        return eta.remaining(self.done_nimg.get(job.name, 0))

    def left(self) -> tuple[float | None, bool]:
        """(seconds to the end, whether measurements are in that); None before any rate is known.

        Work is shared by the slots as evenly as it can be, and takes at least as long as its longest job.
        """
        open_jobs = [job for job in self.jobs if job.stage not in ("done", "failed")]
        each = sum(self.measuring.values()) / len(self.measuring) if self.measuring else None
        seconds = []
        for job in open_jobs:
            training = self.training_left(job)
            if training is None:
                return None, each is not None
            seconds.append(training + (each or 0.0))
        if not seconds:
            return 0.0, True
        return max(sum(seconds) / self.slots, max(seconds)), each is not None

    def share(self) -> float:
        """Of the work of all trainings the share that is done, weighed by arithmetic."""
        done = total = 0.0
        for job in self.jobs:
            eta = Eta(self.configs[job.name])
            eta.measured = {self.configs[job.name].generator.top: 1.0}
            whole = eta.remaining(0) or 1.0
            trained = job.trained() is not None
            total += whole
            done += whole if trained else whole - (eta.remaining(self.done_nimg.get(job.name, 0)) or 0.0)
        return done / max(total, 1e-9)

    def line(self) -> str:
        """One line for people: jobs done, those under way, and the time left."""
        self.look()
        count = sum(job.stage == "done" for job in self.jobs)
        seconds, complete = self.left()
        if seconds is None:
            time_left = "time left not known before the first report"
        else:
            time_left = f"about {human_time(seconds)} left" + ("" if complete else " + measurements, not timed yet")
        parts = [f"{count} of {len(self.jobs)} done", time_left]
        for job in self.jobs:
            if job.stage == "training":
                total = self.configs[job.name].schedule.total_kimg * 1000
                parts.append(f"{job.name} {100 * min(1.0, self.done_nimg[job.name] / total):.0f} %")
            elif job.stage == "measuring":
                parts.append(f"{job.name} is measured")
        return ", ".join(parts)


def _rates(reports: list[dict[str, Any]]) -> dict[int, float]:
    """Level -> seconds per image, as last reported there."""
    found = {}
    for report in reports:
        rate = report["time"].get("images_per_second")
        level = next((k for k in range(31) if nominal(k) >= report["schedule"]["resolution"]), 0)
        if rate:
            found[level] = 1.0 / float(rate)
    return found

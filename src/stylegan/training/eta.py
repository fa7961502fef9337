"""How long the rest of a training will take, knowing that later phases are slower.

The cost of an image at a level is taken from the rates measured at that level in this run. Levels not reached yet
cost what they cost before on this machine (`training.rates`), if the machine is as fast now as then; where that is
not known, the nearest level's cost is scaled by arithmetic (multiply-adds of both networks).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from stylegan.config import Config
from stylegan.config.schema import ImageShape
from stylegan.training import schedule as schedules


def multiply_adds(shape: ImageShape, level: int) -> float:
    """Multiply-adds per image of one network with levels 0..level, convolutions only."""
    total = 0.0
    for k in range(level + 1):
        h, w = shape.size(k)
        outer, inner = shape.fmaps(k + 1), shape.fmaps(max(k, 1))
        resampling = 4 if k else 0  # 4x4 kernel at stride 2: 4 taps per pixel of the larger image
        total += h * w * (9 * outer * outer + resampling * inner * outer)
    return total


class Eta:
    """Seconds per image by level, and the seconds that remain."""

    def __init__(self, config: Config, before: Mapping[int, float] | None = None) -> None:
        self.config = config
        self.before = dict(before or {})  # level -> seconds per image, of earlier trainings of this kind
        self.measured: dict[int, float] = {}  # the same, of this session
        self._starting: set[int] = set()  # levels of which only the first steps have been measured

    def record(self, level: int, seconds_per_image: float, starting: bool = False) -> None:
        """A measured rate; the latest counts most. `starting`: things were prepared too; it counts until the next."""
        if starting and level in self.measured:
            return
        old = None if level in self._starting else self.measured.get(level)
        (self._starting.add if starting else self._starting.discard)(level)
        self.measured[level] = seconds_per_image if old is None else 0.5 * (old + seconds_per_image)

    @property
    def typical(self) -> dict[int, float]:
        """What was measured once nothing was being prepared any more."""
        return {level: rate for level, rate in self.measured.items() if level not in self._starting}

    def seconds_per_image(self, level: int) -> float | None:
        """Measured, known from before, or extrapolated; None where nothing is known."""
        if level in self.measured:
            return self.measured[level]
        shared = [self.measured[k] / self.before[k] for k in self.measured if k in self.before]
        if level in self.before and (shared or not self.measured):
            return self.before[level] * (statistics.median(shared) if shared else 1.0)
        costs = self.measured or self.before
        if not costs:
            return None
        known = min(costs, key=lambda other: (abs(other - level), -other))
        g = self.config.generator
        return costs[known] * multiply_adds(g, level) / multiply_adds(g, known)

    def remaining(self, nimg: int) -> float | None:
        """Seconds from `nimg` images to the end of the schedule; None where nothing is known."""
        if not self.measured and not self.before:
            return None
        plan, top = self.config.schedule, self.config.generator.top
        starts = schedules.level_starts(plan, top)
        ends = [*(start for _, start in starts[1:]), plan.total_kimg * 1000]
        return sum(
            max(min(end, plan.total_kimg * 1000) - max(start, nimg), 0.0) * (self.seconds_per_image(level) or 0.0)
            for (level, start), end in zip(starts, ends, strict=True)
        )


def human_time(seconds: float | None) -> str:
    """'41 s', '12 min', '3 h 05 min', '2 d 4 h'; '?' for None."""
    if seconds is None:
        return "?"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"

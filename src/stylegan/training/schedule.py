"""What happens when: level of detail, batch, learning rate and tick length as pure functions of images shown.

Sources: Progressive GAN, section 2 and appendix A; StyleGAN, appendix C. One image more shown is the only
clock there is (`nimg`; kimg = nimg / 1000).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from stylegan import lod as lods
from stylegan.config import ScheduleConfig
from stylegan.config.schema import ImageShape


@dataclass(frozen=True)
class Point:
    """The schedule at one moment."""

    nimg: int
    lod: float  # 0 = full resolution
    level: int  # highest level in use
    resolution: int  # its nominal side, 4·2^level
    batch: int  # global batch
    g_lr: float
    d_lr: float
    tick_kimg: float  # kimg between reports
    phase: int  # 1-based: stable, fade, stable, fade, ..., stable
    phases: int

    @property
    def fading(self) -> bool:
        """Whether the highest level is still being faded in."""
        return lods.fade_of(self.lod) > 0

    @property
    def faded_in(self) -> float:
        """Share of the highest level that has been faded in: 1 while stable."""
        return 1.0 - lods.fade_of(self.lod)


def at(schedule: ScheduleConfig, top: int, nimg: int) -> Point:
    """The schedule of networks with levels 0..top after `nimg` images."""
    kimg = nimg / 1000.0
    first = (schedule.initial_resolution.bit_length() - 3) if schedule.grow else top
    lod = float(top - first)
    duration = schedule.stable_kimg + schedule.fade_kimg
    steps = math.floor(kimg / duration) if duration > 0 else 0
    lod -= steps
    if schedule.fade_kimg > 0:
        lod -= max(kimg - steps * duration - schedule.stable_kimg, 0.0) / schedule.fade_kimg
    lod = max(lod, 0.0)
    level = lods.level_of(lod, top)
    side = lods.nominal(level)
    lr = schedule.lr_by_resolution.get(side, schedule.lr)
    if schedule.lr_rampup_kimg > 0:
        lr *= min(kimg / schedule.lr_rampup_kimg, 1.0)
    return Point(
        nimg=nimg,
        lod=lod,
        level=level,
        resolution=side,
        batch=schedule.batch_by_resolution.get(side, schedule.batch),
        g_lr=lr,
        d_lr=lr * schedule.d_lr_scale,
        tick_kimg=schedule.tick_kimg_by_resolution.get(side, schedule.tick_kimg),
        phase=2 * (level - first) + (0 if lods.fade_of(lod) > 0 else 1),
        phases=2 * (top - first) + 1,
    )


def level_starts(schedule: ScheduleConfig, top: int) -> list[tuple[int, float]]:
    """(level, images shown when it begins to fade in) of every level that is trained, in order."""
    first = (schedule.initial_resolution.bit_length() - 3) if schedule.grow else top
    duration = schedule.stable_kimg + schedule.fade_kimg
    later = [(first + j, 1000 * (schedule.stable_kimg + (j - 1) * duration)) for j in range(1, top - first + 1)]
    return [(first, 0.0), *later]


def resets_optimizer(before: float, now: float) -> bool:
    """Whether Adam's state starts afresh between two lods: whenever floor or ceil changes, and at the start.

    `before` is −1 before the first step.
    """
    return math.floor(before) != math.floor(now) or math.ceil(before) != math.ceil(now)


def iterations(schedule: ScheduleConfig, top: int, start: int) -> Iterator[Point]:
    """The schedule as it is looked at: once every `repeats` minibatches, from `start` images to the end."""
    nimg = start
    while nimg < schedule.total_kimg * 1000:
        point = at(schedule, top, nimg)
        yield point
        nimg += point.batch * schedule.repeats


def shortfall(schedule: ScheduleConfig, shape: ImageShape) -> str:
    """In words, that a schedule ends before the full size is trained; '' where it does not."""
    end = at(schedule, shape.top, int(schedule.total_kimg * 1000))
    if end.lod == 0:
        return ""
    (h, w), (full_h, full_w) = shape.size(end.level), shape.resolution
    start = level_starts(schedule, shape.top)[-1][1] / 1000 + schedule.fade_kimg
    return (
        f"{schedule.total_kimg:g} kimg end at {w}x{h}: {full_w}x{full_h} is trained from {start:g} kimg on; train "
        f"longer (--kimg), grow sooner (schedule.stable_kimg, schedule.fade_kimg), or not at all (schedule.grow false)"
    )


def describe(point: Point, width: int, height: int) -> str:
    """For people: 'fading in 64x64, 40 %, phase 4 of 9'; width and height are the level's size."""
    if point.phases == 1:
        return f"training {width}x{height}"
    what = f"fading in {width}x{height}, {100 * point.faded_in:.0f} %" if point.fading else f"training {width}x{height}"
    return f"{what}, phase {point.phase} of {point.phases}"

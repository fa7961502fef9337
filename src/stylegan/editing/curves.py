"""Curves through keyframes: broken lines and cubic splines, open or closed, at any times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stylegan import latents
from stylegan.errors import UserError

EASINGS = ("linear", "smooth", "hold")


class Curve:
    """values [K, ...] at increasing times [K]; with a period the last leads on to the first, period after time 0.

    easing of the way from each keyframe to the next: "linear", "smooth" (slow at both ends) or "hold" (a jump at
    the end). A spline is the cubic one with continuous second derivative, natural at open ends.
    """

    def __init__(
        self,
        times: Sequence[float],
        values: np.ndarray,
        period: float | None = None,
        spline: bool = False,
        easings: Sequence[str] | None = None,
    ) -> None:
        self.easings = list(easings or ["linear"] * len(times))
        for easing in self.easings:
            if easing not in EASINGS:
                raise UserError(f"easing {easing!r}: must be one of {', '.join(EASINGS)}")
        self.count = len(times)
        self.times = np.asarray(times, np.float64)
        self.values = np.asarray(values, np.float64)
        if period is not None and self.count > 1:
            self.times = np.append(self.times, self.times[0] + period)
            self.values = np.concatenate([self.values, self.values[:1]])
        if np.any(np.diff(self.times) <= 0):
            raise UserError("keyframes must have increasing times, all of them before the end of the clip")
        self.period = period
        self.bend: np.ndarray | None = None
        if spline and self.count > 2:
            self.bend = second_derivatives(self.times, self.values, period is not None)

    def place(self, t: float) -> tuple[int, int, float]:
        """(keyframe before, keyframe after, eased share of the way between them in [0, 1]) at time t."""
        if self.count == 1:
            return 0, 0, 0.0
        if self.period is not None:
            t = self.times[0] + (t - self.times[0]) % self.period
        i = int(np.clip(np.searchsorted(self.times, t + 1e-9, side="right") - 1, 0, len(self.times) - 2))
        share = float(np.clip((t - self.times[i]) / (self.times[i + 1] - self.times[i]), 0.0, 1.0))
        share = 0.0 if share < 1e-9 else 1.0 if share > 1 - 1e-9 else share
        if self.easings[i] == "hold":
            share = 0.0 if share < 1.0 else 1.0
        else:
            share = float(latents.ease(np.array(share), self.easings[i]))
        return i, (i + 1) % self.count, share

    def __call__(self, t: float) -> np.ndarray:
        """The value at time t, [...]; exactly a keyframe's at its time."""
        i, _, share = self.place(t)
        if share == 0.0:
            return np.asarray(self.values[i])
        if share == 1.0:
            return np.asarray(self.values[i + 1])
        mixed = self.values[i] * (1 - share) + self.values[i + 1] * share
        if self.bend is None:
            return np.asarray(mixed)
        step, a, b = self.times[i + 1] - self.times[i], 1 - share, share
        return np.asarray(mixed + step**2 / 6 * ((a**3 - a) * self.bend[i] + (b**3 - b) * self.bend[i + 1]))


def second_derivatives(times: np.ndarray, values: np.ndarray, closed: bool) -> np.ndarray:
    """Of the interpolating cubic spline at its knots, [K, ...]; natural, or periodic where the last value is the first.

    Equality of first derivatives at each inner knot gives one linear equation per knot.
    """
    count, steps = len(times), np.diff(times)
    slopes = np.diff(values.reshape(count, -1), axis=0) / steps[:, None]
    matrix, right = np.zeros((count, count)), np.zeros((count, slopes.shape[1]))
    for i in range(1, count - 1):
        matrix[i, i - 1 : i + 2] = steps[i - 1] / 6, (steps[i - 1] + steps[i]) / 3, steps[i] / 6
        right[i] = slopes[i] - slopes[i - 1]
    matrix[0, 0] = matrix[-1, -1] = 1.0
    if closed:
        matrix[-1, 0] = -1.0  # the same at both ends
        matrix[0, 0] = (steps[0] + steps[-1]) / 3
        matrix[0, 1] += steps[0] / 6
        matrix[0, -2] += steps[-1] / 6
        right[0] = slopes[0] - slopes[-1]
    return np.linalg.solve(matrix, right).reshape(values.shape)

"""From the measures of a run's reports to what is wrong with it: pure functions of the history.

The numbers below were chosen between measured healthy and sick runs; docs/is-it-working.md has both. Each finding
begins and ends at different values, so that it does not come and go, and needs several reports in a row: a phase
that has just begun, or a run of a few steps, says nothing yet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stylegan.config import Config

Entry = dict[str, Any]  # a report as in stats.jsonl

WARM_STEPS = 100  # steps before the first report that counts
IN_A_ROW = 3  # reports that must agree before anything is found

COLLAPSED, RECOVERED = 0.45, 0.55  # diversity relative to the data's
COLLAPSED_WITHIN, RECOVERED_WITHIN = 0.25, 0.35  # the same within classes, which are learned later
TWINS, FEW_TWINS = 0.5, 0.3  # share of fakes with a nearly identical other one
LEARNED_BY_HEART, NOT_BY_HEART = 0.2, 0.15  # r_v; to begin, less twice its standard error
CERTAIN, LESS_CERTAIN = 0.97, 0.9  # sign(D(real)) and -sign(D(fake)), where no image is held out
PASSES = 20  # over the data, before D can have learned it by heart
SILENT, HEARD = 0.1, 0.2  # D(real) - D(fake), of losses whose natural scale is 1,
UNFINISHED = 0.15  # while the distance to the data is larger than this: alike scores of like images are success
MUCH_WORSE, WORSE, BETTER = 5.0, 1.5, 1.15  # D's loss relative to guessing: once, twice, and to end
AWAY = (1.75, 0.25), (3.0, 0.1)  # distance to the data relative to the best so far, and at least so large;
RETURNED = (1.5, 0.2), (2.0, 0.08)  # the nearer the run has been, the sooner a way back to the start tells
FAR, NEAR = 0.6, 0.45  # distance to the data relative to that between two of its images
STUCK_REPORTS, STUCK_STEPS = 6, 250  # over which the distance has to fall by a tenth

# D's loss where it tells real from fake no better than a coin
GUESSING = {"logistic": 2 * math.log(2), "relativistic": math.log(2), "hinge": 2.0}


@dataclass(frozen=True)
class Finding:
    """Something that is wrong: a stable code, since when (kimg), and the measures that say so."""

    code: str
    since: float
    numbers: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """For stats.jsonl."""
        return {"code": self.code, "since": self.since, **self.numbers}


@dataclass(frozen=True)
class View:
    """The reports that count, newest last, and whether the finding in question held before."""

    entries: list[Entry]
    config: Config
    held: bool
    early: Sequence[Entry]  # all reports, also those that come too early to count

    def level(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those of the newest one's resolution, fully faded in: while a level fades in, its images get worse."""
        alike = [entry["schedule"] for entry in entries]
        keep = [s["resolution"] == self.resolution and s.get("lod", 0.0) % 1 == 0 for s in alike]
        return [entry for entry, kept in zip(entries, keep, strict=True) if kept]

    @property
    def resolution(self) -> int:
        """Of the newest report."""
        return int(self.early[-1]["schedule"]["resolution"])

    def last(self, name: str, count: int = IN_A_ROW) -> list[float]:
        """A measure in the last reports; [] where it is missing in one of them."""
        values = [value_of(entry, name) for entry in self.entries[-count:]]
        return [v for v in values if v is not None] if len(values) == count and None not in values else []


def judge(history: Sequence[Entry], config: Config) -> list[Finding]:
    """What is wrong at the last report of a history, in the order of RULES."""
    if not history:
        return []
    before = {f["code"]: f for entry in history[-2:-1] for f in entry.get("health", {}).get("findings", [])}
    entries = warm(history)
    findings = []
    for code, rule in RULES.items():
        numbers = rule(View(entries, config, code in before, history))
        if numbers is not None:
            since = before[code]["since"] if code in before else history[-1]["nimg"] / 1000
            findings.append(Finding(code, since, {name: round(value, 4) for name, value in numbers.items()}))
    return findings


def warm(history: Sequence[Entry]) -> list[Entry]:
    """The reports with measures that begin after WARM_STEPS steps of the run."""
    steps, start, kept = 0.0, 0, []
    for entry in history:
        if steps >= WARM_STEPS and "distance" in entry.get("health", {}):
            kept.append(entry)
        steps += (entry["nimg"] - start) / max(entry["schedule"].get("batch", 1), 1)
        start = entry["nimg"]
    return kept


def value_of(entry: Entry, name: str) -> float | None:
    """A measure or a loss of a report."""
    value = entry.get("health", {}).get(name, entry["loss"].get(name))
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


# --- rules: the numbers that convince, or None ------------------------------------------------------------


def _collapse(view: View) -> dict[str, float] | None:
    """Fakes hardly differ, or many are the same (within a class, where there are classes)."""
    overall, within, twins = view.last("diversity"), view.last("diversity_within"), view.last("twins")
    if not overall or not twins:
        return None
    numbers = {"diversity": overall[-1], "twins": twins[-1]}
    limit, within_limit = (RECOVERED, RECOVERED_WITHIN) if view.held else (COLLAPSED, COLLAPSED_WITHIN)
    count = 1 if view.held else IN_A_ROW
    if within and max(within[-count:]) < within_limit:
        return numbers | {"diversity": within[-1]}
    same = min(twins[-count:]) > (FEW_TWINS if view.held else TWINS)
    return numbers if same or max(overall[-count:]) < limit else None


def _overfitting(view: View) -> dict[str, float] | None:
    """D scores images it was trained on higher than those it was not; or is certain of few images seen often."""
    overfit, error = view.last("overfit"), view.last("overfit_error")
    if view.config.data.holdout:
        if not overfit:
            return None
        numbers = {"overfit": overfit[-1], "overfit_error": error[-1]}
        sure = [value - 2 * e for value, e in zip(overfit, error, strict=True)]
        if view.held:
            return numbers if overfit[-1] > NOT_BY_HEART else None
        return numbers if min(sure) > LEARNED_BY_HEART else None
    real, fake, distance = view.last("sign_real"), view.last("sign_fake"), view.last("distance")
    passes = view.last("passes")
    if not real or not fake or not passes or passes[0] < PASSES:
        return None
    certain = [min(r, -f) for r, f in zip(real, fake, strict=True)]
    numbers = {"sign_real": real[-1], "sign_fake": fake[-1], "passes": passes[-1]}
    if view.held:
        return numbers if certain[-1] > LESS_CERTAIN else None
    return numbers if min(certain) > CERTAIN and max(distance) < FAR else None


def _vanishing(view: View) -> dict[str, float] | None:
    """D scores reals and fakes alike, so that its gradient tells G nothing."""
    gap, distance = view.last("gap"), view.last("distance")
    if not gap or view.config.loss.kind not in GUESSING:
        return None
    numbers = {"gap": gap[-1], "grad_g": view.last("grad_g", 1)[-1], "loss_d": view.last("loss_d", 1)[-1]}
    if view.held:
        return numbers if abs(gap[-1]) < HEARD and distance[-1] > UNFINISHED / 2 else None
    return numbers if max(abs(value) for value in gap) < SILENT and min(distance) > UNFINISHED else None


def _divergence(view: View) -> dict[str, float] | None:
    """D is worse than guessing again and again, or the fakes move away from the data."""
    guess = GUESSING.get(view.config.loss.kind)
    loss = [entry["loss"]["loss_d"] for entry in view.early[-2 * IN_A_ROW :]]
    if guess is not None:
        often = max(loss) > MUCH_WORSE * guess or sum(value > WORSE * guess for value in loss) > 1
        if often or (view.held and max(loss) > BETTER * guess):
            return {"loss_d": max(loss), "guessing": guess}
    faded_in = replace(view, entries=view.level(view.entries))
    distance = faded_in.last("distance", 1 if view.held else IN_A_ROW)
    if not distance:  # early in a level: what was found before stays
        now = view.last("distance", 1) if view.held else []
        return {"distance": now[-1], "distance_best": now[-1]} if now else None
    best = min(value for entry in view.level(view.early) if (value := value_of(entry, "distance")) is not None)
    numbers = {"distance": distance[-1], "distance_best": best}
    nearest = min(max(times * best, least) for times, least in (RETURNED if view.held else AWAY))
    return numbers if min(distance) > nearest else None


def _no_progress(view: View) -> dict[str, float] | None:
    """Fakes are far from the data and come no nearer."""
    if view.held:
        now, before = view.last("distance", 1), view.last("distance", 2)
        far = bool(now) and now[-1] > NEAR
        return {"distance": now[-1], "distance_before": (before or now)[0]} if far else None
    view = replace(view, entries=view.level(view.entries))
    count = STUCK_REPORTS
    while len(view.entries) > count and _steps(view.entries[-count:]) < STUCK_STEPS:
        count += 1
    distance = view.last("distance", count)
    if not distance or _steps(view.entries[-count:]) < STUCK_STEPS:
        return None
    half = count // 2
    stuck = min(distance) > FAR and min(distance[half:]) > 0.9 * min(distance[:half])
    return {"distance": distance[-1], "distance_before": distance[0]} if stuck else None


def _steps(entries: Sequence[Entry]) -> float:
    return float((entries[-1]["nimg"] - entries[0]["nimg"]) / max(entries[-1]["schedule"].get("batch", 1), 1))


RULES: dict[str, Callable[[View], dict[str, float] | None]] = {
    "divergence": _divergence,
    "collapse": _collapse,
    "overfitting": _overfitting,
    "vanishing": _vanishing,
    "no-progress": _no_progress,
}

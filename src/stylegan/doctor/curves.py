"""The curves of runs from their stats.jsonl, as one picture: losses, scores, diversity, norms, findings."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stylegan.errors import UserError

# panels: title, (label, where in an entry) of each curve, whether the axis is logarithmic
HELD_OUT = (("loss.", "real"), ("health.", "heldout"), ("health.", "train"))
PANELS: tuple[tuple[str, tuple[tuple[str, str], ...], bool], ...] = (
    ("losses", (("D", "loss.loss_d"), ("G", "loss.loss_g")), False),
    (
        "mean sign of D's score",
        (("reals, in training", "loss.sign_real"), ("held-out reals", "held_out.sign"),
         ("fakes, in training", "health.sign_fake")),
        False,
    ),
    (
        "mean score of D",
        (("reals, in training", "loss.score_real"), ("held-out reals", "held_out.score"),
         ("fakes, in training", "loss.score_fake")),
        False,
    ),
    (
        "fakes beside the data",
        (("diversity", "health.diversity"), ("diversity within classes", "health.diversity_within"),
         ("distance", "health.distance"), ("overfitting of D", "health.overfit")),
        False,
    ),
    ("gradient norms, slope of D", (("G", "health.grad_g"), ("D", "health.grad_d"), ("slope²", "health.r1")), True),
    ("norms", (("weights of G", "health.weight_g"), ("weights of D", "health.weight_d"), ("w_avg", "health.w_avg")),
     True),
)  # fmt: skip


def plot_runs(runs: Sequence[str | Path], out: str | Path) -> Path:
    """Draws the curves of some runs, one column of panels for each, over kimg; returns `out`.

    Grey bands are fades, red bars findings. Format by the suffix of `out`: .png, .svg or .pdf. UserError where
    matplotlib (extra `plots`) is missing, or no run has reported yet.
    """
    out = Path(out)
    if out.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UserError(f"--plot {out}: the format is told by the name; end it with .png, .svg or .pdf")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("plots need matplotlib, which is missing; pip install 'stylegan-torch[plots]'") from None
    logs = {Path(run): entries for run in runs if (entries := read_entries(Path(run)))}
    if not logs:
        raise UserError("none of these runs has reported anything yet; wait for the first line of stats.jsonl")
    width = max(2.8, 6.2 - 0.7 * len(logs))
    figure = Figure(figsize=(1 + width * len(logs), 1.5 + 1.7 * len(PANELS)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(PANELS), len(logs), sharex="col", squeeze=False)
    told: set[str] = set()  # curves that a legend names already
    for column, (run, entries) in enumerate(logs.items()):
        axes[0][column].set_title(run.name, fontweight="bold")
        for row, panel in enumerate(PANELS):
            if column == 0:
                axes[row][column].set_ylabel(panel[0])
            _draw(axes[row][column], panel, entries, told)
        axes[-1][column].set_xlabel("kimg")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.tmp")
    figure.savefig(temporary, format=out.suffix[1:].lower(), dpi=80)
    temporary.replace(out)
    return out


def _draw(axis: Any, panel: tuple[str, tuple[tuple[str, str], ...], bool], entries: Any, told: set[str]) -> None:
    """One panel. A curve has the same colour in every run; a legend stands where there is one not in `told` yet."""
    title, curves, logarithmic = panel
    new = False
    for i, (label, where) in enumerate(curves):
        points = [(entry["kimg"], value_at(entry, where)) for entry in entries]
        points = [(x, y) for x, y in points if y is not None and (y > 0 or not logarithmic)]
        if points:
            axis.plot(*zip(*points, strict=True), label=label, color=f"C{i}", linewidth=1.2)
            new |= where not in told
            told.add(where)
    axis.grid(alpha=0.3)
    values = [abs(y) for line in axis.get_lines() for y in line.get_ydata()]
    if logarithmic or (values and max(values) > 50):
        axis.set_yscale("log" if logarithmic else "symlog")
    before = 0.0
    for entry in entries:
        if float(entry.get("schedule", {}).get("lod", 0)) % 1 > 0:
            axis.axvspan(before, entry["kimg"], color="0.92", linewidth=0)
        codes = [finding["code"] for finding in entry.get("health", {}).get("findings", [])]
        if codes:
            axis.axvspan(before, entry["kimg"], ymin=0.95, color="tab:red", alpha=0.7, linewidth=0)
        before = entry["kimg"]
    if new:
        axis.legend(fontsize=7, loc="best", framealpha=0.6)
    if title == "losses":
        _name_findings(axis, entries)


def _name_findings(axis: Any, entries: list[dict[str, Any]]) -> None:
    """Writes the code of each finding where it begins, below the red bar."""
    seen: set[str] = set()
    for entry in entries:
        codes = {finding["code"] for finding in entry.get("health", {}).get("findings", [])}
        new = ", ".join(sorted(codes - seen))
        if new:
            place = axis.get_xaxis_transform()
            side = "right" if entry["kimg"] > 0.5 * entries[-1]["kimg"] else "left"
            axis.text(entry["kimg"], 0.93, new, transform=place, color="tab:red", fontsize=8, va="top", ha=side)
        seen |= codes


def read_entries(run: Path) -> list[dict[str, Any]]:
    """The reports in RUN/stats.jsonl that say where they stand; half-written lines are left out."""
    entries = []
    try:
        lines = (run / "stats.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("kimg"), int | float):
            entries.append(entry)
    return entries


def value_at(entry: dict[str, Any], where: str) -> float | None:
    """The finite number at "group.name" of an entry; None where there is none.

    D's scores wander from step to step, which shows in what a report looks at but not in the mean over its steps.
    "held_out" is therefore that mean, less what D gave held-out images less than trained ones at the report.
    """
    group, name = where.split(".")
    if group == "held_out":
        mean, held, trained = (value_at(entry, f"{place}{name}_{end}") for place, end in HELD_OUT)
        return None if mean is None or held is None or trained is None else mean + held - trained
    value = (entry.get(group) or {}).get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None

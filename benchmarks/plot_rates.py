"""Training rate against resolution, with the floor and what others reach: docs/images/training-rates.png.

    python benchmarks/plot_rates.py [benchmarks/results/h100.json] [benchmarks/results/h200.json]

The first file's rates are told in numbers, with their floor; the second's are a line beside them.

The floor is the one of `stylegan benchmark`: the least arithmetic and the fewest bytes of a step, one after the other,
at the matrix rate and copy bandwidth measured on the device. Others' figures are those of docs/performance.md.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).parent.parent
# images a second, on one H200, given by the project's founders (shared/design/performance.md)
GIVEN = {
    "rosinality StyleGAN1, H200": {1024: 6.4, 256: 66},
    "NVlabs StyleGAN2 at these widths, R1 every 16, H200": {1024: 52, 256: 260},
}
PUBLISHED = {1024: 25000e3 / (41 * 86400)}  # 25,000 kimg to 1024x1024 in 41 days on one V100: a mean over all sizes


def main() -> None:
    names = sys.argv[1:] or [str(ROOT / f"benchmarks/results/{name}.json") for name in ("h100", "h200")]
    found, *others = [json.loads(Path(name).read_text()) for name in names]
    rows = found["train"]
    sides = [int(row["resolution"].split("x")[0]) for row in rows]
    figure, axes = plt.subplots(figsize=(8, 4.6), dpi=110)
    floor = [row["batch"] / row["floor_ms"] * 1e3 for row in rows]
    axes.plot(sides, floor, "--", color="0.6", label=f"floor on {found['device']}")
    rates = [row["images_per_second"] for row in rows]
    axes.plot(sides, rates, "o-", color="tab:blue", label=f"this program, {found['device']}")
    for other in others:
        sizes = [int(row["resolution"].split("x")[0]) for row in other["train"]]
        label = f"an earlier program ({other['date'].split(',')[0]}), {other['device']}"
        axes.plot(sizes, [row["images_per_second"] for row in other["train"]], ":", color="tab:blue", label=label)
    for row, side, rate in zip(rows, sides, rates, strict=True):
        text = f"{rate:,.0f}\nbatch {row['batch']}"
        axes.annotate(text, (side, rate), textcoords="offset points", xytext=(-4, -5), ha="right", va="top", fontsize=7)
    for (name, given), marker in zip(GIVEN.items(), "sD", strict=True):
        axes.plot(list(given), list(given.values()), marker, label=name)
        for side, rate in given.items():
            axes.annotate(f"{rate:g}", (side, rate), textcoords="offset points", xytext=(6, -3), fontsize=8)
    published = "official program, whole schedule, V100 (published)"
    axes.plot(list(PUBLISHED), list(PUBLISHED.values()), "x", color="k", label=published)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlim(left=5)
    axes.set_xticks(sides, [f"{side}²" for side in sides])
    axes.set_xlabel("resolution")
    axes.set_ylabel("images a second")
    axes.set_title("One D step with R1, EMA, one G step; official widths, bfloat16", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(ROOT / "docs/images/training-rates.png", metadata={"Software": None})


if __name__ == "__main__":
    main()

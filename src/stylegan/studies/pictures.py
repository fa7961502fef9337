"""Sample sheets and plots of a study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stylegan import images
from stylegan.drawing import Look, Sheet, draw_seeds
from stylegan.drawing.sheets import tile_shape
from stylegan.errors import UserError
from stylegan.figures import Figure
from stylegan.figures.page import opaque
from stylegan.snapshot import load
from stylegan.studies.results import Results, number
from stylegan.studies.tables import Column

SAMPLES = 8  # images of each configuration on a sheet
NO_PLOTS = "no plots: matplotlib is missing; `pip install 'stylegan-torch[plots]'`, then run the same command again"


def sample_sheet(results: Results, seed: int) -> Figure | None:
    """The same latents drawn by every configuration trained with one seed, untruncated, as measured."""
    jobs = [job for job in results.jobs if (job.run, job.seed) in results.records and job.seed == seed]
    sheet = None
    for row, job in enumerate(jobs):
        G = load(job.model).generator
        look = Look(lod=0.0)
        if sheet is None:
            labels = [other.run for other in jobs]
            sheet = Sheet(len(jobs), SAMPLES, tile_shape(G, look), labels, [f"seed {i}" for i in range(SAMPLES)])
        for column, picture in enumerate(draw_seeds(G, range(SAMPLES), look)):
            sheet.place(row, column, images.to_uint8(picture))
    if sheet is None:
        return None
    caption = (
        f"{SAMPLES} latents, the same in every row, drawn by each configuration after its training with seed {seed}; "
        f"no truncation, nothing picked."
    )
    return Figure(opaque(sheet.image()), results.plan.table.title, caption)


def write_samples(results: Results) -> list[tuple[str, str]]:
    """samples-seedN.png for every seed that has models: (title, file name) of each."""
    written: list[tuple[str, str]] = []
    if results.plan.channels not in images.MODES:
        return written  # no image file holds these
    for seed in sorted({seed for _, seed in results.records}):
        figure = sample_sheet(results, seed)
        if figure is not None:
            name = f"samples-seed{seed}.png"
            facts = {"command": results.plan.command, "caption": figure.caption}
            images.write_png(results.plan.out / name, figure.page(), facts)
            written.append((f"samples, training seed {seed}", name))
    return written


def write_plots(results: Results) -> list[tuple[str, str]]:
    """plots.png: ours on the left, the paper's on the right. UserError where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure as Canvas
    except ImportError:
        raise UserError(NO_PLOTS) from None
    groups = _groups(results.plan.columns)
    published = {column for _, column in results.published()}
    wide = any(column in published for group in groups for column in group)
    canvas = Canvas(figsize=(11 if wide else 6, 3.6 * len(groups)), layout="constrained")
    axes = canvas.subplots(len(groups), 2 if wide else 1, squeeze=False)
    for line, group in zip(axes, groups, strict=True):
        (_lines if len(group) > 1 else _bars)(results, group, line[0], None)
        line[0].set_title("this study")
        if wide:
            datasets = [d for d in results.plan.table.paper if any((d, c) in results.published() for c in group)]
            for dataset in datasets:
                (_lines if len(group) > 1 else _bars)(results, group, line[1], dataset)
            line[1].set_title(f"the paper ({', '.join(datasets)})" if datasets else "")
            line[1].set_visible(bool(datasets))
    with images.atomic(results.plan.out / "plots.png") as temporary:
        canvas.savefig(temporary, dpi=120, metadata={"Software": "stylegan-torch"})
    return [("plots", "plots.png")]


def _groups(columns: Sequence[Column]) -> list[list[Column]]:
    """Columns that share a plot: one metric with several numbers of latents; any other alone."""
    found: dict[str, list[Column]] = {}
    for column in columns:
        found.setdefault(f"{column.name.split('_mix')[0]} {column.value}", []).append(column)
    return list(found.values())


def _bars(results: Results, group: Sequence[Column], axis: Any, dataset: str | None) -> None:
    """A bar per row; for ours the spread over seeds and each seed as a dot."""
    column, names = group[0], [row.run if len(results.rows) <= 8 else row.key for row in results.rows]
    names = [row.key for row in results.rows] if len(set(names)) < len(names) else names
    places = np.arange(len(results.rows), dtype=float)
    if dataset is not None:
        values = [results.paper(dataset, row, column) or np.nan for row in results.rows]
        axis.plot(places, values, "o-", label=dataset)
        axis.legend()
    else:
        cells = [results.cell(row, column) for row in results.rows]
        means = [np.nan if c.mean is None else c.mean for c in cells]
        bars = axis.bar(places, means, 0.6, color="#9bb8d3",
                        yerr=[np.nan if c.spread is None else c.spread for c in cells], capsize=4)  # fmt: skip
        axis.bar_label(bars, ["" if c.mean is None else number(c.mean) for c in cells], padding=4, fontsize=8)
        axis.margins(y=0.12)
        known = [value for value in means if value > 0]
        if len(known) == len(means) and max(known) > 30 * min(known):
            axis.set_yscale("log")
        for place, cell in zip(places, cells, strict=True):
            axis.plot([place] * len(cell.values), list(cell.values.values()), ".", color="#1f4e79")
    axis.set_xticks(places, names, rotation=0 if max(map(len, names)) < 4 else 30)
    axis.set_ylabel(column.title if dataset is None else column.paper_title)


def _lines(results: Results, group: Sequence[Column], axis: Any, dataset: str | None) -> None:
    """A line per row over the number of latents (Table 2)."""
    mixes = [column.mixing for column in group]
    for number_of_row, row in enumerate(results.rows):
        if dataset is not None:
            values = [results.paper(dataset, row, column) or np.nan for column in group]
            axis.plot(mixes, values, "o-", label=row.label)
        else:
            cells = [results.cell(row, column) for column in group]
            means = [np.nan if c.mean is None else c.mean for c in cells]
            beside = 0.06 * (number_of_row - (len(results.rows) - 1) / 2)  # bars of spread stand side by side
            axis.errorbar(
                [mix + beside for mix in mixes],
                means,
                [np.nan if c.spread is None else c.spread for c in cells],
                marker="o",
                capsize=3,
                label=row.label,
            )
    axis.set_xticks(mixes)
    axis.set_xlabel("latents mixed in each image")
    axis.set_ylabel(group[0].title if dataset is None else group[0].paper_title)
    axis.legend()


def write_pictures(results: Results) -> tuple[list[tuple[str, str]], str]:
    """([(title, file)], what is missing and why, or '')."""
    pictures = write_samples(results)
    if not results.records:
        return pictures, ""
    try:
        return write_plots(results) + pictures, ""
    except UserError as error:
        return pictures, str(error)


def files_of(out: Path, pictures: Sequence[tuple[str, str]]) -> str:
    """What was written, in words."""
    return ", ".join(str(out / name) for name in ("table.md", *(file for _, file in pictures)))

"""From the measurements of all jobs to the table: mean and spread over seeds, beside the paper's numbers."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stylegan import __version__, images
from stylegan.studies.jobs import Job
from stylegan.studies.plan import Plan
from stylegan.studies.tables import Column, Row
from stylegan.training.eta import human_time


@dataclass(frozen=True)
class Cell:
    """One number of the table: the values by seed, and the standard error within one measurement, if known."""

    values: dict[int, float]
    error: float | None = None

    @property
    def mean(self) -> float | None:
        return sum(self.values.values()) / len(self.values) if self.values else None

    @property
    def spread(self) -> float | None:
        """Sample standard deviation over seeds; None for fewer than two."""
        n, mean = len(self.values), self.mean
        if n < 2 or mean is None:
            return None
        return math.sqrt(sum((value - mean) ** 2 for value in self.values.values()) / (n - 1))

    def text(self, seeds: int = 1) -> str:
        """'31.42 ± 0.57': mean and spread, with '(2 of 3)' where seeds are missing; '-' where there is nothing."""
        if self.mean is None:
            return "-"
        spread = "" if self.spread is None else f" ± {number(self.spread)}"
        missing = "" if len(self.values) >= seeds else f" ({len(self.values)} of {seeds})"
        return f"{number(self.mean)}{spread}{missing}"


def number(value: float) -> str:
    """Two decimals, three digits for small values, none for large ones."""
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3g}"


class Results:
    """Everything measured so far: `cell(row, column)`."""

    def __init__(self, plan: Plan, jobs: Sequence[Job]) -> None:
        self.plan, self.jobs = plan, list(jobs)
        self.records = {(job.run, job.seed): record for job in jobs if (record := job.measured()) is not None}
        runs = {job.run for job in jobs}
        self.rows = [row for row in plan.table.rows if row.run in runs]

    def cell(self, row: Row, column: Column) -> Cell:
        """The values of a row and column over the seeds that have been measured."""
        values, errors = {}, []
        for (run, seed), record in sorted(self.records.items(), key=lambda item: item[0][1]):
            if run != row.run:
                continue
            entry = record["metrics"][column.metric(row)]
            value = entry["values"][column.value]
            if value is not None:
                values[seed] = float(value)
            errors += [float((entry["standard_error"] or {}).get(column.value) or math.nan)]
        known = [error for error in errors if math.isfinite(error)]
        return Cell(values, sum(known) / len(known) if known else None)

    def paper(self, dataset: str, row: Row, column: Column) -> float | None:
        """What the paper's table says there for one of its data sets."""
        return self.plan.table.paper.get(dataset, {}).get(row.key, {}).get(column.paper_key)

    def published(self) -> list[tuple[str, Column]]:
        """(data set, column) of the paper's numbers that stand beside ours."""
        table = self.plan.table
        return [
            (dataset, column)
            for dataset in table.paper
            for column in self.plan.columns
            if any(self.paper(dataset, row, column) is not None for row in self.rows)
        ]

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain JSON values."""
        rows = []
        for row in self.rows:
            cells = {}
            for column in self.plan.columns:
                cell = self.cell(row, column)
                cells[column.title] = {
                    "metric": column.metric(row),
                    "mean": cell.mean,
                    "spread": cell.spread,
                    "standard_error_within": cell.error,
                    "by_seed": {str(seed): value for seed, value in cell.values.items()},
                    "paper": {d: p for d in self.plan.table.paper if (p := self.paper(d, row, column)) is not None},
                }
            rows.append({"row": row.key, "label": row.label, "preset": row.preset, "cells": cells})
        return {
            "format": "stylegan-study-table",
            "version": 1,
            "title": self.plan.table.title,
            "study": self.plan.record(),
            "rows": rows,
            "runs": [
                {
                    "run": job.run,
                    "seed": job.seed,
                    "stage": job.stage,
                    "problem": job.problem or None,
                    "trained": job.trained(),
                    "model": (self.records.get((job.run, job.seed)) or {}).get("model"),
                    "settings": (self.records.get((job.run, job.seed)) or {}).get("settings"),
                }
                for job in self.jobs
            ],
            "differs_from_the_paper": differences(self.plan, self.records),
            "library": __version__,
        }

    def as_csv(self) -> str:
        """One line per row, column and seed."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["row", "configuration", "metric", "value", "seed", "measured"])
        for row in self.rows:
            for column in self.plan.columns:
                for seed, value in self.cell(row, column).values.items():
                    writer.writerow([row.key, row.run, column.metric(row), column.value, seed, repr(value)])
        return text.getvalue()

    def as_markdown(self, pictures: Sequence[tuple[str, str]] = ()) -> str:
        """The page: table, what differs from the paper, runs, pictures (title, file)."""
        plan, columns, published = self.plan, self.plan.columns, self.published()
        heads = ["configuration", *(column.title for column in columns)]
        heads += [f"paper, {dataset}: {column.paper_title}" for dataset, column in published]
        lines = [f"# {plan.table.title}", "", self._state(), "", _line(heads), _line(["---"] * len(heads))]
        for row in self.rows:
            cells = [self.cell(row, column).text(len({job.seed for job in self.jobs})) for column in columns]
            theirs = [self.paper(dataset, row, column) for dataset, column in published]
            lines.append(_line([row.label, *cells, *("-" if p is None else f"{p:g}" for p in theirs)]))
        better = {column.better for column in columns}
        lines += ["", f"{'Lower' if better == {'lower'} else 'For ' + _directions(columns)} is better."]
        lines[-1] += " After ± the sample standard deviation over seeds." if len(plan.seeds) > 1 else (
            " One seed each: differences between rows include the luck of one training."
        )  # fmt: skip
        lines[-1] += self._precision()
        lines += ["", "## What differs from the paper", ""]
        lines += [f"- {sentence}" for sentence in differences(plan, self.records)]
        lines += ["", "## Runs", "", _line(["run", "state", "training", "measuring", "device"]), _line(["---"] * 5)]
        for job in self.jobs:
            record, trained = self.records.get((job.run, job.seed)), job.trained()
            seconds = (trained or {}).get("seconds")
            lines.append(_line([
                job.name,
                f"{job.stage}: {job.problem}".replace("|", "/") if job.problem else ("done" if record else job.stage),
                "-" if trained is None else f"{trained['kimg']:g} kimg, {human_time(seconds)}",
                "-" if record is None else human_time(record["time"]["seconds"]["total"]),
                "-" if record is None else record["settings"]["device"],
            ]))  # fmt: skip
        for title, file in pictures:
            lines += ["", f"![{title}]({file})"]
        lines += ["", "Made by", "", "```bash", plan.command, "```", ""]
        return "\n".join(lines)

    def _precision(self) -> str:
        """How much the choice of generated samples moves the numbers; '' where it is not known."""
        cells = [self.cell(row, column) for row in self.rows for column in self.plan.columns]
        shares = [100 * cell.error / abs(cell.mean) for cell in cells if cell.error is not None and cell.mean]
        if not shares:
            return ""
        return (
            f" Other generated samples of the same model would move them by {min(shares):.1f} to {max(shares):.1f} % "
            f"(standard error)."
        )

    def _state(self) -> str:
        """How much of it has been measured."""
        count = f"{len(self.records)} of {len(self.jobs)} trainings measured"
        failed = [job.name for job in self.jobs if job.stage == "failed"]
        return count + (f"; failed: {', '.join(failed)}. Run the command again to try them again." if failed else ".")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _directions(columns: Sequence[Column]) -> str:
    return ", ".join(f"{column.title} {column.better}" for column in columns)


def differences(plan: Plan, records: dict[tuple[str, int], dict[str, Any]]) -> list[str]:
    """Sentences on how this study's setting differs from the paper's."""
    height, width = plan.size
    base = plan.config(plan.runs[-1], plan.seeds[0])
    shorter = " (12/25 of that for configuration A, as in the paper)" if "A" in plan.table.runs else ""
    found = [
        f"Data: {plan.images:,} images at {width}x{height} from {plan.data.name}, not FFHQ (70,000) or CelebA-HQ "
        f"(30,000) at 1024x1024; {'half of them mirrored' if plan.mirror else 'not mirrored'} (the paper mirrors).",
        f"Length: {plan.kimg:g} kimg instead of 25,000{shorter}, with the same share of it spent growing. Batches by "
        f"resolution: {_batches(base.schedule)}.",
        f"Widths: at most {base.generator.fmap_max} channels (paper: 512), latents of {base.generator.z_dim} (512).",
        f"R1: gamma {base.loss.r1_gamma:g} where there is R1 (paper: 10, at 1024x1024).",
        "Model: the averaged weights at the end of the training; the paper reports the best FID along the way.",
    ]
    if plan.changes:
        found.append(f"Set for all configurations: `{json.dumps(plan.changes)}`.")
    networks = {
        f"{name}: {entry['network']['name']}, {entry.get('reals', entry['samples']):,} real and {entry['samples']:,} "
        f"generated" if entry.get("reals") else f"{name}: {entry['network']['name']}, {entry['samples']:,} samples"
        for record in records.values()
        for name, entry in record["metrics"].items()
    }  # fmt: skip
    if networks:
        found.append(f"Measured with: {'; '.join(sorted(networks))}.")
    if plan.features:
        found.append(f"All metrics use {plan.features}, not their own network: compare within this table only.")
    notes = {note for record in records.values() for note in record.get("notes", []) if "instead of each" not in note}
    found += [f"Note of the measurements: {note}." for note in sorted(notes)]
    devices = {record["settings"]["device"] for record in records.values()}
    if devices == {"cpu"}:
        found.append("Trained and measured on a CPU: a toy study, which shows that the machinery works and no more.")
    return found


def _batches(schedule: Any) -> str:
    table = ", ".join(f"{side}: {batch}" for side, batch in sorted(schedule.batch_by_resolution.items()))
    return f"{table}, else {schedule.batch}" if table else str(schedule.batch)


def write_tables(results: Results, out: Path, pictures: Sequence[tuple[str, str]] = ()) -> None:
    """table.md, table.json and table.csv."""
    texts = {
        "table.md": results.as_markdown(pictures),
        "table.json": json.dumps(results.as_json(), indent=1) + "\n",
        "table.csv": results.as_csv(),
    }
    for name, text in texts.items():
        with images.atomic(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")

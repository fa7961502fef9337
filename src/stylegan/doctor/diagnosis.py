"""From the facts about all images to a diagnosis: findings, groups, statistics, recommendation."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stylegan.data.report import progress_bar
from stylegan.data.workers import Report
from stylegan.doctor import recommend
from stylegan.doctor.duplicates import equal, similar
from stylegan.doctor.findings import KINDS
from stylegan.doctor.look import Facts
from stylegan.doctor.recommend import Recommendation
from stylegan.doctor.scan import scan
from stylegan.doctor.subject import Subject, open_subject
from stylegan.errors import UserError

FORMAT = "stylegan-torch doctor"
VERSION = 1


@dataclass
class Diagnosis:
    """Everything the report says. Findings are kind -> {index of the image: reason}."""

    subject: Subject
    facts: list[Facts]
    findings: dict[str, dict[int, str]]
    duplicates: list[list[int]]
    near: list[list[int]]
    recommendation: Recommendation
    seconds: float = 0.0
    scan_seconds: float = 0.0
    statistics: dict[str, Any] = field(default_factory=dict)

    @property
    def usable(self) -> int:
        """How many images can be trained on."""
        return sum(not f.problem for f in self.facts)

    @property
    def rate(self) -> float:
        """Images per second of the pass."""
        return len(self.facts) / max(self.scan_seconds, 1e-9)

    @property
    def problems(self) -> int:
        """Findings that are more than notes, labels included."""
        images = sum(len(found) for kind, found in self.findings.items() if KINDS[kind].level != "note")
        return images + len(self.subject.labels.problems)

    def name(self, index: int) -> str:
        """An image's path inside the source."""
        return str(self.subject.items[index].name)

    def as_json(self) -> dict[str, Any]:
        """For report.json: all names, sizes as width x height."""
        labels = self.subject.labels
        return {
            "format": FORMAT,
            "version": VERSION,
            "data": str(self.subject.path.resolve()),
            "kind": self.subject.kind,
            "images": len(self.facts),
            "usable": self.usable,
            "problems": self.problems,
            "seconds": round(self.seconds, 2),
            "images_per_second": round(self.rate, 1),
            "findings": [
                {
                    "kind": kind, "level": KINDS[kind].level, "title": KINDS[kind].title,
                    "meaning": KINDS[kind].meaning, "remedy": KINDS[kind].remedy, "count": len(found),
                    "images": [{"name": self.name(i), "reason": reason} for i, reason in found.items()],
                }
                for kind, found in self.findings.items()
            ],
            "duplicates": [[self.name(i) for i in group] for group in self.duplicates],
            "near_duplicates": [[self.name(i) for i in group] for group in self.near],
            "labels": {
                "origin": labels.origin, "classes": dict(zip(labels.names, labels.counts, strict=False)),
                "problems": labels.problems, "hints": labels.hints, "missing": labels.missing, "extra": labels.extra,
            },
            "not_images": self.subject.ignored,
            "left_out_when_prepared": [{"name": name, "reason": reason} for name, reason in self.subject.skipped],
            "statistics": self.statistics,
            "recommendation": recommend.as_json(self.recommendation),
        }  # fmt: skip


def diagnose(
    data: str | Path,
    classes: bool = False,  # the top-level sub-folders are classes
    workers: int | None = None,
    progress: bool | Report = False,  # True = a bar on the terminal
    exclude: Path | None = None,  # a folder inside the data to leave out
) -> Diagnosis:
    """Looks at every image once. UserError: no such data, no images, or no room for temporary files."""
    begin = time.monotonic()
    subject = open_subject(data, classes, exclude)
    total = len(subject.items)
    bar = progress_bar(total, label="looking") if progress is True else nullcontext(progress or (lambda done: None))
    try:
        with bar as report:
            start = time.monotonic()
            facts, pictures = scan(subject.items, workers, report)
            elapsed = time.monotonic() - start
    except OSError as error:
        raise UserError(
            f"temporary files cannot be written ({error.strerror or error}); free space, or set TMPDIR"
        ) from error
    recommendation = recommend.recommend(subject, facts)
    duplicates = equal([f.digest for f in facts])
    near = _near(facts, pictures, duplicates)
    findings = _findings(subject, facts, recommendation, duplicates, near)
    statistics = measure(facts)
    return Diagnosis(
        subject, facts, findings, duplicates, near, recommendation, time.monotonic() - begin, elapsed, statistics
    )


def _near(facts: Sequence[Facts], pictures: np.ndarray, duplicates: Sequence[Sequence[int]]) -> list[list[int]]:
    """Groups that look alike, among one of each group of equal images and no blank ones."""
    later = {i for group in duplicates for i in group[1:]}
    chosen = [i for i, f in enumerate(facts) if f.digest and i not in later and "blank" not in f.notes]
    if len(chosen) < 2:
        return []
    hashes = np.array([facts[i].hash for i in chosen], np.uint64)
    colours = np.array([facts[i].colour for i in chosen], np.float32)
    rows = pictures if len(chosen) == len(facts) else pictures[chosen]
    return [[chosen[k] for k in group] for group in similar(hashes, rows, colours)]


def _findings(
    subject: Subject,
    facts: Sequence[Facts],
    recommendation: Recommendation,
    duplicates: Sequence[Sequence[int]],
    near: Sequence[Sequence[int]],
) -> dict[str, dict[int, str]]:
    """kind -> {image: reason}, in the order of KINDS, without empty kinds."""
    found: dict[str, dict[int, str]] = {kind: {} for kind in KINDS}
    names = [item.name for item in subject.items]
    size = recommendation.size
    for i, f in enumerate(facts):
        for kind, reason in f.notes.items():
            found[kind][i] = reason
        if f.problem or size is None:
            continue
        if min(f.height, f.width) < 8:
            found["tiny"][i] = f"{f.width}x{f.height} pixels"
        elif recommend.scale_of(f, size) >= recommend.ENLARGED:
            found["tiny"][i] = f"{f.width}x{f.height}, enlarged {recommend.scale_of(f, size):.1f} times"
        kept = recommend.kept_of(f.height, f.width, size)
        if kept < recommend.LEAST_KEPT:
            found["aspect"][i] = f"{f.width}x{f.height}: a crop keeps {kept:.0%}"
    for group in duplicates:
        classes = {subject.labels.name_of(i) for i in group} - {""}
        if len(classes) > 1:
            for i in group:
                others = ", ".join(
                    f"{names[j]} ({subject.labels.name_of(j) or 'no class'})" for j in group[:4] if j != i
                )
                found["conflict"][i] = f"in class {subject.labels.name_of(i) or '(none)'}; equals {others}"
        else:
            found["duplicate"] |= dict.fromkeys(group[1:], f"equals {names[group[0]]}")
    for group in near:
        found["similar"] |= dict.fromkeys(group[1:], f"looks like {names[group[0]]}")
    twice = set(subject.twice)
    found["twice"] = {i: "" for i, name in enumerate(names) if name in twice}
    return {kind: dict(sorted(images.items())) for kind, images in found.items() if images}


def measure(facts: Sequence[Facts]) -> dict[str, Any]:
    """Counts of formats, modes, bit depths, marks and sizes of the usable images."""
    usable = [f for f in facts if not f.problem]
    sizes = Counter((f.width, f.height) for f in usable)
    marks = Counter(mark for f in usable for mark in f.marks)
    statistics: dict[str, Any] = {
        "formats": dict(Counter(f.format for f in usable).most_common()),
        "modes": dict(Counter(f.mode for f in usable).most_common()),
        "bits": {str(bits): count for bits, count in Counter(f.bits for f in usable).most_common()},
        "sizes": {f"{w}x{h}": count for (w, h), count in sizes.most_common(50)},
        "different_sizes": len(sizes),
        "grey": sum(f.grey for f in usable),
        "bytes": sum(f.bytes for f in facts),
        **{mark: marks[mark] for mark in ("animated", "rotated", "alpha", "profile")},
    }
    if usable:
        sides = np.array([(f.height, f.width) for f in usable], np.float64)
        for name, values in (
            ("width", sides[:, 1]), ("height", sides[:, 0]), ("shorter_side", sides.min(axis=1)),
            ("aspect", sides[:, 1] / sides[:, 0]), ("brightness", np.array([np.mean(f.colour) for f in usable])),
            ("contrast", np.array([f.spread for f in usable])),
        ):  # fmt: skip
            low, median, high = np.quantile(values, (0, 0.5, 1))
            statistics[name] = {
                "least": round(float(low), 3),
                "median": round(float(median), 3),
                "most": round(float(high), 3),
            }
    return statistics

"""What `stylegan doctor DATA` prints."""

from __future__ import annotations

from stylegan.data.report import printable
from stylegan.doctor.diagnosis import Diagnosis
from stylegan.doctor.findings import KINDS

SHOWN = 3  # names per kind of finding


def verdict(diagnosis: Diagnosis) -> str:
    """One sentence: is this data well?"""
    total, bad = len(diagnosis.facts), len(diagnosis.facts) - diagnosis.usable
    if bad == total:
        return f"None of the {total:,} image files can be used."
    parts = [f"{diagnosis.usable:,} of {total:,} images can be used" if bad else f"All {total:,} images can be used"]
    warned = sum(len(v) for kind, v in diagnosis.findings.items() if KINDS[kind].level == "warn")
    labels = len(diagnosis.subject.labels.problems)
    if warned:
        parts.append(f"{warned:,} findings deserve a look" if warned > 1 else "1 finding deserves a look")
    if labels:
        parts.append(f"the labels have {labels} problem{'s' * (labels > 1)}")
    return "; ".join(parts) + "."


def summary(diagnosis: Diagnosis) -> str:
    """The table on the terminal."""
    stats, subject, labels = diagnosis.statistics, diagnosis.subject, diagnosis.subject.labels
    rows = [
        ("data", f"{printable(str(subject.path))} ({subject.kind}, {stats['bytes'] / 1e6:,.1f} MB)"),
        ("verdict", verdict(diagnosis)),
    ]
    if diagnosis.usable:
        rows.append(("formats", _counts(stats["formats"]) + "; " + _counts(stats["modes"])))
        sizes = _counts(dict(list(stats["sizes"].items())[:4]))
        more = f", ... ({stats['different_sizes']:,} sizes)" if stats["different_sizes"] > 4 else ""
        rows.append(("sizes", f"{sizes}{more} (width x height)"))
    extras = [f"{stats[key]:,} {text}" for key, text in MARKS.items() if stats[key]]
    if extras:
        rows.append(("also", ", ".join(extras)))
    if subject.ignored:
        rows.append(("not images", ", ".join(f"{count:,} {kind}" for kind, count in subject.ignored.items())))
    if subject.skipped:
        rows.append(("left out", f"{len(subject.skipped):,} files when the set was prepared"))
    if labels.names:
        rows.append(("classes", f"{len(labels.names)} from {labels.origin}: {_classes(diagnosis)}"))
    rows += [("labels", printable(text)) for text in labels.problems]
    rows += [("hint", text) for text in labels.hints]
    found = diagnosis.recommendation
    if found.size:
        h, w = found.size
        kind = {1: "grey", 3: "RGB", 4: "RGBA"}.get(found.channels, f"{found.channels} channels")
        rows.append(("recommended", f"{w}x{h}, {kind}" + (f", --fit {found.fit}" if found.fit else "")))
    rows += [("", reason) for reason in found.reasons]
    lines = [f"{label:<12} {text}" for label, text in rows]
    for kind, images in diagnosis.findings.items():
        title = KINDS[kind].title.lower()
        lines.append(f"{'found':<12} {len(images):,} x {title}: {KINDS[kind].meaning}")
        for index, reason in list(images.items())[:SHOWN]:
            lines.append(f"{'':<14} {printable(diagnosis.name(index))}{': ' if reason else ''}{printable(reason)}")
        if len(images) > SHOWN:
            lines.append(f"{'':<14} ... and {len(images) - SHOWN:,} more")
    lines.append(f"{'speed':<12} {diagnosis.rate:,.0f} images/s ({diagnosis.seconds:,.1f} s)")
    if found.command:
        lines.append(f"{'next':<12} {printable(found.command)}")
    return "\n".join(lines)


MARKS = {
    "grey": "grey", "alpha": "with transparency", "animated": "animated (first frame is used)",
    "rotated": "turned by EXIF", "profile": "with a colour profile",
}  # fmt: skip


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _classes(diagnosis: Diagnosis) -> str:
    labels = diagnosis.subject.labels
    pairs = [f"{printable(n)} {c:,}" for n, c in zip(labels.names, labels.counts, strict=False)]
    return ", ".join(pairs[:12]) + (f", ... ({len(pairs) - 12} more)" if len(pairs) > 12 else "")

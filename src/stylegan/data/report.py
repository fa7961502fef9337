"""What `prepare` tells a person: a progress bar with rate and time left, and the summary at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stylegan.data.workers import Report

LINE_SECONDS = 15.0  # between progress lines where there is no terminal
SHOWN_SKIPPED = 10


@dataclass(frozen=True)
class PreparedInfo:
    """The outcome of prepare()."""

    path: Path
    count: int
    size: tuple[int, int]  # height, width
    channels: int
    levels: list[tuple[int, int]]
    fingerprint: str
    class_counts: dict[str, int]  # class name or number -> images; empty without labels
    skipped: list[tuple[str, str]]  # name, reason
    ignored: dict[str, int]  # extension -> files that are no images
    enlarged: int  # images smaller than the size
    greyed: int  # colour images in a grey set
    duplicates: int  # images equal to an earlier one in every pixel
    disk_bytes: int
    seconds: float  # of this run
    new_images: int  # converted in this run; the rest was there from an earlier, interrupted one
    notes: list[str] = field(default_factory=list)

    @property
    def images_per_second(self) -> float:
        return self.new_images / self.seconds if self.seconds > 0 else 0.0


def summary(info: PreparedInfo) -> str:
    """The table that `stylegan prepare` ends with."""
    h, w = info.size
    kind = {1: "grey", 3: "RGB", 4: "RGBA"}.get(info.channels, f"{info.channels} channels")
    rows = [
        ("data set", str(info.path)),
        ("images", f"{info.count:,}" + (f", {len(info.skipped):,} left out" if info.skipped else "")),
        ("size", f"{w}x{h} (width x height), {kind}"),
        ("levels", f"{len(info.levels)}: " + ", ".join(f"{b}x{a}" for a, b in info.levels)),
    ]
    if info.class_counts:
        counts = [f"{printable(name)} {count:,}" for name, count in info.class_counts.items()]
        more = f", ... ({len(counts) - 20} more)" if len(counts) > 20 else ""
        rows.append(("classes", f"{len(counts)}: " + ", ".join(counts[:20]) + more))
    if info.enlarged:
        rows.append(("enlarged", f"{info.enlarged:,} images are smaller than {w}x{h}"))
    if info.greyed:
        rows.append(("made grey", f"{info.greyed:,} images have colour; --channels 3 keeps it"))
    if info.duplicates:
        rows.append(("duplicates", f"{info.duplicates:,} images equal an earlier one (kept)"))
    if info.ignored:
        rows.append(("not images", ", ".join(f"{count:,} {kind}" for kind, count in info.ignored.items())))
    rows.append(("on disk", f"{info.disk_bytes / 1e6:,.1f} MB"))
    if info.new_images:
        rows.append(("speed", f"{info.images_per_second:,.0f} images/s ({info.seconds:,.1f} s)"))
    rows += [("note", note) for note in info.notes]
    lines = [f"{label:<11} {text}" for label, text in rows]
    if info.skipped:
        lines.append(f"left out    {len(info.skipped):,} file{'s' * (len(info.skipped) > 1)} that could not be used:")
        lines += skipped_lines(info.skipped)
        if len(info.skipped) > SHOWN_SKIPPED:
            lines.append(f"  ... {len(info.skipped) - SHOWN_SKIPPED:,} more, all in dataset.json")
    return "\n".join(lines)


def skipped_lines(skipped: Sequence[tuple[str, str]], count: int = SHOWN_SKIPPED) -> list[str]:
    """`  name: reason` for the first few."""
    return [f"  {printable(name)}: {reason}" for name, reason in skipped[:count]]


def printable(name: str) -> str:
    """A file name without characters that a terminal cannot show."""
    text = name.encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c.isprintable() else "?" for c in text)


@contextmanager
def progress_bar(total: int, start: int = 0, label: str = "preparing") -> Iterator[Report]:
    """A live bar on a terminal, a line every 15 seconds elsewhere; yields what receives the images done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    begin = time.monotonic()
    if not console.is_terminal:
        last = begin

        def line(done: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= LINE_SECONDS:
                last = now
                rate = max(done, 1) / (now - begin)
                left = (total - start - done) / rate
                print(f"{label}: {start + done:,} of {total:,}, {rate:,.0f} images/s, {left:,.0f} s left",
                      file=sys.stderr, flush=True)  # fmt: skip

        yield line
        return
    columns = (
        TextColumn(label),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} images/s"),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, refresh_per_second=4) as bar:
        task = bar.add_task(label, total=total, completed=start, rate="...")

        def update(done: int) -> None:
            rate = done / max(time.monotonic() - begin, 1e-6)
            bar.update(task, completed=start + done, rate=f"{rate:,.0f}")

        yield update

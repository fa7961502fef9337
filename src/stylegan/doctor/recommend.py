"""Which size and crop to prepare the images at, and why: what `stylegan prepare` and `train` choose themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stylegan.config.auto import Facts as AutoFacts
from stylegan.config.auto import choose
from stylegan.data.prepare import PROBED, probe_order
from stylegan.data.pyramid import Size, choose_size, levels_of
from stylegan.doctor.look import Facts
from stylegan.doctor.subject import Subject

FEW = 1000  # images; fewer are hard to train from scratch
MUCH_KEPT = 0.75  # of a median image's area: what a square crop should leave
ENLARGED = 4.0  # times: from here on an image is called tiny
LEAST_KEPT = 0.4  # of an image's area; below that its aspect is called extreme


@dataclass
class Recommendation:
    """The size, how to get it, and reasons; `size` is (height, width), None where no image is usable."""

    size: Size | None = None
    fit: str = "crop"
    channels: int = 3
    reasons: list[str] = field(default_factory=list)
    command: str = ""
    enlarged: int = 0  # usable images smaller than the size
    disk_bytes: int = 0  # of the prepared set
    settings: list[dict[str, str]] = field(default_factory=list)  # what preset auto would choose on a GPU


def recommend(subject: Subject, facts: Sequence[Facts]) -> Recommendation:
    """From the sizes and colours of the usable images; the sample is the one `stylegan prepare` looks at."""
    usable = [i for i in probe_order(len(facts)) if not facts[i].problem]
    if not usable:
        return Recommendation(reasons=["no image is usable"])
    sample = [facts[i] for i in usable[:PROBED]]
    sizes = [(f.height, f.width) for f in sample]
    if subject.size is not None:
        height, width = subject.size
        found = Recommendation(subject.size, "", subject.channels)
        found.reasons.append(
            f"the data set is prepared at {width}x{height} (width x height); training takes it as it is"
        )
        found.command = f"stylegan train {_quoted(subject)} --out RUN"
    else:
        found = _choose(subject, sizes)
        found.channels = _channels(sample)
    assert found.size is not None
    height, width = found.size
    found.enlarged = sum(scale_of(facts[i], found.size) > 1 for i in usable)
    found.disk_bytes = len(usable) * sum(found.channels * h * w for h, w in levels_of(found.size))
    if found.enlarged:
        found.reasons.append(f"{found.enlarged:,} of {len(usable):,} images are smaller and would be enlarged")
    if found.channels == 1:
        found.reasons.append("all images are grey, so one channel is enough")
    clear = sum("alpha" in facts[i].marks for i in usable)
    if clear and subject.size is None:
        found.reasons.append(
            f"{clear:,} images have transparency; it is laid over white (--background), or kept with --channels 4"
        )
    if len(usable) < FEW:
        found.reasons.append(
            f"only {len(usable):,} usable images; below about {FEW:,} results are poor: collect more, or use --mirror"
        )
    classes = len(subject.labels.names)
    facts_ = AutoFacts(len(usable), height, width, found.channels, classes, "cuda", bf16=True)
    found.settings = [
        {"setting": c.setting, "value": c.value, "reason": c.reason} for c in choose(facts_)[1] if c.setting != "labels"
    ]
    return found


def _choose(subject: Subject, sizes: list[Size]) -> Recommendation:
    square, how = choose_size(None, "crop", sizes)
    native, how_native = choose_size(None, "native", sizes)
    kept, kept_native = (float(np.median([kept_of(h, w, size) for h, w in sizes])) for size in (square, native))
    command = f"stylegan prepare {_quoted(subject)} OUT"
    if subject.labels.origin == "sub-folders":
        command += " --classes"
    if kept < MUCH_KEPT and kept_native > kept + 0.1:
        return Recommendation(
            native,
            "native",
            reasons=[
                how_native,
                f"a square crop ({square[1]}x{square[0]}) would keep only {kept:.0%} of the median image",
            ],
            command=f"{command} --fit native",
        )
    reasons = [how, f"a centred square crop keeps {kept:.0%} of the median image"]
    return Recommendation(square, "crop", reasons=reasons, command=command)


def _channels(sample: Sequence[Facts]) -> int:
    """As `stylegan prepare` chooses: grey only where all are, an array's own count where all agree."""
    kinds = {int(f.mode.split()[0]) if f.mode.endswith("channels") else 1 if f.grey else 3 for f in sample}
    return kinds.pop() if len(kinds) == 1 else 3


def scale_of(facts: Facts, size: Size) -> float:
    """By how much an image is enlarged to fill the size."""
    return max(size[0] / facts.height, size[1] / facts.width)


def kept_of(height: int, width: int, size: Size) -> float:
    """The share of an image's area that a crop to the size's aspect leaves."""
    ratio = (width / height) / (size[1] / size[0])
    return min(ratio, 1 / ratio)


def _quoted(subject: Subject) -> str:
    import shlex

    return shlex.quote(str(subject.path))


def as_json(found: Recommendation) -> dict[str, Any]:
    """For report.json; sizes are width, height there, as people write them."""
    size = None if found.size is None else {"width": found.size[1], "height": found.size[0]}
    return {
        "size": size, "fit": found.fit, "channels": found.channels, "reasons": found.reasons,
        "command": found.command, "enlarged": found.enlarged, "prepared_bytes": found.disk_bytes,
        "settings": found.settings,
    }  # fmt: skip

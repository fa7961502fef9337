"""What each metric is, by names that carry the protocol: `fid50k` is FID of 50,000 generated images.

A count stands in the name and may be any: fid50k, fid2k, fid500, kid10k, pr50k3 (k = 3), ppl2k_w_end. What compares
single images may end in _mix2 to _mix9: each image is mixed from so many latents (the stress test of Table 2).
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Literal

from stylegan.errors import UserError

REALS = 50_000  # images of the data set that generated ones are compared with, unless the name ends in _full


@dataclass(frozen=True)
class Kind:
    """A row of METRICS."""

    example: str  # the usual name
    pattern: str  # of names; group n = count, k = neighbours, space and sampling as in the name
    samples: int  # where the name has no count
    network: str  # feature network it is defined with
    values: tuple[str, ...]  # what it measures
    better: tuple[Literal["lower", "higher", "none"], ...]
    what: str  # one line


COUNT = r"(?P<n>\d+(?:\.\d+)?k?)"
SPACE = r"(?P<space>[wz])_?(?P<sampling>full|end)"
MIX = r"(?:_mix(?P<mix>[1-9]))?"
MIXABLE = ("fid", "kid", "is", "fdd", "pr", "dc")

METRICS: dict[str, Kind] = {
    "fid": Kind("fid50k", rf"fid{COUNT}(?P<full>_full)?", 0, "inception", ("fid",), ("lower",),
                "Frechet distance of features, by definition Inception's (Heusel et al. 2017)"),
    "kid": Kind("kid50k", rf"kid{COUNT}(?P<full>_full)?", 0, "inception", ("kid",), ("lower",),
                "unbiased polynomial MMD of the same features (Binkowski et al. 2018)"),
    "is": Kind("is50k", rf"is{COUNT}", 0, "inception", ("mean", "std"), ("higher", "none"),
               "Inception score over 10 splits (Salimans et al. 2016)"),
    "fdd": Kind("fdd50k", rf"fdd{COUNT}(?P<full>_full)?", 0, "dinov2", ("fdd",), ("lower",),
                "Frechet distance of features, by definition DINOv2's (Stein et al. 2023)"),
    "pr": Kind("pr50k3", r"pr(?P<n>\d+(?:\.\d+)?k)(?P<k>\d+)", 0, "vgg16", ("precision", "recall"),
               ("higher", "higher"), "improved precision and recall (Kynkaanniemi et al. 2019)"),
    "dc": Kind("dc50k5", r"dc(?P<n>\d+(?:\.\d+)?k)(?P<k>\d+)", 0, "vgg16", ("density", "coverage"),
               ("higher", "higher"), "density and coverage (Naeem et al. 2020)"),
    "ppl": Kind("ppl_w_full", rf"ppl{COUNT}?_{SPACE}", 100_000, "lpips", ("ppl",), ("lower",),
                "perceptual path length (StyleGAN, section 4.1)"),
    "ls": Kind("ls_w", rf"ls{COUNT}?_(?P<space>[wz])", 200_000, "", ("score",), ("lower",),
               "linear separability (StyleGAN, section 4.2)"),
    "nn": Kind("nn1k", rf"nn{COUNT}?", 1_000, "inception", ("ratio", "copies"), ("none", "none"),
               "memorisation: nearest training images (ratio near 1 and copies near 0.01 are healthy)"),
    "recognition": Kind("recognition5k", rf"recognition{COUNT}?", 5_000, "", ("mean",), ("higher",),
                        "share of a class-conditional model's images that a classifier takes for the class asked for"),
}  # fmt: skip


@dataclass(frozen=True)
class Protocol:
    """One requested metric. samples: generated images, or pairs (ppl). reals: how many of the data set, None = all."""

    name: str
    kind: str
    samples: int
    reals: int | None = REALS
    k: int = 0
    space: str = ""
    sampling: str = ""
    mixing: int = 1  # latents that each image is mixed from

    @property
    def values(self) -> tuple[str, ...]:
        return METRICS[self.kind].values

    @property
    def uses_features(self) -> bool:
        """Whether it compares features of single generated images (ppl and ls have passes of their own)."""
        return self.kind not in ("ppl", "ls")

    @property
    def keeps_features(self) -> bool:
        """Whether the features themselves are needed, not only their mean and covariance."""
        return self.kind in ("kid", "pr", "dc", "nn")

    @property
    def compares(self) -> bool:
        """Whether the data set's features are needed."""
        return self.uses_features and self.kind not in ("is", "recognition")

    @property
    def balanced(self) -> bool:
        """Whether classes are drawn equally often, in turns, instead of as often as in the data."""
        return self.kind == "recognition"


def parse_metric(name: str) -> Protocol:
    """A metric by name. UserError for others, with the nearest ones and the smallest count."""
    text = name.strip().lower()
    for kind, row in METRICS.items():
        match = re.fullmatch(row.pattern + (MIX if kind in MIXABLE else ""), text)
        if match is None:
            continue
        found = match.groupdict()
        samples = _count(found["n"]) if found.get("n") else row.samples
        k = int(found.get("k") or 0)
        least = {"is": 10, "pr": k + 1, "dc": k + 1, "nn": 1}.get(kind, 2)
        if samples < least or (found.get("k") and k < 1):
            rule = "at least 1 neighbour and more samples than that" if "k" in found else f"at least {least} samples"
            raise UserError(f"metric {name!r}: needs {rule}")
        return Protocol(
            name=text,
            kind=kind,
            samples=samples,
            reals=None if found.get("full") or kind == "nn" else REALS,
            k=k,
            space=found.get("space") or "",
            sampling=found.get("sampling") or "",
            mixing=int(found.get("mix") or 1),
        )
    usual = usual_names()
    near = difflib.get_close_matches(text, usual, n=3, cutoff=0.4) or usual
    raise UserError(
        f"metric {name!r}: no such metric; did you mean {', '.join(near)}? Any count may stand in the name (fid2k), "
        f"and pr and dc end in k (pr50k3)"
    )


def parse_metrics(text: str) -> list[Protocol]:
    """Metrics from "fid50k,kid50k", each once, in order. UserError as above, and for none."""
    names = [part for part in re.split(r"[,\s]+", text.strip()) if part]
    if not names:
        raise UserError(f"--metrics: name at least one of {', '.join(usual_names())}")
    return list({protocol.name: protocol for protocol in map(parse_metric, names)}.values())


def usual_names() -> list[str]:
    """The paper's and the field's usual names."""
    variants = {"ppl_w_full": ["ppl_w_full", "ppl_w_end", "ppl_z_full", "ppl_z_end"], "ls_w": ["ls_w", "ls_z"]}
    return [name for row in METRICS.values() for name in variants.get(row.example, [row.example])]


def _count(text: str) -> int:
    return round(float(text.removesuffix("k")) * (1000 if text.endswith("k") else 1))

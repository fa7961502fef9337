"""The tables: their rows, their columns, and the numbers the paper gives for them (StyleGAN, tables 1, 2 and 4)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from stylegan.errors import UserError
from stylegan.metrics.protocols import METRICS, MIXABLE, Protocol, parse_metric

PAPER_KIMG = 25_000.0  # of all configurations but A, which the paper trained for 12,000


@dataclass(frozen=True)
class Row:
    """One row of a table. run: the configuration it belongs to; several rows may measure the same one."""

    key: str
    label: str
    run: str
    preset: str
    space: str = "w"  # latent space of path lengths and separability


@dataclass(frozen=True)
class Table:
    """A table of the paper. paper: data set -> row -> column -> value, as published."""

    name: str
    title: str
    rows: tuple[Row, ...]
    metrics: str  # measured by default; ppl and ls without w or z take the row's space
    latents: tuple[int, ...] = (1,)  # numbers of latents that images are mixed from when measured
    paper: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)

    @property
    def runs(self) -> dict[str, Row]:
        """Configuration -> its first row, in order."""
        found: dict[str, Row] = {}
        for row in self.rows:
            found.setdefault(row.run, row)
        return found


@dataclass(frozen=True)
class Column:
    """One measured number. name: as asked for; value: which of a metric's values."""

    name: str
    value: str
    kind: str
    mixing: int
    sampling: str
    better: str

    def metric(self, row: Row) -> str:
        """The metric's full name in a row: path lengths and separability get the row's space."""
        if self.kind in ("ppl", "ls") and not re.search(r"_[wz]", self.name):
            head, _, tail = self.name.partition("_")
            return "_".join(part for part in (head, row.space, tail) if part)
        return self.name

    @property
    def title(self) -> str:
        """Above the column."""
        return self.name if self.value in (self.kind, "score") else f"{self.name} {self.value}"

    @property
    def paper_title(self) -> str:
        """What the paper's column is: always with its own protocol, whatever is measured here."""
        if self.kind == "fid":
            return "FID" if self.mixing == 1 else f"FID, {self.mixing} latents"
        return f"path length, {self.sampling}" if self.kind == "ppl" else "separability"

    @property
    def paper_key(self) -> str:
        """Under which name the paper's numbers stand in `Table.paper`."""
        if self.kind == "fid":
            return "fid" if self.mixing == 1 else f"fid_mix{self.mixing}"
        return f"ppl_{self.sampling}" if self.kind == "ppl" else self.kind


def columns(table: Table, text: str = "") -> list[Column]:
    """The columns of "fid10k,ppl10k_full,ls20k" ("" = the table's own). UserError for unknown metrics.

    In Table 2 every metric that can be is measured with each number of latents.
    """
    found: list[Column] = []
    for name in [part.strip().lower() for part in (text or table.metrics).split(",") if part.strip()]:
        protocol = _protocol(name)
        if protocol.kind == "recognition":
            raise UserError(f"--metrics {name}: the trainings of a study have no classes, so none can be recognised")
        mixes = table.latents if protocol.kind in MIXABLE and "_mix" not in name else (protocol.mixing,)
        for mixing in mixes:
            full = name if mixing == protocol.mixing else f"{name}_mix{mixing}"
            row = METRICS[protocol.kind]
            found += [
                Column(full, value, protocol.kind, mixing, protocol.sampling, better)
                for value, better in zip(row.values, row.better, strict=True)
                if better != "none"
            ]
    if not found:
        raise UserError("--metrics: name at least one that can be better or worse, such as fid10k")
    return list(dict.fromkeys(found))


def _protocol(name: str) -> Protocol:
    """A metric by name, also ppl and ls without their space."""
    if re.fullmatch(r"(ppl|ls)[\d.]*k?(_(full|end))?", name):
        head, _, tail = name.partition("_")
        return parse_metric("_".join(part for part in (head, "w", tail) if part))
    return parse_metric(name)


def _pick(table: Table, text: str) -> list[str]:
    known = {run.lower(): run for run in table.runs}
    names = [part.strip().lower() for part in text.split(",") if part.strip()]
    for name in names:
        if name not in known:
            raise UserError(f"--configs {name}: {table.name} has the configurations {', '.join(table.runs)}")
    return [run for run in table.runs if run.lower() in names]


def pick_runs(table: Table, text: str | None) -> list[str]:
    """The configurations named in "A,B,f", in the table's order; None = all. UserError for others."""
    if text is None:
        return list(table.runs)
    picked = _pick(table, text)
    if not picked:
        raise UserError(f"--configs: name at least one of {', '.join(table.runs)}")
    return picked


def _column(key: str, values: dict[str, float]) -> dict[str, dict[str, float]]:
    return {row: {key: value} for row, value in values.items()}


TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            "table1",
            "Table 1: from Progressive GAN to the style-based generator",
            tuple(
                Row(letter, f"{letter} {what}", letter, f"table1-{letter.lower()}")
                for letter, what in (
                    ("A", "baseline Progressive GAN"),
                    ("B", "+ tuning (incl. bilinear up/down)"),
                    ("C", "+ mapping and styles"),
                    ("D", "+ constant input"),
                    ("E", "+ noise inputs"),
                    ("F", "+ mixing regularisation"),
                )
            ),
            metrics="fid50k",
            paper={
                "CelebA-HQ": _column("fid", {"A": 7.79, "B": 6.11, "C": 5.34, "D": 5.07, "E": 5.06, "F": 5.17}),
                "FFHQ": _column("fid", {"A": 8.04, "B": 5.25, "C": 4.85, "D": 4.88, "E": 4.42, "F": 4.40}),
            },
        ),
        Table(
            "table2",
            "Table 2: mixing regularisation, tested with 1 to 4 latents",
            tuple(Row(p, f"mixing {p} %", p, f"table2-mixing{p}") for p in ("0", "50", "90", "100")),
            metrics="fid50k",
            latents=(1, 2, 3, 4),
            paper={
                "FFHQ": {
                    row: dict(zip(("fid", "fid_mix2", "fid_mix3", "fid_mix4"), values, strict=True))
                    for row, values in {
                        "0": (4.42, 8.22, 12.88, 17.41),
                        "50": (4.41, 6.10, 8.71, 11.61),
                        "90": (4.40, 5.11, 6.88, 9.03),
                        "100": (4.83, 5.17, 6.63, 8.40),
                    }.items()
                }
            },
        ),
        Table(
            "table4",
            "Table 4: depth of the mapping network",
            (
                Row("traditional0-z", "traditional 0, Z", "traditional0", "table4-traditional0", "z"),
                Row("traditional8-z", "traditional 8, Z", "traditional8", "table4-traditional8", "z"),
                Row("traditional8-w", "traditional 8, W", "traditional8", "table4-traditional8", "w"),
                Row("style0-z", "style-based 0, Z", "style0", "table4-style0", "z"),
                Row("style1-w", "style-based 1, W", "style1", "table4-style1", "w"),
                Row("style2-w", "style-based 2, W", "style2", "table4-style2", "w"),
                Row("style8-w", "style-based 8, W", "style8", "table4-style8", "w"),
            ),
            metrics="fid50k,ppl_full,ppl_end,ls",
            paper={
                "FFHQ": {
                    row: dict(zip(("fid", "ppl_full", "ppl_end", "ls"), values, strict=True))
                    for row, values in {
                        "traditional0-z": (5.25, 412.0, 415.3, 10.78),
                        "traditional8-z": (4.87, 896.2, 902.0, 170.29),
                        "traditional8-w": (4.87, 324.5, 212.2, 6.52),
                        "style0-z": (5.06, 283.5, 285.5, 9.88),
                        "style1-w": (4.60, 219.9, 209.4, 6.81),
                        "style2-w": (4.43, 217.8, 199.9, 6.25),
                        "style8-w": (4.40, 234.0, 195.9, 3.79),
                    }.items()
                }
            },
        ),
    )
}

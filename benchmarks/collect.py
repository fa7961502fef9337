"""What benchmarks/performance.toml measured, as one file: the archives of its calls to benchmarks/results/NAME.json.

    python benchmarks/collect.py results.tgz [MORE.tgz ...] --date 2026-11-27 --out benchmarks/results/h100.json

A later archive's file replaces an earlier one's of the same name. `docs/performance.md` and `plot_rates.py` take their
numbers from there. A part that no archive holds is an error, as half a file would be read as all there is.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tarfile
from pathlib import Path
from typing import Any

KEPT = ("resolution", "batch", "precision", "milliseconds", "images_per_second", "memory_gb", "floor_ms", "reached")


def read(archives: list[Path]) -> dict[str, str]:
    """The text of every file in them, by name."""
    found: dict[str, str] = {}
    for path in archives:
        with tarfile.open(path) as archive:
            for member in archive.getmembers():
                if (file := archive.extractfile(member)) is not None and member.name.endswith((".json", ".txt")):
                    found[member.name] = file.read().decode()
    return found


def collect(found: dict[str, str]) -> dict[str, Any]:
    """One table of all parts; KeyError for one that is missing."""
    rates = {name: json.loads(found[f"rates-{name}/results.json"]) for name in ("large", "small", "phases")}
    rows = [row for part in rates.values() for row in part["results"]]
    profiles = {row["name"].removeprefix("profile "): row for row in rows if row["name"].startswith("profile ")}
    scaling = {name: json.loads(found[f"scaling-{name}.json"]) for name in ("2", "4", "disk")}
    distances = {
        f"{precision}-{seed}": json.loads(found[f"logs/{precision}-{seed}.json"])["metrics"]["fid10k"]
        for precision in ("fp32", "bf16")
        for seed in (0, 1)
    }
    return {
        "device": scaling["4"]["device"],
        "torch": found["logs/rates-large.txt"].split(" ", 1)[0],
        "limits": {name: part["limits"]["bf16"] for name, part in rates.items()},
        "train": [measured(row) for row in rows if row["name"].startswith("train ")],
        "generate": [measured(row) for row in rows if row["name"].startswith("generate ")],
        "schedule": {
            "hours": next(row["hours"] for row in rows if row["name"] == "schedule"),
            "phases": [measured(row) for row in rows if row["name"].startswith("phase ")],
        },
        "schedule_four": json.loads(found["schedule-4.json"]),
        "scaling": scaling,
        "kernels_ms": {name: round(row["ms_in_kernels"], 2) for name, row in profiles.items()},
        "launches": {name: round(row["launches"]) for name, row in profiles.items()},
        "fid10k_64x64": {
            name: [round(metric[key]["fid"], 2) for key in ("values", "standard_error")]
            for name, metric in distances.items()
        },
        "tests": {
            name: re.findall(r"\d+ passed.*|\d+ failed.*", found[f"logs/{name}.txt"])[-1]
            for name in ("kernel-tests", "tests-of-several")
        },
    }


def measured(row: dict[str, Any]) -> dict[str, Any]:
    return {name: round(row[name], 4) if isinstance(row[name], float) else row[name] for name in KEPT}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archives", nargs="+", type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--date", required=True, help="of the measurement, as 2026-11-27, 17:20; no archive knows it")
    arguments = parser.parse_args()
    try:
        table = collect(read(arguments.archives))
    except KeyError as missing:
        names = ", ".join(map(str, arguments.archives))
        sys.exit(f"no {missing} in {names}: name the archives of all calls, and let them finish")
    text = json.dumps({"date": arguments.date, "commands": "benchmarks/performance.toml", **table}, indent=1)
    part = arguments.out.with_suffix(".part")
    part.write_text(text + "\n")
    part.replace(arguments.out)


if __name__ == "__main__":
    main()

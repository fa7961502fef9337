"""Configuration F beside what came after it: same data, networks, device and minutes; seeds and spread.

    python benchmarks/comparison.py data/fruit comparison --minutes 5 --seeds 0,1,2 --gpus 0,1,2,3

Each variant is a run of `stylegan train` that the clock ends (--stop-minutes), measured with `stylegan evaluate`. Run
it again after a stop and it goes on; what has been measured is not done again. With --gpus each run has a GPU of its
own and as many go on at once. Writes OUT/comparison.json, comparison.md and comparison.png (16 uncurated images of each
variant's first seed). docs/comparison.md has the method.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

GROWN = ("--schedule.initial_resolution", "16", "--schedule.stable_kimg", "{phase}", "--schedule.fade_kimg", "{phase}")
FIXED = ("--schedule.grow", "false")
TUNED = ("--loss.r1_gamma", "{gamma}", "--schedule.lr", "{lr}", "--schedule.lr_by_resolution", "{{}}",
         "--schedule.batch", "{batch}", "--schedule.batch_by_resolution", "{{}}")  # fmt: skip
# name -> (what it is, options); each differs in one thing from the one above it that it names
VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "published": ("configuration F, its batches, learning rates and gamma 10; only the phases are shorter", GROWN),
    "growing": ("the same with gamma, batch and learning rate for small data", (*GROWN, *TUNED)),
    "fixed": ("as growing, at full resolution from the start", (*FIXED, *TUNED)),
    "relativistic": (
        "as fixed, relativistic pairing with R1 and R2",
        (*FIXED, *TUNED, "--loss.kind", "relativistic", "--loss.r2_gamma", "{gamma}"),
    ),
    "ada": ("as fixed, augmentation bgc that adapts", (*FIXED, *TUNED, "--augment.policy", "bgc")),
    "diffaugment": (
        "as fixed, DiffAugment",
        (*FIXED, *TUNED, "--augment.policy", "diffaugment", "--augment.p", "1", "--augment.target", "null"),
    ),
}


def stylegan(log: Path, gpu: str, *arguments: object) -> None:
    """The command line of this interpreter's project, on one GPU ("" = whichever); RuntimeError where it fails."""
    words = [sys.executable, "-m", "stylegan", *map(str, arguments)]
    print(f"$ {f'CUDA_VISIBLE_DEVICES={gpu} ' if gpu else ''}stylegan {' '.join(words[3:])}\n", end="", flush=True)
    environment = os.environ | ({"CUDA_VISIBLE_DEVICES": gpu} if gpu else {})
    begin = time.monotonic()
    with log.open("a") as out:
        code = subprocess.run(words, check=False, env=environment, stdout=out, stderr=subprocess.STDOUT).returncode
    print(f"stylegan {arguments[0]}: {time.monotonic() - begin:.0f} s\n", end="", flush=True)
    if code:
        raise RuntimeError(f"stylegan {arguments[0]} ended with {code}; see {log}")


def train(options: argparse.Namespace, variant: str, seed: int, run: Path, gpu: str) -> None:
    """Trains one run for so many minutes; one that was cut off begins anew, since minutes must be in one piece."""
    shutil.rmtree(run, ignore_errors=True)
    filled = [word.format(**vars(options)) for word in VARIANTS[variant][1]]
    widths = [
        word
        for network in ("generator", "discriminator")
        for word in (f"--{network}.fmap_base", options.fmap_base, f"--{network}.fmap_max", options.fmap_max)
    ]
    latent = [w for name in ("z_dim", "w_dim", "mapping_width") for w in (f"--generator.{name}", options.latent)]
    size = ["--resolution", options.resolution] if options.resolution else []
    stylegan(
        run.with_suffix(".log"), gpu, "train", options.data, "--out", run, "--preset", "table1-f", "--seed", seed,
        *size, *widths, *latent, *filled,
        "--training.precision", options.precision, "--training.graphs", options.graphs,
        "--training.ema_kimg", options.ema,
        "--training.checkpoint_ticks", 1000, "--schedule.tick_kimg", options.tick, "--schedule.tick_kimg_by_resolution",
        "{}", "--data.holdout", 256, "--stop-minutes", options.minutes, "--device", options.device,
    )  # fmt: skip
    (run / "whole").touch()


def measure(options: argparse.Namespace, variant: str, seed: int, run: Path, gpu: str) -> dict[str, Any]:
    """The metrics of one run, and what it came to."""
    file = run / "metrics.json"
    if not file.exists():
        if not (run / "whole").exists():
            train(options, variant, seed, run, gpu)
        features = ["--features", options.features] if options.features else []
        stylegan(
            run.with_suffix(".log"), gpu, "evaluate", run / "model.safetensors", options.data, "--metrics",
            options.metrics, *features, "--device", options.device, "--out", file,
        )  # fmt: skip
    from stylegan.inspection import inspect

    found = json.loads(file.read_text())
    report = inspect(run / "model.safetensors")
    values = {
        f"{name}{'' if len(entry['values']) == 1 else ' ' + key}": value
        for name, entry in found["metrics"].items()
        for key, value in entry["values"].items()
    }
    networks = sorted({entry["network"]["name"] for entry in found["metrics"].values()})
    return {"variant": variant, "seed": seed, "kimg": report.kimg, "lod": report.lod, "networks": networks} | values


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: a line per variant with mean and spread (standard deviation) over its seeds."""
    names = [key for key in rows[0] if key not in ("variant", "seed", "kimg", "lod", "networks")]
    lines = [f"| variant | what | seeds | kimg | {' | '.join(names)} |", "|---" * (4 + len(names)) + "|"]
    for variant in dict.fromkeys(row["variant"] for row in rows):
        own = [row for row in rows if row["variant"] == variant]
        cells = [variant, VARIANTS[variant][0], str(len(own)), _spread([row["kimg"] for row in own], 1)]
        cells += [_spread([row[name] for row in own], 3) for name in names]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _spread(values: list[float], digits: int) -> str:
    mean = statistics.fmean(values)
    return f"{mean:,.{digits}f}" + (f" ± {statistics.stdev(values):,.{digits}f}" if len(values) > 1 else "")


def picture(options: argparse.Namespace, variants: list[str], seed: int) -> None:
    """Two rows of eight uncurated images of each variant, without truncation, one variant below the other."""
    import numpy as np

    from stylegan import images
    from stylegan.distributed import choose_device
    from stylegan.drawing import contact_sheet, default_look
    from stylegan.snapshot import load

    sheets = []
    for variant in variants:
        snapshot = load(options.out / f"{variant}-{seed}" / "model.safetensors", device=choose_device(options.device))
        generator = snapshot.generator
        sheets.append(contact_sheet(generator, range(16), default_look(generator, psi=None), shape=(8, 2)))
    width = min(sheet.shape[1] for sheet in sheets)
    page = np.concatenate([np.pad(s[:, :width], ((0, 8), (0, 0), (0, 0)), constant_values=255) for s in sheets])
    images.write_png(options.out / "comparison.png", page, {"rows": variants, "seed": seed, "psi": 1.0})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=5.0, help="of training, for each run")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--gpus", default="", help="numbers of the GPUs to use, as 0,1; default: the device alone")
    parser.add_argument("--within", type=float, default=1e9, help="minutes; runs that would not end in them wait")
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--metrics", default="fid5k,pr2k3,nn")
    parser.add_argument("--features", default="", help="feature network of all metrics, as pixels or FILE.safetensors")
    parser.add_argument("--resolution", default="", help="below the data's own")
    parser.add_argument("--phase", type=float, default=16.0, help="kimg of each phase of growing")
    parser.add_argument("--gamma", type=float, default=1.0)
    parser.add_argument("--lr", type=float, default=0.002)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--ema", type=float, default=5.0, help="half-life in kimg")
    parser.add_argument("--tick", type=float, default=20.0, help="kimg between reports")
    parser.add_argument("--fmap-base", type=int, default=4096)
    parser.add_argument("--fmap-max", type=int, default=256)
    parser.add_argument("--latent", type=int, default=256)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--graphs", default="auto")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    variants = options.variants.split(",")
    unknown = [name for name in variants if name not in VARIANTS]
    if unknown:
        parser.error(f"--variants {', '.join(unknown)}: choose from {', '.join(VARIANTS)}")
    seeds = [int(seed) for seed in options.seeds.split(",")]
    jobs = [(variant, seed) for seed in seeds for variant in variants]  # so that a stop leaves whole comparisons
    options.out.mkdir(parents=True, exist_ok=True)
    free: queue.Queue[str] = queue.Queue()
    for gpu in options.gpus.split(","):
        free.put(gpu)
    begin, rows = time.monotonic(), {}

    def one(job: tuple[str, int]) -> None:
        run = options.out / "{}-{}".format(*job)
        gpu = free.get()
        try:
            left = options.within - (time.monotonic() - begin) / 60
            if not (run / "metrics.json").exists() and left < options.minutes + 0.5:
                return
            rows[job] = measure(options, *job, run, gpu)
            write(options, [rows[j] for j in jobs if j in rows])
        finally:
            free.put(gpu)

    with ThreadPoolExecutor(free.qsize()) as pool:
        for done in [pool.submit(one, job) for job in jobs]:
            done.result()
    if len(rows) == len(jobs) > 1:
        picture(options, variants, seeds[0])
    print(table([rows[job] for job in jobs if job in rows]) if rows else "nothing was measured")


def write(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """comparison.json and comparison.md of what has been measured so far."""
    settings = {key: str(value) for key, value in vars(options).items()}
    (options.out / "comparison.json").write_text(json.dumps({"settings": settings, "rows": rows}, indent=1) + "\n")
    (options.out / "comparison.md").write_text(table(rows))


if __name__ == "__main__":
    main()

"""How much of measuring FID is spent outside of the networks, on this machine; prints JSON.

    python benchmarks/gpu_metrics.py [--images 10000] [--size 256] [--weights FILE] [--out FILE.json]
    python benchmarks/gpu_metrics.py --tiny            # the same code on a CPU, to see that it runs

The generator has the paper's widths and random weights; Inception has random weights of the right scale unless
--weights (or the user's cache) has the public ones: neither changes what is computed. Real images are noise in
memory. `evaluate` itself is measured, after one short evaluation that compiles and warms up (its seconds are told).
`projected` is 50,000 images from what was measured: everything but the formulas grows with the number of images.
`host_waits` counts, for a short evaluation, where the host waited for the GPU: none of them may be once per batch.
`decompositions` compares the GPU and the CPU at what the formulas consist of.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stylegan.config.presets import preset
from stylegan.data import Dataset
from stylegan.metrics import Options, evaluate, parse_metrics
from stylegan.metrics.evaluation import Networks
from stylegan.metrics.features import Identity
from stylegan.metrics.frechet import factor
from stylegan.metrics.inception import FEATURES, Inception2015
from stylegan.metrics.public import PublicNetwork, open_public
from stylegan.metrics.weights import FILES, weights_folder
from stylegan.networks import Generator


def noise_images(count: int, size: int) -> Dataset:
    """Images of random bytes, in memory, at one size."""
    pixels = np.frombuffer(np.random.default_rng(0).bytes(count * 3 * size * size), np.uint8)
    meta = {
        "size": [size, size], "levels": [[size, size]], "channels": 3, "num_classes": 0, "class_names": None,
        "fingerprint": "noise", "attribution": "", "count": count, "shards": [count],
    }  # fmt: skip
    return Dataset(meta, None, None, {(size, size): pixels.reshape(count, 3, size, size)})


def inception(device: torch.device, weights: Path | None) -> PublicNetwork:
    """With the public weights, or with random ones that keep activations at their scale."""
    if weights is not None or (weights_folder() / FILES["inception"].filename).is_file():
        found = open_public("inception", device, {} if weights is None else {"inception": weights})
        assert isinstance(found, PublicNetwork)
        return found
    torch.manual_seed(0)
    network = Inception2015()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    identity = Identity("inception-2015-12-05, random weights", "", (299, 299), "tf1")
    return PublicNetwork(network, identity, FEATURES, device)


def timed(work: Any, device: torch.device) -> float:
    """Seconds of the second of two calls."""
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return round(time.perf_counter() - begun, 3)


def decompositions(device: torch.device, d: int) -> dict[str, dict[str, float]]:
    """Seconds of what the Fréchet distance consists of, float64, for d features."""
    a = np.random.default_rng(0).standard_normal((2 * d, d)) * np.logspace(0, -3, d)
    sigma = a.T @ a / len(a)
    found = {}
    for where in {str(device): device, "cpu": torch.device("cpu")}.values():
        matrix = torch.as_tensor(sigma, device=where)
        found[str(where)] = {
            "factor": timed(lambda where=where: factor(sigma, where), where),
            "svdvals": timed(lambda matrix=matrix: torch.linalg.svdvals(matrix), where),
            "eigvalsh": timed(lambda matrix=matrix: torch.linalg.eigvalsh(matrix), where),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--weights", type=Path, metavar="FILE", help="pt_inception-2015-12-05-6726825d.pth")
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    if given.tiny:
        given.images, given.size, given.batch = 12, 32, 4
    device = torch.device("cpu" if given.tiny else "cuda")
    torch.manual_seed(0)
    config = preset("tiny" if given.tiny else "ffhq1024", given.size)
    generator = Generator(config).eval().requires_grad_(False).to(device)
    with torch.no_grad():
        for layer in generator.synthesis.layers:
            if layer.noise_strength is not None:
                layer.noise_strength.fill_(0.1)
    dataset = noise_images(given.images, given.size)
    options = Options(features="inception", batch=given.batch, cache=None)
    networks = Networks(generator, options, device)
    networks._open["inception"] = inception(device, given.weights)

    begun = time.perf_counter()
    warm = min(given.images, 4 * (given.batch or 128))
    syncs: dict[str, int] = {}
    for again in (False, True):  # the second time to count what makes the host wait for the GPU
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if device.type == "cuda" and again:
                torch.cuda.set_sync_debug_mode("warn")
            evaluate(generator, noise_images(warm, given.size), parse_metrics(f"fid{warm}"), options, networks=networks)
            if device.type == "cuda":
                torch.cuda.set_sync_debug_mode("default")
        if not again:
            warm_up = time.perf_counter() - begun
            continue
        for warning in caught:
            place = f"{Path(warning.filename).name}:{warning.lineno}"
            syncs[place] = syncs.get(place, 0) + 1
    found = evaluate(generator, dataset, parse_metrics(f"fid{given.images}"), options, networks=networks)
    assert found is not None
    split, formulas = found.split, found.seconds["formulas"]
    per_image = (split["elsewhere"] - formulas) / given.images
    nets = (split["generator"] + split["feature network"]) / given.images
    outside = 50_000 * per_image + formulas
    result = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "network": networks._open["inception"].identity.name,
        "images": given.images,
        "size": given.size,
        "batch": found.batch,
        "host_waits": {"batches": -(-warm // found.batch), "by_line": syncs},
        "warm_up_seconds": round(warm_up, 2),
        "seconds": {name: round(value, 3) for name, value in found.seconds.items()},
        "split": {name: round(value, 3) for name, value in split.items()},
        "images_per_second": {
            "generator": round(given.images / max(split["generator"], 1e-9), 1),
            "inception": round(2 * given.images / max(split["feature network"], 1e-9), 1),
            "in all, generated and real": round(given.images / found.seconds["total"], 1),
        },
        "share_outside_networks": round(found.share_outside_networks, 4),
        "projected": {
            "images": 50_000,
            "seconds": round(50_000 * nets + outside, 1),
            "share_outside_networks": round(outside / max(50_000 * nets + outside, 1e-9), 4),
        },
        "decompositions": decompositions(device, 64 if given.tiny else FEATURES),
    }
    text = json.dumps(result, indent=1)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

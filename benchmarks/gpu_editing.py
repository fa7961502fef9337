"""Two promises of the studio and of `stylegan project`, measured on a GPU in a minute or two; prints JSON.

    python benchmarks/gpu_editing.py [--tiny] [--limit 150] > editing.json

- frames: 1024x1024, the paper's network with random weights, dragged through a plane of w by the studio's own code:
  its scheduler, drawing, download from the GPU, and the encoding and packing that the WebSocket is given. `one` is the
  time of a frame from recipe to bytes alone; `dragging` the distance of two frames while one is encoded and the next
  is drawn, which is what a page gets. Also the stages, and the bare network exact and with TF32.
- projection: two samples of a 128x128 network (5.09 million parameters, random weights) and two of the model that
  ships, each with noise inputs that the projection does not know, with the default settings: seconds for both together,
  PSNR of each.

`--tiny` runs the same code on the CPU with small networks, to see that it works. It needs no web server's packages, but
those of pydantic, safetensors, platformdirs and filelock beside PyTorch and Pillow.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stylegan import editing
from stylegan.config import GeneratorConfig
from stylegan.drawing.render import exact_float32
from stylegan.editing.latent_files import noise_of
from stylegan.networks import Generator
from stylegan.snapshot import load, save_snapshot
from stylegan.studio import Studio
from stylegan.studio.core import Frame, pack
from stylegan.studio.messages import Render
from stylegan.studio.pictures import encode, quick_float32
from stylegan.studio.scheduler import Task

SMALL = {"fmap_base": 2048, "fmap_max": 256, "w_dim": 256, "z_dim": 256, "mapping_width": 256}  # 5.09 M at 128x128
TINY = {"fmap_base": 256, "fmap_max": 32, "w_dim": 32, "z_dim": 32, "mapping_width": 32, "mapping_layers": 2}
WARM = 8  # frames that are not counted: what is compiled, chosen and allocated once


def generator(side: int, device: str, **widths: Any) -> Generator:
    """A generator with random weights whose noise counts and whose images keep within their range, as trained ones do.

    With to_rgb as initialised, half of all values would be clipped to 0 or 255, and nothing can tell what lies beyond.
    """
    torch.manual_seed(0)
    G = Generator(GeneratorConfig(resolution=side, **widths)).eval()
    with torch.no_grad():
        for layer in G.synthesis.layers:
            layer.noise_strength.fill_(0.1)
        for readout in G.synthesis.to_rgb:
            readout.weight.mul_(0.3)
        G.w_avg.copy_(G.mapping.w(torch.randn(1000, G.config.z_dim), None).mean(0))
    return G.to(device)


def at(model: str, number: int) -> Render:
    """What a page asks for while it is dragged through the plane of three seeds."""
    corners = [{"kind": "seed", "seed": seed} for seed in range(3)]
    place = {"kind": "plane", "corners": corners, "x": number % 100 / 100, "y": number % 37 / 37}
    data = {"type": "render", "id": number, "view": "v", "model": model, "preview": False}
    return Render.model_validate({**data, "recipes": [{"place": place}]})


def frames(G: Generator, device: str, count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        studio = Studio([str(save_snapshot(Path(folder) / "model.safetensors", G))], device=device)
        model = studio.library.models()[0].id
        begin = time.perf_counter()
        one_by_one(studio, model, WARM)
        warm = time.perf_counter() - begin
        one = one_by_one(studio, model, count)
        studio.start()
        gaps, size = dragging(studio, model, count)
        studio.close()
    height, width = G.synthesis.noise_sizes(G.lod)[-1]
    return {
        "side": [width, height],
        "parameters": sum(p.numel() for p in G.parameters()),
        "frames": count,
        "first_frames_s": round(warm, 2),
        "one": one,
        "dragging": {
            "ms": ms(gaps),
            "ms_p95": round(1000 * sorted(gaps)[int(0.95 * (len(gaps) - 1))], 2),
            "frames_per_second": round(len(gaps) / sum(gaps), 1),
        },
        "bytes_per_frame": size,
        "bare_network_ms": {"exact": bare(G, count // 4, exact_float32), "tf32": bare(G, count // 4, quick_float32)},
    }


def one_by_one(studio: Studio, model: str, count: int) -> dict[str, float]:
    """Medians of drawing with the download (recipe to uint8), of encoding with packing, and of both in turn."""
    drawn, encoded, whole = [], [], []
    for number in range(count):
        begin = time.perf_counter()
        (found,) = [frame for part in studio.frames(at(model, number)) for frame in part]
        header, image, side = found
        middle = time.perf_counter()
        data, kind = encode(image, side)
        pack({**header, "kind": kind}, data)
        end = time.perf_counter()
        drawn.append(middle - begin)
        encoded.append(end - middle)
        whole.append(end - begin)
    return {"drawing_ms": ms(drawn), "encoding_ms": ms(encoded), "ms": ms(whole)}


def dragging(studio: Studio, model: str, count: int) -> tuple[list[float], int]:
    """(seconds between frames ready to be sent, bytes of one): the next is asked for when one has been drawn."""
    times: list[float] = []
    sizes: list[int] = []
    done = threading.Event()
    problems: list[Any] = []

    def push(message: bytes | dict[str, Any]) -> None:
        if isinstance(message, dict):
            problems.append(message)
        times.append(time.perf_counter())
        sizes.append(len(message))
        if len(times) == count + WARM or problems:
            done.set()

    def deliver(drawn: list[Frame]) -> None:
        studio.send(drawn, push)

    def ask(number: int) -> None:
        request = at(model, number)

        def finish(error: BaseException | None) -> None:
            if error is not None:
                problems.append(error)
                done.set()
            elif number + 1 < count + WARM:
                ask(number + 1)

        studio.scheduler.submit("page", "v", Task(lambda: studio.frames(request), deliver, finish))

    ask(0)
    if not done.wait(300) or problems:
        raise RuntimeError(f"the studio has drawn {len(times)} frames: {problems[:1]}")
    times = times[WARM - 1 :]
    return [b - a for a, b in pairwise(times)], int(statistics.median(sizes))


def bare(G: Generator, count: int, precision: Callable[[torch.device], Any]) -> float:
    """Milliseconds of the synthesis network alone, one image at a time."""
    device = G.w_avg.device
    ws = G.w_avg.expand(1, G.config.num_layers, G.config.w_dim)
    spent = []
    with torch.inference_mode(), precision(device):
        for _ in range(count + WARM):
            wait(device)
            begin = time.perf_counter()
            G.synthesis(ws, noise="stored")
            wait(device)
            spent.append(time.perf_counter() - begin)
    return ms(spent[WARM:])


def projection(G: Generator, steps: int, limit: float) -> dict[str, Any]:
    """Two own samples come back."""
    noise = [noise_of(G, editing.latents_of_seed(G, seed)) for seed in (100, 101)]
    targets = [
        editing.draw(G, editing.Latents(editing.latents_of_seed(G, seed).ws, own))
        for seed, own in zip((1, 2), noise, strict=True)
    ]
    wait(G.w_avg.device)
    begin = time.perf_counter()
    descent = editing.Projection(G, targets, editing.ProjectionSettings(steps=steps))
    total, step = descent.total, 0
    for state in descent:
        step = state.step
        if time.perf_counter() - begin > limit:
            break
    found = descent.result()
    wait(G.w_avg.device)
    return {
        "side": G.config.resolution[0],
        "parameters": sum(p.numel() for p in G.parameters()),
        "images": len(targets),
        "steps": [step, total],
        "seconds": round(time.perf_counter() - begin, 2),
        "clipped": round(float(np.mean([(target == 0) | (target == 255) for target in targets])), 4),
        "psnr_db": [round(float(one.psnr), 2) for one in found],
        "loss": type(descent.perceptual).__name__,
    }


def ms(seconds: list[float]) -> float:
    return round(1000 * statistics.median(seconds), 2)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="on the CPU, small networks")
    parser.add_argument("--limit", type=float, default=150.0, help="seconds for everything; projections end early")
    options = parser.parse_args()
    begin = time.perf_counter()
    device = "cpu" if options.tiny else "cuda"
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine(),
        "torch": torch.__version__,
    }
    large = generator(64, device, **TINY) if options.tiny else generator(1024, device)
    found["frames"] = frames(large, device, 24 if options.tiny else 200)
    del large
    small = generator(32, device, **TINY) if options.tiny else generator(128, device, **SMALL)
    shipped = small if options.tiny else load("pomological128", device).generator
    for name, network in (("projection", small), ("projection_shipped", shipped)):
        left = options.limit - (time.perf_counter() - begin)
        found[name] = projection(network, 60 if options.tiny else 600, max(5.0, left))
    found["seconds"] = round(time.perf_counter() - begin, 1)
    if not options.tiny:
        dragged, backs = found["frames"]["dragging"], (found["projection"], found["projection_shipped"])
        found["promises"] = {
            "60 frames/s at 1024x1024": dragged["frames_per_second"] >= 60,
            "30 dB in under a minute at 128x128": all(
                min(back["psnr_db"]) >= 30 and back["seconds"] < 60 for back in backs
            ),
        }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

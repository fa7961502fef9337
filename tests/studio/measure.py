"""How fast the studio is on a CPU: `OMP_NUM_THREADS=1 python -m tests.studio.measure [SECONDS]`. For a GPU there is
benchmarks/gpu_editing.py.

A model of about 5 million parameters at 128x128 with random weights; one page, then two, drag through a plane of w as
the front-end does (60 requests a second, at most 8 under way). Beside it the bare network, timed in the same process
between the drags, because the machine may be busy with other things; CPU time is told too, which depends on that less.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from stylegan.config import GeneratorConfig
from stylegan.networks import Generator
from stylegan.snapshot import save_snapshot

if TYPE_CHECKING:
    from tests.studio.conftest import Running

SIZES = {"fmap_base": 2048, "fmap_max": 256, "w_dim": 256, "z_dim": 256, "mapping_width": 256}


def drag(running: Running, model: str, seconds: float, first: int) -> dict[str, float]:
    """Frames per second, network milliseconds per frame, and milliseconds from a request to its frame."""
    from tests.studio.conftest import frame_of, render, seed

    corners = [seed(first + i)["place"] for i in range(3)]
    sent: dict[int, float] = {}
    count, network, delay, id, last = 0, 0.0, 0.0, 0, 0.0
    with running.connect() as socket:
        begin, cpu = time.perf_counter(), time.process_time()
        while (now := time.perf_counter()) - begin < seconds:
            if now - last >= 1 / 60 and len(sent) < 8:
                id, last = id + 1, now
                place = {"kind": "plane", "corners": corners, "x": (id % 200) / 100, "y": (id % 70) / 70}
                socket.send(render(model, [{"place": place}], id=id, preview=False))
                sent[id] = now
            try:
                header, _ = frame_of(socket.recv(1 / 60 if len(sent) < 8 else 60))
            except TimeoutError:
                continue
            count, network = count + 1, network + header["ms"]
            delay += time.perf_counter() - sent[header["id"]]
            sent = {other: at for other, at in sent.items() if other > header["id"]}
        spent, cpu, count = time.perf_counter() - begin, time.process_time() - cpu, max(count, 1)
    return {
        "fps": count / spent,
        "network_ms": network / count,
        "delay_ms": 1000 * delay / count,
        "cpu_ms": 1000 * cpu / count,
    }


def bare(G: Any, seconds: float) -> tuple[float, float]:
    """Images per second of the synthesis network alone, one at a time, and CPU milliseconds of each."""
    ws = torch.randn(1, G.config.num_layers, G.config.w_dim)
    count, begin, cpu = 0, time.perf_counter(), time.process_time()
    with torch.inference_mode():
        while time.perf_counter() - begin < seconds:
            G.synthesis(ws, noise="stored")
            count += 1
    return count / (time.perf_counter() - begin), 1000 * (time.process_time() - cpu) / count


def main(seconds: float = 6.0) -> None:
    from stylegan.studio import Studio
    from tests.studio.conftest import render, seed, serving

    torch.manual_seed(0)
    G = Generator(GeneratorConfig(resolution=128, **SIZES)).eval()
    print(f"{sum(p.numel() for p in G.parameters()):,} parameters, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as folder:
        path = save_snapshot(Path(folder) / "model.safetensors", G)
        begin = time.perf_counter()
        with serving(Studio([str(path)])) as running:
            print(f"from the start of the server to its first answer: {time.perf_counter() - begin:.2f} s")
            model = running.json("/api/hello")["models"][0]["id"]
            begin = time.perf_counter()
            with running.connect() as socket:
                socket.send(render(model, [seed(0)]))
                socket.recv(60)
            print(f"first picture after that: {time.perf_counter() - begin:.2f} s")
            for _ in range(3):
                alone, cpu = bare(G, seconds / 2)
                found = drag(running, model, seconds, 0)
                after, cpu_after = bare(G, seconds / 2)
                share, cpu = found["fps"] / ((alone + after) / 2), (cpu + cpu_after) / 2
                print(
                    f"bare network {alone:.1f} and {after:.1f} images/s, {cpu:.0f} ms CPU each; "
                    f"dragging {found['fps']:.1f} frames/s = {share:.0%} of it, {found['cpu_ms']:.0f} ms CPU each "
                    f"({cpu / found['cpu_ms']:.0%} of it the network), from request to frame {found['delay_ms']:.0f} ms"
                )
            results: list[dict[str, float]] = []
            pages = [
                threading.Thread(target=lambda i=i: results.append(drag(running, model, seconds, 10 * i)))
                for i in range(2)
            ]
            for page in pages:
                page.start()
            for page in pages:
                page.join()
            print("two pages: " + " and ".join(f"{r['fps']:.1f}" for r in results) + " frames/s")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 6.0)

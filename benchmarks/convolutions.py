"""Each convolution of a training step or of drawing: how often, how long, and how far from its floor.

    python benchmarks/convolutions.py OUT.json [--cases train:1024:16,train:256:64,draw:256:32] [--device cpu --tiny]

The step runs once under a recorder; then every convolution of its own shape, kind and layout is timed by itself, with
the library's own choice of kernel. The floor is the larger of its arithmetic and its bytes at the two measured rates.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from stylegan.benchmark.clock import Limits, measure_limits, seconds
from stylegan.config.presets import preset
from stylegan.distributed import Processes
from stylegan.networks import Generator
from stylegan.ops.switch import using_ops
from stylegan.training import schedule
from stylegan.training.step import MicroBatch, Trainer

Key = tuple[Any, ...]  # kind, x shape, w shape, y shape, stride, padding, channels-last, dtype
KINDS = ("input gradient", "weight gradient")


class Recorder(TorchDispatchMode):
    """Counts the convolutions that reach the library."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[Key] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        name = function._schema.name
        if name == "aten::convolution":
            x, w, _, stride, padding, _, transposed, _, groups = args
            if groups > 1:
                return out
            kind, big, small = ("input gradient", out, x) if transposed else ("forward", x, out)
            self._note(kind, big, w, small, stride, padding, x)
        elif name == "aten::convolution_backward":
            y, x, w, _, stride, padding, *_, wanted = args
            for kind, wants in zip(KINDS, wanted, strict=False):
                if wants:
                    self._note(kind, x, w, y, stride, padding, y)
        return out

    def _note(self, kind: str, x: Any, w: Any, y: Any, stride: Any, padding: Any, like: Any) -> None:
        last = like.is_contiguous(memory_format=torch.channels_last)
        shapes = (tuple(x.shape), tuple(w.shape), tuple(y.shape))
        self.found[(kind, *shapes, tuple(stride), tuple(padding), last, like.dtype)] += 1


def recorded(what: str, side: int, batch: int, device: torch.device, tiny: bool) -> Counter[Key]:
    """The convolutions of one training step, or of drawing a batch."""
    changes = {"training": {"precision": "bf16", "graphs": "off"}}
    config = preset("tiny" if tiny else "ffhq1024", 32 if tiny else 1024, changes=changes)
    level = side.bit_length() - 3
    lod = float(config.generator.top - level)
    with Recorder() as recorder, using_ops("fast"):
        if what == "draw":
            g = Generator(config.generator).to(device).eval()
            g.synthesis.compute_dtype = torch.bfloat16
            with torch.no_grad():
                g(torch.randn(batch, config.generator.z_dim, device=device), lod=lod)
            return recorder.found
        trainer = Trainer(config, Processes(device=device))
        point = schedule.Point(0, lod, level, side, batch, 1e-3, 1e-3, 1.0, 1, 1)
        images = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8, device=device)
        none = torch.zeros(batch, 0, device=device)
        parts = [MicroBatch(torch.arange(batch), images, none, none)]
        trainer.step(point, 0, parts)
        recorder.found.clear()
        trainer.step(point, batch, parts)
    return recorder.found


def call(key: Key, device: torch.device) -> Callable[[], object]:
    """The convolution `key` names, on random tensors."""
    kind, x_shape, w_shape, y_shape, stride, padding, last, dtype = key
    layout = torch.channels_last if last else torch.contiguous_format

    def made(shape: tuple[int, ...]) -> torch.Tensor:
        return torch.randn(shape, device=device).to(dtype).contiguous(memory_format=layout)

    x, w, y = made(x_shape), made(w_shape), made(y_shape)
    if kind == "forward":
        return lambda: torch.ops.aten.convolution(x, w, None, stride, padding, (1, 1), False, (0, 0), 1)
    wanted = [kind == one for one in KINDS] + [False]
    return lambda: torch.ops.aten.convolution_backward(
        y, x, w, None, stride, padding, (1, 1), False, (0, 0), 1, wanted
    )


def time_alone(key: Key, device: torch.device, budget: float) -> float:
    """Seconds of one convolution; on a GPU in a graph of ten, so that the host does not count."""
    work = call(key, device)
    if device.type != "cuda":
        return seconds(work, device, budget)
    for _ in range(3):
        work()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(10):
            work()
    return seconds(graph.replay, device, budget) / 10


def floor(key: Key, limits: Limits) -> float:
    """Seconds: the larger of arithmetic and bytes."""
    _, x, w, y, *_, dtype = key
    arithmetic = 2.0 * y[0] * y[2] * y[3] * w[0] * w[1] * w[2] * w[3]
    values = sum(torch.Size(shape).numel() for shape in (x, w, y))
    return max(arithmetic / limits.flops, values * dtype.itemsize / limits.bytes_per_second)


def paired(key: Key) -> dict[str, Key]:
    """The same convolution in the forms of ops.paired that it has."""
    kind, x, w, y, stride, padding, last, dtype = key
    if not last or padding != (1, 1) or x[3] % 4 or max(w[:2]) > 128:
        return {}
    wide, across = (x[0], 2 * x[1], x[2], x[3] // 2), (y[0], 2 * y[1], y[2], y[3] // 2)
    rest = (padding, last, dtype)
    if stride == (2, 2) and w[2:] == (4, 4):
        return {"inputs": (kind, wide, (w[0], 2 * w[1], 4, 3), y, (2, 1), *rest)}
    if stride != (1, 1) or w[2:] != (3, 3):
        return {}
    if kind == "input gradient":  # as a convolution of the gradient
        outputs: Key = ("forward", y, (2 * w[1], w[0], 3, 4), wide, (1, 2), *rest)
    else:
        outputs = (kind, x, (2 * w[0], w[1], 3, 4), across, (1, 2), *rest)
    return {"outputs": outputs, "both": (kind, wide, (2 * w[0], 2 * w[1], 3, 3), across, (1, 1), *rest)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--cases", default="train:1024:16,train:512:32,train:256:64,draw:256:32")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--budget", type=float, default=0.05, help="seconds for each")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.backends.cudnn.benchmark = True
    limits = measure_limits(device, "bf16", 1.0)
    print(f"{limits.flops / 1e12:.0f} TFLOP/s, {limits.bytes_per_second / 1e12:.2f} TB/s", flush=True)
    timed: dict[Key, float] = {}
    found: dict[str, Any] = {"limits": vars(limits)}

    def time_of(key: Key) -> float:
        if key not in timed:
            try:
                timed[key] = time_alone(key, device, arguments.budget)
            except RuntimeError as error:
                print(error)
                timed[key] = float("nan")
        return timed[key]

    for case in arguments.cases.split(","):
        what, side, batch = case.split(":")
        rows = []
        for key, count in recorded(what, int(side), int(batch), device, arguments.tiny).items():
            others = {form: 1e3 * time_of(other) for form, other in paired(key).items()}
            rows.append({
                "kind": key[0], "x": key[1], "w": key[2], "y": key[3], "stride": key[4], "count": count,
                "channels_last": key[6], "dtype": str(key[7]).removeprefix("torch."), "ms": 1e3 * time_of(key),
                "floor_ms": 1e3 * floor(key, limits), "paired_ms": others,
            })  # fmt: skip
        rows.sort(key=lambda row: -row["ms"] * row["count"])
        total = sum(row["ms"] * row["count"] for row in rows)
        least = sum(row["floor_ms"] * row["count"] for row in rows)
        found[case] = {"ms": total, "floor_ms": least, "rows": rows}
        arguments.out.write_text(json.dumps(found, indent=1))
        print(f"{case}: {total:.1f} ms, floor {least:.1f}", flush=True)
        for row in rows[:60]:
            other = "".join(f"  {form} {ms:.3f}" for form, ms in row["paired_ms"].items())
            print(
                f"  {row['count']:3d} x {row['ms']:.3f} (floor {row['floor_ms']:.3f}){other}  {row['kind']}  "
                f"x {list(row['x'])} w {list(row['w'])} y {list(row['y'])} {row['dtype']}"
                f"{'' if row['channels_last'] else ' contiguous'}",
                flush=True,
            )


if __name__ == "__main__":
    main()

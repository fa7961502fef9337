"""The measurements behind `stylegan benchmark`: training steps, generation, operators, whole schedules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch

from stylegan import lod as lods
from stylegan.benchmark import work
from stylegan.benchmark.clock import Limits, Memory, seconds
from stylegan.config import Config
from stylegan.distributed import Processes
from stylegan.networks import Generator, Replay
from stylegan.ops.switch import ops_mode, using_ops
from stylegan.training import rates, schedule
from stylegan.training.step import MicroBatch, Trainer


@dataclass(frozen=True)
class Row:
    """One measurement. Rates are images per second; `reached` is the floor's time over the measured time."""

    what: str
    resolution: str
    batch: int
    precision: str
    milliseconds: float
    images_per_second: float
    memory_gb: float = 0.0
    floor_ms: float = 0.0
    reached: float = 0.0
    extra: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def _element(precision: str) -> int:
    return 2 if precision == "bf16" else 4


def _size(config: Config, level: int) -> str:
    h, w = config.generator.size(level)
    return f"{w}x{h}"


def training_step(config: Config, level: int, batch: int, device: torch.device, limits: Limits, budget: float) -> Row:
    """One D step, EMA and one G step at a stable level, with images that lie on the device."""
    memory = Memory(device)
    trainer = Trainer(config, Processes(device=device))
    lod = float(config.generator.top - level)
    point = schedule.Point(0, lod, level, lods.nominal(level), batch, 1e-3, 1e-3, 1.0, 1, 1)
    h, w = config.generator.size(level)
    images = torch.randint(0, 256, (batch, config.generator.channels, h, w), dtype=torch.uint8, device=device)
    classes = config.generator.labels
    labels = torch.eye(max(classes, 1), device=device)[torch.arange(batch) % max(classes, 1)][:, :classes]
    samples = [MicroBatch(torch.arange(batch), images, labels, labels)]
    counter = iter(range(1 << 60))
    with using_ops("fast" if ops_mode() == "auto" else ops_mode()):
        time = seconds(lambda: trainer.step(point, next(counter) * batch, samples), device, budget)
    precision = config.training.precision
    floor = work.iteration(config, level, _element(precision)).seconds(limits.flops, limits.bytes_per_second) * batch
    size = _size(config, level)
    return Row("train", size, batch, precision, time * 1e3, batch / time, memory.peak(), floor * 1e3, floor / time)


def generate(config: Config, level: int, batch: int, device: torch.device, limits: Limits, budget: float) -> Row:
    """z -> images on the device, mapping network and truncation included."""
    memory = Memory(device)
    torch.backends.cudnn.benchmark = True
    precision = config.training.precision
    g = Generator(config.generator).to(device).eval()
    g.synthesis.compute_dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    g.lod = float(config.generator.top - level)
    z = torch.randn(batch, config.generator.z_dim, device=device)
    classes = config.generator.labels
    labels = torch.zeros(batch, dtype=torch.long, device=device) if classes else None
    with torch.inference_mode(), using_ops("fast" if ops_mode() == "auto" else ops_mode()):
        draw = Replay(g)
        time = seconds(lambda: draw(z, labels), device, budget)
    floor = work.generation(config, level, _element(precision)).seconds(limits.flops, limits.bytes_per_second) * batch
    size = _size(config, level)
    return Row("generate", size, batch, precision, time * 1e3, batch / time, memory.peak(), floor * 1e3, floor / time)


OPERATORS = 14  # that `operators` measures at each shape


def _shapes(device: torch.device) -> list[tuple[int, int, int, int]]:
    """(side, input channels, output channels, batch) at which operators are measured."""
    return [(256, 64, 64, 16), (512, 32, 32, 16), (1024, 16, 16, 16)] if device.type == "cuda" else [(32, 64, 64, 16)]


def operator_count(device: torch.device) -> int:
    """How many rows `operators` makes."""
    return OPERATORS * len(_shapes(device))


def operators(device: torch.device, precision: str, limits: Limits, budget: float) -> Iterator[Row]:
    """Fast against reference, each forward and backward, at shapes of the paper's networks, in the fast layout."""
    from stylegan.ops import packed
    from stylegan.ops.conv import conv2d
    from stylegan.ops.resample import blur2d, blur_epilogue, conv_downscale2d, upscale_conv2d
    from stylegan.ops.rgb import from_rgb, to_rgb
    from stylegan.ops.style import bias_activate, style_epilogue

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    cuda, taps = device.type == "cuda", (1.0, 2.0, 1.0)
    layout = torch.channels_last if cuda else torch.contiguous_format

    def tensor(*shape: int) -> torch.Tensor:
        made = torch.randn(*shape, device=device, dtype=dtype)
        return (made.contiguous(memory_format=layout) if len(shape) == 4 else made).requires_grad_()

    def up(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return blur2d(upscale_conv2d(x, w))

    def down(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return conv_downscale2d(blur2d(x), w)

    for side, inputs, outputs, n in _shapes(device):
        x, half = tensor(n, inputs, side, side), tensor(n, inputs, side // 2, side // 2)
        w = tensor(outputs, inputs, 3, 3)
        p = packed.pack(x.detach()).requires_grad_()
        noise, strength, bias = torch.randn(n, 1, side, side, device=device), tensor(inputs), tensor(inputs)
        after = (noise, strength, bias, tensor(n, 2, inputs))
        image = torch.randn(n, 3, side, side, device=device, requires_grad=True)
        seen, drawn = (image, tensor(inputs, 3, 1, 1), bias, "lrelu", dtype), (tensor(3, inputs, 1, 1), tensor(3))
        same, folded = 9 * side * side, 4 * side * side  # taps per image; of a change of size with its blur
        cases: dict[str, tuple[partial[torch.Tensor], partial[torch.Tensor], int, bool]] = {
            "conv 3x3": (both := partial(conv2d, x, w, padding=1), both, same, True),
            "conv 3x3, packed": (both, partial(packed.packed_conv2d, p, w), same, True),
            "up-conv, blur": (both := partial(up, half, w), both, folded, True),
            "up-conv, blur, packed": (both, partial(packed.upscale_conv_packed, half, w, taps), folded, True),
            "blur, down-conv": (both := partial(down, x, w), both, folded, True),
            "blur, down-conv, packed": (both, partial(packed.conv_downscale_packed, p, w, taps), folded, True),
            "blur": (both := partial(blur2d, x), both, 0, False),
            "from RGB": (both := partial(from_rgb, *seen), both, 0, True),
            "from RGB, packed": (both, partial(from_rgb, *seen, packed=True), 0, True),
            "to RGB": (both := partial(to_rgb, x, *drawn), both, 0, True),
            "to RGB, packed": (both, partial(to_rgb, p, *drawn, packed=True), 0, True),
            "bias, activation": (both := partial(bias_activate, x, bias), both, 0, False),
            "epilogue": (both := partial(style_epilogue, x, *after), both, 0, True),
            "blur, epilogue": (both := partial(blur_epilogue, x, taps, *after), both, 0, True),
        }
        for name, (plain, quick, multiplied, again) in cases.items():
            times, peaks = {}, {}
            for mode, function in (("reference", plain), ("fast", quick)):
                with using_ops(mode):
                    memory = Memory(device)
                    times[mode] = seconds(_both_ways(function), device, budget)
                    peaks[mode] = memory.peak()
            done = work.Work(3 * 2.0 * n * multiplied * inputs * outputs, _bytes(plain, again))
            floor = done.seconds(limits.flops, limits.bytes_per_second)
            yield Row(
                name, f"{side}x{side}", n, precision, times["fast"] * 1e3, n / times["fast"], peaks["fast"],
                floor * 1e3, floor / times["fast"],
                extra={"reference_ms": times["reference"] * 1e3, "ratio": times["reference"] / times["fast"]},
            )  # fmt: skip


def _bytes(function: partial[torch.Tensor], again: bool) -> float:
    """That no implementation can avoid: everything given is read and the value written; the gradient of the value is
    read, those of what was given are written, and what was given is read again where they depend on it."""
    given = [t for t in function.args if isinstance(t, torch.Tensor)]
    with torch.no_grad():
        value = function()
    read = sum(t.nbytes for t in given)
    return 2.0 * value.nbytes + read * (2 if again else 1) + sum(t.nbytes for t in given if t.requires_grad)


def _both_ways(function: partial[torch.Tensor]) -> Callable[[], object]:
    """The function and its gradients by everything it is given, for a gradient laid out as its value is."""
    leaves = [t for t in function.args if isinstance(t, torch.Tensor) and t.requires_grad]
    dy = torch.randn_like(function().detach())
    return lambda: torch.autograd.grad(function(), leaves, dy)


def remember_rates(config: Config, device: torch.device, rows: Mapping[int, Row]) -> None:
    """Keeps the rates by level for `stylegan train`, which tells the time left from them at its start."""
    seconds_per_image = {level: 1.0 / row.images_per_second for level, row in rows.items()}
    rates.remember(config, Processes(device=device), seconds_per_image)


def predict_hours(config: Config, by_level: dict[int, float]) -> float:
    """Hours of a whole schedule from images per second by level; levels in between are interpolated by work."""
    from stylegan.training.eta import Eta

    eta = Eta(config)
    for level, rate in by_level.items():
        eta.record(level, 1.0 / rate)
    return (eta.remaining(0) or 0.0) / 3600

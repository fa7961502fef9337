"""Compiles every Triton kernel for a Hopper GPU, without having one: registers, spills, and how wide the accesses are.

    python benchmarks/compile_kernels.py        (needs Triton, which CPU builds of PyTorch do not bring)

A kernel that does not compile, spills registers, or reads a large tensor in pieces of less than 16 bytes is seen here
before it costs time on a lent machine.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from stylegan.ops import (
    fused,
    fused_blur,
    fused_layer,
    fused_ring,
    fused_weights,
    images,
    noise,
    triton_activation,
    triton_blur,
    triton_images,
    triton_kernels,
    triton_layer,
    triton_noise,
    triton_rgb,
    triton_ring,
    triton_weights,
)

MODULES = (
    triton_kernels, triton_activation, triton_blur, triton_images, triton_layer, triton_noise, triton_rgb, triton_ring,
    triton_weights,
)  # fmt: skip
TARGET = GPUTarget("cuda", 90, 32)
LARGE = {"x", "y", "dy", "dx", "g", "u", "f", "p", "k"}  # bfloat16; other tensors are float32
SIZES = {  # multiples of 16 where they matter
    "P", "C", "sn", "sp", "sc", "zn", "sh", "sw", "H", "W", "count", "OUT", "IN", "xo", "xi", "xt", "yo", "yi", "yt",
    "L", "each", "pn", "p_along", "p_last", "yn", "y_along", "y_last", "ko", "k_along", "k_last",
}  # fmt: skip
STEPS = {  # any integers
    "sample", "ik", "ih", "iw", "on", "ok", "wc", "wk", "gc", "gk", "tiles", "bands", "chunks", "size",
    "n",
}  # fmt: skip
OTHERS = {
    "bits": "*u8", "images": "*u8", "mirrored": "*i1", "width": "i32", "rows": "*i64", "blocks": "*i32", "seed": "*i64",
}  # fmt: skip
FLAGS = {
    "ENTERS": "plain", "MASKS": False, "SLOPE": 0.2, "HAS_NOISE": True, "HAS_STYLE": True, "INSTANCE": True,
    "HAS_MORE": False, "CHUNKS": 64, "HAS_BIAS": False, "ACTIVATES": False, "STORES": True, "SUMS": False,
    "PRECISION": "tf32", "BITS": False,
}  # fmt: skip


def assembler() -> Path:
    """The newest ptxas that Triton carries."""
    return sorted(Path(triton.__file__).parent.rglob("ptxas*"), key=lambda p: len(p.name))[-1]


def report(name: str, layout: str, constants: dict[str, Any], warps: int) -> str:
    kernel = next(getattr(m, name) for m in MODULES if hasattr(m, name))
    names = [p.name for p in kernel.params]
    constants = {k: v for k, v in {**FLAGS, **constants}.items() if k in names}
    signature, divisible = {}, {}
    for i, argument in enumerate(names):
        if argument in constants:
            signature[argument] = "constexpr"
        elif argument in SIZES or argument in STEPS:
            signature[argument] = "i32"
        elif argument in ("eps", "outer", "inner", "factor"):
            signature[argument] = "fp32"
        elif argument in OTHERS:
            signature[argument] = OTHERS[argument]
        else:
            large = argument in LARGE or (name, argument) == ("expand", "out")
            signature[argument] = "*bf16" if large else "*fp32"
        if signature[argument].startswith("*") or (argument in SIZES and argument not in constants):
            divisible[(i,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, {(names.index(k),): v for k, v in constants.items()}, divisible)
    code = triton.compile(source, target=TARGET, options={"num_warps": warps}).asm["ptx"]
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(code)
        file.flush()
        command = [str(assembler()), "--gpu-name=sm_90a", "-v", file.name, "-o", "/dev/null"]
        said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    registers, spilled = re.findall(r"Used (\d+) registers", said), re.findall(r"(\d+) bytes spill stores", said)
    reads, wide = (len(re.findall(p, code)) for p in (r"ld\.global", r"ld\.global[^;]*\.v4"))
    return (
        f"{name:20} {layout:10} warps {warps}  registers {'/'.join(registers) or said[:80]}  "
        f"spilled bytes {'/'.join(spilled)}  16-byte reads {wide} of {reads}"
    )


def main() -> None:
    tile, warps = fused.TILE, fused.WARPS
    layouts = {"nhwc 16": ("sc", 16), "nhwc 64": ("sc", 64), "nchw": ("sp", 1)}
    for layout, (unit, channels) in layouts.items():
        tiles = {unit: 1, "BP": tile // channels, "BC": channels}
        streams = tiles | {"BP": 2 * tile // channels}  # Plan.of(streams=True)
        for name in ("statistics", "gradient_sums", "gradient"):
            print(report(name, layout, tiles, warps), flush=True)
        for name in ("apply", "bias_activation", "activation_gradient"):
            print(report(name, layout, streams, warps // 2), flush=True)
        for flags in ({"SUMS": True}, {"BITS": True}, {"BITS": True, "SUMS": True}) if unit == "sc" else ():
            for name in ("activation_gradient", *["bias_activation"] * (len(flags) < 2 and "BITS" in flags)):
                print(f"{', '.join(flags)}:", report(name, layout, streams | flags, warps // 2), flush=True)
    for name in ("apply_whole", "gradient_whole"):
        print(report(name, "nhwc", {"sc": 1, "BP": 256, "BC": fused.WHOLE // 256}, warps), flush=True)
    filters = [("plain",), ("activated",), ("activated", "BITS"), ("masked",), ("masked", "BITS")]
    filters += [("plain", "MASKS"), ("plain", "MASKS", "BITS"), ("plain", "MASKS", "SUMS", "BITS")]
    for enters, *flags in filters:
        for channels in (16, 64):
            constants = {"sc": 1, "ROWS": fused_blur.ROWS, "BW": tile // 2 // channels, "BC": channels}
            constants |= {"ENTERS": enters} | dict.fromkeys(flags, True)
            print(f"{', '.join([enters, *flags])}:", report("blur", f"nhwc {channels}", constants, 4), flush=True)
    for name in ("blur_statistics", "gradient_blur"):
        for layout, (unit, channels) in layouts.items():
            constants = {unit if unit == "sc" else "sw": 1, "ROWS": fused_blur.ROWS}
            small = fused_layer.SMALL_TILE if channels == 64 else 2 * fused_layer.SMALL_TILE
            constants |= {"BW": (small if name == "gradient_blur" else tile // 2) // channels, "BC": channels}
            print(report(name, layout, constants, fused_layer.WARPS), flush=True)
    for channels in (16, 64):
        constants = {"sc": 1, "BP": 2 * tile // channels, "BC": channels, "CHUNKS": 1, "chunks": 1}
        print("merged:", report("apply", f"nhwc {channels}", constants, warps // 2), flush=True)
    constants = {"ROWS": fused_blur.ROWS, "BW": 32, "CHUNKS": 512, "BC": fused_layer.MERGED // 512}
    print(report("merge", "512x512", constants, warps), flush=True)
    print(report("from_bytes", "nchw", {"MIRRORS": True, "B": images.VALUES}, 8), flush=True)
    print(report("squares", "any", {"TILES": images.TILES, "B": images.VALUES}, 8), flush=True)
    print(report("normal", "any", {"B": noise.LANES}, 4), flush=True)
    print(report("scale", "any", {"B": fused_weights.VALUES}, 4), flush=True)
    tile_of = {"BO": fused_weights.SIDE, "BI": fused_weights.SIDE, "xi": 1}
    for what, unit, read in (("4x4", "yi", 9), ("rotated", "yo", 9), ("gradient", "yi", 16), ("rotated", "yo", 16)):
        print(report("taps", what, tile_of | {unit: 1, "FROM": read}, 4), flush=True)
    for name in ("down", "up", "weight"):
        for axis in (0, 1):
            constants = {"pc": 1, "yc": 1, "kc": 1, "C": 16, "BJ": fused_ring.BLOCKS, "BO": 32, "BV": 32}
            constants |= {"AXIS": axis, "CORNERS": axis == 0}
            print(report(name, f"axis {axis}", constants, fused_ring.WARPS[name]), flush=True)
    forms = {
        "from rgb": ("expand", {"HAS_BIAS": True, "ACTIVATES": True, "BITS": True}),
        "R1": ("expand", {"MASKS": True, "BITS": True}),
        "to rgb, gradients": ("expand", {"SUMS": True}),
        "to rgb": ("contract", {"HAS_BIAS": True}),
        "from rgb, images": ("contract", {"MASKS": True, "BITS": True}),
        "from rgb, weights": ("contract", {"MASKS": True, "BITS": True, "STORES": False, "SUMS": True}),
        "from rgb, both": ("contract", {"MASKS": True, "BITS": True, "SUMS": True}),
    }
    for channels in (16, 64):
        constants = {"sc": 1, "K": 3, "BP": 2 * tile // channels, "BC": channels, "PACKED": channels == 16}
        print("styled:", report("apply_contract", f"nhwc {channels}", constants, warps // 2), flush=True)
    for what, (name, flags) in forms.items():
        for channels in (16, 64, 512):
            values = 2 * tile if flags.get("STORES", True) else tile // 2
            constants = {"sc": 1, "iw": 1, "K": 3, "BP": values // channels, "BC": channels, "PACKED": channels == 16}
            print(f"{what}:", end=" ")
            print(report(name, f"nhwc {channels}", constants | flags, warps // 2), flush=True)


if __name__ == "__main__":
    main()

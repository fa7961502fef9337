"""How far gradients in float32, TF32 and bfloat16 are from float64, for each network and loss, in one table.

    python benchmarks/precision.py [--side 64] [--device cuda]

Relative error |g - g64| / |g64| over all parameters of a network together, of G's loss, of D's loss, and of R1 alone,
at the paper's widths with weights as initialised, noise strengths and biases drawn at 0.1. The same latents, noise and
images for every precision.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import torch

from stylegan.config.presets import preset
from stylegan.networks import Discriminator, Generator
from stylegan.ops.switch import using_ops
from stylegan.training import losses

Gradients = dict[str, torch.Tensor]


def gradients(
    g: Generator, d: Discriminator, dtype: torch.dtype, device: torch.device, seed: int, batch: int
) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, all gradients in one vector, float64 on the CPU) of each loss."""
    master = torch.float64 if dtype == torch.float64 else torch.float32
    for network in (g, d):
        network.to(device, master)
    g.synthesis.compute_dtype = d.compute_dtype = dtype
    random = torch.Generator().manual_seed(seed)
    h, w = g.config.resolution
    z = torch.randn(batch, g.config.z_dim, generator=random).to(device, master)
    noise = [torch.randn(batch, 1, *size, generator=random).to(device, master) for size in g.synthesis.noise_sizes(0.0)]
    reals = (torch.rand(batch, 3, h, w, generator=random) * 2 - 1).to(device, master).requires_grad_()

    def flat(loss: torch.Tensor, network: torch.nn.Module) -> torch.Tensor:
        found = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
        return torch.cat([t.detach().double().cpu().flatten() for t in found if t is not None])

    fakes = g.synthesis(g.mapping(z), noise=noise)
    yield "G", flat(losses.g_nonsaturating(d(fakes)).mean(), g)
    yield "D", flat(losses.d_logistic(d(reals), d(fakes.detach())).mean(), d)
    yield "R1", flat(losses.r1_penalty(d(reals), reals, 10.0).mean(), d)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    config = preset("ffhq1024", arguments.side)
    precisions = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}
    if device.type == "cuda":
        precisions["tf32"] = torch.float32
    print("| seed | precision | G | D | R1 |\n|---|---|---|---|---|")
    for seed in range(arguments.seeds):
        torch.manual_seed(seed)
        g, d = Generator(config.generator), Discriminator(config.discriminator)
        for name, parameter in [*g.named_parameters(), *d.named_parameters()]:
            if "bias" in name or "strength" in name:
                torch.nn.init.normal_(parameter, std=0.1)
        exact: Gradients = {}
        for name, dtype in precisions.items():
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = name == "tf32"
            with using_ops("fast"):
                found = dict(gradients(g, d, dtype, device, seed, arguments.batch))
            exact = exact or found
            errors = [float((found[k] - exact[k]).norm() / exact[k].norm()) for k in ("G", "D", "R1")]
            if name != "float64":
                print(f"| {seed} | {name} | " + " | ".join(f"{e:.2g}" for e in errors) + " |", flush=True)


if __name__ == "__main__":
    main()

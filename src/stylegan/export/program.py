"""What is exported: one part of a generator as a function of plain tensors, traced by torch.export.

Shapes: N batch (free in the exported program), L style layers, D width of w, Z width of z.
"""

from __future__ import annotations

import copy
import math
import warnings
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import nn

from stylegan import lod as lods
from stylegan.errors import UserError
from stylegan.networks import Generator
from stylegan.networks.generator import pulled
from stylegan.networks.layers import EqualizedLinear, EqualizedWeight
from stylegan.ops.switch import exporting_with, using_ops

PartName = Literal["mapping", "synthesis", "generator"]
NoiseName = Literal["inputs", "stored", "none"]


@dataclass(frozen=True)
class Plan:
    """What to export of a generator, and what is fixed in it.

    lod and cutoff None: the network's own. half: weights of two or more dimensions are rounded to 16 bits, for
    the same arithmetic. float64: arithmetic in 64 bits where `ops.switch.exact` says so, which some runtimes lack.
    """

    part: PartName = "generator"
    noise: NoiseName = "inputs"
    lod: float | None = None
    cutoff: int | None = None
    half: bool = False
    float64: bool = True


class Program(nn.Module):
    """The part as a module: tensors in the order of `inputs` -> images [N, C, h, w], or ws [N, L, D].

    mapping: z, (labels,) (psi) -> ws, truncated. synthesis: ws, (noise0 ...) -> images. generator: both in one.
    psi is a scalar; it is no input where truncation has no meaning (configurations A and B).
    """

    def __init__(self, generator: Generator, plan: Plan) -> None:
        """UserError where the plan does not fit the generator."""
        super().__init__()
        config = generator.config
        try:
            self.lod = lods.check_lod(generator.lod if plan.lod is None else plan.lod, config.top)
        except ValueError as error:
            raise UserError(f"--{error}") from None
        cutoff = config.truncation_cutoff if plan.cutoff is None else plan.cutoff
        self.cutoff = config.num_layers if cutoff is None else min(cutoff, config.num_layers)
        if self.cutoff < 0:
            raise UserError(f"--cutoff {cutoff}: must lie between 0 and {config.num_layers}")
        self.plan = plan
        self.noise: NoiseName = plan.noise if config.noise else "none"
        self.generator = folded(generator, plan.half)
        self.sizes = self.generator.synthesis.noise_sizes(self.lod)

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs, in order."""
        if self.plan.part == "synthesis":
            names = ["ws"]
        else:
            names = ["z"] + ["labels"] * bool(self.generator.config.labels) + ["psi"] * self.generator.truncatable
        if self.plan.part != "mapping" and self.noise == "inputs":
            names += [f"noise{i}" for i in range(len(self.sizes))]
        return names

    @property
    def output(self) -> str:
        """Name of the one output."""
        return "ws" if self.plan.part == "mapping" else "images"

    @property
    def default_psi(self) -> float | None:
        """The psi the model draws with where none is chosen; None where psi is no input."""
        if "psi" not in self.inputs:
            return None
        config = self.generator.config
        disabled = config.truncation_psi is None or config.truncation_cutoff is None
        return 1.0 if disabled else float(config.truncation_psi or 0.0)

    def samples(self, n: int, seed: int = 0, psi: float | None = None) -> tuple[torch.Tensor, ...]:
        """Inputs of N samples to try the program with; psi None = the default."""
        config, draw = self.generator.config, torch.Generator().manual_seed(seed)
        psi = (self.default_psi or 0.0) if psi is None else psi
        made: dict[str, torch.Tensor] = {
            "z": torch.randn(n, config.z_dim, generator=draw),
            "ws": torch.randn(n, config.num_layers, config.w_dim, generator=draw),
            "psi": torch.tensor(psi, dtype=torch.float32),
        }
        if config.labels:
            made["labels"] = nn.functional.one_hot(torch.arange(n) % config.labels, config.labels).float()
        for i, size in enumerate(self.sizes):
            made[f"noise{i}"] = torch.randn(n, 1, *size, generator=draw)
        return tuple(made[name] for name in self.inputs)

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """Tensors in the order of `inputs`."""
        given = dict(zip(self.inputs, tensors, strict=True))
        ws = given["ws"] if self.plan.part == "synthesis" else self._ws(given)
        if self.plan.part == "mapping":
            return ws
        noise: Any = self.noise
        if noise == "inputs":
            noise = [given[f"noise{i}"] for i in range(len(self.sizes))]
        return self.generator.synthesis(ws, self.lod, noise)

    def _ws(self, given: dict[str, torch.Tensor]) -> torch.Tensor:
        """Mapping and the truncation trick with psi as a tensor: [N, L, D]."""
        ws = self.generator.mapping(given["z"], given.get("labels"))
        if "psi" not in given:
            return ws
        truncated = pulled(self.generator.w_avg, ws[:, : self.cutoff], given["psi"])
        return torch.cat([truncated, ws[:, self.cutoff :]], dim=1)  # N L D


@torch.no_grad()
def folded(generator: Generator, half: bool = False) -> Generator:
    """A copy on the CPU whose run-time multipliers are in the weights; it computes the same, to rounding.

    half: weights of two or more dimensions rounded to float16, in float32.
    """
    made = copy.deepcopy(generator).cpu().float().eval().requires_grad_(False)
    made.synthesis.compute_dtype = torch.float32
    for module in made.modules():
        if isinstance(module, EqualizedWeight):
            module.weight.mul_(module.scale)
            module.scale = 1.0
        if isinstance(module, EqualizedLinear) and module.bias is not None:
            module.bias.mul_(module.lrmul)
            module.lrmul = 1.0
    if half:
        for parameter in made.parameters():
            if parameter.ndim >= 2:
                parameter.copy_(parameter.half().float())
    return made


def trace(program: Program) -> torch.export.ExportedProgram:
    """The program as a graph of PyTorch operators, for any batch size."""
    batch = torch.export.Dim("batch", min=1)
    shapes = tuple(None if name == "psi" else {0: batch} for name in program.inputs)
    with torch.no_grad(), using_ops("fast"), exporting_with(program.plan.float64), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # two samples, because a size of 1 would be taken for a constant
        return torch.export.export(program, program.samples(2), dynamic_shapes={"tensors": shapes}, strict=False)


def check_names(part: str, noise: str) -> None:
    """UserError for a part or a kind of noise that does not exist."""
    for option, value, known in (("--part", part, get_args(PartName)), ("--noise", noise, get_args(NoiseName))):
        if value not in known:
            raise UserError(f"{option} {value}: must be {', '.join(known)}")


@dataclass(frozen=True)
class Agreement:
    """How an exported file compares with the network: largest difference, and the range of the values."""

    difference: float
    span: float  # largest value minus smallest
    own: float = 0.0  # PyTorch's own rounding error, where `difference` is measured from float64

    LIMIT = 1e-4  # of the range
    OWN = 4.0  # times PyTorch's own rounding error

    @property
    def allowed(self) -> float:
        """LIMIT times the range, and times 1 where that is smaller; 2e-4 for images that fill [-1, 1]."""
        return max(self.LIMIT * max(1.0, self.span), self.OWN * self.own)

    @property
    def good(self) -> bool:
        """Whether the two agree; never with NaN."""
        return self.difference <= self.allowed

    def __str__(self) -> str:
        text = f"largest difference {self.difference:.1e}"
        if self.own:
            text += f" from float64, where PyTorch's own is {self.own:.1e}"
        if self.difference <= self.LIMIT:
            return f"{text}, within {self.LIMIT:.0e} (values range over {self.span:.2g})"
        share = self.difference / self.span if self.span else math.inf
        return f"{text}, above {self.LIMIT:.0e}: {share:.1e} of the range {self.span:.2g} (allowed {self.allowed:.1e})"


def compare(program: Program, generator: Generator, run: Any) -> Agreement:
    """Runs an exported program beside the network, on one and on three samples, at psi 0.7 and 1.

    run: tensors in the order of `program.inputs` -> the output. The network is the original one; with half weights
    it is the program's own rounded copy. It takes its readable operators, and where that does not agree its fast
    ones: in fresh networks without noise, channels have no variance at all, and the instance norm of the readable
    ones enlarges their rounding errors 10,000 times. Where neither agrees, float64 decides: a network that enlarges
    rounding so much is as exact in another program as in PyTorch, or that program is wrong.
    """
    network = copy.copy(program)
    network._modules = dict(program._modules)
    if not program.plan.half:
        network.generator = generator.cpu().eval()
    cases = [program.samples(n, seed=n, psi=psi) for n, psi in ((1, 0.7), (3, 1.0))]
    with torch.no_grad():
        outputs = [torch.as_tensor(run(*inputs)) for inputs in cases]
    found = _compare(network, cases, outputs, "reference")
    if not found.good:
        found = min(found, _compare(network, cases, outputs, "fast"), key=lambda a: not a.good)
    return found if found.good else _from_float64(network, cases, outputs)


@torch.no_grad()
def _from_float64(network: Program, cases: list[Any], outputs: list[torch.Tensor]) -> Agreement:
    """How far the outputs, and those of PyTorch's float32, are from the network's in float64."""
    plain = [network(*inputs) for inputs in cases]
    exact = copy.copy(network)
    exact._modules = dict(network._modules)
    exact.generator = copy.deepcopy(network.generator).double()
    exact.generator.synthesis.compute_dtype = torch.float64
    with using_ops("reference"):
        found = _compare(exact, [[tensor.double() for tensor in inputs] for inputs in cases], outputs, "reference")
        own = _compare(exact, [[tensor.double() for tensor in inputs] for inputs in cases], plain, "reference")
    return Agreement(found.difference, found.span, own.difference)


@torch.no_grad()
def _compare(network: Program, cases: list[Any], outputs: list[torch.Tensor], operators: str) -> Agreement:
    difference, low, high = 0.0, math.inf, -math.inf
    with using_ops(operators):
        for inputs, got in zip(cases, outputs, strict=True):
            expected = network(*inputs)
            low, high = min(low, expected.min().item()), max(high, expected.max().item())
            distance = (got - expected).abs().max().item() if got.shape == expected.shape else math.nan
            difference = math.nan if math.isnan(distance + difference) else max(difference, distance)
    return Agreement(difference, high - low)

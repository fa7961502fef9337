"""Drawing as CUDA graphs: the same images, without the host launching hundreds of small kernels for each.

One image at a time, and small images in batches, take longer to launch than to compute. A graph is recorded at the
first call with inputs of some shape and replayed from the second on. Weights are read where they lie, so a network that
is being trained is drawn as it stands. On anything but an NVIDIA GPU, and where gradients are wanted, calls go straight
to the network.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch

from stylegan.networks.generator import Default, Generator
from stylegan.networks.labels import as_one_hot
from stylegan.networks.synthesis import Noise
from stylegan.ops.record import Recording, record
from stylegan.ops.switch import ops_mode

Tensors = dict[str, torch.Tensor]


@dataclass
class _Recorded:
    inputs: Tensors
    images: Recording[torch.Tensor]


class Replay:
    """Calls a generator as it is called itself: `Replay(G)(z, labels, psi)` and `Replay(G).synthesis(ws)`.

    At most `most` recordings are kept, the ones used last; each holds the memory of one pass.
    """

    def __init__(self, G: Generator, most: int = 4) -> None:
        self.generator = G
        self.most = most
        self._known: OrderedDict[Hashable, _Recorded] = OrderedDict()
        self._places: tuple[int, ...] = ()
        self._works = True

    def __call__(
        self,
        z: torch.Tensor,
        labels: torch.Tensor | None = None,
        psi: float | Default | None = "default",
        cutoff: int | Default | None = "default",
        noise: Noise = "random",
        lod: float | None = None,
    ) -> torch.Tensor:
        """As `Generator.forward`: z [N, Z] -> images [N, C, h, w], a tensor of their own."""
        G = self.generator
        one_hot = as_one_hot(labels, G.config.labels, len(z), like=z)  # looks at values, which a graph cannot
        inputs = {"z": z} | ({} if one_hot is None else {"labels": one_hot})
        key = ("z", psi, cutoff)
        return self._run(key, inputs, noise, lod, lambda t, n, at: G(t["z"], t.get("labels"), psi, cutoff, n, at))

    def synthesis(self, ws: torch.Tensor, lod: float | None = None, noise: Noise = "random") -> torch.Tensor:
        """As `SynthesisNetwork.forward`: ws [N, L, D] -> images [N, C, h, w], a tensor of their own."""
        return self._run(("ws",), {"ws": ws}, noise, lod, lambda t, n, at: self.generator.synthesis(t["ws"], at, n))

    def _run(
        self,
        key: tuple[Hashable, ...],
        inputs: Tensors,
        noise: Noise,
        lod: float | None,
        draw: Callable[[Tensors, Noise, float], torch.Tensor],
    ) -> torch.Tensor:
        G = self.generator
        at = float(G.lod if lod is None else lod)
        drawn = [] if isinstance(noise, str) else list(noise)
        if not self._worth(G):
            return draw(inputs, noise, at)
        inputs = {name: t.to(G.w_avg.device) for name, t in inputs.items()}
        inputs |= {f"noise{i}": layer.to(G.w_avg.device) for i, layer in enumerate(drawn)}
        places = tuple(t.data_ptr() for t in (*G.parameters(), *G.buffers()))
        if places != self._places:
            self._known.clear()
            self._places = places
        cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
        settings = (ops_mode(), cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic, matmul.allow_tf32)
        shapes = tuple((name, tuple(t.shape), t.dtype) for name, t in inputs.items())
        full = (key, noise if isinstance(noise, str) else "given", at, G.synthesis.compute_dtype, settings, shapes)

        def work(given: Tensors) -> torch.Tensor:
            return draw(given, [given[f"noise{i}"] for i in range(len(drawn))] if drawn else noise, at)

        known = self._known.get(full)
        if known is None:
            known = self._record(inputs, work)
            if known is None:
                return work(inputs)
            self._known[full] = known
            while len(self._known) > self.most:
                self._known.popitem(last=False)
        self._known.move_to_end(full)
        for name, buffer in known.inputs.items():
            buffer.copy_(inputs[name], non_blocking=True)
        return known.images().clone()

    def _worth(self, G: Generator) -> bool:
        """Whether to record: an NVIDIA GPU, no gradients, and nobody who looks at layers while they run."""
        hooked = any(m._forward_hooks or m._forward_pre_hooks for m in G.modules())
        return self._works and G.w_avg.is_cuda and not torch.is_grad_enabled() and not hooked

    def _record(self, inputs: Tensors, work: Callable[[Tensors], torch.Tensor]) -> _Recorded | None:
        with torch.inference_mode(False):
            buffers = {name: t.detach().clone() for name, t in inputs.items()}
        recording = record(lambda: work(buffers))
        self._works = recording is not None
        return None if recording is None else _Recorded(buffers, recording)

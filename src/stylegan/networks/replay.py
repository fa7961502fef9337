"""Drawing as CUDA graphs: the same images, without the host launching hundreds of small kernels for each.

One image at a time, and small images in batches, take longer to launch than to compute. A graph is recorded at the
first call with inputs of some shape and replayed from the second on. What is made of the weights is made once, and anew
when they have changed, so a network that is being trained is drawn as it stands. On anything but an NVIDIA GPU, and
where gradients are wanted, calls go straight to the network.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from stylegan.networks.generator import Default, Generator
from stylegan.networks.labels import as_one_hot
from stylegan.networks.synthesis import Noise
from stylegan.ops.branches import Branch
from stylegan.ops.prepared import Prepared
from stylegan.ops.record import Recording, record
from stylegan.ops.switch import ops_mode

Tensors = dict[str, torch.Tensor]


@dataclass
class _Recorded:
    inputs: Tensors
    images: Recording[torch.Tensor]


class Replay:
    """Calls a generator as it is called itself: `Replay(G)(z, labels, psi)` and `Replay(G).synthesis(ws)`.

    At most `most` recordings are kept, the ones used last; each holds the memory of one pass. A weight counts as
    changed when PyTorch says so (its version) or when it lies elsewhere; modules must stay the ones they are.
    """

    def __init__(self, G: Generator, most: int = 4) -> None:
        self.generator = G
        self.most = most
        self._known: OrderedDict[Hashable, _Recorded] = OrderedDict()
        self._modules = tuple(G.modules())
        self._places: tuple[int, ...] = ()
        self._versions: tuple[int, ...] = ()
        self._prepared = Prepared()
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
        keeps = self._look_at_weights()
        cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
        settings = (ops_mode(), cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic, matmul.allow_tf32)
        shapes = tuple((name, tuple(t.shape), t.dtype) for name, t in inputs.items())
        full = (key, noise if isinstance(noise, str) else "given", at, G.synthesis.compute_dtype, settings, shapes)
        known = self._known.get(full)
        if known is None:
            branch = Branch(G.w_avg.device)

            def work(given: Tensors) -> torch.Tensor:
                with self._prepared.used() if keeps else nullcontext(), branch.offered():
                    return draw(given, [given[f"noise{i}"] for i in range(len(drawn))] if drawn else noise, at)

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

    def _look_at_weights(self) -> bool:
        """Forgets what was recorded of weights that lie elsewhere now, and prepares anew what has changed.

        False where nothing may be kept: tensors made in inference mode change without a sign.
        """
        held = [t for m in self._modules for t in (*m._parameters.values(), *m._buffers.values()) if t is not None]
        places = tuple([t.data_ptr() for t in held])
        unseen = any(t.is_inference() for t in held)
        versions = () if unseen else tuple([t._version for t in held])
        if places != self._places:
            self._known.clear()
            self._prepared = Prepared()
        elif versions != self._versions:
            self._prepared.refresh()
        self._places, self._versions = places, versions
        return not unseen

    def _worth(self, G: Generator) -> bool:
        """Whether to record: an NVIDIA GPU, no gradients, and nobody who looks at layers while they run."""
        hooked = any(m._forward_hooks or m._forward_pre_hooks for m in self._modules)
        return self._works and G.w_avg.is_cuda and not torch.is_grad_enabled() and not hooked

    def _record(self, inputs: Tensors, work: Callable[[Tensors], torch.Tensor]) -> _Recorded | None:
        with torch.inference_mode(False):
            buffers = {name: t.detach().clone() for name, t in inputs.items()}
        recording = record(lambda: work(buffers))
        self._works = recording is not None
        return None if recording is None else _Recorded(buffers, recording)

"""Official networks give official images and scores through packed levels, channels-last and kernels, edges included.

On the CPU the packed forms, here at every level that the recorded 32x32 networks have; on a GPU the kernels as well.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from stylegan.networks import Discriminator
from stylegan.ops import packed
from stylegan.ops.switch import kernels, using_ops
from tests.parity import case
from tests.parity.case import NETWORKS, recorded
from tests.parity.test_networks import full_size, inputs, reals

LODS = [0.0, 0.3, 1.0, 2.75]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, needs_gpu])]


@pytest.fixture(autouse=True, params=[8, 0], ids=["packed", "plain"])
def fast_forms(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("STYLEGAN_LAYOUT", "channels_last")
    before = packed.pack_from(request.param)
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    with using_ops("fast"):
        yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32
    packed.pack_from(before)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("lod", LODS)
@pytest.mark.parametrize("name", NETWORKS)
def test_official_images_and_scores(name: str, lod: float, device: str) -> None:
    if device == "cuda":
        assert kernels(torch.zeros(1, device=device))
    z, labels = (t.to(device) for t in inputs(name))
    io = recorded(f"{name}_io")
    key = f"img_default_lod{lod}_recursive" if name == "style32" else f"img_lod{lod}_recursive"
    with torch.no_grad():
        images = case.generator(name).to(device)(z, labels, noise="stored", lod=lod)
        io.check(key, full_size(images, lod).cpu())
        discriminator: Discriminator = case.discriminator(name).to(device)
        io.check(f"D_lod{lod}_recursive", discriminator(reals(name, lod).to(device), lod=lod).cpu())


def test_layers_keep_the_layout_they_are_given() -> None:
    """No layer goes back to planes, where each convolution would copy its input first."""
    seen: dict[str, bool] = {}
    g, d = case.generator("style32"), case.discriminator("style32")

    def note(name: str, out: torch.Tensor) -> None:
        if out.ndim == 4 and out.shape[2] > 1:
            seen[name] = out.is_contiguous(memory_format=torch.channels_last)

    for i, layer in enumerate(g.synthesis.layers):
        layer.register_forward_hook(lambda _m, _i, out, i=i: note(f"G layer {i}", out))
    for i, block in enumerate(d.blocks):
        block.register_forward_hook(lambda _m, _i, out, i=i: note(f"D block {i}", out))
        block.conv.register_forward_hook(lambda _m, _i, out, i=i: note(f"D conv {i}", out))
        block.conv.register_full_backward_hook(lambda _m, _i, out, i=i: note(f"gradient {i}", out[0]))
    z, labels = inputs("style32")
    d(g(z, labels, noise="stored", lod=0.0).requires_grad_(), lod=0.0).sum().backward()
    assert len(seen) == 8 + 3 * 3
    assert not [name for name, kept in seen.items() if not kept]

"""Drawing as CUDA graphs gives the network's own images, also after its weights have changed."""

from __future__ import annotations

import pytest
import torch

import stylegan
from stylegan.config.presets import preset
from stylegan.networks import Generator, Replay

DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu])]


def make(labels: int, device: str) -> Generator:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    torch.manual_seed(0)
    diff = {"generator": {"fmap_base": 512, "fmap_max": 32, "w_dim": 32, "z_dim": 32, "mapping_width": 32}}
    G = Generator(preset("tiny", 32, 3, labels, diff).generator).to(device).eval().requires_grad_(False)
    with torch.no_grad():
        for name, p in G.named_parameters():
            if "noise_strength" in name or name.endswith("bias"):
                p.normal_(0, 0.1)
        G.w_avg.normal_()
    return G


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("labels", [0, 3])
def test_replayed_images_are_the_networks(labels: int, device: str) -> None:
    G = make(labels, device)
    draw = Replay(G, most=2)
    cases = [(2, 0.7, 0.0, "stored"), (3, None, 0.5, "none"), (2, 0.5, 1.0, "given"), (2, 0.7, 0.0, "stored")]
    for batch, psi, lod, noise in cases:
        for seed in (1, 2):  # recorded, then replayed with others
            generator = torch.Generator().manual_seed(seed)
            z = torch.randn(batch, 32, generator=generator).to(device)
            one_of = torch.arange(batch, device=device) % 3 if labels else None
            sizes = G.synthesis.noise_sizes(lod)
            layers = [torch.randn(batch, 1, *size, generator=generator).to(device) for size in sizes]
            given = layers if noise == "given" else noise
            with torch.inference_mode():
                expected = G(z, one_of, psi, 4, given, lod)
                found = draw(z, one_of, psi, 4, given, lod)
                ws = G.truncate(G.mapping(z, one_of), psi, 4)
                again = draw.synthesis(ws, lod, given)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(again, expected, rtol=1e-4, atol=1e-4)
    assert len(draw._known) == (2 if device == "cuda" else 0)


@pytest.mark.parametrize("device", DEVICES)
def test_weights_are_read_where_they_lie(device: str) -> None:
    G = make(0, device)
    draw, z = Replay(G), torch.ones(1, 32, device=device)
    with torch.no_grad():
        first = draw(z, noise="stored")
        kept = first.clone()
        G.synthesis.to_rgb[-1].bias.add_(0.25)
        torch.testing.assert_close(draw(z, noise="stored"), first + 0.25, rtol=1e-4, atol=1e-4)
        assert torch.equal(first, kept)  # earlier images are left alone
        layers = G.synthesis.layers
        for weight in (layers[2].conv.weight, layers[3].affine.weight, G.mapping.layers[0].weight):
            weight.mul_(0.5)  # what is made of them is made anew
            torch.testing.assert_close(draw(z, noise="stored"), G(z, noise="stored"), rtol=1e-4, atol=1e-4)
            weight.mul_(2.0)
        G.synthesis.to_rgb[-1].bias.data = G.synthesis.to_rgb[-1].bias.data - 0.25  # elsewhere now: recorded anew
        torch.testing.assert_close(draw(z, noise="stored"), first, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_gradients_and_random_noise(device: str) -> None:
    G = make(0, device)
    draw, z = stylegan.Replay(G), torch.ones(1, 32, device=device, requires_grad=True)
    assert draw(z).requires_grad
    with torch.inference_mode():
        assert not torch.equal(draw(z), draw(z))  # noise is drawn afresh at every replay

"""Feature networks: architecture, preprocessing, and loading, with made-up weights (there is no network here)."""

from __future__ import annotations

import dataclasses
import io
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylegan.errors import UserError
from stylegan.metrics import open_features, weights
from stylegan.metrics.classifier import Classifier, ClassifierNetwork, open_classifier, save_classifier
from stylegan.metrics.dinov2 import VisionTransformer
from stylegan.metrics.features import as_rgb
from stylegan.metrics.inception import Inception2015
from stylegan.metrics.public import LpipsNetwork, open_public
from stylegan.metrics.resizing import resize, resize_matrix
from stylegan.metrics.vgg import Lpips, Vgg16, convolutions
from stylegan.networks import Discriminator

IMAGE = (3, 16, 16)


def pictures(n: int = 2, side: int = 16, channels: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (n, channels, side, side), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


# --- resizing --------------------------------------------------------------------------------------------------


def test_tf1_filter_by_hand() -> None:
    """Position i·in/out, clamped at the end: no half-pixel shift."""
    row = torch.tensor([0.0, 1, 2, 3]).reshape(1, 1, 1, 4).expand(1, 1, 2, 4)
    np.testing.assert_allclose(resize(row, (2, 8), "tf1")[0, 0, 0], [0, 0.5, 1, 1.5, 2, 2.5, 3, 3])
    np.testing.assert_allclose(resize(row, (2, 2), "tf1")[0, 0, 0], [0, 2])
    np.testing.assert_allclose(resize(row, (2, 2), "bilinear")[0, 0, 0], [0.5, 2.5])


@pytest.mark.parametrize(
    ("name", "theirs"), [("triangle", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)]
)
@pytest.mark.parametrize("size", [(24, 40), (7, 13), (64, 9)])
def test_antialiased_filters_are_pillows(name: str, theirs: Image.Resampling, size: tuple[int, int]) -> None:
    source = np.random.default_rng(0).random((33, 41)).astype(np.float32) * 255
    expected = np.asarray(Image.fromarray(source).resize(size[::-1], theirs))
    found = resize(torch.from_numpy(source)[None, None], size, name)[0, 0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("name", ["tf1", "bilinear", "triangle", "bicubic", "box"])
def test_filters_keep_a_constant(name: str) -> None:
    for inputs, outputs in [(10, 3), (3, 10), (299, 256), (5, 5)]:
        np.testing.assert_allclose(resize_matrix(inputs, outputs, name).sum(1), 1, rtol=1e-12)


def test_box_is_the_mean_of_squares() -> None:
    x = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(resize(x, (16, 16), "box"), torch.nn.functional.avg_pool2d(x, 2))


def test_pixels() -> None:
    network = open_features("pixels", (3, 32, 32))
    assert network.dim == 3 * 16 * 16
    features, logits = network(pictures(side=32))
    assert features.shape == (2, 768)
    assert logits is None
    assert float(features.max()) <= 1
    assert open_features("pixels", (5, 48, 24)).dim == 5 * 16 * 8


def test_colours() -> None:
    grey = pictures(channels=1).float()
    assert torch.equal(as_rgb(grey)[:, 1:2], grey)
    transparent = torch.cat([pictures().float(), torch.zeros(2, 1, 16, 16)], 1)
    assert bool((as_rgb(transparent) == 255).all())
    with pytest.raises(UserError, match=r"5 channels.*pixels"):
        as_rgb(torch.zeros(1, 5, 4, 4))


# --- architectures ---------------------------------------------------------------------------------------------


def test_inception_has_its_published_size() -> None:
    """21,785,568 parameters up to the pooling, as every Inception-v3 without its auxiliary head; 94 convolutions."""
    with torch.device("meta"):
        network = Inception2015()
    counts = {name: p.numel() for name, p in network.named_parameters()}
    assert sum(n for name, n in counts.items() if not name.startswith("fc.")) == 21_785_568
    assert counts["fc.weight"] == 2048 * 1008
    assert sum(isinstance(m, torch.nn.Conv2d) for m in network.modules()) == 94
    state = network.state_dict()
    assert state["Mixed_6c.branch7x7dbl_4.conv.weight"].shape == (160, 160, 7, 1)
    assert state["Mixed_7b.branch3x3dbl_3b.conv.weight"].shape == (384, 384, 3, 1)
    assert state["Mixed_5b.branch_pool.bn.running_var"].shape == (32,)
    features, logits = network(torch.empty(2, 3, 299, 299, device="meta"))
    assert features.shape == (2, 2048)
    assert logits.shape == (2, 1008)


def test_vgg_has_its_published_size() -> None:
    with torch.device("meta"):
        network = Vgg16()
    assert sum(p.numel() for p in network.parameters()) == 138_357_544
    assert list(network.state_dict())[-6:] == [f"classifier.{i}.{k}" for i in (0, 3, 6) for k in ("weight", "bias")]
    assert network(torch.empty(2, 3, 224, 224, device="meta"))[0].shape == (2, 4096)


def test_lpips_is_a_distance() -> None:
    torch.manual_seed(0)
    network = LpipsNetwork(Lpips(), "", "cpu")
    a, b = pictures(2, 32), pictures(4, 32)[2:]
    np.testing.assert_allclose(network.distance(a, a), 0)
    assert bool((network.distance(a, b) > 0).all())
    torch.testing.assert_close(network.distance(a, b), network.distance(b, a))
    large = pictures(1, 512).float()
    small = torch.nn.functional.avg_pool2d(large, 2)
    assert torch.equal(network.prepare(large), small)


def tiny_transformer() -> VisionTransformer:
    torch.manual_seed(0)
    network = VisionTransformer(width=128, depth=2, patch=14, grid=4, hidden=32)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


def test_transformer_against_pytorchs_own_layers() -> None:
    """Two heads of 64; PyTorch's encoder layer without scales does the same."""
    network = tiny_transformer().eval()
    block = network.blocks[0]
    for scale in (block.ls1, block.ls2):
        torch.nn.init.ones_(scale.gamma)
    reference = torch.nn.TransformerEncoderLayer(128, 2, 32, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True)
    reference.eval()
    own = block.state_dict()
    reference.load_state_dict({
        "self_attn.in_proj_weight": own["attn.qkv.weight"], "self_attn.in_proj_bias": own["attn.qkv.bias"],
        "self_attn.out_proj.weight": own["attn.proj.weight"], "self_attn.out_proj.bias": own["attn.proj.bias"],
        "linear1.weight": own["mlp.fc1.weight"], "linear1.bias": own["mlp.fc1.bias"],
        "linear2.weight": own["mlp.fc2.weight"], "linear2.bias": own["mlp.fc2.bias"],
        "norm1.weight": own["norm1.weight"], "norm1.bias": own["norm1.bias"],
        "norm2.weight": own["norm2.weight"], "norm2.bias": own["norm2.bias"],
    })  # fmt: skip
    x = torch.randn(2, 5, 128)
    torch.testing.assert_close(block(x), reference(x), rtol=1e-4, atol=1e-5)
    assert network.positions(4, 4) is network.pos_embed
    assert network.positions(16, 16).shape == (1, 257, 128)
    assert network(torch.rand(2, 3, 28, 42) * 255).shape == (2, 128)


# --- weights ---------------------------------------------------------------------------------------------------


def pin(monkeypatch: pytest.MonkeyPatch, key: str, path: Path) -> None:
    digest = weights.sha256_of(path)
    monkeypatch.setitem(weights.FILES, key, dataclasses.replace(weights.FILES[key], pin=digest))


def test_without_network_the_error_says_which_file_goes_where(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    for key in ("inception", "vgg16"):
        with pytest.raises(UserError) as caught:
            open_features(key, IMAGE)
        text = str(caught.value)
        for part in (weights.FILES[key].filename, weights.FILES[key].url, str(weights.weights_folder()), "--weights"):
            assert part in text
        assert "cannot be downloaded here (Name or service not known)" in text
    with pytest.raises(UserError, match=r"dinov2_vitl14_pretrain.pth.*not downloaded unasked"):
        open_features("dinov2", IMAGE)
    assert not weights.weights_folder().exists() or not list(weights.weights_folder().iterdir())


def test_a_download_is_checked_before_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO(b"<html>moved</html>"))
    with pytest.raises(UserError, match=r"sent has sha256 .*not 6726825d"):
        weights.find_weights("inception", {})
    assert not list(weights.weights_folder().iterdir())
    content = b"the right bytes"
    import hashlib

    right = dataclasses.replace(weights.FILES["inception"], pin=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(weights.FILES, "inception", right)
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO(content))
    path, digest = weights.find_weights("inception", {})
    assert path.read_bytes() == content
    assert digest == right.pin
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match="or damaged; delete it"):
        weights.find_weights("inception", {})


def test_weights_must_fit(tmp_path: Path) -> None:
    path = tmp_path / "wrong.pth"
    torch.save({"a": torch.zeros(2)}, path)
    with pytest.raises(UserError, match="not DINOv2 weights"):
        open_public("dinov2", "cpu", {"dinov2": path})
    torch.save([1, 2], path)
    with pytest.raises(UserError, match="something other than named tensors"):
        weights.read_tensors(path)
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(UserError, match="cannot be read as weights"):
        weights.read_tensors(path)
    with pytest.raises(UserError, match=r"--weights inception=.*no such file"):
        open_public("inception", "cpu", {"inception": tmp_path / "missing.pth"})


def test_inception_and_lpips_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    path = tmp_path / "inception.pth"
    torch.save(Inception2015().state_dict(), path)
    with pytest.raises(UserError, match=r"begins with .* instead of 6726825d"):
        open_features("inception", IMAGE, weights={"inception": path})
    pin(monkeypatch, "inception", path)
    network = open_features("inception", IMAGE, weights={"inception": path}, resize_filter="bicubic")
    assert network.identity.sha256 == weights.sha256_of(path)
    assert network.identity.resize == "bicubic"
    features, logits = network(pictures(1))
    assert features.shape == (1, 2048)
    assert logits is not None
    assert logits.shape == (1, 1008)
    vgg, linear = tmp_path / "vgg16.pth", tmp_path / "vgg.pth"
    torch.save({f"features.{k}": v for k, v in convolutions().state_dict().items()}, vgg)
    sizes = (64, 128, 256, 512, 512)
    torch.save({f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1) for i, c in enumerate(sizes)}, linear)
    pin(monkeypatch, "vgg16", vgg)
    pin(monkeypatch, "lpips", linear)
    lpips = open_features("lpips", IMAGE, weights={"vgg16": vgg, "lpips": linear})
    assert lpips.distance(pictures(2), pictures(4)[2:]).shape == (2,)
    assert lpips(pictures(2))[0].shape == (2, lpips.dim)
    torch.save({f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1) - 1 for i, c in enumerate(sizes)}, linear)
    pin(monkeypatch, "lpips", linear)
    with pytest.raises(UserError, match="some are negative"):
        open_features("lpips", IMAGE, weights={"vgg16": vgg, "lpips": linear})


def test_dinov2_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "dinov2.pth"
    torch.save(tiny_transformer().state_dict(), path)
    network = open_features("dinov2", IMAGE, weights={"dinov2": path})
    assert network(pictures(1))[0].shape == (1, 128)
    assert network.identity.size == (224, 224)


# --- files -------------------------------------------------------------------------------------------------------


class Averages(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.mean(dim=(2, 3)), x.amax(dim=(2, 3))


def test_torchscript_needs_trust(tmp_path: Path) -> None:
    path = tmp_path / "averages.pt"
    torch.jit.save(torch.jit.trace(Averages(), torch.rand(2, 3, 16, 16)), str(path))
    with pytest.raises(UserError, match=r"TorchScript is a program .*--trust-torchscript"):
        open_features(str(path), IMAGE)
    network = open_features(str(path), IMAGE, trust_torchscript=True)
    features, logits = network(pictures())
    torch.testing.assert_close(features, pictures().float().mean(dim=(2, 3)))
    assert logits is not None
    assert network.has_logits
    torch.save({"a": 1}, path)
    with pytest.raises(UserError, match="not a TorchScript file"):
        open_features(str(path), IMAGE, trust_torchscript=True)


def test_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    helper = pytest.importorskip("onnx.helper")
    from onnx import TensorProto, save

    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["f"])]
    shape = ["n", 3, 8, 8]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("f", TensorProto.FLOAT, ["n", 3, 1, 1])],
    )  # fmt: skip
    path = tmp_path / "mean.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    network = open_features(str(path), IMAGE)
    assert network.identity.size == (8, 8)
    features, logits = network(pictures(5))
    expected = resize(pictures(5).float(), (8, 8), "triangle").mean(dim=(2, 3))
    np.testing.assert_allclose(features, expected, rtol=1e-5)
    assert logits is None


def test_onnx_without_onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    path = tmp_path / "x.onnx"
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"pip install 'stylegan-torch\[metrics\]'"):
        open_features(str(path), IMAGE)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("inceptoin", "must be one of pixels, inception, vgg16, lpips, dinov2, or a file"),
        ("missing.onnx", "no such file"),
        ("made.pt2", "unpickles objects"),
        ("made.txt", "unknown kind of file"),
        ("made.safetensors", "not a classifier of this project"),
    ],
)
def test_refused_files(spec: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if spec.startswith("made"):
        Path(spec).write_bytes(b"something")
    with pytest.raises(UserError, match=words):
        open_features(spec, IMAGE)


def test_classifier_file(tmp_path: Path) -> None:
    from stylegan.config import DiscriminatorConfig

    torch.manual_seed(0)
    network = Classifier(DiscriminatorConfig(resolution=(16, 16), labels=3, fmap_max=8, mbstd_group=0))
    path = save_classifier(tmp_path / "c.safetensors", network, ["a", "b", "c"], [0.9, 0.8, 0.7])
    opened = open_features(str(path), (3, 32, 32))
    assert isinstance(opened, ClassifierNetwork)
    assert opened.names == ["a", "b", "c"]
    features, logits = opened(pictures(2, 32))
    assert features.shape == (2, opened.dim)
    assert logits is not None
    x = torch.rand(4, 3, 16, 16)
    discriminator = Discriminator(network.config)
    discriminator.load_state_dict(network.state_dict())
    for c in range(3):  # the architecture is D's: its score of a label is the logit
        scores = discriminator(x, torch.full((4,), c))
        torch.testing.assert_close(network(x)[1][:, c : c + 1], scores)
    torch.testing.assert_close(network(x)[1][:1], network(x[:1])[1])  # an image's logits are its own
    with pytest.raises(UserError, match="takes images of 3 channels"):
        opened(pictures(2, 32, channels=1))
    assert open_classifier(path, name="classifier").identity.name == "classifier"

"""The page draws in a browser what Python draws from the same seed.

Skipped, with the reason, where Chromium, its driver or onnxruntime-web is missing (`stylegan export --format web`
fetches the latter once, with npm). STYLEGAN_TEST_BROWSER=1 makes a failure of that.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from stylegan import UserError, images, latents
from stylegan.export import web
from stylegan.export.program import Plan
from stylegan.snapshot import Snapshot
from tests.export import browser

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason="extra `export` is not installed")
PAGE = Path(web.__file__).parent / "page"


def missing() -> str:
    """Why no browser can be used here, or nothing."""
    if browser.CHROMIUM is None or browser.DRIVER is None:
        return "Chromium or chromedriver is not installed"
    if not all((web.cached_runtime() / name).is_file() for name in web.RUNTIME):
        return f"onnxruntime-web {web.VERSION} is not in {web.cached_runtime()}"
    return ""


def runtime_or_skip() -> None:
    reason = missing()
    if reason and os.environ.get("STYLEGAN_TEST_BROWSER") == "1":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(UserError, match="is not empty, and no page of this program"):
        web.export_web(None, tmp_path)  # type: ignore[arg-type]
    assert (tmp_path / "index.html").read_text() == "mine"


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_seeds_in_node() -> None:
    """numpy's RandomState(seed).randn, to the last bit of float32, odd counts and large seeds included."""
    seeds, count = [0, 1, 42, 2**31, 2**32 - 1], 1501
    code = (
        "const {RandomState} = require(process.argv[1]);"
        f"console.log(JSON.stringify({seeds}.map(s => Array.from(new RandomState(s).randn({count})))))"
    )
    done = subprocess.run(["node", "-e", code, PAGE / "random.js"], capture_output=True, text=True, check=True)
    for seed, values in zip(seeds, json.loads(done.stdout), strict=True):
        expected = latents.z_from_seed(seed, count).numpy()
        assert np.array_equal(np.array(values).astype(np.float32), expected), seed


def test_draws_in_a_browser(small: Snapshot, tmp_path: Path) -> None:
    runtime_or_skip()
    folder = tmp_path / "page"
    exported = web.export_web(small, folder)
    assert exported.path == folder / "index.html"
    assert json.loads((folder / "model.json").read_text())["noise"] == "stored"
    with browser.serving(folder) as (address, asked), browser.browsing(tmp_path / "profile") as page:
        page.open(address + "index.html")
        ready = page.script("return {ready: await ready, says: element('status').textContent}")
        assert ready["ready"] is True, ready
        z = page.script("return Array.from(new RandomState(args[0]).randn(args[1]))", 2**32 - 1, 513)
        assert np.array_equal(np.array(z).astype(np.float32), latents.z_from_seed(2**32 - 1, 513).numpy())
        for seed, psi, label in ((0, 0.7, 0), (41, -0.5, 2), (7, 1.0, -1)):
            found = page.script("const r = await compute(...args, 0); return Array.from(r.image)", seed, psi, label)
            labels = torch.eye(3)[[seed % 3 if label < 0 else label]]
            with torch.no_grad():
                expected = small.generator(latents.z_from_seeds([seed], 16), labels, psi=psi, noise="stored")[0]
            got = torch.tensor(found).reshape(expected.shape)
            assert (got - expected).abs().max() <= 1e-4 * max(1.0, expected.abs().max().item())

        set_and_draw = """
            for (const [id, value] of Object.entries(args[0])) {
              element(id).value = value;
              element(id).dispatchEvent(new Event("input"));
            }
            while (busy) await new Promise((go) => setTimeout(go, 10));
            const canvas = element("picture"), context = canvas.getContext("2d");
            return {
              size: canvas.dataset.drawn, says: element("status").textContent, failed: element("status").className,
              pixels: Array.from(context.getImageData(0, 0, canvas.width, canvas.height).data),
              shown: ["psi-row", "class-row", "noise-row"].filter((row) => !element(row).hidden),
              classes: Array.from(element("class").options, (option) => option.text), seed: element("seed").value,
            };"""
        seen = page.script(set_and_draw, {"seed-slider": 12, "psi": 0.5, "class": 1})
        with torch.no_grad():
            z12 = latents.z_from_seeds([12], 16)
            expected = small.generator(z12, torch.eye(3)[[1]], psi=0.5, noise="stored")[0]
        pixels = np.array(seen["pixels"], np.int16).reshape(16, 16, 4)
        assert np.abs(pixels[..., :3] - images.to_uint8(expected).astype(np.int16)).max() <= 1
        assert (pixels[..., 3] == 255).all()
        assert (seen["size"], seen["seed"], seen["failed"]) == ("16x16", "12", "")
        assert seen["says"].startswith("seed 12:")
        assert seen["shown"] == ["psi-row", "class-row"]
        assert seen["classes"] == ["in turn, by seed", "cats", "dogs", "owls"]
        if os.environ.get("STYLEGAN_TEST_SCREENSHOT"):
            page.screenshot(Path(os.environ["STYLEGAN_TEST_SCREENSHOT"]))

        (folder / "model.onnx").write_bytes(b"cut short")
        page.open(address + "index.html?again")
        broken = page.script("return {ready: await ready, says: element('status').textContent}")
        assert broken["ready"] is False
        assert broken["says"]
    names = ["index.html", "page.js", "random.js", "model.json", "model.onnx", *(f"runtime/{n}" for n in web.RUNTIME)]
    assert {path.split("?")[0] for path in asked if "favicon" not in path} == {f"/{name}" for name in names}


def test_noise_inputs_in_a_browser(tmp_path: Path) -> None:
    """Unconditional, grey, with noise as inputs: the page feeds numpy's stream, one image after the other."""
    runtime_or_skip()
    from tests.export.conftest import made

    model = made(tmp_path, 8, channels=1)
    web.export_web(model, tmp_path / "page", Plan(noise="inputs"))
    with browser.serving(tmp_path / "page") as (address, _), browser.browsing(tmp_path / "profile") as page:
        page.open(address)
        assert page.script("return ready") is True
        found = page.script("const r = await compute(3, 0.7, 0, 9); return Array.from(r.image)")
        rows = page.script("return ['class-row', 'noise-row'].filter((row) => !element(row).hidden)")
    stream = np.random.RandomState(9)
    sizes = model.generator.synthesis.noise_sizes(0.0)
    noise = [torch.from_numpy(stream.randn(1, 1, *size).astype(np.float32)) for size in sizes]
    with torch.no_grad():
        expected = model.generator(latents.z_from_seeds([3], 16), psi=0.7, noise=noise)[0]
    assert (torch.tensor(found).reshape(expected.shape) - expected).abs().max() <= 1e-4
    assert rows == ["noise-row"]


def test_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found in a package's folder; asked of npm once; refused with a remedy where there is neither."""
    dist = tmp_path / "package" / "dist"
    dist.mkdir(parents=True)
    for name in web.RUNTIME:
        (dist / name).write_bytes(b"x")
    assert web.find_runtime(tmp_path) == [dist / name for name in web.RUNTIME]
    assert web.find_runtime(dist) == [dist / name for name in web.RUNTIME]
    monkeypatch.setattr(web, "cached_runtime", lambda: tmp_path / "cache")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(UserError, match=r"npm is not here to fetch it.*--runtime"):
        web.find_runtime()
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error network: no route' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda _: str(npm))
    with pytest.raises(UserError, match=r"could not be fetched by npm \(npm error network: no route\).*--runtime"):
        web.find_runtime()
    npm.write_text(f"#!/bin/sh\ntar czf $5/onnxruntime-web-{web.VERSION}.tgz -C {tmp_path} package\n")
    assert [path.read_bytes() for path in web.find_runtime()] == [b"x"] * 3
    npm.unlink()
    assert web.find_runtime()[0].parent == tmp_path / "cache"

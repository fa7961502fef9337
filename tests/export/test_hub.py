"""Publishing and fetching through huggingface_hub, against a stand-in on the loopback; nothing leaves the machine."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open

import stylegan as package
from stylegan import UserError, hub
from stylegan.export import card
from stylegan.export.files import sha256_of
from stylegan.snapshot import Snapshot, load
from tests.export.conftest import made
from tests.export.stand_in import TOKEN, Hub, standing_in

pytest.importorskip("huggingface_hub.constants", reason="extra `hub` is not installed")
library = pytest.importorskip("huggingface_hub", reason="extra `hub` is not installed")


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The stand-in, an empty cache, and the library pointed at both."""
    with standing_in() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(library.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(library.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(library.constants, "HF_HUB_OFFLINE", False)
        yield running


@pytest.fixture
def published(there: Hub, small: Snapshot, stylegan: Callable[..., Any]) -> Hub:
    """A model under me/animals, by the command line."""
    answer = stylegan("push", small.path, "me/animals", "--license", "cc-by-4.0", "--samples", 6)
    assert answer.code == 0, answer.err
    assert 'open it with stylegan.load("hf://me/animals")' in answer.out
    return there


def test_there_and_back(published: Hub, small: Snapshot, tmp_path: Path, stylegan: Callable[..., Any]) -> None:
    files = published.repositories["me/animals"][-1]
    assert set(files) == {"README.md", "samples.png", "config.json", "model.safetensors"}
    assert published.messages == ["Model at 12.5 kimg"]
    loaded = package.load("hf://me/animals")
    assert loaded.path is not None
    assert loaded.path.read_bytes() == files["model.safetensors"]
    for name, tensor in small.generator.state_dict().items():
        assert torch.equal(loaded.generator.state_dict()[name], tensor), name
    assert loaded.generator.config == small.generator.config
    answer = stylegan("generate", "hf://me/animals", "--seeds", "0", "--out", tmp_path / "drawn")
    assert answer.code == 0, answer.err
    assert (tmp_path / "drawn" / "seed0000.png").exists()


def test_revisions_files_and_the_cache(
    published: Hub, small: Snapshot, tmp_path: Path, stylegan: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = made(tmp_path, 8)
    assert other.path is not None
    hub.push({"model.safetensors": other.path.read_bytes(), "small/a.safetensors": b"x"}, "me/animals", "second")
    first = published.commit_id("me/animals", 0)
    assert load("hf://me/animals").generator.config.resolution == (8, 8)
    assert load(f"hf://me/animals@{first}").generator.config.resolution == (16, 16)
    assert load("hf://me/animals@v0").generator.config.resolution == (16, 16)
    assert load(Path("hf://me/animals@v1")).generator.config.resolution == (8, 8)
    assert hub.fetch("hf://me/animals/small/a.safetensors").read_bytes() == b"x"
    monkeypatch.setattr(library.constants, "HF_HUB_OFFLINE", True)
    before = len(published.asked)
    assert load(f"hf://me/animals@{first}").generator.config.resolution == (16, 16)
    assert len(published.asked) == before
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set, and the file is not in the local cache"):
        load("hf://me/others")


def test_the_file_can_be_read_by_others_and_names_no_folder(published: Hub, tmp_path: Path) -> None:
    files = published.repositories["me/animals"][-1]
    path = tmp_path / "m.safetensors"
    path.write_bytes(files["model.safetensors"])
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        assert file.get_tensor("generator.w_avg").shape == (16,)
    assert metadata["format"] == "pt"
    header = json.loads(metadata["stylegan"])
    assert header["config"]["data"]["path"] == header["training"]["data"]["path"] == "pictures"
    assert header["training"]["lineage"][0]["file"] == "net.pkl"
    assert header["training"]["attribution"] == "Drawn by nobody | CC0"
    assert not any(b"somebody" in data for data in files.values())
    assert json.loads(files["config.json"])["generator"]["labels"] == 3


def test_card(published: Hub, small: Snapshot) -> None:
    files = published.repositories["me/animals"][-1]
    text = files["README.md"].decode()
    front = library.ModelCard(text).data.to_dict()  # the library's own reader
    assert front["license"] == "cc-by-4.0"
    assert front["library_name"] == "stylegan-torch"
    assert {"stylegan", "class-conditional"} <= set(front["tags"])
    for part in (
        "# animals", "seeds 0 to 5, psi 0.7", "hf://me/animals", "12.5 thousand images", "3: cats, dogs, owls",
        "Attribution: Drawn by nobody | CC0", "1,000 images", "`abc`", "from a pickle, net.pkl, sha256 00ff",
        "logistic, R1 gamma 10.0", "The weights: cc-by-4.0. They come from another file", "None given.",
    ):  # fmt: skip
        assert part in text, part
    with Image.open(io.BytesIO(files["samples.png"])) as sheet:
        assert min(sheet.size) >= 32
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code
    namespace: dict[str, Any] = {"torch": torch}
    exec(code[1], namespace)
    assert namespace["images"].shape == (3, 3, 16, 16)


def test_card_with_metrics(small: Snapshot, tmp_path: Path, stylegan: Callable[..., Any]) -> None:
    assert small.path is not None
    record = {
        "format": "stylegan-metrics",
        "metrics": {
            "fid50k": {
                "values": {"fid": 12.3456}, "standard_error": {"fid": 0.12}, "samples": 50000, "what": "Distance | x",
                "network": {"name": "pixels", "sha256": "abcdef012345"},
            },
            "pr50k": {"values": {"precision": 0.7, "recall": 0.4}, "standard_error": None, "samples": 50000},
        },
        "model": {"sha256": sha256_of(small.path)},
        "data": {"images": 1000, "fingerprint": "abc", "mirror": True},
        "settings": {"psi": 1.0, "noise": "random", "seed": 0},
        "library": {"stylegan-torch": "0.1.0"},
    }  # fmt: skip
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(record))
    answer = stylegan("push", small.path, "me/animals", "--metrics", path, "--samples", 1, "--dry-run", tmp_path / "o")
    assert answer.code == 0, answer.err
    assert "licence is not stated" in answer.err
    text = (tmp_path / "o" / "README.md").read_text()
    assert "| fid50k | 12.35 | 0.12 | 50000 | pixels, sha256 abcdef01... | Distance \\| x |" in text
    assert "| pr50k: recall | 0.4 |  | 50000 |  |" in text
    assert "Protocol: psi 1.0, noise random, seed 0; compared with 1000 images" in text
    assert "(fingerprint `abc`), mirrored: yes" in text
    assert 'license: "unknown"' in text
    load(tmp_path / "o" / "model.safetensors")
    path.write_text(json.dumps(record | {"model": {"sha256": "0" * 64}}))
    with pytest.raises(UserError, match="measured on another model file"):
        card.read_metrics(path, sha256_of(small.path))
    path.write_text("[]")
    with pytest.raises(UserError, match="not written by `stylegan evaluate"):
        card.read_metrics(path, "")


@pytest.mark.parametrize("options", [{}, {"channels": 1}, {"channels": 5}, {"channels": 4}])
def test_card_of_other_models(options: dict[str, int], tmp_path: Path) -> None:
    model = made(tmp_path, (8, 16), **options)
    sheet, sampled = card.samples(model, 3)
    assert sheet.dtype.name == "uint8"
    text = card.card(model, "me/x", sampled)
    assert library.ModelCard(text).data.to_dict()["pipeline_tag"] == "unconditional-image-generation"


def test_private(there: Hub, small: Snapshot, stylegan: Callable[..., Any]) -> None:
    assert stylegan("push", small.path, "me/closed", "--private", "--samples", 1).code == 0
    assert there.private["me/closed"] is True
    assert stylegan("push", small.path, "me/open", "--samples", 1).code == 0
    answer = stylegan("push", small.path, "me/open", "--private", "--samples", 1)
    assert answer.code == 2
    assert "me/open: exists and is public" in answer.err
    assert len(there.repositories["me/open"]) == 1


NAMES = ("animals", "me/", "/animals", "me/a/b", "me/a b", "me/a--b", "me/..", "../me", "me/a.git", "me/" + "a" * 99)


@pytest.mark.parametrize("name", NAMES)
def test_bad_names(name: str, small: Snapshot, there: Hub, stylegan: Callable[..., Any]) -> None:
    answer = stylegan("push", small.path, name)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "write user/model" in answer.err
    if name != "me/a/b":
        with pytest.raises(UserError, match="write"):
            load(f"hf://{name}")
    assert there.asked == []


def test_refusals(published: Hub, small: Snapshot, stylegan: Callable[..., Any], monkeypatch: Any) -> None:
    for address, sentence in (
        ("hf://me/nothing", "not found on the Hub, or private"),
        ("hf://secret/model", "not found on the Hub, or private"),
        ("hf://me/animals@v9", "has no revision v9"),
        ("hf://me/animals/other.safetensors", "has no file other.safetensors"),
        ("hf://me/animals/../x.safetensors", "'..'"),
        ("hf://me/animals@", "write hf://user/model"),
        ("hf:///", "write hf://user/model"),
    ):
        with pytest.raises(UserError, match=re.escape(sentence)):
            load(address)
    for name, token, sentence in (
        ("others/model", TOKEN, "not allowed (403)"),
        ("me/new", "hf_wrong", "not allowed (401)"),
    ):
        answer = stylegan("push", small.path, name, "--token", token, "--samples", 1)
        assert (answer.code, sentence in answer.err) == (2, True), answer.err
        assert token not in answer.err + answer.out
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda _: None)  # between the library's attempts
    for call in (lambda: load("hf://me/unseen"), lambda: hub.push({"a": b""}, "me/a", "m")):
        with pytest.raises(UserError, match="the Hub cannot be reached"):
            call()


def test_without_the_package(small: Snapshot, stylegan: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install 'stylegan-torch\[hub\]'"):
        load("hf://me/animals")
    answer = stylegan("push", small.path, "me/animals")
    assert answer.code == 2
    assert "stylegan-torch[hub]" in answer.err


def test_card_of_a_model_as_training_leaves_it(tmp_path: Path) -> None:
    from tests.training.small import go
    from tests.training.small import small as config_of

    go(config_of(schedule={"total_kimg": 0.02}), tmp_path)
    model = load(tmp_path / "model.safetensors")
    text = card.card(model, "me/x", card.samples(model, 3)[1])
    assert f"| made with | stylegan-torch {model.training['library']} |" in text

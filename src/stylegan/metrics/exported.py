"""Feature networks from files: this project's classifiers, ONNX, and TorchScript where the user trusts it.

The contract: float32 images [N, 3, H, W] in [0, 255] go in; the first output is features [N, d] (more dimensions
are flattened), a second one, if any, class logits. Where the file states a fixed height and width, images are
resized to it ("triangle", or what --resize names).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stylegan.distributed import HOST_THREADS
from stylegan.errors import UserError
from stylegan.metrics.features import FeatureNetwork, Identity, sha256_of

KINDS = "a .onnx, a classifier of this project (.safetensors), or a TorchScript .pt or .ts"


def open_exported(
    path: Path, image: tuple[int, int, int], device: torch.device | str, trust_torchscript: bool
) -> FeatureNetwork:
    """A feature network from a file. UserError for what is missing, unknown or unsafe."""
    if not path.is_file():
        raise UserError(f"--features {path}: no such file; give {KINDS}, or a name such as inception or pixels")
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        from stylegan.metrics.classifier import open_classifier

        return open_classifier(path, device)
    if suffix == ".onnx":
        return OnnxNetwork(path, image)
    if suffix == ".pt2":
        raise UserError(f"{path}: reading .pt2 unpickles objects, which may run anything; export it as .onnx instead")
    if suffix not in (".pt", ".ts", ".pth", ".jit"):
        raise UserError(f"--features {path}: unknown kind of file; give {KINDS}")
    if not trust_torchscript:
        raise UserError(
            f"{path}: TorchScript is a program that may also read and write files; if you trust where it comes from, "
            f"add --trust-torchscript, or export it as .onnx, which is data"
        )
    return TorchScriptNetwork(path, image, device)


def _probe(image: tuple[int, int, int], size: tuple[int, int] | None) -> torch.Tensor:
    return torch.zeros(2, 3, *(size or image[1:]))


class TorchScriptNetwork(FeatureNetwork):
    """A scripted or traced module, read by torch.jit.load, which does not unpickle Python objects but runs code."""

    def __init__(self, path: Path, image: tuple[int, int, int], device: torch.device | str) -> None:
        self.device = torch.device(device)
        try:
            self.module: Any = torch.jit.load(str(path), map_location=self.device).eval()
        except Exception as error:
            raise UserError(
                f"{path}: not a TorchScript file ({str(error).splitlines()[0][:120]}); pickled modules are not read"
            ) from None
        self.identity = Identity(path.name, sha256_of(path), None, "triangle")
        try:
            features, logits = self(_probe(image, None))
        except Exception as error:
            last = str(error).strip().splitlines()[-1][:160]
            raise UserError(f"{path}: does not take float images [N, 3, {image[1]}, {image[2]}]: {last}") from None
        self.dim, self.has_logits = features.shape[1], logits is not None

    def run(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        return _two(self.module(x))


class OnnxNetwork(FeatureNetwork):
    """An ONNX graph, run by onnxruntime on the processor."""

    def __init__(self, path: Path, image: tuple[int, int, int]) -> None:
        if importlib.util.find_spec("onnxruntime") is None:
            raise UserError(f"{path}: reading .onnx needs onnxruntime; pip install 'stylegan-torch[metrics]'")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = HOST_THREADS
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise UserError(f"{path}: onnxruntime cannot read it ({str(error).splitlines()[0][:160]})") from None
        self.input = self.session.get_inputs()[0]
        shape = list(self.input.shape)
        if len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
            raise UserError(f"{path}: its input is {shape}; expected images [N, 3, H, W]")
        self.batch = shape[0] if isinstance(shape[0], int) else None
        fixed = isinstance(shape[2], int) and isinstance(shape[3], int)
        size = (shape[2], shape[3]) if fixed else None
        self.identity = Identity(path.name, sha256_of(path), size, "triangle")
        features, logits = self(_probe(image, size))
        self.dim, self.has_logits = features.shape[1], logits is not None

    def run(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        values, parts = x.numpy(), []
        step = self.batch or len(values)
        for start in range(0, len(values), step):
            part = values[start : start + step]
            short = step - len(part)  # a fixed batch is filled up with copies
            full = np.concatenate([part, np.repeat(part[-1:], short, axis=0)]) if short else part
            found = self.session.run(None, {self.input.name: np.ascontiguousarray(full)})
            parts.append([output[: len(part)] for output in found[:2]])
        return _two([torch.from_numpy(np.concatenate(outputs)) for outputs in zip(*parts, strict=True)])


def _two(found: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(features, logits or None) of what a network returned."""
    outputs = list(found) if isinstance(found, tuple | list) else [found]
    features = outputs[0].float().flatten(1)
    return features, outputs[1].float() if len(outputs) > 1 else None

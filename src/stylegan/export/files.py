"""Exported files: ONNX, checked against onnxruntime, and torch.export's .pt2.

ONNX comes from PyTorch's exporter that starts from a torch.export graph (`dynamo=True`). The older one, which
traces TorchScript, is deprecated and fails here on shapes that depend on the batch.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib
import io
import json
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stylegan import __version__
from stylegan.errors import UserError
from stylegan.export.program import Agreement, Plan, Program, compare, trace
from stylegan.snapshot import Snapshot, write_atomically

OPSETS = (18, 23)  # first and last that PyTorch's exporter writes and onnxruntime reads, both ends tested
OPSET = 18
NEEDS = "it needs a few more packages: pip install 'stylegan-torch[export]'"


@dataclass(frozen=True)
class Exported:
    """A written file, what it holds, and how it compares with the network."""

    path: Path
    facts: dict[str, Any]
    agreement: Agreement


def facts_of(model: Snapshot, program: Program) -> dict[str, Any]:
    """What an exported file says about itself, as plain JSON values."""
    training, config = model.training, program.generator.config
    data = training.get("data") or {}
    sha256 = None if model.path is None else sha256_of(model.path)
    height, width = program.sizes[-1]
    return {
        "part": program.plan.part,
        "inputs": program.inputs,
        "output": program.output,
        "image": [config.channels, height, width],
        "range": [-1, 1],
        "z_dim": config.z_dim,
        "labels": config.labels,
        "class_names": [str(name) for name in training.get("class_names") or data.get("class_names") or []],
        "psi": program.default_psi,
        "cutoff": program.cutoff if program.default_psi is not None else None,
        "noise": program.noise,
        "noise_sizes": [list(size) for size in program.sizes],
        "lod": program.lod,
        "float64": program.plan.float64,
        "weights": "float16" if program.plan.half else "float32",
        "model": {"file": model.path.name if model.path else None, "sha256": sha256},
        "kimg": training.get("kimg"),
        "attribution": training.get("attribution") or data.get("attribution") or None,
        "generator": config.model_dump(mode="json"),
        "library": f"stylegan-torch {__version__}, torch {torch.__version__}",
    }


def export_onnx(model: Snapshot, path: Path, plan: Plan | None = None, opset: int = OPSET) -> Exported:
    """Writes a part of a model as one ONNX file, after running it beside the network with onnxruntime.

    UserError where packages are missing, the plan does not fit, or the two differ by more than `Agreement.LIMIT`
    (then nothing is written).
    """
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise UserError(f"--opset {opset}: must lie between {OPSETS[0]} and {OPSETS[1]}")
    onnx, _, runtime = needed("onnx", "onnxscript", "onnxruntime")
    program = Program(model.generator, plan or Plan())
    facts = facts_of(model, program) | {"opset": opset}
    proto = _to_onnx(program, opset)
    _tidy(proto, program, facts, onnx)
    data = proto.SerializeToString()
    agreement = _with_onnxruntime(data, program, model, runtime)
    if not agreement.good:
        raise UserError(
            f"{path}: not written, as onnxruntime computes something else than PyTorch: {agreement}; an untrained "
            f"model, whose channels may have almost no variance, can do that; for any other please report the model "
            f"and the versions of torch, onnx and onnxruntime"
        )
    write_atomically(path, data)
    return Exported(path, facts, agreement)


def export_pt2(model: Snapshot, path: Path, plan: Plan | None = None) -> Exported:
    """Writes a part of a model as a torch.export program, checked by reading it back. Errors as for ONNX.

    The file holds weights as plain arrays and the graph as JSON; sample inputs, the one thing torch would pickle,
    are left out. Its `extra_files` entry `stylegan.json` says what it is. No AOT package is written: that holds
    machine code for one kind of processor, and making it needs a C++ compiler.
    """
    program = Program(model.generator, plan or Plan())
    if program.plan.half:
        raise UserError("--half: only for ONNX; a .pt2 holds the weights as the graph uses them")
    facts = facts_of(model, program)
    traced: Any = trace(program)
    traced._example_inputs = None  # they would be stored with pickle
    buffer = io.BytesIO()
    torch.export.save(traced, buffer, extra_files={"stylegan.json": json.dumps(facts, ensure_ascii=False)})
    data = buffer.getvalue()
    read: Any = torch.export.load(io.BytesIO(data)).module()
    agreement = compare(program, model.generator, read)
    if not agreement.good:
        raise UserError(f"{path}: not written, as the exported program differs from the network: {agreement}")
    write_atomically(path, data)
    return Exported(path, facts, agreement)


def sha256_of(path: Path) -> str:
    """Of a file, in full."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def needed(*names: str) -> list[Any]:
    """Modules of the extra `export`; UserError that says what to install where one is missing."""
    try:
        return [importlib.import_module(name) for name in names]
    except ImportError as error:
        raise UserError(f"export: {error.name} is not installed; {NEEDS}") from None


def _to_onnx(program: Program, opset: int) -> Any:
    traced = copy.copy(program)
    if program.noise == "stored":  # PyTorch's exporter would multiply it out to all channels; see _tidy
        traced.noise = "inputs"
    names, levels = traced.inputs, {}
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):  # they report their progress as warnings
        levels[name] = logging.getLogger(name).level
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with torch.no_grad(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            made = torch.onnx.export(
                trace(traced),
                dynamo=True,
                input_names=names,
                output_names=[program.output],
                opset_version=opset,
                verbose=False,
            )
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    assert made is not None
    proto = made.model_proto
    found = {entry.domain: entry.version for entry in proto.opset_import}
    if found.get("", 0) != opset:
        raise UserError(f"--opset {opset}: cannot be written by this PyTorch, which offers {found.get('')}")
    return proto


def _tidy(proto: Any, program: Program, facts: dict[str, Any], onnx: Any) -> None:
    """Names the batch, makes stored noise a constant, takes out paths of this machine,
    stores half weights as such, and says what it is."""
    graph = proto.graph
    for value in (*graph.input, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if len(dims):
            dims[0].dim_param = "batch"
    del graph.value_info[:]
    if program.noise == "stored":
        _replace(graph.input, [value for value in graph.input if not value.name.startswith("noise")])
        for i in range(len(program.sizes)):
            values = program.generator.synthesis.get_buffer(f"noise{i}").numpy()
            graph.initializer.append(onnx.numpy_helper.from_array(values, f"noise{i}"))
    for node in graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for holder in (graph, *graph.input, *graph.output, *graph.initializer):
        holder.ClearField("metadata_props")
        holder.ClearField("doc_string")
    for tensor in graph.initializer:
        tensor.name, old = tensor.name.removeprefix("generator."), tensor.name
        for node in graph.node:
            for i, name in enumerate(node.input):
                if name == old:
                    node.input[i] = tensor.name
    _thin(graph, onnx)
    _narrow(graph, onnx)
    if program.plan.half:
        _halve(graph, onnx)
    proto.producer_name, proto.producer_version = "stylegan-torch", __version__
    plain = {"kimg": facts["kimg"], "model_sha256": facts["model"]["sha256"], "attribution": facts["attribution"]}
    onnx.helper.set_model_props(
        proto,
        {"stylegan": json.dumps(facts, ensure_ascii=False)}
        | {name: str(value) for name, value in plain.items() if value is not None},
    )


def _thin(graph: Any, onnx: Any) -> None:
    """Replaces large constants of ones, the scales of layer norms, by nodes that make them when the file is read."""
    nodes, kept = [], []
    for tensor in graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if tensor.data_type == onnx.TensorProto.FLOAT and values.size >= 64 and (values == 1).all():
            shape = onnx.numpy_helper.from_array(np.array(values.shape, np.int64), tensor.name + "_shape")
            one = onnx.helper.make_tensor("one", onnx.TensorProto.FLOAT, [1], [1.0])
            nodes.append(onnx.helper.make_node("ConstantOfShape", [shape.name], [tensor.name], value=one))
            kept.append(shape)
        else:
            kept.append(tensor)
    _replace(graph.initializer, kept)
    _replace(graph.node, [*nodes, *graph.node])


def _replace(field: Any, values: list[Any]) -> None:
    """Sets a repeated field of a protocol buffer."""
    copies = [type(value).FromString(value.SerializeToString()) for value in values]
    del field[:]
    field.extend(copies)


def _narrow(graph: Any, onnx: Any) -> None:
    """Stores float64 initializers that float32 holds exactly, which all weights are, as that with a cast."""
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.DOUBLE:
            continue
        values, name = onnx.numpy_helper.to_array(tensor), tensor.name
        if np.array_equal(values.astype(np.float32).astype(np.float64), values):
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), name + "_float32"))
            casts.append(onnx.helper.make_node("Cast", [name + "_float32"], [name], to=onnx.TensorProto.DOUBLE))
    _replace(graph.node, [*casts, *graph.node])


def _halve(graph: Any, onnx: Any) -> None:
    """Stores initializers whose values float16 holds exactly as float16, with a cast that runtimes do once."""
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        if values.size < 64 or not np.array_equal(halves.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(halves, name + "_float16"))
        casts.append(onnx.helper.make_node("Cast", [name + "_float16"], [name], to=onnx.TensorProto.FLOAT))
    _replace(graph.node, [*casts, *graph.node])


def _with_onnxruntime(data: bytes, program: Program, model: Snapshot, runtime: Any) -> Agreement:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def run(*tensors: torch.Tensor) -> np.ndarray:
        fed = {name: tensor.numpy() for name, tensor in zip(program.inputs, tensors, strict=True)}
        found: np.ndarray = session.run([program.output], fed)[0]
        return found

    return compare(program, model.generator, run)

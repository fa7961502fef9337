"""Writes pickles as the official programs do, for tests; run as a script it writes one of true size.

python -m tests.interop.official_files OUT.pkl [RESOLUTION]      (1024: 0.3 GB of random weights)
"""

from __future__ import annotations

import importlib
import io
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.parity import case

SOURCE = "raise SystemExit('the source text inside a pickle must never run')\n"


class Network:
    """Pickled under the official class's name; its state is what the official __getstate__ returns."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    def __getstate__(self) -> dict[str, Any]:
        return self.state


class _Pickler(pickle._Pickler):  # type: ignore[misc]  # the Python one, because save_global must be replaced
    """Writes the network class under a chosen module, and numpy's functions under the names of numpy 1 or 2."""

    module = "dnnlib.tflib.network"
    numpy = "numpy.core"

    def save_global(self, obj: Any, name: str | None = None) -> None:
        if obj is Network:
            self._write(self.module, "Network", obj)
        elif str(getattr(obj, "__module__", "")).startswith("numpy._core"):
            self._write(obj.__module__.replace("numpy._core", self.numpy), obj.__name__, obj)
        else:
            super().save_global(obj, name)

    def _write(self, module: str, name: str, obj: Any) -> None:
        if self.proto >= 4:
            self.save(module)
            self.save(name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        self.memoize(obj)

    dispatch = {**pickle._Pickler.dispatch, type: lambda self, obj: self.save_global(obj)}  # type: ignore[attr-defined]


def dumps(value: Any, protocol: int = 4, module: str = "dnnlib.tflib.network", numpy: str = "numpy.core") -> bytes:
    """Official-format bytes of networks. numpy: "numpy.core" or "numpy._core"."""
    file = io.BytesIO()
    pickler = _Pickler(file, protocol)
    pickler.module, pickler.numpy = module, numpy
    pickler.dump(value)
    return file.getvalue()


def network(
    name: str,
    function: str,
    kwargs: dict[str, Any],
    variables: dict[str, Any],
    version: int = 3,
    source: str = SOURCE,
) -> Network:
    """One network in the official layout: variables of G_style's parts go into components (version 3)."""
    own, components = dict(variables), {}
    if version >= 3:
        for part in ("synthesis", "mapping"):
            prefix = f"G_{part}/"
            inner = {key.removeprefix(prefix): own.pop(key) for key in list(own) if key.startswith(prefix)}
            if inner:
                components[part] = network(f"G_{part}", f"G_{part}", kwargs, inner, version, source)
    state = {"version": version, "name": name, "static_kwargs": dict(kwargs)}
    state |= {"components": components} if version >= 3 else {}
    state |= {"build_module_src": source, "build_func_name": function, "variables": list(own.items())}
    return Network(state)


def recorded(name: str, lod: float = 0.25, version: int = 3) -> tuple[Network, Network, Network]:
    """(G, D, Gs) of a recorded case."""
    facts = case.meta(name)
    functions = [text.split(".")[-1] for text in case.FUNCTIONS[name]]
    return tuple(  # type: ignore[return-value]
        network(
            role,
            functions[role == "D"],
            facts[f"{role[0]}_static_kwargs"],
            case.variables(name, role, lod),
            version,
        )
        for role in ("G", "D", "Gs")
    )


def small(kind: str, kwargs: dict[str, Any], version: int = 3, seed: int = 0) -> tuple[Network, Network, Network]:
    """(G, D, Gs) of any size with random weights. kind: "style" or "progan"; kwargs: official ones, for G and D."""
    builder = importlib.import_module("stylegan.official.build")  # the package's `build` is the function
    rng = np.random.default_rng(seed)
    functions = {"style": ("G_style", "D_basic"), "progan": ("G_paper", "D_paper")}[kind]
    shared = {key: kwargs[key] for key in kwargs if key in builder._SHARED or key in builder._SPECIAL}
    made = []
    for role in ("G", "D", "Gs"):
        function, own = (functions[1], shared) if role == "D" else (functions[0], kwargs)
        with torch.device("meta"):
            _, slots = builder._builder(function)(dict(own))
        variables: dict[str, Any] = {"lod": np.float32(0)}
        for key, slot in slots.items():
            shape = tuple(slot.tensor.shape)
            if slot.convert is builder._dense:
                shape = shape[::-1]
            elif slot.convert is not builder._as_is:
                shape = (shape[2], shape[3], shape[1], shape[0])
            variables[key] = rng.standard_normal(shape, dtype=np.float32)
        made.append(network(role, function, own, variables, version))
    return tuple(made)  # type: ignore[return-value]


if __name__ == "__main__":
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 1024
    Path(sys.argv[1]).write_bytes(dumps(small("style", {"num_channels": 3, "resolution": size, "label_size": 0})))

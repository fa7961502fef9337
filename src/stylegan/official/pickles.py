"""Official network pickles: what is in them, checked, and the networks they stand for. Nothing in them runs.

A file holds one network or the tuple (G, D, Gs) of the official programs; Gs is the averaged generator. A
network's state is a dict: version (2 or 3), name, static_kwargs, components (version 3: mapping and synthesis
network of G_style, whose variables lack the prefix), build_module_src (source text; hashed, never compiled),
build_func_name, variables [(local name, value)].
"""

from __future__ import annotations

import hashlib
import math
import mmap
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stylegan.errors import UserError
from stylegan.official.pickle_values import Array, Stub, Text, describe
from stylegan.official.unpickle import PickleRefused, unpickle

if TYPE_CHECKING:  # reading needs no PyTorch, building does
    from stylegan.networks import Discriminator, Generator

MAX_FILE = 4 << 30  # the largest known file (three networks at 1024x1024) has 0.3 GB
MAX_NAME = 256
VERSIONS = (2, 3)
# known functions -> the beginning of the names of their RGB layers
FUNCTIONS = {
    "G_style": "G_synthesis/ToRGB", "D_basic": "FromRGB", "G_paper": "ToRGB", "D_paper": "FromRGB",
}  # fmt: skip
COMPONENTS = {"mapping": "G_mapping/", "synthesis": "G_synthesis/"}

# keyword argument -> the largest value taken seriously; stops absurd sizes before anything is made
_LIMITS = {
    "resolution": 1 << 14, "num_channels": 1 << 12, "label_size": 1 << 20, "latent_size": 1 << 16,
    "dlatent_size": 1 << 16, "mapping_layers": 64, "mapping_fmaps": 1 << 16, "fmap_base": 1 << 24,
    "fmap_max": 1 << 16, "mbstd_group_size": 1 << 20, "mbstd_num_features": 1 << 12, "truncation_cutoff": 1 << 10,
}  # fmt: skip


@dataclass
class OfficialNetwork:
    """One network of a pickle, components merged: official function name, arguments and variables."""

    name: str
    func_name: str
    kwargs: dict[str, Any]
    variables: dict[str, np.ndarray]  # views of the file
    version: int
    module: str  # dnnlib.tflib.network, or tfutil (Progressive GAN's program of 2017)
    sources: dict[str, str | None]  # network or component name -> SHA-256 of its embedded source text, if it has one
    place: str  # file and role, for messages

    @property
    def is_generator(self) -> bool:
        return self.func_name.split(".")[-1].startswith("G")

    def build(self) -> Generator | Discriminator:
        """The network, with its weights and lod. UserError where arguments and variables do not agree."""
        self.check()
        from stylegan.official.build import build

        return self._made(build)

    def plan(self) -> Generator | Discriminator:
        """The same without weights, to look at. UserError as above."""
        self.check()
        from stylegan.official.build import plan

        return self._made(plan)

    def check(self) -> None:
        """A first look at whether the variables can be all there: every level has its RGB layer. UserError if not."""
        function, size = self.func_name.split(".")[-1], self.kwargs.get("resolution")
        if size is None or type(size) is not int:
            return  # its default, or an error that the builder explains
        names = [f"{FUNCTIONS[function]}_lod{k}/weight" for k in range(max(size, 4).bit_length() - 2)]
        missing = [name for name in names if name not in self.variables]
        if missing:
            raise UserError(
                f"{self.place}: its variables do not fit its resolution of {size}: {len(missing)} of {len(names)} "
                f"RGB layers are missing, such as {missing[0]}; nothing in the file was run"
            )

    def _made(self, make: Callable[..., Generator | Discriminator]) -> Generator | Discriminator:
        try:
            network = make(self.func_name, self.kwargs, self._variables())
            if self.lod > network.config.top:
                raise UserError(f"lod {self.lod:g}: this network has levels 0 to {network.config.top}")
            return network
        except UserError as error:
            raise UserError(f"{self.place}: {error}") from None
        except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
            text = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"{self.place}: its arguments make no network ({text[:300]})") from None

    @property
    def lod(self) -> float:
        """Level of detail the training had reached."""
        names = sorted((n for n in self.variables if n.split("/")[-1] == "lod"), key=lambda n: -n.count("/"))
        return float(self.variables[names[-1]].item()) if names else 0.0

    def _variables(self) -> dict[str, np.ndarray]:
        """Variables in the order k, k, in, out. The program of 2017 stored up-convolutions as k, k, out, in."""
        if self.module != "tfutil":
            return self.variables
        ups = [name for name in self.variables if name.endswith("Conv0_up/weight")]
        ups = [name for name in ups if self.variables[name].ndim == 4]
        return self.variables | {name: self.variables[name].swapaxes(2, 3) for name in ups}


@dataclass
class OfficialPickle:
    """The networks of one file, by role: G and D (only in files made to train on), Gs the averaged generator."""

    networks: dict[str, OfficialNetwork]
    data: memoryview = field(repr=False)
    file: str = ""

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self.data)

    @cached_property
    def sha256(self) -> str:
        """Of the file."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def generator(self) -> OfficialNetwork:
        """The one to draw with: Gs, or the only one. UserError where the file holds just a discriminator."""
        network = self.networks.get("Gs") or next(iter(self.networks.values()))
        if not network.is_generator:
            raise UserError(
                f"{self.file}: holds only a discriminator ({network.func_name}); give the file that has a generator"
            )
        return network

    def check(self, training: bool = False) -> None:
        """UserError where the file cannot become a model, as far as names tell. training: all three are needed."""
        if training and len(self.networks) < 3:
            raise UserError(f"{self.file}: holds one network; training on needs the file with all three (G, D, Gs)")
        for network in self.networks.values() if training else [self.generator]:
            network.check()

    def lineage(self) -> dict[str, Any]:
        """Where a converted model comes from, as JSON: file, hashes, official names and arguments."""
        return {
            "event": "converted",
            "format": "official pickle",
            "file": self.file,
            "sha256": self.sha256,
            "networks": {
                role: {
                    "name": network.name,
                    "function": network.func_name,
                    "arguments": network.kwargs,
                    "version": network.version,
                    "class_module": network.module,
                    "source_sha256": network.sources,
                }
                for role, network in self.networks.items()
            },
            "note": "the embedded source text was hashed, not run",
        }


def read_pickle(path: str | Path) -> OfficialPickle:
    """Reads an official pickle without running anything in it; arrays are views of the file.

    UserError (most often its kind PickleRefused) says in a sentence what is wrong: a name that is not allowed,
    damage, sizes that do not agree, or a structure that no official network has.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_FILE:
            raise PickleRefused(f"{path}: {size:,} bytes; official files have at most {MAX_FILE:,}")
        with open(path, "rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b"")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None
    return parse_pickle(data, str(path))


def parse_pickle(data: memoryview, where: str) -> OfficialPickle:
    """`read_pickle` for bytes in memory; `where` names them in errors."""
    value = unpickle(data, where)
    several = isinstance(value, tuple | list)
    stubs = tuple(value) if several else (value,)
    if not stubs or not all(isinstance(stub, Stub) for stub in stubs):
        found = f"a {type(value).__name__} of {len(stubs)}" if several else describe(value)
        raise PickleRefused(f"{where}: holds {found}, not official networks; expected a Network or (G, D, Gs)")
    if len(stubs) not in (1, 3):
        raise PickleRefused(f"{where}: holds {len(stubs)} networks; expected one, or three (G, D, Gs)")
    roles = ("G", "D", "Gs") if len(stubs) == 3 else ("Gs",)
    read = _Reader(where, limit=len(data) + 1024)
    networks = {role: read.network(stub, role) for role, stub in zip(roles, stubs, strict=True)}
    if len(networks) == 3:
        kinds = [network.is_generator for network in networks.values()]
        if kinds != [True, False, True]:
            names = ", ".join(network.func_name for network in networks.values())
            raise PickleRefused(
                f"{where}: three networks in the order {names}; expected generator, discriminator, generator"
            )
    return OfficialPickle(networks, data, where)


class _Reader:
    """Checks the states of one file's networks; every complaint names the file and the place."""

    def __init__(self, where: str, limit: int) -> None:
        self.where = where
        self.left = limit  # bytes of arrays still allowed: no file holds more than its size

    def refuse(self, place: str, what: str) -> PickleRefused:
        return PickleRefused(f"{self.where}: {place}: {what}; nothing in the file was run")

    def network(self, stub: Stub, place: str, component: bool = False) -> OfficialNetwork:
        state = stub.state
        if state is None:
            raise self.refuse(place, "a network without a state")
        version = state.get("version")
        if type(version) is not int or version not in VERSIONS:
            shown = version if type(version) is int else describe(version)
            raise self.refuse(place, f"state version {shown}; known are 2 and 3")
        for key in ("name", "static_kwargs", "build_module_src", "build_func_name", "variables"):
            if key not in state:
                raise self.refuse(place, f"its state has no {key!r}")
        name = self.text(state["name"], f"{place}.name")
        function = self.text(state["build_func_name"], f"{place}.build_func_name")
        if not component and function.split(".")[-1] not in FUNCTIONS:
            raise self.refuse(place, f"is made by {function!r}; known are {', '.join(FUNCTIONS)}")
        kwargs = self.kwargs(state["static_kwargs"], f"{place}.static_kwargs")
        variables = self.variables(state["variables"], f"{place}.variables")
        sources = {name: self.source(state["build_module_src"], f"{place}.build_module_src")}
        components = state.get("components", {})
        if type(components) is not dict or (components and component):
            raise self.refuse(f"{place}.components", "not a dictionary of networks")
        for key, inner in components.items():
            if key not in COMPONENTS or not isinstance(inner, Stub):
                raise self.refuse(
                    f"{place}.components", f"{key[:40]!r} is {describe(inner)}; expected networks mapping, synthesis"
                )
            part = self.network(inner, f"{place}.{key}", component=True)
            wanted = COMPONENTS[key].removesuffix("/")
            if part.func_name.split(".")[-1] != wanted:
                raise self.refuse(f"{place}.{key}", f"is made by {part.func_name!r}; only {wanted} is supported")
            variables |= {COMPONENTS[key] + local: value for local, value in part.variables.items()}
            kwargs = self.merged(kwargs, part.kwargs, f"{place}.{key}")
            sources[part.name] = part.sources[part.name]
        return OfficialNetwork(
            name, function, kwargs, variables, version, stub.module, sources, f"{self.where}: {place}"
        )

    def merged(self, outer: dict[str, Any], inner: dict[str, Any], place: str) -> dict[str, Any]:
        for key in outer.keys() & inner.keys():
            if outer[key] != inner[key]:
                raise self.refuse(place, f"its {key} is {inner[key]!r}, the whole network's {outer[key]!r}")
        return outer | inner

    def text(self, value: Any, place: str) -> str:
        if isinstance(value, memoryview) and len(value) <= MAX_NAME:  # Python 2
            value = str(value, "latin-1")
        if not isinstance(value, str) or len(value) > MAX_NAME:
            raise self.refuse(place, f"is {describe(value)}; expected a short text")
        return value

    def source(self, value: Any, place: str) -> str | None:
        if value is None:  # some programs leave it out to make files smaller
            return None
        if not isinstance(value, str | Text | memoryview):
            raise self.refuse(place, f"is {describe(value)}; expected text")
        raw = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
        return hashlib.sha256(raw.data if isinstance(raw, Text) else raw).hexdigest()

    def kwargs(self, value: Any, place: str) -> dict[str, Any]:
        if type(value) is not dict or len(value) > 200:
            raise self.refuse(place, f"is {describe(value)}; expected a dictionary")
        return {
            self.text(key, place): self.argument(item, f"{place}[{key[:60]!r}]", key) for key, item in value.items()
        }

    def argument(self, value: Any, place: str, key: str) -> Any:
        """A keyword argument: nothing, a truth value, a number, a short text, or a flat list of those."""
        if isinstance(value, Array) and value.value is not None and value.value.ndim == 1 and value.value.size <= 64:
            value = value.value.tolist()
        if isinstance(value, list | tuple) and len(value) <= 64:
            if any(isinstance(item, list | tuple) for item in value):
                raise self.refuse(place, "is a list of lists")
            return [self.argument(item, place, key) for item in value]
        if isinstance(value, Array) and value.value is not None and value.value.ndim == 0:
            value = value.value.item()
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int | float):
            if not math.isfinite(value) or abs(value) > _LIMITS.get(key, 1 << 31):
                raise self.refuse(place, f"is {value:.6g}, at most {_LIMITS.get(key, 1 << 31):,} makes sense")
            return value
        return self.text(value, place)

    def variables(self, value: Any, place: str) -> dict[str, np.ndarray]:
        if type(value) not in (list, tuple):
            raise self.refuse(place, f"is {describe(value)}; expected a list of (name, array)")
        found: dict[str, np.ndarray] = {}
        for i, pair in enumerate(value):
            if type(pair) not in (list, tuple) or len(pair) != 2:
                raise self.refuse(f"{place}[{i}]", f"is {describe(pair)}; expected (name, array)")
            name = self.text(pair[0], f"{place}[{i}]")
            if name in found:
                raise self.refuse(f"{place}[{i}]", f"a second variable {name!r}")
            found[name] = self.variable(pair[1], f"{place}[{i}] {name!r}")
            if name.split("/")[-1] == "lod" and (found[name].size != 1 or not 0 <= found[name].item() <= 30):
                raise self.refuse(f"{place}[{i}]", "a level of detail that is not one number from 0 to 30")
        return found

    def variable(self, value: Any, place: str) -> np.ndarray:
        array = value.value if isinstance(value, Array) else None
        if type(value) in (int, float):
            array = np.asarray(min(max(float(value), -1e30), 1e30), dtype=np.float32)
        if array is None or array.dtype.kind != "f":
            found = describe(value) if array is None else f"an array of {array.dtype}"
            raise self.refuse(place, f"is {found}; expected an array of floating-point numbers")
        self.left -= array.nbytes if array.ndim else 0
        if self.left < 0:
            raise self.refuse(place, "the arrays together are larger than the file (one is used many times)")
        return array

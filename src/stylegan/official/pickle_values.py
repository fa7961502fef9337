"""What an official pickle may make: arrays, element types, and a stand-in for the network class.

Every constructor a file can name is a function below that looks at its arguments and makes plain data; the
things named are never imported. An array is a view of the file's bytes, and its byte count must be exactly
its shape's. Sources: numpy's __reduce__ of ndarray, dtype and scalar (versions 1 and 2), CPython's of bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_DIMENSIONS = 8
ELEMENT_TYPES = frozenset(["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"])

# (module, name) -> what it stands for. Python 2, numpy 1 and numpy 2 spell some differently.
ALLOWED = {
    ("dnnlib.tflib.network", "Network"): "network",
    ("tfutil", "Network"): "network",  # Progressive GAN's program of 2017
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("numpy.core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy._core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy.core.multiarray", "scalar"): "scalar",
    ("numpy._core.multiarray", "scalar"): "scalar",
    ("numpy.core.numeric", "_frombuffer"): "frombuffer",
    ("numpy._core.numeric", "_frombuffer"): "frombuffer",
    ("_codecs", "encode"): "encode",  # how protocols 0 to 2 write bytes
    ("__builtin__", "bytes"): "bytes",  # empty bytes in protocols 0 to 2
    ("builtins", "bytes"): "bytes",
    ("copy_reg", "_reconstructor"): "reconstructor",  # how protocols 0 and 1 make an object
    ("copyreg", "_reconstructor"): "reconstructor",
    ("__builtin__", "object"): "object",
    ("builtins", "object"): "object",
}


class Refused(Exception):
    """What no official network needs; the text says what."""


@dataclass(frozen=True)
class Global:
    """A name the file refers to, one of the allowed ones: standing for something, never the thing itself."""

    module: str
    name: str
    role: str


@dataclass(eq=False)
class Text:
    """Long text as its UTF-8 bytes, not decoded (the source code inside official files)."""

    data: memoryview


@dataclass(eq=False)
class DType:
    """The element type of an array: a code such as f4 and a byte order."""

    code: str
    order: str = "<"


@dataclass(eq=False)
class Array:
    """An array; `_reconstruct` makes it without contents, which BUILD then gives it."""

    value: np.ndarray | None = None


@dataclass(eq=False)
class Stub:
    """Stand-in for an official network object; `state` is what its BUILD gave it."""

    module: str  # which program's class it is
    state: dict[str, Any] | None = None


def find(module: str, name: str) -> Global:
    """The stand-in for a global, by its exact name; Refused for all but the allowed ones."""
    role = ALLOWED.get((module, name))
    if role is None:
        raise Refused(f"it refers to {f'{module}.{name}'[:120]!r}, which no official network needs")
    return Global(module, name, role)


def call(function: Any, arguments: Any, budget: Callable[[int], None]) -> Any:
    """What REDUCE makes. `budget` is told of every byte that has to be copied, before it is."""
    if not isinstance(function, Global) or type(arguments) is not tuple:
        raise Refused(f"it calls {describe(function)} with {describe(arguments)}")
    match function.role, arguments:
        case "reconstruct", (Global(role="ndarray"), (int(),), _):
            return Array()
        case "dtype", (code, *_):
            return _dtype(_short(code))
        case "scalar", (DType() as dtype, raw):
            return Array(array(dtype, (), raw, "C"))
        case "frombuffer", (raw, DType() as dtype, shape, order, *rest):
            return Array(_from_buffer(raw, dtype, shape, _short(order), rest))
        case "encode", (str() | Text() as text, str() as encoding) if encoding in ("latin1", "latin-1"):
            return _encoded(text, budget)
        case "bytes", ():
            return memoryview(b"")
        case "reconstructor", (Global(role="network", module=module), Global(role="object"), None):
            return Stub(module)
    raise Refused(f"it calls {function.module}.{function.name} with arguments no official file has")


def new_object(cls: Any, arguments: Any) -> Stub:
    """What NEWOBJ makes: the network stand-in, nothing else."""
    if not isinstance(cls, Global) or cls.role != "network" or type(arguments) is not tuple or arguments:
        raise Refused(f"it makes an object of {describe(cls)}")
    return Stub(cls.module)


def give_state(target: Any, state: Any) -> None:
    """What BUILD does: contents of an array, byte order of an element type, state of a network; each once."""
    match target, state:
        case Stub(state=None), dict():
            target.state = state
        case Array(value=None), (int(), shape, DType() as dtype, int() as fortran, raw):
            target.value = array(dtype, shape, raw, "F" if fortran else "C")
        case DType(), (int(), order, None, None, None, int(), int(), int()):
            order = _short(order)
            if order not in ("<", ">", "|", "="):
                raise Refused("an element type with an unusual byte order")
            target.order = ">" if order == ">" else "<"  # "=": the programs ran on little-endian machines
        case _:
            raise Refused(f"it gives {describe(target)} a state that is {describe(state)}")


def array(dtype: DType, shape: Any, raw: Any, order: str | None) -> np.ndarray:
    """A view of the file's bytes as an array of this shape; Refused unless the sizes agree exactly."""
    if not isinstance(raw, memoryview):
        raise Refused(f"an array whose contents are {describe(raw)} where bytes are expected")
    if type(shape) is not tuple or len(shape) > MAX_DIMENSIONS:
        raise Refused("an array without a usual shape")
    if any(type(side) is not int or side < 0 for side in shape) or order not in ("C", "F"):
        raise Refused("an array with unusual sides or order")
    made, expected = np.dtype(dtype.order + dtype.code), 1
    for side in shape:
        expected *= side
    expected *= made.itemsize
    if expected != len(raw):
        raise Refused(f"an array of shape {list(shape)} needs {expected:,} bytes and has {len(raw):,}")
    return np.frombuffer(raw, dtype=made).reshape(shape, order="F" if order == "F" else "C")


def _dtype(code: str | None) -> DType:
    if code not in ELEMENT_TYPES:
        raise Refused(f"an array of element type {code or '?'!r}")
    return DType(code)


def _from_buffer(raw: Any, dtype: DType, shape: Any, order: str | None, rest: list[Any]) -> np.ndarray:
    axes = rest[0] if len(rest) == 1 else None
    if len(rest) > 1 or (axes is None) != (order != "K"):
        raise Refused("numpy's _frombuffer with arguments no official file has")
    if axes is None:
        return array(dtype, shape, raw, order)
    value = array(dtype, shape, raw, "C")
    if type(axes) is not tuple or sorted(a for a in axes if type(a) is int) != list(range(value.ndim)):
        raise Refused("numpy's _frombuffer with an unusual order of axes")
    return value.transpose(axes) if len(axes) == value.ndim else array(dtype, None, raw, order)


def _encoded(text: str | Text, budget: Callable[[int], None]) -> memoryview:
    budget(len(text) if isinstance(text, str) else len(text.data))
    try:
        return memoryview((text if isinstance(text, str) else str(text.data, "utf-8")).encode("latin-1"))
    except (UnicodeDecodeError, UnicodeEncodeError):
        raise Refused("bytes that were written as text hold other characters") from None


def _short(value: Any) -> str | None:
    """A short text, which Python 2 wrote as bytes; None for anything else."""
    if isinstance(value, memoryview) and len(value) <= 64:
        return str(value, "latin-1")
    return value if isinstance(value, str) and len(value) <= 64 else None


def describe(value: Any) -> str:
    """What a value is, in words, without looking inside it."""
    match value:
        case Global():
            return f"the name {value.module}.{value.name}"
        case Stub():
            return "a network"
        case Array():
            return "an array"
        case Text():
            return "text"
        case memoryview():
            return "bytes"
        case DType():
            return "an element type"
    words = {"NoneType": "nothing", "str": "text", "dict": "a dictionary", "int": "a number", "float": "a number"}
    return words.get(type(value).__name__, f"a {type(value).__name__}")

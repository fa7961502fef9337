"""A pickle reader that can only make data: numbers, text, arrays and a stand-in for the official network class.

Python's unpickler calls whatever a file names. This one is not it: it is a small interpreter of the opcodes in
which every constructor is written out below, so that there is nothing to call. It works on a view of the file
(arrays are views of the file's bytes, nothing is copied), and every length is compared with the bytes that are
left before anything is taken. Protocols 0 to 5, Python 2 and 3, the numpy names of versions 1 and 2.

Sources: CPython's pickletools (the opcodes), numpy's __reduce__ of ndarray, dtype and scalar.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from stylegan.errors import UserError

MAX_STEPS = 400_000  # an official file takes about 15,000
MAX_DEPTH = 1_000  # open marks; an official file has at most 8
MAX_LINE = 1 << 20  # of the text opcodes of protocol 0
MAX_SHORT_TEXT = 1 << 16  # longer text stays undecoded
MAX_DIMENSIONS = 8

# (module, name) -> what it stands for. Python 2, numpy 1 and numpy 2 spell some differently.
_ALLOWED = {
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
    ("copy_reg", "_reconstructor"): "reconstructor",  # how protocols 0 and 1 make an object
    ("copyreg", "_reconstructor"): "reconstructor",
    ("__builtin__", "object"): "object",
    ("builtins", "object"): "object",
    ("__builtin__", "bytes"): "bytes",  # empty bytes in protocols 0 to 2
    ("builtins", "bytes"): "bytes",
}
_ARRAY_TYPES = frozenset("f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 b1".split())
_PROTOCOL = 5
_REFUSED = {
    0x69: "INST", 0x6F: "OBJ", 0x50: "PERSID", 0x51: "BINPERSID", 0x82: "EXT1", 0x83: "EXT2", 0x84: "EXT4",
    0x8F: "EMPTY_SET", 0x90: "ADDITEMS", 0x91: "FROZENSET", 0x92: "NEWOBJ_EX", 0x97: "NEXT_BUFFER",
    0x98: "READONLY_BUFFER",
}  # fmt: skip


class PickleRefused(UserError):
    """The file holds something no official network needs, or is damaged; the text says what and where."""


@dataclass(frozen=True)
class Global:
    """A name the file refers to, one of the allowed ones. Standing for something, never the thing itself."""

    module: str
    name: str
    role: str


@dataclass
class Text:
    """Long text as its UTF-8 bytes, not decoded (the source code inside official files)."""

    data: memoryview


@dataclass
class DType:
    """The element type of an array: a code such as f4 and a byte order."""

    code: str
    order: str = "<"

    def numpy(self) -> np.dtype[Any]:
        return np.dtype((self.order if self.code[1:] != "1" else "|") + self.code)


@dataclass
class Pending:
    """An array whose contents are still to come: `_reconstruct` makes it, BUILD fills it."""

    array: np.ndarray | None = None


@dataclass
class Stub:
    """Stand-in for an official network object; `state` is what its BUILD gave it."""

    module: str  # which program's class it is
    state: dict[Any, Any] | None = None


def unpickle(data: memoryview, where: str) -> Any:
    """The value a pickle describes, made of None, bool, int, float, str, bytes views, tuple, list, dict, Text,
    arrays (`np.ndarray`, views of `data`) and `Stub`. PickleRefused, beginning with `where`, for all else."""
    return _Machine(data, where).run()


class _Machine:
    """One reading of one pickle: position, stack, marks and memo."""

    def __init__(self, data: memoryview, where: str) -> None:
        self.data = data
        self.where = where
        self.at = 0  # byte the next opcode or argument is read from
        self.begin = 0  # byte of the current opcode
        self.stack: list[Any] = []
        self.marks: list[int] = []  # stack heights
        self.memo: dict[int, Any] = {}
        self.copied = 0  # bytes that had to be copied (only protocols 0 to 2 need it)

    def run(self) -> Any:
        if not len(self.data):
            raise PickleRefused(f"{self.where}: is empty; copy or download it again")
        for _ in range(MAX_STEPS):
            self.begin = self.at
            code = self.take(1)[0]
            if code == 0x2E:  # STOP
                if len(self.stack) != 1 or self.marks:
                    raise self.refuse(f"it ends with {len(self.stack)} values where one is expected")
                value = self.stack.pop()
                return value.array if isinstance(value, Pending) else value
            action = _ACTIONS.get(code)
            if action is None:
                name = _REFUSED.get(code)
                if name:
                    raise self.refuse(f"it uses the opcode {name}, which no official network needs")
                raise self.refuse(f"byte {code:#04x} is no pickle opcode; this is another format, or damaged")
            action(self)
        raise self.refuse(f"it takes more than {MAX_STEPS:,} steps, an official file about 15,000")

    # --- bytes --------------------------------------------------------------------------------------------

    def refuse(self, what: str) -> PickleRefused:
        return PickleRefused(f"{self.where}: refused at byte {self.begin:,}: {what}; nothing in it was run")

    def take(self, count: int) -> memoryview:
        left = len(self.data) - self.at
        if count > left:
            if count <= 8:
                raise PickleRefused(f"{self.where}: is cut short after {len(self.data):,} bytes; download it again")
            raise self.refuse(f"it announces {count:,} bytes where {left:,} are left (cut short or hostile)")
        piece = self.data[self.at : self.at + count]
        self.at += count
        return piece

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> bytes:
        window = bytes(self.data[self.at : self.at + MAX_LINE])
        end = window.find(b"\n")
        if end < 0:
            raise self.refuse("a text line does not end; this is another format, or damaged")
        self.at += end + 1
        return window[:end]

    def decoded(self, piece: bytes | memoryview, encoding: str = "utf-8") -> str:
        try:
            return str(piece, encoding)
        except UnicodeDecodeError:
            raise self.refuse("text that is not valid Unicode") from None

    def text(self, count: int) -> None:
        piece = self.take(count)
        self.stack.append(self.decoded(piece) if count <= MAX_SHORT_TEXT else Text(piece))

    # --- stack --------------------------------------------------------------------------------------------

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise self.refuse("an opcode finds too few values")
        return self.stack.pop()

    def top(self) -> Any:
        value = self.pop()
        self.stack.append(value)
        return value

    def pop_mark(self) -> list[Any]:
        if not self.marks:
            raise self.refuse("an opcode needs a mark and there is none")
        height = self.marks.pop()
        items = self.stack[height:]
        del self.stack[height:]
        return items

    def mark(self) -> None:
        if len(self.marks) >= MAX_DEPTH:
            raise self.refuse(f"more than {MAX_DEPTH} marks are open")
        self.marks.append(len(self.stack))

    def remember(self, key: int) -> None:
        self.memo[key] = self.top()

    def recall(self, key: int) -> None:
        if key not in self.memo:
            raise self.refuse(f"it refers to entry {key} of its memo, which does not exist")
        self.stack.append(self.memo[key])

    def integer(self, line: bytes) -> int:
        try:
            if len(line) > 24:
                raise ValueError
            return int(line.rstrip(b"L"))
        except ValueError:
            raise self.refuse("an integer that is none, or has more than 64 bits") from None

    def long(self, count: int) -> None:
        if count < 0 or count > 16:
            raise self.refuse(f"an integer of {count:,} bytes")
        self.stack.append(int.from_bytes(self.take(count), "little", signed=True))

    # --- containers ---------------------------------------------------------------------------------------

    def extend(self, items: list[Any]) -> None:
        target = self.top()
        if type(target) is not list:
            raise self.refuse(f"it appends to {describe(target)}")
        target.extend(items)

    def update(self, items: list[Any]) -> None:
        target = self.top()
        if type(target) is not dict:
            raise self.refuse(f"it sets items of {describe(target)}")
        if len(items) % 2:
            raise self.refuse("a dictionary has a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[self.key(key)] = value

    def key(self, key: Any) -> str:
        if isinstance(key, memoryview) and len(key) <= 256:  # Python 2
            key = self.decoded(key, "latin-1")
        if not isinstance(key, str):
            raise self.refuse(f"a dictionary key is {describe(key)} where a name is expected")
        return key

    # --- what REDUCE, NEWOBJ and BUILD make ------------------------------------------------------------------

    def find(self, module: Any, name: Any) -> None:
        module, name = (
            self.decoded(part, "latin-1") if isinstance(part, memoryview | bytes) else part for part in (module, name)
        )
        if not isinstance(module, str) or not isinstance(name, str):
            raise self.refuse("a global whose name is no text")
        role = _ALLOWED.get((module, name))
        if role is None:
            shown = f"{module}.{name}"[:120]
            raise self.refuse(f"it refers to {shown!r}, which no official network needs and which could run code")
        self.stack.append(Global(module, name, role))

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Global) or type(arguments) is not tuple:
            raise self.refuse(f"it calls {describe(function)} with {describe(arguments)}")
        makers: dict[str, Callable[[tuple[Any, ...]], Any]] = {
            "reconstruct": self.make_pending,
            "dtype": self.make_dtype,
            "scalar": self.make_scalar,
            "frombuffer": self.make_from_buffer,
            "encode": self.make_bytes,
            "bytes": self.make_empty,
            "reconstructor": self.make_object,
        }
        if function.role not in makers:
            raise self.refuse(f"it calls {function.module}.{function.name}")
        self.stack.append(makers[function.role](arguments))

    def make_pending(self, arguments: tuple[Any, ...]) -> Pending:
        match arguments:
            case (Global(role="ndarray"), (0,), flag) if self.raw(flag) == b"b":
                return Pending()
        raise self.refuse("numpy's _reconstruct with unusual arguments")

    def make_dtype(self, arguments: tuple[Any, ...]) -> DType:
        match arguments:
            case (code, _, _) | (code,):
                code = self.decoded(code, "latin-1") if isinstance(code, memoryview) else code
                if isinstance(code, str) and code in _ARRAY_TYPES:
                    return DType(code)
                raise self.refuse(f"an array of element type {code if isinstance(code, str) else '?'!r:.20}")
        raise self.refuse("numpy's dtype with unusual arguments")

    def make_scalar(self, arguments: tuple[Any, ...]) -> np.ndarray:
        match arguments:
            case (DType() as dtype, raw):
                return self.array(dtype, (), raw, "C")
        raise self.refuse("numpy's scalar with unusual arguments")

    def make_from_buffer(self, arguments: tuple[Any, ...]) -> np.ndarray:
        match arguments:
            case (raw, DType() as dtype, shape, order):
                return self.array(dtype, shape, raw, order)
            case (raw, DType() as dtype, shape, order, None):
                return self.array(dtype, shape, raw, order)
            case (raw, DType() as dtype, shape, "K", tuple() as axes):
                array = self.array(dtype, shape, raw, "C")
                if sorted(a for a in axes if type(a) is int) == list(range(array.ndim)) and len(axes) == array.ndim:
                    return array.transpose(axes)
        raise self.refuse("numpy's _frombuffer with unusual arguments")

    def make_bytes(self, arguments: tuple[Any, ...]) -> memoryview:
        match arguments:
            case (str() | Text() as text, "latin1" | "latin-1"):
                whole = text if isinstance(text, str) else self.decoded(text.data)
                self.copied += len(whole)
                if self.copied > len(self.data):
                    raise self.refuse("it copies more bytes than the file holds")
                try:
                    return memoryview(whole.encode("latin-1"))
                except UnicodeEncodeError:
                    raise self.refuse("bytes written as text hold other characters") from None
        raise self.refuse("_codecs.encode with unusual arguments")

    def make_empty(self, arguments: tuple[Any, ...]) -> memoryview:
        if arguments:
            raise self.refuse("bytes with arguments")
        return memoryview(b"")

    def make_object(self, arguments: tuple[Any, ...]) -> Stub:
        match arguments:
            case (Global(role="network", module=module), Global(role="object"), None):
                return Stub(module)
        raise self.refuse("_reconstructor with unusual arguments")

    def new_object(self) -> None:
        arguments, cls = self.pop(), self.pop()
        if not isinstance(cls, Global) or cls.role != "network" or arguments != ():
            raise self.refuse(f"it makes an object of {describe(cls)}")
        self.stack.append(Stub(cls.module))

    def build(self) -> None:
        state, target = self.pop(), self.top()
        match target, state:
            case Stub(state=None), dict():
                target.state = state
            case Pending(array=None), (1, shape, DType() as dtype, bool() | 0 | 1 as fortran, raw):
                target.array = self.array(dtype, shape, raw, "F" if fortran else "C")
            case DType(), (3 | 4, order, None, None, None, *_):
                order = self.decoded(order, "latin-1") if isinstance(order, memoryview) else order
                if not isinstance(order, str) or order not in ("<", ">", "|", "="):
                    raise self.refuse("an element type with an unusual byte order")
                target.order = "<" if order in ("=", "|") else order  # files were written on little-endian machines
            case _:
                raise self.refuse(f"it gives {describe(target)} a state that is {describe(state)}")

    def raw(self, value: Any) -> bytes | None:
        """A short bytes value; Python 2 and protocols below 3 write it as text."""
        if isinstance(value, memoryview) and len(value) < 64:
            return bytes(value)
        return value.encode("latin-1", "replace") if isinstance(value, str) and len(value) < 64 else None

    def array(self, dtype: DType, shape: Any, raw: Any, order: Any) -> np.ndarray:
        """A view of the file's bytes as an array; the byte count must be exactly the shape's."""
        if not isinstance(raw, memoryview):
            raise self.refuse(f"an array whose contents are {describe(raw)} where bytes are expected")
        if type(shape) is not tuple or len(shape) > MAX_DIMENSIONS:
            raise self.refuse("an array without a usual shape")
        if any(type(side) is not int or not 0 <= side < 1 << 40 for side in shape) or order not in ("C", "F", "A"):
            raise self.refuse("an array with unusual sides or order")
        made, expected = dtype.numpy(), 1
        for side in shape:
            expected *= side
        expected *= made.itemsize
        if expected != len(raw):
            raise self.refuse(f"an array of shape {list(shape)} needs {expected:,} bytes and has {len(raw):,}")
        flat = np.frombuffer(raw, dtype=made)
        return flat.reshape(shape, order="F" if order == "F" else "C")


def describe(value: Any) -> str:
    """What a value is, in words, without looking inside it."""
    match value:
        case Global():
            return f"the name {value.module}.{value.name}"
        case Stub():
            return "a network"
        case Pending() | np.ndarray():
            return "an array"
        case Text():
            return "text"
        case memoryview():
            return "bytes"
        case DType():
            return "an element type"
    words = {"NoneType": "nothing", "str": "text", "dict": "a dictionary", "int": "a number", "float": "a number"}
    return words.get(type(value).__name__, f"a {type(value).__name__}")


def _proto(m: _Machine) -> None:
    version = m.take(1)[0]
    if version > _PROTOCOL:
        raise m.refuse(f"pickle protocol {version}; known are 0 to {_PROTOCOL}")


def _frame(m: _Machine) -> None:
    size = m.number("<Q")
    if size > len(m.data) - m.at:
        raise m.refuse(f"a frame announces {size:,} bytes where {len(m.data) - m.at:,} are left (cut short or hostile)")


def _int(m: _Machine) -> None:
    line = m.line()
    m.stack.append({b"00": False, b"01": True}[line] if line in (b"00", b"01") else m.integer(line))


def _float(m: _Machine) -> None:
    try:
        m.stack.append(float(m.line()[:64]))
    except ValueError:
        raise m.refuse("a number that is none") from None


def _string(m: _Machine) -> None:
    line = m.line().strip()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in b"'\"" or b"\\" in line:
        raise m.refuse("a quoted string of protocol 0 with escapes, which only Python 2 wrote")
    m.stack.append(memoryview(line[1:-1]))


def _tuple(count: int) -> Callable[[_Machine], None]:
    def action(m: _Machine) -> None:
        items = [m.pop() for _ in range(count)]
        m.stack.append(tuple(items[::-1]))

    return action




def _stack_global(m: _Machine) -> None:
    name, module = m.pop(), m.pop()
    m.find(module, name)


def _new_dict(m: _Machine) -> None:
    items = m.pop_mark()
    m.stack.append({})
    m.update(items)


def _set_item(m: _Machine) -> None:
    value, key = m.pop(), m.pop()
    m.update([key, value])


def _pop(m: _Machine) -> None:
    if m.marks and len(m.stack) == m.marks[-1]:
        m.marks.pop()
    else:
        m.pop()


_ACTIONS: dict[int, Callable[[_Machine], None]] = {
    0x80: _proto,
    0x95: _frame,
    ord("("): _Machine.mark,
    ord("0"): _pop,
    ord("1"): lambda m: m.pop_mark() and None,
    ord("2"): lambda m: m.stack.append(m.top()),
    ord("N"): lambda m: m.stack.append(None),
    0x88: lambda m: m.stack.append(True),
    0x89: lambda m: m.stack.append(False),
    ord("I"): _int,
    ord("L"): lambda m: m.stack.append(m.integer(m.line())),
    ord("J"): lambda m: m.stack.append(m.number("<i")),
    ord("K"): lambda m: m.stack.append(m.number("<B")),
    ord("M"): lambda m: m.stack.append(m.number("<H")),
    0x8A: lambda m: m.long(m.number("<B")),
    0x8B: lambda m: m.long(m.number("<i")),
    ord("F"): _float,
    ord("G"): lambda m: m.stack.append(m.number(">d")),
    ord("S"): _string,
    ord("T"): lambda m: m.stack.append(m.take(max(m.number("<i"), 0))),
    ord("U"): lambda m: m.stack.append(m.take(m.number("<B"))),
    ord("V"): lambda m: m.stack.append(m.decoded(m.line(), "raw-unicode-escape")),
    ord("X"): lambda m: m.text(m.number("<I")),
    0x8C: lambda m: m.text(m.number("<B")),
    0x8D: lambda m: m.text(m.number("<Q")),
    ord("B"): lambda m: m.stack.append(m.take(m.number("<I"))),
    ord("C"): lambda m: m.stack.append(m.take(m.number("<B"))),
    0x8E: lambda m: m.stack.append(m.take(m.number("<Q"))),
    0x96: lambda m: m.stack.append(m.take(m.number("<Q"))),
    ord(")"): lambda m: m.stack.append(()),
    ord("t"): lambda m: m.stack.append(tuple(m.pop_mark())),
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    ord("]"): lambda m: m.stack.append([]),
    ord("l"): lambda m: m.stack.append(m.pop_mark()),
    ord("a"): lambda m: m.extend([m.pop()]),
    ord("e"): lambda m: m.extend(m.pop_mark()),
    ord("}"): lambda m: m.stack.append({}),
    ord("d"): _new_dict,
    ord("s"): _set_item,
    ord("u"): lambda m: m.update(m.pop_mark()),
    ord("c"): lambda m: m.find(m.line(), m.line()),
    0x93: _stack_global,
    ord("R"): _Machine.reduce,
    0x81: _Machine.new_object,
    ord("b"): _Machine.build,
    ord("p"): lambda m: m.remember(m.integer(m.line())),
    ord("q"): lambda m: m.remember(m.number("<B")),
    ord("r"): lambda m: m.remember(m.number("<I")),
    0x94: lambda m: m.remember(len(m.memo)),
    ord("g"): lambda m: m.recall(m.integer(m.line())),
    ord("h"): lambda m: m.recall(m.number("<B")),
    ord("j"): lambda m: m.recall(m.number("<I")),
}

"""A pickle reader that can only make data: numbers, text, arrays and a stand-in for the official network class.

Python's unpickler calls whatever a file names. This is a small interpreter of the opcodes in which every
constructor is written out (`pickle_values`), so that there is nothing to call. It works on a view of the file,
every length is compared with the bytes that are left before anything is taken, and steps, marks and copied
bytes are limited. Protocols 0 to 5. Source of the opcodes: CPython's pickletools.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from stylegan.errors import UserError
from stylegan.official.pickle_values import (
    Refused,
    Text,
    call,
    describe,
    find,
    give_state,
    new_object,
)

PROTOCOL = 5
MAX_STEPS = 400_000  # an official file takes about 15,000
MAX_MARKS = 1_000  # open at once; an official file has at most 8
MAX_LINE = 1 << 26  # bytes of one line of the text opcodes of protocol 0
MAX_SHORT_TEXT = 1 << 16  # longer text stays undecoded

_REFUSED = {
    0x69: "INST", 0x6F: "OBJ", 0x50: "PERSID", 0x51: "BINPERSID", 0x82: "EXT1", 0x83: "EXT2", 0x84: "EXT4",
    0x8F: "EMPTY_SET", 0x90: "ADDITEMS", 0x91: "FROZENSET", 0x92: "NEWOBJ_EX", 0x97: "NEXT_BUFFER",
    0x98: "READONLY_BUFFER",
}  # fmt: skip


class PickleRefused(UserError):
    """The file holds something no official network needs, or is damaged; the text says what and where."""


def unpickle(data: memoryview, where: str) -> Any:
    """The value a pickle describes: None, bool, int, float, str, tuple, list, dict with text keys, views of
    `data`, and `Text`, `Array`, `DType`, `Global`, `Stub` of `pickle_values`.

    PickleRefused, beginning with `where` (the file's name), for anything else and for damaged files.
    """
    return _Machine(data, where).run()


class _Machine:
    """One reading of one pickle: position, stack, marks and memo."""

    def __init__(self, data: memoryview, where: str) -> None:
        self.data = data
        self.where = where
        self.at = 0  # byte the next opcode or argument is read from
        self.stack: list[Any] = []
        self.marks: list[int] = []  # stack heights
        self.memo: dict[int, Any] = {}
        self.copied = 0  # bytes copied out of the file (only protocols 0 to 2 need it)

    def run(self) -> Any:
        if not len(self.data):
            raise PickleRefused(f"{self.where}: is empty; copy or download it again")
        begin = 0
        try:
            for _ in range(MAX_STEPS):
                begin = self.at
                code = self.take(1)[0]
                if code == 0x2E:  # STOP
                    if len(self.stack) != 1 or self.marks:
                        raise Refused(f"it ends with {len(self.stack)} values where one is expected")
                    return self.stack.pop()
                action = _ACTIONS.get(code)
                if action is None:
                    if code in _REFUSED:
                        raise Refused(f"it uses the opcode {_REFUSED[code]}, which no official network needs")
                    raise Refused(f"{code:#04x} is no pickle opcode; the file is of another format, or damaged")
                action(self)
            raise Refused(f"it takes more than {MAX_STEPS:,} steps, where an official file takes about 15,000")
        except Refused as refused:
            text = f"{self.where}: refused at byte {begin:,}: {refused}; nothing in the file was run"
            raise PickleRefused(text) from None

    # --- bytes --------------------------------------------------------------------------------------------

    def take(self, count: int) -> memoryview:
        left = len(self.data) - self.at
        if not 0 <= count <= left:
            if 0 <= count <= 8:
                raise Refused(f"it is cut short after {len(self.data):,} bytes (download it again)")
            raise Refused(f"it announces {count:,} bytes where {left:,} are left (cut short, or made to harm)")
        piece = self.data[self.at : self.at + count]
        self.at += count
        return piece

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> bytes:
        """Up to the next newline, which is left out."""
        size = 128
        while True:
            window = bytes(self.data[self.at : self.at + size])
            end = window.find(b"\n")
            if end >= 0:
                self.at += end + 1
                return window[:end]
            if len(window) < size or size >= MAX_LINE:
                raise Refused("a line does not end (cut short, or of another format)")
            size *= 8

    def copying(self, count: int) -> None:
        """Account for bytes about to be copied: in a file that says each thing once, at most its own size."""
        self.copied += count
        if self.copied > len(self.data):
            raise Refused("it copies more bytes than it holds")

    def decoded(self, piece: bytes | memoryview, encoding: str = "utf-8") -> str:
        try:
            return str(piece, encoding)
        except UnicodeDecodeError:
            raise Refused("text that is not valid Unicode") from None

    def text(self, count: int) -> None:
        piece = self.take(count)
        self.stack.append(self.decoded(piece) if count <= MAX_SHORT_TEXT else Text(piece))

    def integer(self, line: bytes) -> int:
        try:
            if len(line) > 24:
                raise ValueError
            return int(line.removesuffix(b"L"))
        except ValueError:
            raise Refused("an integer that is none, or has more than 64 bits") from None

    def long(self, count: int) -> None:
        if not 0 <= count <= 16:
            raise Refused(f"an integer of {count:,} bytes")
        self.stack.append(int.from_bytes(self.take(count), "little", signed=True))

    # --- stack and memo -----------------------------------------------------------------------------------

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise Refused("an opcode finds too few values")
        return self.stack.pop()

    def top(self) -> Any:
        value = self.pop()
        self.stack.append(value)
        return value

    def mark(self) -> None:
        if len(self.marks) >= MAX_MARKS:
            raise Refused(f"more than {MAX_MARKS:,} marks are open")
        self.marks.append(len(self.stack))

    def pop_mark(self) -> list[Any]:
        if not self.marks:
            raise Refused("an opcode needs a mark and there is none")
        height = self.marks.pop()
        items = self.stack[height:]
        del self.stack[height:]
        return items

    def remember(self, key: int) -> None:
        self.memo[key] = self.top()

    def recall(self, key: int) -> None:
        if key not in self.memo:
            raise Refused(f"it refers to entry {key} of its memo, which does not exist")
        self.stack.append(self.memo[key])

    # --- containers and objects ---------------------------------------------------------------------------

    def extend(self, items: list[Any]) -> None:
        target = self.top()
        if type(target) is not list:
            raise Refused(f"it appends to {describe(target)}")
        target.extend(items)

    def update(self, items: list[Any]) -> None:
        target = self.top()
        if type(target) is not dict:
            raise Refused(f"it sets items of {describe(target)}")
        if len(items) % 2:
            raise Refused("a dictionary has a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, memoryview) and len(key) <= 256:  # Python 2 wrote names as bytes
                key = self.decoded(key, "latin-1")
            if not isinstance(key, str):
                raise Refused(f"a dictionary key is {describe(key)} where a name is expected")
            target[key] = value

    def refer(self, module: Any, name: Any) -> None:
        parts = [self.decoded(p, "latin-1") if isinstance(p, memoryview | bytes) else p for p in (module, name)]
        if not all(isinstance(part, str) for part in parts):
            raise Refused("a name that is no text")
        self.stack.append(find(parts[0], parts[1]))

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        self.stack.append(call(function, arguments, self.copying))

    def new_object(self) -> None:
        arguments, cls = self.pop(), self.pop()
        self.stack.append(new_object(cls, arguments))

    def build(self) -> None:
        state = self.pop()
        give_state(self.top(), state)


def _proto(m: _Machine) -> None:
    version = m.take(1)[0]
    if version > PROTOCOL:
        raise Refused(f"pickle protocol {version}; known are 0 to {PROTOCOL}")


def _frame(m: _Machine) -> None:
    size, left = m.number("<Q"), len(m.data) - m.at
    if size > left:
        raise Refused(f"a frame announces {size:,} bytes where {left:,} are left (cut short, or made to harm)")


def _int(m: _Machine) -> None:
    line = m.line()
    m.stack.append(line == b"01" if line in (b"00", b"01") else m.integer(line))


def _float(m: _Machine) -> None:
    try:
        m.stack.append(float(m.line()[:64]))
    except ValueError:
        raise Refused("a number that is none") from None


def _string(m: _Machine) -> None:
    line = m.line().strip()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"') or b"\\" in line:
        raise Refused("a quoted string of protocol 0 with escapes, which no official file has")
    m.stack.append(memoryview(line[1:-1]))


def _tuple(count: int) -> Callable[[_Machine], None]:
    def action(m: _Machine) -> None:
        items = [m.pop() for _ in range(count)]
        m.stack.append(tuple(items[::-1]))

    return action


def _stack_global(m: _Machine) -> None:
    name, module = m.pop(), m.pop()
    m.refer(module, name)


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


def _put(m: _Machine) -> None:
    m.remember(m.integer(m.line()))


_ACTIONS: dict[int, Callable[[_Machine], Any]] = {
    0x80: _proto,
    0x95: _frame,
    ord("("): _Machine.mark,
    ord("0"): _pop,
    ord("1"): _Machine.pop_mark,
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
    ord("T"): lambda m: m.stack.append(m.take(m.number("<i"))),
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
    ord("c"): lambda m: m.refer(m.line(), m.line()),
    0x93: _stack_global,
    ord("R"): _Machine.reduce,
    0x81: _Machine.new_object,
    ord("b"): _Machine.build,
    ord("p"): _put,
    ord("q"): lambda m: m.remember(m.number("<B")),
    ord("r"): lambda m: m.remember(m.number("<I")),
    0x94: lambda m: m.remember(len(m.memo)),
    ord("g"): lambda m: m.recall(m.integer(m.line())),
    ord("h"): lambda m: m.recall(m.number("<B")),
    ord("j"): lambda m: m.recall(m.number("<I")),
}

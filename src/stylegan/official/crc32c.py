"""CRC-32C (Castagnoli), the checksum of TFRecord files (RFC 3720, appendix B.4), at numpy's speed.

A CRC is linear over GF(2) in its register and its message. A long message is therefore cut into equal lanes whose
registers advance together, one table look-up per byte for all lanes, and the lanes are joined pairwise by the
linear map "append m zero bytes".
"""

from __future__ import annotations

from functools import cache

import numpy as np

_POLYNOMIAL = 0x82F63B78  # reflected
_SHORT = 512  # bytes below which the plain loop is faster


def crc32c(data: bytes | memoryview) -> int:
    """The checksum of some bytes, as an unsigned 32-bit number."""
    n = len(data)
    if n < _SHORT:
        crc, small = 0xFFFFFFFF, _table_list()
        for byte in bytes(data):
            crc = small[(crc ^ byte) & 0xFF] ^ (crc >> 8)
        return crc ^ 0xFFFFFFFF
    lane = 1 << max(4, (n.bit_length() // 2) - 1)  # bytes per lane, about sqrt(n)/2
    lanes = -(-n // lane)
    padded = np.zeros(lanes * lane, np.uint8)  # zeros in front leave a zero register as it is
    padded[-n:] = np.frombuffer(data, np.uint8)
    padded[-n : -n + 4] ^= 0xFF  # the same as starting from a register of ones
    columns = np.ascontiguousarray(padded.reshape(lanes, lane).T)  # lane lanes
    table = _table()
    register: np.ndarray = np.zeros(lanes, np.uint32)
    for column in columns:
        register = table[(register ^ column) & 0xFF] ^ (register >> 8)
    while len(register) > 1:
        if len(register) % 2:
            register = np.concatenate([np.zeros(1, np.uint32), register])
        register = _append_zeros(lane, register[0::2]) ^ register[1::2]
        lane *= 2
    return int(register[0]) ^ 0xFFFFFFFF


def masked_crc32c(data: bytes | memoryview) -> int:
    """The checksum as TFRecord files store it: rotated right by 15 bits, plus a constant."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@cache
def _table() -> np.ndarray:
    values: np.ndarray = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = (values >> 1) ^ np.where(values & 1, np.uint32(_POLYNOMIAL), np.uint32(0))
    return values


@cache
def _table_list() -> list[int]:
    return [int(value) for value in _table()]


def _append_zeros(count: int, register: np.ndarray) -> np.ndarray:
    """Registers after `count` (a power of two) further zero bytes."""
    tables = _zero_tables(count)
    out = tables[0][register & 0xFF]
    for k in (1, 2, 3):
        out = out ^ tables[k][(register >> np.uint32(8 * k)) & 0xFF]
    return out


@cache
def _zero_tables(count: int) -> np.ndarray:
    """[4, 256]: effect of `count` zero bytes on each byte of the register."""
    values = np.arange(256, dtype=np.uint32)
    basis = np.stack([values << np.uint32(8 * k) for k in range(4)])  # 4 256
    if count == 1:
        return _table()[basis & 0xFF] ^ (basis >> 8)
    half = count // 2
    return _append_zeros(half, _append_zeros(half, basis.ravel())).reshape(4, 256)

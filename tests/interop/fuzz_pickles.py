"""Mutated official pickles against the reader: only `UserError` may come out, nothing may be run, nothing may hang.

    python -m tests.interop.fuzz_pickles [--count 20000] [--seed 0]

Seeds are small StyleGAN and Progressive GAN files in protocols 0 to 5 and all spellings. An audit hook records
every event the interpreter reports while a mutated file is read and its networks are planned; opening,
importing, compiling, executing and everything else that touches the outside is among them, and none is allowed.
Prints one line of JSON; exits with 1 where a case failed, and writes that case beside the script's `--keep` folder.
"""

from __future__ import annotations

import argparse
import json
import pickletools
import random
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from stylegan.errors import UserError
from stylegan.official.pickles import parse_pickle
from tests.interop import official_files as files

SECONDS = 2.0  # per case
KWARGS = {"num_channels": 3, "resolution": 8, "label_size": 0, "fmap_base": 32, "fmap_max": 4}
STYLE = KWARGS | {"latent_size": 4, "dlatent_size": 4, "mapping_layers": 2, "mapping_fmaps": 4}
OPCODES = bytes(ord(opcode.code) for opcode in pickletools.opcodes)
HOSTILE = [
    b"cos\nsystem\n(S'touch /tmp/pwned'\ntR",
    b"\x8c\x05posix\x8c\x06system\x93\x8c\x10touch /tmp/pwned\x85R",
    b"\x8c\x08builtins\x8c\x04eval\x93\x8c\x0a__import__\x85R",
    b"\x8c\x14dnnlib.tflib.network\x8c\x11Network.__class__\x93)R",
    b"(S'touch /tmp/pwned'\nios\nsystem\n", b"P0\n", b"Q", b"\x82\x01", b"\x97", b"\x92", b"2" * 50, b"\x86" * 20,
    b"\x8b\xff\xff\xff\x7f", b"\x8e\x00\x00\x00\x00\x00\x01\x00\x00", b"\x96\xff\xff\xff\xff\xff\xff\xff\xff",
    b"T\xff\xff\xff\xff", b"r\xff\xff\xff\xff", b"j\xff\xff\xff\xff", b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f",
]  # fmt: skip


def seeds() -> list[bytes]:
    """Small sound files in every protocol and spelling."""
    style = files.small("style", STYLE)
    pro = files.small("progan", KWARGS)
    made = [files.dumps(style, protocol) for protocol in range(6)]
    made += [files.dumps(pro, protocol) for protocol in range(6)]
    made += [files.dumps(style, 5, numpy="numpy._core"), files.dumps(pro, 4, module="tfutil"), files.dumps(pro[2], 2)]
    made.append(files.dumps(files.small("progan", KWARGS, version=2), 4, module="tfutil"))
    return made


def starts(data: bytes) -> list[int]:
    """Byte positions of the opcodes."""
    return [position for _, _, position in pickletools.genops(data) if position is not None]


def mutate(rng: random.Random, pool: list[tuple[bytes, list[int]]]) -> bytes:
    """One mutated file: flips, inserted opcodes, splices, cuts, repeats, changed lengths, hostile fragments."""
    data, ops = rng.choice(pool)
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if not out:
            break
        at = min(rng.choice(ops), len(out) - 1)
        kind = rng.randrange(9)
        if kind == 0:
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at] = rng.choice(OPCODES)
        elif kind == 2:
            out[at:at] = bytes(rng.choices(OPCODES, k=rng.randint(1, 4)))
        elif kind == 3:
            other, positions = rng.choice(pool)
            begin = rng.choice(positions)
            out[at:] = other[begin:]
        elif kind == 4:
            del out[rng.randrange(len(out)) :]
        elif kind == 5:
            end = min(rng.choice(ops), len(out))
            piece = out[min(at, end) : max(at, end)][:4096]
            out[at:at] = piece * rng.randint(1, 3)
        elif kind == 6:
            del out[at : min(rng.choice(ops), len(out))]
        elif kind == 7:
            out[at + 1 : at + 1 + rng.choice((1, 2, 4, 8))] = rng.randbytes(rng.choice((1, 2, 4, 8)))
        else:
            out[at:at] = rng.choice(HOSTILE)
    return bytes(out)


class Watch:
    """Audit hook: while armed, every event is a failure."""

    def __init__(self) -> None:
        self.armed = False
        self.events: list[str] = []
        sys.addaudithook(self.hear)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.armed:
            self.events.append(event)


def examine(data: bytes) -> str:
    """Read a file and plan its networks: "accepted" or "refused"; anything but UserError propagates."""
    try:
        for network in parse_pickle(memoryview(data), "fuzz").networks.values():
            network.plan()
    except UserError:
        return "refused"
    return "accepted"


def fuzz(count: int, seed: int, keep: Path | None) -> dict[str, Any]:
    """Run `count` cases; the summary."""
    rng = random.Random(seed)
    pool = [(data, starts(data)) for data in seeds()]
    assert all(examine(data) == "accepted" for data, _ in pool)  # also imports whatever is imported on demand
    watch, failures = Watch(), []
    counts, slowest = {"accepted": 0, "refused": 0}, 0.0

    def late(*_: Any) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    signal.signal(signal.SIGALRM, late)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for i in range(count):
        data = mutate(rng, pool)
        problem = None
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        begin = time.perf_counter()
        watch.armed = True
        try:
            outcome = examine(data)
        except Exception as error:
            outcome, problem = "refused", f"{type(error).__name__}: {error}"
        finally:
            watch.armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        slowest = max(slowest, time.perf_counter() - begin)
        counts[outcome] += 1
        if watch.events:
            problem = f"events {sorted(set(watch.events))}"
            watch.events.clear()
        if problem:
            failures.append(f"case {i}: {problem[:300]}")
            if keep:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"case{i}.pkl").write_bytes(data)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "count": count, "seed": seed, **counts, "failures": failures, "slowest_ms": round(slowest * 1e3, 1),
        "memory_grown_mb": round(grown / 1024, 1), "pwned": Path("/tmp/pwned").exists(),
    }  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    np.seterr(all="raise")
    summary = fuzz(arguments.count, arguments.seed, arguments.keep)
    print(json.dumps(summary))
    sys.exit(bool(summary["failures"] or summary["pwned"]))


if __name__ == "__main__":
    main()

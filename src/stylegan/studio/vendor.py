"""The libraries of the front-end: which files of which npm packages, checked by checksum.

`python -m stylegan.studio.vendor` checks that the files in static/vendor are the pinned ones;
`python -m stylegan.studio.vendor --fetch` takes them from the npm registry again (needs npm).
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from stylegan.errors import UserError

FOLDER = Path(__file__).parent / "static" / "vendor"
# package -> files: (name in the package, name here, SHA-256)
PINNED: dict[str, list[tuple[str, str, str]]] = {
    "htm@3.1.1": [
        (
            "preact/standalone.module.js",
            "preact-htm.js",
            "72284e8e9079c87817145df1110f74e8a2aa040b2fc384922e18dfcb46fc1fd7",
        ),
        ("LICENSE", "htm.LICENSE.txt", "740725f7252e750af735d0028cc534970772f513331e9f68150fede8fb3ce00f"),
    ],
    "preact@10.29.8": [
        # htm's standalone module contains Preact
        ("LICENSE", "preact.LICENSE.txt", "1fe6958409c8c257a70c587a18b6f7f412b179b456630790d30b2ec9a8e4b7d4"),
    ],
    "uplot@1.6.32": [
        ("dist/uPlot.esm.js", "uplot.js", "5dd9b3281aa64b461b42d9945f6adb2649d346502b12281a9ae0d46599a80eba"),
        ("dist/uPlot.min.css", "uplot.css", "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"),
        ("LICENSE", "uplot.LICENSE.txt", "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd"),
    ],
}


def differences() -> list[str]:
    """What is wrong with the files in static/vendor; empty where they are the pinned ones."""
    found = []
    for package, files in PINNED.items():
        for _, name, digest in files:
            path = FOLDER / name
            if not path.is_file():
                found.append(f"{name} of {package} is missing")
            elif hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                found.append(f"{name} is not the one of {package}")
    known = {name for files in PINNED.values() for _, name, _ in files}
    return found + [f"{path.name} is not listed" for path in FOLDER.iterdir() if path.name not in known]


def fetch() -> None:
    """Takes every file from its package. UserError where npm is missing or a file differs from the pinned one."""
    npm = shutil.which("npm")
    if npm is None:
        raise UserError("npm is not here to fetch the packages; install Node.js")
    with tempfile.TemporaryDirectory() as scratch:
        for package, files in PINNED.items():
            command = [npm, "pack", package, "--ignore-scripts", "--silent", "--pack-destination", scratch]
            subprocess.run(command, check=True, capture_output=True, timeout=300, cwd=scratch)
            archive = Path(scratch) / (package.replace("@", "-") + ".tgz")
            with tarfile.open(archive) as tar:
                for inner, name, digest in files:
                    member = tar.extractfile(f"package/{inner}")
                    assert member is not None
                    data = member.read()
                    found = hashlib.sha256(data).hexdigest()
                    if found != digest:
                        raise UserError(f"{inner} of {package} has SHA-256 {found}, not the pinned {digest}")
                    FOLDER.mkdir(parents=True, exist_ok=True)
                    (FOLDER / name).write_bytes(data)


if __name__ == "__main__":
    if "--fetch" in sys.argv:
        fetch()
    problems = differences()
    print("\n".join(problems) or "the vendored files are the pinned ones")
    sys.exit(bool(problems))

"""A page that draws in the browser: index.html, its scripts, model.onnx, model.json, and onnxruntime-web beside them.

The runtime (14 MB) is not part of this package. It is taken from a folder the user names, from the user's cache, or
from the npm registry by `npm pack`, once.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import platformdirs

from stylegan.errors import UserError
from stylegan.export.files import OPSET, Exported, export_onnx
from stylegan.export.program import Plan
from stylegan.snapshot import Snapshot, write_atomically

VERSION = "1.30.0"  # of onnxruntime-web, the one the tests use
RUNTIME = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
PAGE = Path(__file__).parent / "page"


def export_web(
    model: Snapshot,
    folder: Path,
    plan: Plan | None = None,
    opset: int = OPSET,
    runtime: Path | None = None,  # folder with onnxruntime-web's files; None: the cache, or npm
) -> Exported:
    """Writes the page's folder. It must be served: browsers do not let a page opened as a file read its model.

    UserError for another part than the generator, where the runtime cannot be had, and as for `export_onnx`.
    """
    plan = plan or Plan(noise="stored")
    if plan.part != "generator":
        raise UserError(f"--part {plan.part}: the page draws with the whole generator; leave --part out")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; give a folder for the page")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "model.json").is_file():
        raise UserError(f"{folder}: is not empty, and no page of this program; choose a new or empty folder")
    files = find_runtime(runtime)
    exported = export_onnx(model, folder / "model.onnx", plan, opset)
    for source in sorted(PAGE.iterdir()):
        write_atomically(folder / source.name, source.read_bytes())
    for source in files:
        write_atomically(folder / "runtime" / source.name, source.read_bytes())
    facts = json.dumps(exported.facts, indent=1, ensure_ascii=False)
    write_atomically(folder / "model.json", facts.encode())
    return Exported(folder / "index.html", exported.facts, exported.agreement)


def find_runtime(folder: Path | None = None) -> list[Path]:
    """The files of onnxruntime-web: from `folder` (its dist folder, or its package), the cache, or npm."""
    if folder is not None:
        for place in (folder, folder / "dist", folder / "package" / "dist", folder / "runtime"):
            if all((place / name).is_file() for name in RUNTIME):
                return [place / name for name in RUNTIME]
        raise UserError(
            f"--runtime {folder}: lacks {', '.join(RUNTIME)}; give the folder dist of the npm package onnxruntime-web"
        )
    cache = cached_runtime()
    if not all((cache / name).is_file() for name in RUNTIME):
        _from_npm(cache)
    return [cache / name for name in RUNTIME]


def cached_runtime() -> Path:
    """Where the runtime is kept, once it has been fetched."""
    return Path(platformdirs.user_cache_dir("stylegan-torch")) / f"onnxruntime-web-{VERSION}"


def _from_npm(cache: Path) -> None:
    """Fetches the package, whose checksum npm verifies, and keeps the three files of it."""
    npm = shutil.which("npm")
    remedy = (
        f"fetch it where that is possible (npm pack onnxruntime-web@{VERSION}), unpack it, and name its folder dist "
        f"with --runtime"
    )
    if npm is None:
        raise UserError(f"the page needs onnxruntime-web {VERSION}, and npm is not here to fetch it; {remedy}")
    with tempfile.TemporaryDirectory() as scratch:
        command = [npm, "pack", f"onnxruntime-web@{VERSION}", "--ignore-scripts", "--pack-destination", scratch]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=600, cwd=scratch)
        except (subprocess.SubprocessError, OSError) as error:
            lines = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
            raise UserError(f"onnxruntime-web {VERSION} could not be fetched by npm ({lines[0]}); {remedy}") from None
        package = next(Path(scratch).glob("onnxruntime-web-*.tgz"), None)
        if package is None:
            raise UserError(f"npm fetched no onnxruntime-web {VERSION}; {remedy}")
        with tarfile.open(package) as archive:
            for name in RUNTIME:
                member = archive.extractfile(f"package/dist/{name}")
                assert member is not None
                write_atomically(cache / name, member.read())

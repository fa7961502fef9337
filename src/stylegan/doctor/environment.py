"""What this machine has and what it lacks: for `stylegan doctor` without data, and for bug reports."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import platformdirs

from stylegan import __version__
from stylegan.data.workers import default_workers

# optional parts: module -> (what it is for, how to get it)
OPTIONAL = {
    "triton": ("fast GPU kernels", "comes with PyTorch for CUDA on Linux; on Windows: pip install triton-windows"),
    "sklearn": ("the digits of `stylegan demo`", 'pip install "stylegan-torch[demo]"'),
}
LOW_DISK = 10e9  # bytes


def environment() -> dict[str, Any]:
    """Versions, system, devices, kernels, missing parts, disk space. Never fails for want of a part."""
    found: dict[str, Any] = {
        "stylegan-torch": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
        "cpu": {"name": _cpu(), "cores": os.cpu_count() or 1, "usable": default_workers()},
        "memory_bytes": _memory(),
        "packages": _packages(),
    }
    found |= _torch()
    found["kernels"] = _kernels(found)
    found["optional"] = _optional()
    cache = Path(platformdirs.user_cache_dir("stylegan-torch"))
    found["cache"] = {"path": str(cache), "bytes": _size(cache)}
    found["disk"] = {}
    for name, path in (("here", Path.cwd()), ("cache", cache), ("temporary", Path(tempfile.gettempdir()))):
        there = next((p for p in (path, *path.parents) if p.exists()), None)
        if there is not None:
            found["disk"][name] = {"path": str(path), "free_bytes": shutil.disk_usage(there).free}
    found["advice"] = _advice(found)
    return found


def _packages() -> dict[str, str]:
    """Versions of the declared dependencies; "missing" where one is not installed."""
    try:
        required = importlib.metadata.requires("stylegan-torch") or []
    except importlib.metadata.PackageNotFoundError:
        required = []
    versions = {}
    for line in required:
        if "extra ==" in line:
            continue
        name = re.match(r"[A-Za-z0-9_.-]+", line)
        if name:
            try:
                versions[name[0]] = importlib.metadata.version(name[0])
            except importlib.metadata.PackageNotFoundError:
                versions[name[0]] = "missing"
    return versions


def _torch() -> dict[str, Any]:
    """PyTorch and the devices it sees."""
    found: dict[str, Any] = {"torch": {}, "gpus": []}
    try:
        import torch
    except Exception as error:  # a broken installation is what a doctor is asked about
        found["torch"] = {"error": f"{type(error).__name__}: {error}"}
        return found
    mps = getattr(torch.backends, "mps", None)
    found["torch"] = {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "hip": getattr(torch.version, "hip", None),
        "cudnn": torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None,
        "cuda_available": torch.cuda.is_available(),
        "mps_available": bool(mps and mps.is_available()),
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        driver = _nvidia_driver()
        for number in range(torch.cuda.device_count()):
            try:
                properties = torch.cuda.get_device_properties(number)
                free, total = torch.cuda.mem_get_info(number)
            except RuntimeError as error:
                found["gpus"].append({"error": str(error).splitlines()[0]})
                continue
            found["gpus"].append(
                {
                    "name": properties.name, "capability": f"{properties.major}.{properties.minor}",
                    "memory_bytes": total, "free_bytes": free, "driver": driver,
                    "bf16": torch.cuda.is_bf16_supported(including_emulation=False) if number == 0 else None,
                }
            )  # fmt: skip
    return found


def _kernels(found: dict[str, Any]) -> dict[str, Any]:
    """Which form of the operators runs here: `reference` or `fast`; and whether Triton is there to be used."""
    triton = _version("triton")
    if "error" in found["torch"]:
        return {"mode": "none", "drawing": "none", "training": "none", "triton": triton}
    from stylegan.ops.switch import ops_mode

    try:
        mode = ops_mode()
    except ValueError as error:
        return {"mode": str(error), "drawing": "none", "training": "none", "triton": triton}
    drawing = ("fast" if found["gpus"] else "reference") if mode == "auto" else mode
    return {"mode": mode, "drawing": drawing, "training": "fast" if mode == "auto" else mode, "triton": triton}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _optional() -> list[dict[str, Any]]:
    return [
        {"part": module, "present": importlib.util.find_spec(module) is not None, "for": purpose, "get": how}
        for module, (purpose, how) in OPTIONAL.items()
    ]


def _advice(found: dict[str, Any]) -> list[str]:
    """Sentences on what would help."""
    advice = []
    missing = [name for name, version in found["packages"].items() if version == "missing"]
    if missing:
        advice.append(f"missing packages: {', '.join(missing)}; pip install --upgrade stylegan-torch")
    torch = found["torch"]
    if "error" in torch:
        advice.append(f"PyTorch cannot be imported ({torch['error']}); reinstall it: https://pytorch.org/get-started")
    elif not torch["cuda_available"] and not torch["mps_available"]:
        if _nvidia_driver():
            built = "is built without CUDA" if not torch["cuda"] else "cannot use it (driver older than its CUDA?)"
            advice.append(f"there is an NVIDIA GPU, but this PyTorch {built}; see https://pytorch.org/get-started")
        else:
            advice.append("no GPU: training works on the CPU, for sizes up to about 32x32 in reasonable time")
    for name, place in found["disk"].items():
        if place["free_bytes"] < LOW_DISK:
            advice.append(f"only {place['free_bytes'] / 1e9:.1f} GB are free at {place['path']} ({name})")
    return advice


def _nvidia_driver() -> str:
    """Version of the NVIDIA driver, "" where there is none."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.split("\n")[0].strip() if answer.returncode == 0 else ""


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    match = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return match[1] if match else platform.machine()


def _memory() -> int:
    """Bytes of main memory, of this container where it has a limit; 0 = unknown."""
    total = 0
    if hasattr(os, "sysconf"):
        try:
            total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (ValueError, OSError):
            return 0
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else 0

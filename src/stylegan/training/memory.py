"""Running out of memory: recognised, and answered with smaller micro-batches of the same global batch."""

from __future__ import annotations

from collections.abc import Callable

import torch

from stylegan.distributed import Processes


class OutOfMemory(Exception):
    """A process ran out of memory in a half step, which can be repeated with smaller micro-batches."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of PyTorch means that memory did not suffice: the GPU's, its libraries', or the host's."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    signs = ("CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED", "DefaultCPUAllocator: ")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


def together(processes: Processes, work: Callable[[], object]) -> None:
    """Does work of each process by itself; OutOfMemory in every process if any of them ran out."""
    failed = False
    try:
        work()
    except (RuntimeError, torch.OutOfMemoryError) as error:
        if not is_out_of_memory(error):
            raise
        failed = True
    if processes.any(failed):  # outside the handler, so that no traceback holds tensors
        raise OutOfMemory


def release(device: torch.device) -> None:
    """Gives cached memory back to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def describe(device: torch.device) -> str:
    """The device whose memory a micro-batch was fitted to: 'NVIDIA H200, 139 GiB', or 'cpu'."""
    if device.type != "cuda":
        return device.type
    facts = torch.cuda.get_device_properties(device)
    return f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB"

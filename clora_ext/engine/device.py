"""What the device and the process can tell about memory, on every system."""

import sys

import torch

SHARE = 0.9
"""How much of what is free may be counted on."""


def peak_bytes(device: torch.device) -> int | None:
    """Bytes: the most that torch has allocated on a CUDA ``device``, else the most that this process has ever held.

    None where nobody tells: on Windows without psutil, which WebUI ships.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return _windows_peak()
    import resource  # noqa: TID251 - guarded: Windows has no such module

    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held if sys.platform == "darwin" else held * 1024  # bytes on macOS, KiB elsewhere (getrusage(2))


def _windows_peak() -> int | None:
    try:
        import psutil
    except ModuleNotFoundError:
        return None
    return getattr(psutil.Process().memory_info(), "peak_wset", None)


def free_bytes(device: torch.device) -> float | None:
    """Bytes that may be taken on ``device``, what torch's allocator holds in reserve included; None where unknown."""
    if device.type != "cuda":
        return None
    reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free, _ = torch.cuda.mem_get_info(device)
    return (free + reserve) * SHARE

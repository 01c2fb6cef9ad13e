"""The most memory that a run has taken, on every system that tells it."""

import sys

import torch


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

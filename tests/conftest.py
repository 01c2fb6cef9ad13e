"""Shape checks on every call, the same examples on every machine."""

import contextlib

import torch
from hypothesis import settings

torch.set_num_threads(1)  # tiny tensors: threads only wait for each other, and badly so on a busy machine

with contextlib.suppress(ModuleNotFoundError):  # absent under WebUI's Python, where shapes stay unchecked
    import beartype  # noqa: F401
    from jaxtyping import install_import_hook

    install_import_hook(["clora_ext.core"], "beartype.beartype")

settings.register_profile("steady", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("steady")

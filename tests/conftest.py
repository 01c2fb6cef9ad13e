"""Shape checks on every call, the same examples on every machine."""

import contextlib

import torch
from hypothesis import settings

CHECK = "tests.annotations.checked"
torch.set_num_threads(1)  # tiny tensors: threads only wait for each other, and badly so on a busy machine

with contextlib.suppress(ModuleNotFoundError):  # absent under WebUI's Python, where shapes stay unchecked
    from jaxtyping import install_import_hook

    import tests.annotations  # noqa: F401  (found by the name below)

    install_import_hook(
        [f"clora_ext.{part}" for part in ("core", "batch", "lora", "attention", "engine", "merge")], CHECK
    )

settings.register_profile("steady", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("steady")

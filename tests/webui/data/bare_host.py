"""Loads a WebUI without a model, for scripts that its own Python runs: ``python SCRIPT WEBUI CHECKOUT SCRATCH``.

``start`` comes before any other import of WebUI's modules, which would import each other in circles.
"""

import os
import sys
from pathlib import Path

WEBUI, CHECKOUT, SCRATCH = (Path(argument) for argument in sys.argv[1:4])
FLAGS = ["--skip-torch-cuda-test", "--use-cpu", "all", "--no-half", "--do-not-download-clip"]


def start() -> None:
    """Load as much of WebUI as its built-in extensions need, and those; data goes to SCRATCH."""
    sys.argv = [sys.argv[0], *FLAGS, "--skip-load-model-at-start", "--data-dir", str(SCRATCH)]
    os.environ["IGNORE_CMD_ARGS_ERRORS"] = "1"
    os.chdir(WEBUI)
    sys.path[:0] = [str(WEBUI), str(CHECKOUT)]
    import torch
    from modules import initialize

    initialize.imports()
    from modules import devices, extensions, scripts, sd_samplers

    devices.dtype = devices.dtype_unet = torch.float32
    sd_samplers.set_samplers()
    extensions.list_extensions()
    scripts.load_scripts()

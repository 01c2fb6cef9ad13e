"""Boot a real AUTOMATIC1111 WebUI for a test, talk to its HTTP API, and stop it surely.

WebUI runs as a process of its own, with its own Python, on the CPU, from a scratch `--data-dir`: extensions, models,
outputs and settings of the checkout under test are never read and never written.

```python
with WebUI(Setup(webui=find_webui(), model=model)) as host:
    result = host.txt2img(prompt="a cat", seed=1)
    result.images[0].save("cat.png")
```
"""

import base64
import hashlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from configparser import ConfigParser
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import requests
from PIL import Image

from tests.webui.install import venv_python

BOOT_SECONDS = 600.0
"""How long a boot may take; 8-17 s on two idle cores, many times that on busy ones."""

STARTED = ("Startup time:", "Model loaded in")
"""What WebUI prints when it is ready; a request before the first of them makes its start fail."""

REQUEST_SECONDS = 600.0
"""How long one answer may take."""

FLAGS = (
    "--skip-prepare-environment",
    "--skip-python-version-check",
    "--skip-torch-cuda-test",
    "--skip-version-check",
    "--use-cpu",
    "all",
    "--no-half",
    "--do-not-download-clip",
    "--no-download-sd-model",
    "--opt-sdp-no-mem-attention",
    "--api",
    "--api-server-stop",
    "--server-name",
    "127.0.0.1",
)
"""What WebUI needs on a CPU without a network. `--disable-nan-check` is left out on purpose: it hides NaNs."""

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "CUDA_VISIBLE_DEVICES": "",
    "GOMP_SPINCOUNT": "0",  # without these two a UNet call beside other work takes ten times as long
    "OMP_WAIT_POLICY": "PASSIVE",
    "OMP_NUM_THREADS": "1",  # two test processes share the cores, and tiny layers gain nothing from threads
    "PYTHONUNBUFFERED": "1",
}

SETTINGS: Mapping[str, Any] = {
    "show_progress_type": "Approx cheap",  # the default preview wants to download a decoder
    "samples_save": False,
    "grid_save": False,
    "token_merging_ratio": 0.0,  # WebUI restores an overridden setting only where its own file has it
}

DROPPED_VARIABLES = ("COMMANDLINE_ARGS", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "SD_WEBUI_RESTARTING")

SMALL_JOB: Mapping[str, Any] = {
    "steps": 4,
    "width": 64,
    "height": 64,
    "seed": 1,
    "sampler_name": "Euler",
    "scheduler": "Automatic",
    "cfg_scale": 7.0,
    "negative_prompt": "",
}
"""A txt2img job of a third of a second, the base on which `WebUI.txt2img` puts its arguments."""

_PLACEHOLDER = re.compile(r"@[A-Z_]+@")


class WebUIError(RuntimeError):
    """WebUI did not start, died, or answered with an error. `status` is the HTTP status, None without an answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Model:
    """A checkpoint for WebUI and the LoRAs that go with it.

    `config` is the ldm yaml; a word like `@TINY_CLIP@` in it stands for the absolute path of `tokenizer`, a folder with
    `config.json`, `vocab.json` and `merges.txt`. LoRA files keep their names: `tinyA.safetensors` is `<lora:tinyA:1>`.
    """

    checkpoint: Path
    config: Path
    tokenizer: Path
    loras: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """What a job calls it: `override_settings={"sd_model_checkpoint": model.name}`."""
        return self.checkpoint.stem


@dataclass(frozen=True, slots=True)
class Setup:
    """How to boot. `extensions` are folders to link into WebUI; none gives the WebUI of somebody without us.

    `more` are models that a job can switch to; their LoRAs are there from the start. `ui` False starts the API alone
    (`--nowebui`). `auth` is (user, password) for `--api-auth`. `settings` are entries of WebUI's config.json,
    `environment` variables on top of our own.
    """

    webui: Path
    model: Model
    extensions: tuple[Path, ...] = ()
    ui: bool = True
    auth: tuple[str, str] | None = None
    flags: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    more: tuple[Model, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What a txt2img job gave: `images` in the answer's order, one infotext each, and the whole JSON."""

    images: tuple[Image.Image, ...]
    infotexts: tuple[str, ...]
    raw: dict[str, Any]

    @property
    def info(self) -> dict[str, Any]:
        """The job's facts as WebUI reports them: seeds, sampler, extra generation parameters and so on."""
        return json.loads(self.raw["info"])

    @property
    def sha1s(self) -> tuple[str, ...]:
        """One digest per image, of mode, size and pixels: PNG headers and infotext play no part."""
        return tuple(pixel_sha1(image) for image in self.images)

    @property
    def sha1(self) -> str:
        """The digest of the first image."""
        return self.sha1s[0]


def pixel_sha1(image: Image.Image) -> str:
    """Hexadecimal SHA-1 of an image's mode, size and pixels."""
    digest = hashlib.sha1(f"{image.mode} {image.size}".encode(), usedforsecurity=False)
    digest.update(image.tobytes())
    return digest.hexdigest()


def find_webui() -> Path | None:
    """Return the WebUI checkout named by `WEBUI_DIR`, else `~/stable-diffusion-webui`; None when it is not there."""
    folder = Path(os.environ.get("WEBUI_DIR") or "~/stable-diffusion-webui").expanduser()
    return folder.resolve() if (folder / "launch.py").is_file() else None


def find_python(webui: Path) -> Path | None:
    """Return that WebUI's own Python: `WEBUI_PYTHON`, else the one in its `venv`; None when there is none."""
    named = os.environ.get("WEBUI_PYTHON")
    python = Path(named).expanduser() if named else venv_python(webui)
    return python if python.is_file() else None


def free_port() -> int:
    """Return a TCP port of the loopback address which nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_data_dir(data_dir: Path, setup: Setup) -> Path:
    """Fill a scratch data dir with links to models, LoRAs and extensions; return the first checkpoint's path in it."""
    checkpoints, loras, extensions = (
        data_dir / "models" / "Stable-diffusion",
        data_dir / "models" / "Lora",
        data_dir / "extensions",
    )
    for folder in (checkpoints, loras, extensions):
        folder.mkdir(parents=True)
    models = (setup.model, *setup.more)
    for model in models:
        _link_checkpoint(checkpoints, model)
    for lora in {lora for model in models for lora in model.loras}:
        (loras / lora.name).symlink_to(lora.resolve())
    for extension in setup.extensions:
        (extensions / _installed_name(extension)).symlink_to(extension.resolve())
    (data_dir / "config.json").write_text(json.dumps({**SETTINGS, **setup.settings}), encoding="utf-8")
    (data_dir / "ui-config.json").write_text("{}", encoding="utf-8")  # some extensions read it before WebUI writes it
    return checkpoints / setup.model.checkpoint.name


def _installed_name(extension: Path) -> str:
    """The folder that an extension is installed in: WebUI loads extensions in the order of these names."""
    metadata = ConfigParser()
    metadata.read(extension / "metadata.ini")
    return metadata.get("Extension", "Name", fallback=extension.resolve().name)


def _link_checkpoint(folder: Path, model: Model) -> None:
    """Link a checkpoint and write its yaml beside it, where WebUI looks for it, with the tokenizer's path."""
    checkpoint = folder / model.checkpoint.name
    checkpoint.symlink_to(model.checkpoint.resolve())
    tokenizer = str(model.tokenizer.resolve())
    text = _PLACEHOLDER.sub(lambda _: tokenizer, model.config.read_text(encoding="utf-8"))
    checkpoint.with_suffix(".yaml").write_text(text, encoding="utf-8")


class WebUI:
    """One running WebUI. Use it as a context manager: entering waits until it is ready, leaving ends it."""

    def __init__(self, setup: Setup, *, boot_seconds: float = BOOT_SECONDS) -> None:
        self.setup = setup
        self.boot_seconds = boot_seconds
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.data_dir = Path(tempfile.mkdtemp(prefix="webui-"))
        self.log_file = self.data_dir / "webui.log"
        self.boot_took = float("nan")
        """Seconds from start to ready."""
        self._process: subprocess.Popen[bytes] | None = None
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between us and the loopback address
        self._session.auth = setup.auth

    def __enter__(self) -> "WebUI":
        try:
            self._start()
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The number of the server's process and process group; None before the start and after `stop`."""
        return None if self._process is None else self._process.pid

    # -- requests ----------------------------------------------------------------------------------------------------

    def get(self, path: str, **arguments: Any) -> requests.Response:
        """GET a path of the server; any HTTP status is an answer."""
        arguments.setdefault("timeout", REQUEST_SECONDS)
        return self._session.get(self.url + path, **arguments)

    def post(self, path: str, body: Mapping[str, Any] | None = None, **arguments: Any) -> requests.Response:
        """POST JSON to a path of the server; any HTTP status is an answer."""
        arguments.setdefault("timeout", REQUEST_SECONDS)
        return self._session.post(self.url + path, json=dict(body or {}), **arguments)

    def put(self, path: str, body: Mapping[str, Any], **arguments: Any) -> requests.Response:
        """PUT JSON to a path of the server; any HTTP status is an answer."""
        arguments.setdefault("timeout", REQUEST_SECONDS)
        return self._session.put(self.url + path, json=dict(body), **arguments)

    def delete(self, path: str, **arguments: Any) -> requests.Response:
        """DELETE a path of the server; any HTTP status is an answer."""
        arguments.setdefault("timeout", REQUEST_SECONDS)
        return self._session.delete(self.url + path, **arguments)

    def txt2img(self, **payload: Any) -> Result:
        """Run a txt2img job: `SMALL_JOB` with `payload` over it. Raise WebUIError for any status but 200."""
        answer = self.post("/sdapi/v1/txt2img", {**SMALL_JOB, **payload})
        if answer.status_code != requests.codes.ok:
            message = f"WebUI answered {answer.status_code} to txt2img: {answer.text[:2000]}"
            raise WebUIError(message, answer.status_code)
        return _result(answer.json())

    def img2img(self, image: Image.Image, mask: Image.Image | None = None, **payload: Any) -> Result:
        """Run an img2img job from `image`; where `mask` is white it is inpainted. Raise WebUIError as `txt2img`."""
        given = {"init_images": [_base64(image)], "denoising_strength": 0.75}
        given |= {} if mask is None else {"mask": _base64(mask), "inpainting_fill": 1, "inpaint_full_res": False}
        answer = self.post("/sdapi/v1/img2img", {**SMALL_JOB, **given, **payload})
        if answer.status_code != requests.codes.ok:
            message = f"WebUI answered {answer.status_code} to img2img: {answer.text[:2000]}"
            raise WebUIError(message, answer.status_code)
        return _result(answer.json())

    def interrupt(self) -> None:
        """Ask the running job to end."""
        self.post("/sdapi/v1/interrupt").raise_for_status()

    # -- the log -----------------------------------------------------------------------------------------------------

    def log(self, since: int = 0) -> str:
        """Return what WebUI printed, from byte `since` on (a value of `log_mark`)."""
        if not self.log_file.exists():
            return ""
        return self.log_file.read_bytes()[since:].decode("utf-8", "replace")

    def log_mark(self) -> int:
        """Return the log's present length in bytes, to ask `log` later for what came after."""
        return self.log_file.stat().st_size

    # -- life --------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End WebUI with all its children and remove the data dir. Harmless when it runs no more."""
        self._session.close()
        if self._process is not None:
            _end_group(self._process)
            self._process = None
        shutil.rmtree(self.data_dir, ignore_errors=True)

    def _start(self) -> None:
        python = find_python(self.setup.webui)
        if python is None:
            message = f"No Python for the WebUI in {self.setup.webui}: make its venv, or set WEBUI_PYTHON."
            raise WebUIError(message)
        checkpoint = write_data_dir(self.data_dir, self.setup)
        command = _dying_with_parent()
        command += [str(python), "launch.py", *FLAGS, "--port", str(self.port), "--data-dir", str(self.data_dir)]
        command += ["--ckpt", str(checkpoint), *self.setup.flags]
        command += [] if self.setup.ui else ["--nowebui"]
        command += ["--api-auth", ":".join(self.setup.auth)] if self.setup.auth else []
        kept = {name: value for name, value in os.environ.items() if name not in DROPPED_VARIABLES}
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.setup.webui,
                env={**kept, **ENVIRONMENT, **self.setup.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait_until_ready(self) -> None:
        began = time.monotonic()
        while time.monotonic() - began < self.boot_seconds:
            if self._process is None or self._process.poll() is not None:
                message = f"WebUI ended while it started. Its last words:\n{self.log()[-4000:]}"
                raise WebUIError(message)
            if all(line in self.log() for line in STARTED) and self._answers():
                self.boot_took = time.monotonic() - began
                return
            time.sleep(0.25)
        message = f"WebUI was not ready after {self.boot_seconds:.0f} s. Its last words:\n{self.log()[-4000:]}"
        raise WebUIError(message)

    def _answers(self) -> bool:
        try:
            return self.get("/sdapi/v1/sd-models", timeout=5).status_code == requests.codes.ok
        except requests.RequestException:
            return False


def _base64(image: Image.Image) -> str:
    kept = io.BytesIO()
    image.save(kept, "PNG")
    return base64.b64encode(kept.getvalue()).decode("ascii")


def _result(raw: dict[str, Any]) -> Result:
    images = tuple(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB") for text in raw["images"])
    return Result(images=images, infotexts=tuple(json.loads(raw["info"])["infotexts"]), raw=raw)


def _dying_with_parent() -> list[str]:
    """Return the words before a command that let Linux end it when the test run dies without a word."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def _end_group(process: subprocess.Popen[bytes], patience: float = 5.0) -> None:
    """Send SIGTERM to a process group, and SIGKILL to what is left of it after `patience` seconds."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
        except ProcessLookupError:
            break
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
    process.wait(patience)

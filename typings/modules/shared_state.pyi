# WebUI 1.10.1: modules/shared_state.py

from PIL.Image import Image
from torch import Tensor

class State:
    skipped: bool
    interrupted: bool
    stopping_generation: bool
    job: str
    job_no: int
    job_count: int
    job_timestamp: str
    sampling_step: int
    sampling_steps: int
    # Read by other threads for previews.
    current_latent: Tensor | None
    current_image: Image | None
    current_image_sampling_step: int
    id_live_preview: int
    textinfo: str | None

    def skip(self) -> None: ...
    def interrupt(self) -> None: ...
    def stop_generating(self) -> None: ...
    def nextjob(self) -> None: ...
    def begin(self, job: str = "(unknown)") -> None: ...
    def end(self) -> None: ...
    def assign_current_image(self, image: Image) -> None: ...

# WebUI 1.10.1: modules/images.py

from collections.abc import Sequence

from modules.processing import StableDiffusionProcessing
from PIL.Image import Image
from PIL.ImageFont import FreeTypeFont

def get_font(fontsize: int) -> FreeTypeFont: ...
def image_grid(imgs: Sequence[Image], batch_size: int = 1, rows: int | None = None) -> Image: ...
def resize_image(resize_mode: int, im: Image, width: int, height: int, upscaler_name: str | None = None) -> Image: ...
def flatten(img: Image, bgcolor: str) -> Image: ...

# The paths of the picture and of its text file, if the settings ask for one.
def save_image(
    image: Image,
    path: str,
    basename: str,
    seed: int | None = None,
    prompt: str | None = None,
    extension: str = "png",
    info: str | None = None,
    short_filename: bool = False,
    no_prompt: bool = False,
    grid: bool = False,
    pnginfo_section_name: str = "parameters",
    p: StableDiffusionProcessing | None = None,
    existing_info: dict[str, str] | None = None,
    forced_filename: str | None = None,
    suffix: str = "",
    save_to_dirs: bool | None = None,
) -> tuple[str, str | None]: ...

"""Pictures and vectors as text in a JSON line."""

import base64
import io

import numpy as np
from PIL import Image
from torch import Tensor


def pack(vector: Tensor) -> str:
    """A vector of any length, in half precision."""
    return base64.b64encode(vector.detach().cpu().numpy().astype("<f2").tobytes()).decode()


def unpack(text: str) -> np.ndarray:
    """The vector [d], float32."""
    return np.frombuffer(base64.b64decode(text), "<f2").astype(np.float32)


def pack_image(image: Image.Image, quality: int = 85) -> str:
    """A picture as WebP, some 3 kB at 128 pixels."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality)
    return base64.b64encode(buffer.getvalue()).decode()


def unpack_image(text: str) -> Image.Image:
    """The picture."""
    return Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")

"""How exactly a GPU multiplies."""

from collections.abc import Generator
from contextlib import contextmanager

import torch


@contextmanager
def full_precision() -> Generator[None, None, None]:
    """While inside, products are of whole single precision (no TF32), which WebUI gives up for speed."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = False
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before

"""Names for the shapes that travel between the parts. Checked at run time by the tests, free in the WebUI."""

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
else:
    try:
        from jaxtyping import Bool, Float, Int
    except ModuleNotFoundError:  # WebUI ships without it

        class Float:
            def __class_getitem__(cls, item: tuple) -> type:
                return item[0]

        Bool = Int = Float

Maps = Float[Tensor, "map height width"]
"""Cross-attention maps: probabilities of single tokens over the picture, heads and layers averaged."""
Masks = Bool[Tensor, "concept height width"]
"""The region of each concept."""
Weights = Float[Tensor, "branch height width"]
"""How much each branch counts at each pixel; sums to 1 over branches."""
Latent = Float[Tensor, "image channel y x"]
"""Latents z of a variance preserving process, one per image."""
Predictions = Float[Tensor, "branch channel y x"]
"""One image's prediction from every branch."""
GroupIds = Int[Tensor, "map"]
"""For each map the concept it belongs to."""
Scalar = Float[Tensor, ""]
"""A loss."""

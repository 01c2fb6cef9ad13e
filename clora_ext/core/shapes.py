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
RecordedMaps = Float[Tensor, "_ height width"]
"""Those that were recorded of a row: one for each token that it was asked for."""
Gradient = Float[Tensor, "image channel y x"]
"""Of a loss to the latents."""
Masks = Bool[Tensor, "concept height width"]
"""The mask of each concept: the pixels that it claims."""
RegionMasks = Float[Tensor, "branch height width"]
"""How much each branch counts at each pixel; sums to 1 over branches, base first."""
Latent = Float[Tensor, "image channel y x"]
"""Latents z of a variance preserving process, one per image."""
Predictions = Float[Tensor, "branch channel y x"]
"""One image's prediction from every branch."""
Prediction = Float[Tensor, "channel y x"]
"""Of one row."""
RowPredictions = Float[Tensor, "row channel y x"]
"""The predictions of the rows that draw one image."""
LayerPixels = Float[Tensor, "row pixel width"]
"""What a layer of the UNet is given or gives, a picture's pixels one after the other."""
LayerTokens = Float[Tensor, "row token width"]
"""Texts, as cross-attention is given them."""
TokenMaps = Float[Tensor, "row column pixel"]
"""Attention probabilities of chosen tokens in one layer."""
PixelMasks = Float[Tensor, "row branch pixel"]
"""Region masks of rows at one layer, base first."""
Drawn = Bool[Tensor, "row branch_from_1 pixel"]
"""Which pixels of rows each branch but the base draws."""
PackedIndex = Int[Tensor, "group longest"]
"""Pixels of groups, counted through all rows."""
GroupPixels = Float[Tensor, "group longest width"]
"""The same pixels as a layer is given them."""
Shares = Float[Tensor, "row *pixel column"]
"""How much each column of LoRAs counts, in every pixel or in the whole picture."""
Scalar = Float[Tensor, ""]
"""A loss."""

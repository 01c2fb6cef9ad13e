"""Shapes of weights, by the names of checkpoints: SDXL's UNet and OpenCLIP's text encoder. Only widths are small."""

Shapes = dict[str, tuple[int, ...]]

CHANNELS = 32
"""Of the UNet's widest picture; the normalization of a block wants a multiple of 32."""

TEXT_WIDTH = 64
TEXT_LAYERS = 3
VOCABULARY = 49408
"""CLIP's, which the tokenizer of open_clip has built in."""

SIZE_WIDTH = 32
"""Of the embedding of one number: six of height, width and crop stand behind the pooled text."""

TIME = 4 * CHANNELS
CONTEXT = 2 * TEXT_WIDTH
VECTOR = TEXT_WIDTH + 6 * SIZE_WIDTH

BLOCKS = {
    "input_blocks.1": (1, 1, 0),
    "input_blocks.2": (1, 1, 0),
    "input_blocks.4": (1, 2, 1),
    "input_blocks.5": (2, 2, 1),
    "input_blocks.7": (2, 4, 2),
    "input_blocks.8": (4, 4, 2),
    "output_blocks.0": (8, 4, 2),
    "output_blocks.1": (8, 4, 2),
    "output_blocks.2": (6, 4, 2),
    "output_blocks.3": (6, 2, 1),
    "output_blocks.4": (4, 2, 1),
    "output_blocks.5": (3, 2, 1),
    "output_blocks.6": (3, 1, 0),
    "output_blocks.7": (2, 1, 0),
    "output_blocks.8": (2, 1, 0),
}
"""Multiples of `CHANNELS` that go in and out, and the number of transformer blocks (in SDXL 0, 2 and 10)."""

RESIZED = {"input_blocks.3.0.op": 1, "input_blocks.6.0.op": 2, "output_blocks.2.2.conv": 4, "output_blocks.5.2.conv": 2}
"""Convolutions between two levels, with their multiple of `CHANNELS`."""


def sdxl_unet() -> Shapes:
    """The UNet as sgm names it: cross-attention at a half and a quarter of the latent, and a vector condition."""
    shapes = _layer("time_embed.0", TIME, CHANNELS) | _layer("time_embed.2", TIME, TIME)
    shapes |= _layer("label_emb.0.0", TIME, VECTOR) | _layer("label_emb.0.2", TIME, TIME)
    shapes |= _layer("input_blocks.0.0", CHANNELS, 4, kernel=3)
    for name, (into, out, depth) in BLOCKS.items():
        shapes |= _resnet(f"{name}.0", out * CHANNELS, into * CHANNELS)
        shapes |= _transformer(f"{name}.1", out * CHANNELS, depth) if depth else {}
    for name, multiple in RESIZED.items():
        shapes |= _layer(name, multiple * CHANNELS, multiple * CHANNELS, kernel=3)
    middle = 4 * CHANNELS
    shapes |= _resnet("middle_block.0", middle, middle) | _resnet("middle_block.2", middle, middle)
    shapes |= _transformer("middle_block.1", middle, depth=2)
    shapes |= _norm("out.0", CHANNELS) | _layer("out.2", 4, CHANNELS, kernel=3)
    return below("model.diffusion_model", shapes)


def openclip_text() -> Shapes:
    """open_clip's text encoder, without a name in front."""
    width = TEXT_WIDTH
    shapes: Shapes = {
        "token_embedding.weight": (VOCABULARY, width),
        "positional_embedding": (77, width),
        "text_projection": (width, width),
        "logit_scale": (),
    }
    for number in range(TEXT_LAYERS):
        shapes |= below(f"transformer.resblocks.{number}", _text_layer(width))
    return shapes | _norm("ln_final", width)


def below(root: str, shapes: Shapes) -> Shapes:
    """The same under names that begin with `root`."""
    return {f"{root}.{name}": shape for name, shape in shapes.items()}


def _text_layer(width: int) -> Shapes:
    attention = {"attn.in_proj_weight": (3 * width, width), "attn.in_proj_bias": (3 * width,)}
    shapes = attention | _layer("attn.out_proj", width, width)
    shapes |= _layer("mlp.c_fc", 4 * width, width) | _layer("mlp.c_proj", width, 4 * width)
    return shapes | _norm("ln_1", width) | _norm("ln_2", width)


def _resnet(name: str, out: int, into: int) -> Shapes:
    shapes = _norm(f"{name}.in_layers.0", into) | _layer(f"{name}.in_layers.2", out, into, kernel=3)
    shapes |= _layer(f"{name}.emb_layers.1", out, TIME)
    shapes |= _norm(f"{name}.out_layers.0", out) | _layer(f"{name}.out_layers.3", out, out, kernel=3)
    return shapes if out == into else shapes | _layer(f"{name}.skip_connection", out, into, kernel=1)


def _transformer(name: str, width: int, depth: int) -> Shapes:
    shapes = _norm(f"{name}.norm", width)
    shapes |= _layer(f"{name}.proj_in", width, width) | _layer(f"{name}.proj_out", width, width)
    for number in range(depth):
        shapes |= below(f"{name}.transformer_blocks.{number}", _transformer_block(width))
    return shapes


def _transformer_block(width: int) -> Shapes:
    shapes = _attention("attn1", width, width) | _attention("attn2", width, CONTEXT)
    shapes |= _layer("ff.net.0.proj", 8 * width, width) | _layer("ff.net.2", width, 4 * width)
    return shapes | _norm("norm1", width) | _norm("norm2", width) | _norm("norm3", width)


def _attention(name: str, width: int, context: int) -> Shapes:
    into = {"to_q": width, "to_k": context, "to_v": context}
    shapes: Shapes = {f"{name}.{part}.weight": (width, columns) for part, columns in into.items()}
    return shapes | _layer(f"{name}.to_out.0", width, width)


def _layer(name: str, out: int, into: int, kernel: int = 0) -> Shapes:
    """A linear layer, or a square convolution where there is a `kernel`."""
    window = (kernel, kernel) if kernel else ()
    return {f"{name}.weight": (out, into, *window), f"{name}.bias": (out,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}

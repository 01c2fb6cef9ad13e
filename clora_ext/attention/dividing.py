"""Cross-attention of routed rows: every pixel attends to the text of the branch that draws it."""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from clora_ext.core.regions import Regions
from clora_ext.core.rows import Passage, Row, runs

Texts = Callable[[tuple[Row, ...]], Sequence[tuple[Sequence[int], Tensor]]]
"""What one call can see of rows: their places, with their conditions [row, token, width] (``core.rows.by_length``)."""
CONTEXT = ("context", "encoder_hidden_states")
"""What ldm and diffusers call the text that a cross-attention layer is given."""


@contextmanager
def divided(
    layers: Sequence[nn.Module], passage: Passage, regions: Callable[[], Regions | None], texts: Texts
) -> Generator[None, None, None]:
    """While inside, routed rows of ``passage`` attend by region in the cross-attention ``layers``.

    The layer itself is called once more, on the pixels of all regions packed into one batch: group g is a sample of
    its branch, with that branch's text and LoRAs in all four projections. So attention is computed by whatever the
    host has put there, and where one branch draws alone the result is that branch's own, exactly. Where several share
    a pixel their results are averaged by share. What the layer found for the base's text stays the background.
    """

    def divide(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor | None:
        if passage.inside or not any(row.routed for row in passage.window):
            return None
        x = args[0] if args else next(iter(kwargs.values()))
        window, found, start = passage.window, [], 0
        for run in runs([row.routed for row in window]):
            if run == slice(0, len(window)):
                return _divided(layer, x, output, window, (args, kwargs))
            found += [output[start : run.start], _divided(layer, x[run], output[run], window[run], (args, kwargs))]
            start = run.stop
        return torch.cat([*found, output[start:]])

    def _divided(layer: nn.Module, x: Tensor, output: Tensor, rows: tuple[Row, ...], call: Any) -> Tensor:
        packed = regions().packed(rows, regions().grid(x.shape[1]), output)
        if packed is None:
            return output
        return packed.scatter(output, _attended(layer, packed.gather(x), packed.groups, passage, texts, *call))

    with ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.register_forward_hook(divide, with_kwargs=True).remove)
        yield


def _attended(
    layer: nn.Module, pixels: Tensor, groups: tuple[Row, ...], passage: Passage, texts: Texts, *call: Any
) -> Tensor:
    """What ``layer`` finds for the packed ``pixels`` [group, pixel, width], every group as a row of its branch."""
    parts = texts(groups)
    if len(parts) == 1:
        with passage.aside(groups):
            return _again(layer, pixels, parts[0][1], *call)
    inner = torch.empty_like(pixels)
    for places, text in parts:
        with passage.aside([groups[place] for place in places]):
            inner[places] = _again(layer, pixels[places], text, *call).to(inner.dtype)
    return inner


def _again(layer: nn.Module, x: Tensor, text: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Call ``layer`` as it was called, on other pixels with another text."""
    name = next((name for name in CONTEXT if name in kwargs), None)
    if name is not None:
        return layer(x, **{name: text.to(kwargs[name])})
    return layer(x, text.to(args[1]))

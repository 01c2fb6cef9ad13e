"""Cross-attention of routed rows: every pixel attends to the text of the branch that draws it."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from clora_ext.batch.context import ForwardContext
from clora_ext.batch.rows import Row, true_runs
from clora_ext.core.shapes import GroupPixels, LayerPixels

CONTEXT = ("context", "encoder_hidden_states")
"""What ldm and diffusers call the text that a cross-attention layer is given."""


class LayerCall(NamedTuple):
    """A layer as it was called."""

    layer: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def pixels(self) -> LayerPixels:
        """The first argument, [row, pixel, width]."""
        found: Tensor = self.args[0] if self.args else next(iter(self.kwargs.values()))
        return found

    def repeat(self, pixels: LayerPixels, tokens: Tensor) -> Tensor:
        """Call it once more, on other pixels with another text."""
        name = next((name for name in CONTEXT if name in self.kwargs), None)
        found: Tensor
        if name is not None:
            found = self.layer(pixels, **{name: tokens.to(self.kwargs[name])})
        else:
            found = self.layer(pixels, tokens.to(self.args[1]))
        return found


@contextmanager
def regional_attention(layers: Iterable[nn.Module], context: ForwardContext) -> Generator[None, None, None]:
    """While inside, routed rows of the context's forward attend by region in the cross-attention ``layers``.

    ```
    a routed row's pixels     . a a b       the layer ran on them with the base's text: the background
    packed by branch          a a | b       it runs again on these, as a batch of two with the texts of a and b
    put back over             . A A B
    ```

    So attention is computed by whatever the host has put there, and where one branch draws by itself the result is that
    branch's own, exactly. Where several share a pixel their results are averaged by share.
    """

    def attend(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor | None:
        if context.in_region or not any(row.routed for row in context.rows_now):
            return None
        return _attend_by_region(LayerCall(layer, args, kwargs), output, context)

    with ExitStack() as stack:
        for layer in layers:
            handle = layer.register_forward_hook(attend, with_kwargs=True)
            stack.callback(handle.remove)
        yield


def _attend_by_region(call: LayerCall, output: LayerPixels, context: ForwardContext) -> LayerPixels:
    """``output`` [row, pixel, width] with the routed rows' own in their places."""
    rows = context.rows_now
    pieces: list[Tensor] = []
    start = 0
    for run in true_runs([row.routed for row in rows]):
        if run == slice(0, len(rows)):
            return _routed(call, call.pixels, output, rows, context)
        pieces.append(output[start : run.start])
        pieces.append(_routed(call, call.pixels[run], output[run], rows[run], context))
        start = run.stop
    return torch.cat([*pieces, output[start:]])


def _routed(
    call: LayerCall, pixels: LayerPixels, output: LayerPixels, rows: Sequence[Row], context: ForwardContext
) -> LayerPixels:
    """What routed ``rows`` find: the groups' own over the ``output`` for the base's text."""
    regions = context.forward.regions
    if regions is None:
        raise RuntimeError("a routed row is drawn before there are masks")
    groups = regions.pixel_groups(rows, regions.grid(pixels.shape[1]), output)
    if groups is None:
        return output
    found = _attend_groups(call, groups.gather(pixels), groups.groups, context)
    return groups.scatter(output, found)


def _attend_groups(call: LayerCall, pixels: GroupPixels, rows: Sequence[Row], context: ForwardContext) -> GroupPixels:
    """What the layer finds for the packed ``pixels`` [group, pixel, width], every group as a row of its branch."""
    conditions = context.forward.conditions
    if conditions is None:
        raise RuntimeError("a routed row is drawn without its branches' texts")
    parts = conditions.groups(rows)
    if len(parts) == 1:
        with context.as_rows(rows):
            return call.repeat(pixels, parts[0][1].tokens)
    inner = torch.empty_like(pixels)
    for places, condition in parts:
        with context.as_rows([rows[place] for place in places]):
            found = call.repeat(pixels[places], condition.tokens)
        inner[places] = found.to(inner.dtype)
    return inner
